"""The one entry point: every command is there, and an unknown or incomplete one ends in one line."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mobileiqa.cli import as_typed, typed
from mobileiqa.errors import EXTRAS
from mobileiqa.main import COMMANDS, JOBS, OLDER, Command, main

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_every_command_with_one_line_below_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for job, commands in JOBS.items():
        listed = shown.partition(f"\n{job}:\n")[2].partition("\n\n")[0].splitlines()
        assert [line[2:].split("  ")[0] for line in listed] == list(commands)
        for line, command in zip(listed, commands.values(), strict=True):
            assert f" {command.typed} " in line and line.endswith(command.summary)
    assert max(map(len, shown.splitlines())) <= 110 and "example:\n  mobileiqa " in shown


def test_help_needs_nothing_but_python() -> None:
    loaded = "print(sorted({'numpy', 'PIL', 'torch'} & set(sys.modules)))"
    code = f"import sys, mobileiqa.main as m\nm.main(['--help'])\n{loaded}"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["convert.accuracy", "convert.report", "convert.delivery"])
def test_an_older_module_runs_and_says_what_to_type_now(module: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert process.returncode == 0 and process.stdout.startswith("usage: python -m convert.")
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"python -m {module}: an older name; type `python -m convert.")


def test_every_command_that_has_a_main_is_listed() -> None:
    """A new command is not forgotten: whatever ends in a call of main(argv) is in the table."""
    seen = set()
    for package in ("mobileiqa", "convert", "calibration", "android_bench"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "def main(argv" in text:
                seen.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    older = {module for _, module in OLDER.values()}
    assert seen - {"mobileiqa.main"} == {command.module for command in COMMANDS.values()} | older


def test_arguments_and_exit_code_are_the_commands_own(tmp_path: Path, capsys) -> None:
    assert main(["inspect", str(tmp_path / "missing.tflite")]) == 2
    assert capsys.readouterr().err.startswith("mobileiqa inspect: expected")
    assert main(["bench", "compare", str(tmp_path / "missing.json")]) == 2
    assert capsys.readouterr().err.startswith("mobileiqa bench compare: expected")


@pytest.mark.parametrize("prog", ["mobileiqa", "python -m mobileiqa"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_its_example_show_the_name_that_was_typed(name: str, prog: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"], prog)
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and shown.startswith(f"usage: {prog} {name} ")
    assert f"example:\n  {prog} {name} " in shown
    others = shown.replace(prog, "")
    assert not [command for command in COMMANDS.values() if f"python -m {command.typed}" in others]


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["mobileiqa", "inspect"], "python -m mobileiqa inspect"),
        (["mobileiqa", "bench", "count"], "python -m mobileiqa bench count"),
        (["convert.inspect"], "python -m convert.inspect"),
        (["android_bench"], "python -m android_bench"),
        (["mobileiqa.data"], "python -m mobileiqa.data"),
    ],
)
def test_usage_errors_show_the_name_that_was_typed(words: list[str], call: str) -> None:
    process = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.startswith(f"{call}: ") and process.stderr.endswith(f"; see {call} --help\n")


def test_other_commands_are_named_as_this_one_was_typed() -> None:
    text = "`python -m convert.tflite`, python -m calibration.select. python -m android_bench --out; python -m tools.x"
    assert as_typed(text) == text
    with typed("mobileiqa score", {command.typed: f"mobileiqa {name}" for name, command in COMMANDS.items()}):
        assert (
            as_typed(text)
            == "`mobileiqa convert`, mobileiqa calibrate. mobileiqa bench --out; python -m tools.x"
        )


@pytest.mark.parametrize("name", OLDER)
def test_an_older_name_runs_and_says_what_to_type_now(name: str, capsys) -> None:
    now, _ = OLDER[name]
    assert now.partition(" CHECK")[0].partition(" FP32")[0] in COMMANDS and name not in COMMANDS
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    out, error = capsys.readouterr()
    assert ended.value.code == 0 and out.startswith(f"usage: mobileiqa {name} ")
    assert error == f"mobileiqa {name}: an older name; type `mobileiqa {now}` now\n"


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["scroe", "x.jpg"], "found 'scroe'; did you mean score?"),
        (["zzz"], "see mobileiqa --help"),
        (["bench", "comapre", "new.json"], "found 'bench comapre'; did you mean bench compare?"),
        (["calibrate", "adit"], "did you mean calibrate audit?"),
        (["delivr"], "did you mean package?"),
        (["Score"], "did you mean score?"),
        ([], "found none"),
    ],
)
def test_an_unknown_command_is_one_line_and_exit_2(words: list[str], suggestion: str, capsys) -> None:
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert (
        out == ""
        and len(error.splitlines()) == 1
        and suggestion in error
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
