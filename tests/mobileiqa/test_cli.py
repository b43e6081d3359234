"""What every command shares: exit codes, one-line errors, atomic files, the last JSON line."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobileiqa import cli
from mobileiqa.errors import RunError, UserError
from mobileiqa.text import PLOT_METADATA


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
        (RunError("it\ncrashed"), 1, "x: it crashed"),
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
        cli.parser("Does x.", "python -m convert.x --fast").parse_args(["--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip().endswith("example:\n  python -m convert.x --fast")


def test_emit_is_one_compact_line_and_refuses_nan(capsys: pytest.CaptureFixture[str]):
    cli.emit({"a": [1, 2.5], "b": None})
    assert capsys.readouterr().out == '{"a":[1,2.5],"b":null}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        cli.emit({"a": float("nan")})


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--bogus"], "x: unrecognized arguments: --bogus; see x --help"),
        (["--n", "a\nb\x1b[0m"], r"x: argument --n: invalid int value: 'a\nb\x1b[0m'; see x --help"),
        (["two"], "x: unrecognized arguments: two; see x --help"),
    ],
)
def test_a_usage_error_is_one_line(words: list[str], text: str, capsys: pytest.CaptureFixture[str]):
    parser = cli.parser("Does x.", "x")
    parser.add_argument("--n", type=int)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", text + "\n")


def shell(code: str, redirection: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a shell gets of a command whose body is `code`, with its exit code on the last line of stderr."""
    body = f"def body():\n    {code}\n    return 0\n"
    program = f"import sys\nfrom mobileiqa import cli\n{body}sys.exit(cli.run('x', body))"
    line = f'{{ "$0" -c "$1"; echo "rc $?" >&2; }} {redirection}'
    return subprocess.run(
        ["bash", "-c", line, sys.executable, program], capture_output=True, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])} | environment,
    )  # fmt: skip


MANY = "[cli.say('x' * 100) for _ in range(5000)]"


@pytest.mark.parametrize(
    ("code", "redirection", "out", "err"),
    [
        (MANY, "| head -c 2", b"xx", b"rc 141"),
        (MANY, "2>&1 | head -c 2", b"xx", b""),
        (MANY, ">/dev/full", b"", b"x: [Errno 28] No space left on device; check the path, its permissions and "
         b"the space left\nrc 2"),
        ("cli.emit({})", ">&-", b"", b"rc 0"),
        ("cli.note('lost'); cli.say('shown')", "2>&-", b"shown", b""),
        ("cli.note('lost'); cli.say('shown')", "2>/dev/full", b"shown", b""),
    ],
)  # fmt: skip
def test_closed_and_full_streams_are_no_traceback(code: str, redirection: str, out: bytes, err: bytes):
    process = shell(code, redirection)
    assert (process.stdout.strip(), process.stderr.strip()) == (out, err)


def test_a_closed_stderr_is_not_the_next_file(tmp_path: Path):
    """What a library writes to file descriptor 2 must not land in a result."""
    path = tmp_path / "x"
    code = f"f = open({str(path)!r}, 'w'); __import__('os').system('echo noise >&2'); f.write('result')"
    shell(code, "2>&-")
    assert path.read_text() == "result"


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, rb"caf\udce9 \xfc\u5199"),
        ({"PYTHONIOENCODING": "latin-1"}, b"caf\\udce9 \xfc\\u5199"),
        ({"LC_ALL": "C"}, "caf\\udce9 ü写".encode()),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, rb"caf\udce9 \xfc\u5199"),
    ],
)
def test_what_a_terminal_cannot_show_is_written_out(environment: dict[str, str], shown: bytes):
    text = r"'caf\udce9 \xfc\u5199'"
    process = shell(f"cli.say({text}); cli.note({text})", "", **environment)
    assert process.stdout == shown + b"\n"
    assert process.stderr.endswith(b"rc 0\n")


def test_a_name_that_a_library_cannot_encode_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert cli.run("x", lambda: len("caf\udce9".encode())) == 2
    assert (
        capsys.readouterr().err
        == "x: expected names in utf-8; found 'caf\\udce9'; rename the file or folder\n"
    )


