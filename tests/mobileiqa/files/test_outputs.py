"""Output files: only ordinary ones are replaced, one command at a time writes a name, and nothing half made stays."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.files import outputs

ROOT = Path(__file__).resolve().parents[3]
WRITER = """
import sys, time
from pathlib import Path
from mobileiqa import cli
from mobileiqa.files import outputs
path = Path(sys.argv[1])
def body():
    cli.refuse_existing(path, False) if sys.argv[2] == "atomic" else cli.refuse_existing_folder(path, False)
    with getattr(outputs, sys.argv[2])(path) as unfinished:
        print("writing", flush=True)
        time.sleep(float(sys.argv[3]))
        unfinished.write_text("whole") if sys.argv[2] == "atomic" else (unfinished / "file").touch()
    return 0
sys.exit(cli.run("writer", body))
"""


def start(path: Path, how: str, seconds: float = 60) -> subprocess.Popen[str]:
    """A command that writes `path`, once it is at it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), how, str(seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if seconds:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def special(kind: str, folder: Path) -> Path:
    """A path that is no ordinary file."""
    path = folder / "special"
    if kind == "a device":
        return Path("/dev/full")
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "a link to a device":
        path.symlink_to("/dev/null")
    elif kind == "a link in a circle":
        path.symlink_to(path)
    else:
        path.symlink_to(folder / "other")
    return path


KINDS = (
    "a device",
    "a FIFO",
    "a folder",
    "a socket",
    "a link to a device",
    "a link in a circle",
    "a link to ",
)


@pytest.mark.parametrize("kind", KINDS)
def test_only_ordinary_files_are_replaced(kind: str, tmp_path: Path):
    (tmp_path / "other").write_text("old")
    path = special(kind, tmp_path)
    before = path.lstat()
    with pytest.raises(UserError, match=f"found {kind}"):
        cli.refuse_existing(path, force=True)
    with pytest.raises(UserError, match=f"found {kind}"), cli.atomic(path):
        raise AssertionError("it must not come this far")
    assert path.lstat() == before and (tmp_path / "other").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_what_became_special_meanwhile_is_not_replaced_either(tmp_path: Path):
    with pytest.raises(UserError, match="found a FIFO"), cli.atomic(tmp_path / "x") as temporary:
        temporary.touch()
        os.mkfifo(tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"]


def test_a_minus_is_stdout_and_then_words_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    def body() -> int:
        cli.refuse_existing(Path("-"), False)
        cli.write_json(Path("-"), [1])
        cli.say("for people")
        cli.emit({"a": 1})
        cli.refuse_existing(Path("-"), False)
        return 0

    assert cli.run("x", body) == 2
    out, err = capsys.readouterr()
    assert out == "[\n  1\n]\n" and err.splitlines()[:2] == ["for people", '{"a":1}']
    assert "`-` twice" in err
    cli.say("again")
    assert capsys.readouterr().out == "again\n"


@pytest.mark.parametrize("how", ["atomic", "whole_folder"])
def test_a_second_command_with_the_same_output_says_so(how: str, tmp_path: Path):
    path = tmp_path / "out"
    first = start(path, how)
    second = start(path, how, 0)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (2, "") and len(err.splitlines()) == 1
    assert f"found process {first.pid} on " in err and f"no other command that writes {path}" in err
    first.kill()
    first.wait()
    assert not path.exists() and len(os.listdir(tmp_path)) == 2  # the lock and what is half written
    third = start(path, how, 0)
    assert third.communicate(timeout=60)[1] == "" and third.returncode == 0
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_leaves_nothing(number: int, tmp_path: Path):
    process = start(tmp_path / "new" / "folder" / "out", "whole_folder")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == "writer: interrupted; nothing half written was left behind\n"
    assert os.listdir(tmp_path) == []


def test_only_its_own_leftovers_go_and_only_when_nobody_holds_them(tmp_path: Path):
    names = (".x.csv.abcd1234.tmp", ".x.csv.0_0_0_0_.tmp")
    others = (".x.csv.tmp", ".x.csv.original", ".y.csv.abcd1234.tmp", "x.csv.abcd1234.tmp", ".x.csv.ABCD1234.tmp",
              ".x.csv.abcd12345.tmp", ".xxcsv.abcd1234.tmp", ".x.csv.held1234.tmp")  # fmt: skip
    for name in (names[0], *others):
        (tmp_path / name).touch()
    (tmp_path / names[1] / "deep").mkdir(parents=True)
    (tmp_path / ".x.csv.link1234.tmp").symlink_to(tmp_path / ".x.csv.original")
    with (tmp_path / others[-1]).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cli.write_text(tmp_path / "x.csv", "1")
    assert set(os.listdir(tmp_path)) == {*others, "x.csv", ".x.csv.link1234.tmp"}


def test_a_lock_whose_process_is_dead_does_not_block(tmp_path: Path):
    (tmp_path / ".x.lock").write_text("process 1 on this machine\n")
    assert cli.run("x", lambda: cli.refuse_existing(tmp_path / "x", False) or 0) == 0
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    assert cli.run("x", lambda: cli.refuse_existing(tmp_path / "file" / "x", False) or 0) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file") in line and "check the path" in line


def _entries(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_entries_take_their_places_beside_other_files(tmp_path: Path):
    folder = tmp_path / "set"
    with outputs.entries(folder) as staged:
        (staged / "a").write_text("1")
    (folder / "mine").write_text("me")
    with outputs.entries(folder) as staged:
        (staged / "a").mkdir()
        (staged / "a" / "b").write_text("2")
        (staged / "c").write_text("3")
    assert _entries(folder) == {"a/b": "2", "c": "3", "mine": "me"}
    assert os.listdir(tmp_path) == ["set"]


def test_entries_go_into_the_current_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It has no name, and may be a disk of its own: nothing is staged beside it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    (home / ".outputs.abcd1234.tmp").mkdir()

    def body() -> int:
        cli.refuse_existing_in(Path(), ["a"], False)
        with outputs.entries(Path()) as staged:
            assert home in staged.resolve().parents
            (staged / "a").write_text("1")
        return 0

    assert cli.run("x", body) == 0
    assert os.listdir(home) == ["a"] and os.listdir(tmp_path) == ["home"]


def test_entries_are_as_they_were_when_a_move_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in "abd":
        (folder / name).write_text("old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "c" and "new" in self.parts:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt), outputs.entries(folder) as staged:
        for name in "abcd":
            (staged / name).write_text("new")
    assert _entries(folder) == dict.fromkeys("abd", "old")
    assert os.listdir(tmp_path) == ["set"]


def test_a_folder_of_outputs_is_refused_where_one_of_them_exists(tmp_path: Path):
    cli.refuse_existing_in(tmp_path, ["a", "b"], False)
    (tmp_path / "b").touch()
    with pytest.raises(UserError, match="--force"):
        cli.refuse_existing_in(tmp_path, ["a", "b"], False)
    cli.refuse_existing_in(tmp_path, ["a", "b"], True)
    with pytest.raises(UserError, match="found a file"):
        cli.refuse_existing_in(tmp_path / "b", ["a"], True)
    with pytest.raises(UserError, match="found a file"):
        cli.refuse_existing_folder(tmp_path / "b", True)
    os.mkfifo(tmp_path / "a")
    with pytest.raises(UserError, match="found a FIFO"):
        cli.refuse_existing_in(tmp_path, ["a", "b"], True)


def test_names_that_are_no_utf8_do_not_cost_a_file(tmp_path: Path):
    cli.write_text(tmp_path / "a", "caf\udce9 写")
    assert (tmp_path / "a").read_bytes() == "caf\\udce9 写".encode()


def test_many_claims_are_released_together(tmp_path: Path):
    def body() -> int:
        for name in ("a/x", "a/y", "b/c/x", "a/x"):
            cli.refuse_existing(tmp_path / name, False)
        assert len(list(tmp_path.rglob(".*.lock"))) == 3
        cli.write_text(tmp_path / "a" / "x", "kept")
        return 0

    assert cli.run("x", body) == 0
    assert _entries(tmp_path) == {"a/x": "kept"} and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("path", [".", "..", "/", "a/.."])
def test_a_folder_without_a_name_is_not_replaced(path: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert cli.run("x", lambda: cli.refuse_existing_folder(Path(path), True) or 0) == 2
    assert "expected an output with a name" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["a"]


@pytest.fixture
def material(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set with one image, a model and a link to it, as the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("set/deep").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("set/deep/a.png")
    for name in ("set/labels.csv", "set/dataset.json", "model.tflite", "set/report.html"):
        Path(name).write_text("x")
    Path("link").symlink_to("model.tflite")
    return tmp_path


def written(how: str, *argv: str) -> int:
    """A command with inputs and --out DIR or FILE, --json FILE, which replaces what it may."""
    parser = cli.parser("", "writer")
    parser.add_argument("inputs", nargs="*", type=Path)
    parser.add_argument("--data", nargs=2, action="append")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(list(argv))

    def body() -> int:
        if how == "folder":
            cli.refuse_existing_folder(args.out, True)
        elif how == "entries":
            cli.refuse_existing_in(args.out, ["deep", "report.html"], True)
        else:
            for path in filter(None, (args.out, args.json)):
                cli.refuse_existing(path, True)
        return 0

    return cli.run("writer", body)


@pytest.mark.parametrize(
    ("how", "argv"),
    [
        ("file", "model.tflite --out model.tflite"),
        ("file", "model.tflite --out set/../model.tflite"),
        ("file", "link --out model.tflite"),
        ("file", "set --out set/deep/a.png"),
        ("file", "--data folder set --json set/labels.csv"),
        ("file", "--data folder set --data folder . --json set/dataset.json"),
        ("file", "set/labels.csv --json set/labels.csv"),
        ("file", "model.tflite --out new --json set/../new"),
        ("folder", "set --out set"),
        ("folder", "set/deep --out set"),
        ("folder", "set/deep/a.png --out set"),
        ("entries", "set/deep --out set"),
        ("entries", "set/deep/a.png --out set"),
    ],
)
def test_no_output_takes_the_place_of_an_input(how: str, argv: str, material: Path, capsys):
    before = sorted(material.rglob("*"))
    assert written(how, *argv.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "none of the inputs" in line or "a file of its own" in line
    assert sorted(material.rglob("*")) == before


@pytest.mark.parametrize(
    ("how", "argv"),
    [
        ("file", "set model.tflite --out set/report.html --json other"),
        ("file", "set model.tflite --out set/new.png"),
        ("entries", "set/labels.csv --out set"),
        ("folder", "model.tflite --out set"),
    ],
)
def test_other_files_beside_inputs_are_replaced(how: str, argv: str, material: Path, capsys):
    assert written(how, *argv.split()) == 0, capsys.readouterr().err


def test_the_arguments_are_those_of_one_command(material: Path):
    assert written("file", "set/labels.csv", "--out", "other") == 0
    assert cli.run("other", lambda: cli.refuse_existing(Path("set/labels.csv"), True) or 0) == 0
