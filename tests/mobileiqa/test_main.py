"""The one entry point: every command is there, and an unknown or incomplete one ends in one line."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mobileiqa.errors import EXTRAS
from mobileiqa.main import COMMANDS, Command, main

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_every_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith("  ")}
    for name, command in COMMANDS.items():
        assert command.typed in lines[name] and lines[name].endswith(command.summary)
    assert max(map(len, shown.splitlines())) <= 110 and "example:" in shown


def test_help_needs_nothing_but_python() -> None:
    loaded = "print(sorted({'numpy', 'PIL', 'torch'} & set(sys.modules)))"
    code = f"import sys, mobileiqa.main as m\nm.main(['--help'])\n{loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_that_has_a_main_is_listed() -> None:
    """A new command is not forgotten: whatever ends in a call of main(argv) is in the table."""
    found = set()
    for package in ("mobileiqa", "convert", "calibration", "android_bench"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "def main(argv" in text:
                found.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert found - {"mobileiqa.main"} == {command.module for command in COMMANDS.values()}


def test_arguments_and_exit_code_are_the_commands_own(tmp_path: Path, capsys) -> None:
    assert main(["inspect", str(tmp_path / "missing.tflite")]) == 2
    assert capsys.readouterr().err.startswith("convert.inspect: expected")
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "--help"])
    assert ended.value.code == 0 and "python -m convert.inspect" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scroe", "x.jpg"], "found 'scroe'; did you mean score?"),
        (["zzz"], "see mobileiqa --help"),
        ([], "found none"),
    ],
)
def test_an_unknown_command_is_one_line_and_exit_2(words: list[str], said: str, capsys) -> None:
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert (
        out == ""
        and len(error.splitlines()) == 1
        and said in error
        and error.startswith("mobileiqa: expected")
    )


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """As in an install without PyTorch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert (
        main(["convert", "--model", "lar-iqa-single", "--size", "64x64", "--out", "/nonexistent/x.tflite"])
        == 2
    )
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(
        "mobileiqa: expected the packages of the extra `convert` for convert; found no torch; pip install torch "
    )
    assert "litert-torch==0.10.0" in error and "mobileiqa[" not in error  # which no package index has


def test_another_missing_module_is_a_bug_and_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "inspect", Command("mobileiqa.no_such_module", ""))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        main(["inspect"])


def test_extras_are_those_of_pyproject() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = content["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        assert list(packages.values()) == [name for name in extras[extra] if not name.startswith("mobileiqa")]
    assert content["project"]["scripts"] == {"mobileiqa": "mobileiqa.main:main"}