def test_progress_is_lines_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    clock = iter(range(0, 8000, 4))  # two seconds in: a line; later one every five
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 2)
    assert list(cli.progress(range(8), "counting")) == list(range(8))
    assert capsys.readouterr().err.splitlines() == [
        "counting: 1 of 8, 2.0 s each, 0:14 left",
        "counting: 4 of 8, 2.0 s each, 0:08 left",
        "counting: 7 of 8, 2.0 s each, 0:02 left",
    ]
    assert list(cli.progress(iter("abc"), "counting")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "counting: 1, 2.0 s each\n"


def test_status_is_lines_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    show = cli.status()
    for second in range(13):
        clock[0] = float(second)
        show(f"launch {second}")
    assert capsys.readouterr().err.splitlines() == ["launch 2", "launch 7", "launch 12"]


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


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_path_is_not_the_current_folder(text: str, capsys):
    parser = cli.parser("", "prog")
    parser.add_argument("--images", type=cli.input_path)
    assert parser.parse_args(["--images", "."]).images == Path(".")
    with pytest.raises(SystemExit) as error:
        parser.parse_args(["--images", text])
    assert error.value.code == 2
    assert "--images: an empty path; . is the current folder" in capsys.readouterr().err


def test_characters_that_a_plots_font_lacks_are_one_line(tmp_path: Path, capsys):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.subplots().set_title("\u6a21\u578b \U0001f642 \u6a21 model")
    cli.save_plot(figure, tmp_path / "plot.png", dpi=50)
    assert PLOT_METADATA["Software"].encode() in (tmp_path / "plot.png").read_bytes()
    assert capsys.readouterr().err == (
        "note: 3 characters are boxes in the plot, whose font lacks them: \u6a21\u578b\U0001f642\n"
    )
    cli.save_plot(Figure(figsize=(1, 1)), tmp_path / "plot.png")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("text", ["1_0", " 10", "10 ", "\uff11\uff10", "0x10", "1\u00b2", "ten", ""])
def test_numbers_are_read_as_people_write_them(kind: type, text: str, capsys: pytest.CaptureFixture[str]):
    """int() and float() take more; so did every command's arguments."""
    parser = cli.parser("Counts.", "python -m count --n 10")
    parser.add_argument("--n", type=kind, nargs="+")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([f"--n={text}"])
    assert stop.value.code == 2 and f"invalid {kind.__name__} value" in capsys.readouterr().err


def test_plain_numbers_are_taken_in_subcommands_too():
    parser = cli.parser("Counts.", "python -m count one --n 10")
    inner = parser.add_subparsers().add_parser("one")
    inner.add_argument("--n", type=int, default=3)
    inner.add_argument("--x", type=float, nargs="*")
    assert parser.parse_args(["one", "--n", "-10"]).n == -10 and parser.parse_args(["one"]).n == 3
    texts = ["1e-3", "-.5", "2.", "inf", "+1E4"]
    assert inner.parse_args(["--x", *texts]).x == [float(text) for text in texts]
    with pytest.raises(SystemExit):
        parser.parse_args(["one", "--n", "1_0"])


def test_an_option_typed_again_loses_nothing(capsys: pytest.CaptureFixture[str]):
    parser = cli.parser("Sets.", "python -m sets --set a=1 b=2")
    inner = parser.add_subparsers().add_parser("one")
    for each in (parser, inner):
        each.add_argument("--set", nargs="+", default=[])
        each.add_argument("--words", nargs="*", default=("x",))
        each.add_argument("--data", nargs=2)
        each.add_argument("--name")
    for arguments in ([], ["one"]):
        read = parser.parse_args([*arguments, "--set", "a=1", "--name", "n", "--set", "b=2", "c=3"])
        assert read.set == ["a=1", "b=2", "c=3"] and tuple(read.words) == ("x",)
        assert parser.parse_args([*arguments, "--words", "y", "--words", "z"]).words == ["y", "z"]
        assert parser.parse_args([*arguments, "--data", "koniq-10k", "K"]).data == ["koniq-10k", "K"]
        with pytest.raises(SystemExit) as stop:
            parser.parse_args([*arguments, "--data", "koniq-10k", "K", "--data", "spaq", "S"])
        assert stop.value.code == 2
        assert "expected --data once; found it again, with spaq S" in capsys.readouterr().err
    assert inner.parse_args([]).set == []  # the default is not the list that an earlier line filled
