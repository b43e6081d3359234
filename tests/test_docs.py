"""What README and docs tell people to type exists: commands, their options, files that are linked; and it runs."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from mobileiqa.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CI = ROOT / "docs" / "ci"
MODULES = {command.typed: command.module for command in COMMANDS.values()}


def typed(text: str) -> list[list[str]]:
    """The words after `python -m` or `mobileiqa`, of every command in fenced blocks, comments left out."""
    found = []
    for block in re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("python -m "):
                found.append(shlex.split(line, comments=True)[2:])
            elif line.startswith("mobileiqa "):
                _, name, *words = shlex.split(line, comments=True)
                found.append([COMMANDS[name].typed, *words])
    return found


def help_of(module: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The help of a command, or of the subcommand that `words` name."""
    first = [words[0]] if words and module in ("mobileiqa.data", "mobileiqa.ratings") else []
    with pytest.raises(SystemExit):
        import_module(MODULES[module]).main([*first, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module, *words in typed(page.read_text(encoding="utf-8")):
        if module.startswith(("tools.", "benchmarks.", "tests.", "pytest")):
            continue
        shown = help_of(module, words, capsys)
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", shown), f"{page.name}: {module} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_check_sees_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["```", "python -m convert.inspect x.tflite --chekc  # comment --no", "mobileiqa convert --fp16 \\",
             "    --out x", "```", ""]  # fmt: skip
    block = "\n".join(lines)
    assert typed(block) == [
        ["convert.inspect", "x.tflite", "--chekc"],
        ["convert.tflite", "--fp16", "--out", "x"],
    ]
    assert "--chekc" not in help_of("convert.inspect", [], capsys)


def test_the_workflow_calls_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load((CI / "parity.yml").read_text(encoding="utf-8"))
    lines = [step["run"] for step in content["jobs"]["parity"]["steps"] if "run" in step]
    calls = [shlex.split(line) for line in lines if line.startswith("mobileiqa ")]
    assert [words[1] for words in calls] == ["inspect", "report"]
    for _, name, *words in calls:
        shown = help_of(COMMANDS[name].typed, [], capsys)
        assert all(word in shown for word in words if word.startswith("--"))
    assert "python -m pytest tests/test_parity.py" in lines


@pytest.mark.slow
def test_the_test_to_copy_runs(tiny: tuple, photos: Path, tmp_path: Path) -> None:
    """In a repository laid out as the example says; the checkpoint's place is taken by what a path may also be."""
    for folder in ("tests", "ml", "app/src/main/assets", "ci"):
        (tmp_path / folder).mkdir(parents=True)
    text = (CI / "test_parity.py").read_text(encoding="utf-8")
    (tmp_path / "tests" / "test_parity.py").write_text(
        text.replace('ROOT / "ml" / "checkpoint.safetensors"', '"lar-iqa-single"')
    )
    shutil.copy(tiny[2], tmp_path / "app/src/main/assets/model.tflite")
    shutil.copytree(photos, tmp_path / "ci" / "photos")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_parity.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1  # the toy is not that model, and the message says so
    assert (
        "AssertionError" in done.stdout and "wrong spec: name is toy, expected lar-iqa-single" in done.stdout
    )
