"""What every command shares: exit codes, one-line errors, atomic files, the last JSON line."""

import json
import os
import stat
from pathlib import Path

import pytest

from mobileiqa import cli
from mobileiqa.errors import UserError


def _raise(error: BaseException) -> int:
    raise error


def test_a_body_returns_its_own_code():
    assert [cli.run("x", lambda code=code: code) for code in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("a\ncat", "a  dog", "look\tagain"), 2, "x: expected a cat; found a dog; look again"),
        (FileNotFoundError(2, "No such file", "here.pt"), 2, "here.pt"),
        (PermissionError(13, "Permission denied", "here.pt"), 2, "permissions"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line_and_a_code(error, code: int, words: str, capsys: pytest.CaptureFixture[str]):
    assert cli.run("x", lambda: _raise(error)) == code
    streams = capsys.readouterr()
    assert words in streams.err and len(streams.err.splitlines()) == 1 and streams.out == ""


def test_a_bug_is_not_hidden():
    with pytest.raises(AssertionError):
        cli.run("x", lambda: _raise(AssertionError()))


def test_help_ends_in_the_example(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        cli.parser("convert.x", "Does x.", "python -m convert.x --fast").parse_args(["--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip().endswith("example:\n  python -m convert.x --fast")


def test_emit_is_one_compact_line_and_refuses_nan(capsys: pytest.CaptureFixture[str]):
    cli.emit({"a": [1, 2.5], "b": None})
    assert capsys.readouterr().out == '{"a":[1,2.5],"b":null}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        cli.emit({"a": float("nan")})


def test_progress_passes_everything_through_in_silence(capsys: pytest.CaptureFixture[str]):
    assert list(cli.progress(iter([3, 1, 2]), "counting")) == [3, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_atomic_renames_on_success_with_ordinary_permissions(tmp_path: Path):
    path = tmp_path / "new" / "file.txt"
    with cli.atomic(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "whole" and os.listdir(path.parent) == ["file.txt"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_leaves_the_old_file_when_interrupted(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), cli.atomic(path) as temporary:
        temporary.write_text("ha")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_existing_files_are_refused_without_force(tmp_path: Path):
    cli.refuse_existing(tmp_path / "absent", force=False)
    (tmp_path / "file").touch()
    cli.refuse_existing(tmp_path / "file", force=True)
    with pytest.raises(UserError, match="--force"):
        cli.refuse_existing(tmp_path / "file", force=False)


def test_write_json_refuses_nan_and_then_leaves_nothing(tmp_path: Path):
    cli.write_json(tmp_path / "a.json", {"x": [1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        cli.write_json(tmp_path / "b.json", {"x": float("inf")})
    assert os.listdir(tmp_path) == ["a.json"]
