"""What stands on a terminal, and what a pipe gets: the JSON line is for machines, and for who asks."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mobileiqa import cli

ROOT = Path(__file__).resolve().parents[2]
LISTING = [sys.executable, "-m", "mobileiqa", "data", "list"]


def on_terminal(words: list[str]) -> tuple[int, list[str]]:
    """The exit code of a command whose stdout is a real terminal, and the lines that are seen there."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(words, stdout=inner, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(inner)
    shown = b""
    while True:
        try:
            part = os.read(outer, 1 << 16)
        except OSError:  # Linux says so that nobody writes there any more
            break
        if not part:
            break
        shown += part
    os.close(outer)
    assert process.stderr is not None
    process.stderr.close()
    return process.wait(), shown.decode().splitlines()


def body(code: str, *flags: str) -> list[str]:
    """A command whose body is `code`."""
    program = (
        "import sys\nfrom mobileiqa import cli\nparser = cli.parser('', 'x')\n"
        f"def body(_):\n    {code}\n    return 0\nsys.exit(cli.command(parser, body, {list(flags)}))"
    )
    return [sys.executable, "-c", program]


def test_a_terminal_shows_words_and_no_json() -> None:
    code, lines = on_terminal(LISTING)
    assert code == 0 and len(lines) > 5 and not any(line.startswith("{") for line in lines)


def test_json_alone_is_the_json_line_alone_on_a_terminal_too() -> None:
    code, lines = on_terminal([*LISTING, "--json"])
    assert code == 0 and len(lines) == 1 and "folder" in json.loads(lines[0])["datasets"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_pipe_always_gets_it_last(flags: list[str]) -> None:
    process = subprocess.run([*LISTING, *flags], capture_output=True, text=True, cwd=ROOT)
    assert "folder" in json.loads(process.stdout.splitlines()[-1])["datasets"]
    assert (len(process.stdout.splitlines()) == 1) == bool(flags)


def test_a_command_without_words_says_its_fields_on_a_terminal() -> None:
    emit = "cli.emit({'best': 'run/best.pt', 'epochs': 3, 'srcc': None})"
    assert on_terminal(body(emit)) == (0, ["best: run/best.pt", "epochs: 3", "srcc: null"])
    assert on_terminal(body(f"cli.say('trained'); {emit}")) == (0, ["trained"])
    assert on_terminal(body(f"cli.say('trained'); {emit}", "--json"))[1] == [
        '{"best":"run/best.pt","epochs":3,"srcc":null}'
    ]


def test_json_with_a_path_is_a_file_and_words_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = cli.parser("", "x")
    cli.add_json(parser, "everything")
    path = tmp_path / "all.json"

    def run(arguments) -> int:
        assert arguments.json == path
        cli.say("words")
        cli.emit({"a": 1})
        return 0

    assert cli.command(parser, run, ["--json", str(path)]) == 0
    assert capsys.readouterr().out == 'words\n{"a":1}\n'


def test_a_model_behind_json_is_no_place_to_write_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = cli.parser("", "x")
    cli.add_json(parser, "everything")
    model = tmp_path / "model.tflite"
    model.write_bytes(b"weights")
    assert cli.command(parser, lambda _: 0, ["--json", str(model)]) == 2
    assert "put --json without a path last" in capsys.readouterr().err
