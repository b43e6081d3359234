"""What npm may install is pinned by hash; a folder that is complete is left alone."""

import json
from pathlib import Path

import pytest

from tools import make_npm
from tools.make_npm import PACKAGES, install, lock_of, main


@pytest.mark.parametrize("name", PACKAGES)
def test_the_lock_file_has_every_package_with_its_hash(name: str) -> None:
    packages = lock_of(name)["packages"]
    assert set(packages) == {"", *(f"node_modules/{package}" for package in PACKAGES[name])}
    for package in PACKAGES[name]:
        entry = packages[f"node_modules/{package}"]
        assert (
            entry["integrity"].startswith("sha512-")
            and entry["version"] == packages[""]["dependencies"][package]
        )


def test_a_complete_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "complete").write_text(json.dumps(lock_of("web"), indent=1) + "\n")
    assert install(tmp_path, "web") is False


def test_without_npm_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_npm, "ENVS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["web"]) == 1
    assert "no npm on the path" in capsys.readouterr().err and not (tmp_path / "web").exists()
