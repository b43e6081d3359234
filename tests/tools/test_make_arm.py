import shutil
import subprocess
from importlib.metadata import version

import pytest

from tools import make_arm
from tools.make_arm import BuildError

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="apt-get is Debian's")


def test_arm_runs_the_same_litert_as_the_host():
    assert f"ai-edge-litert=={version('ai-edge-litert')}" in make_arm.WHEELS


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"recipe": "another"}'])
def test_only_a_whole_root_of_this_recipe_is_ready(tmp_path, content):
    if content is not None:
        (tmp_path / make_arm.MANIFEST).write_text(content)
    assert make_arm.recipe_of(tmp_path) != make_arm.recipe()


def test_a_ready_root_is_left_alone(tmp_path, monkeypatch):
    root = tmp_path / "arm"
    root.mkdir()
    (root / make_arm.MANIFEST).write_text(f'{{"recipe": "{make_arm.recipe()}"}}')
    monkeypatch.setenv("MOBILEIQA_ARM", str(root))
    monkeypatch.setattr(make_arm, "build", lambda root: pytest.fail("built again"))
    assert make_arm.main() == 0


@needs_apt
def test_an_archive_without_debians_signature_is_refused(tmp_path):
    fake = tmp_path / "archive" / "dists" / "bookworm"
    fake.mkdir(parents=True)
    (fake / "Release").write_text("Origin: Debian\nSuite: bookworm\n")
    with pytest.raises(BuildError, match="no Debian archive with bookworm and bookworm-backports: apt-get"):
        make_arm.choose_archive(tmp_path / "apt", "amd64", [f"file:{tmp_path / 'archive'}"])
    with pytest.raises(BuildError, match="configuration names none"):
        make_arm.choose_archive(tmp_path / "apt", "amd64", [])


@needs_apt
def test_takes_one_program_out_of_a_deb(tmp_path):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: sample\n"
    (tree / "DEBIAN" / "control").write_text(control)
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "sample").write_text("#!/bin/sh\necho works\n")
    deb = tmp_path / "sample.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, deb], check=True, capture_output=True)
    make_arm.extract_one(deb, "./usr/bin/sample", tmp_path / "sample")
    assert subprocess.check_output([tmp_path / "sample"]) == b"works\n"
    with pytest.raises(BuildError, match=r"sample\.deb holds no \./usr/bin/other"):
        make_arm.extract_one(deb, "./usr/bin/other", tmp_path / "other")
    assert not (tmp_path / "other").exists()
