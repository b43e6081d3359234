"""A command that was ended before its last line: typed again it makes its own output again, and nobody else's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mobileiqa.errors import UserError
from mobileiqa.files import outputs

ROOT = Path(__file__).resolve().parents[3]
WRITER = """
import os, sys
from pathlib import Path
from mobileiqa import cli
from mobileiqa.files import outputs
parser = cli.parser("", "writer")
parser.add_argument("how")
parser.add_argument("--out", type=Path)
parser.add_argument("--html", type=Path)
parser.add_argument("--seed")
args = parser.parse_args()
number = int(os.environ.get("NUMBER", "0"))
def end(moment):
    if number and os.environ["MOMENT"] == moment:
        os.kill(os.getpid(), number)
def body():
    if args.how == "entries":
        cli.refuse_existing_in(args.out, ["a", "b"], False)
    elif args.how == "whole_folder":
        cli.refuse_existing_folder(args.out, False)
    else:
        cli.refuse_existing(args.out, False)
    if args.html:
        cli.refuse_existing(args.html, False)
    with getattr(outputs, args.how)(args.out) as unfinished:
        end("before")
        if args.how == "atomic":
            unfinished.write_text("whole")
        else:
            (unfinished / "a").write_text("a")
            (unfinished / "b").write_text("b")
    end("after")
    if args.html:
        cli.write_text(args.html, "page")
    end("last")
    cli.emit({})
    return 0
sys.exit(cli.run("writer", body))
"""
WAYS = ("atomic", "whole_folder", "entries")


def write(folder: Path, *words: str, number: int = 0, moment: str = "after") -> tuple[int, str]:
    """Exit code and stderr of the command, ended by the signal `number` at `moment`."""
    moments = {"NUMBER": str(number), "MOMENT": moment, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", WRITER, *words], cwd=folder, env=os.environ | moments,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return process.returncode, process.stderr


@pytest.mark.parametrize("how", WAYS)
def test_the_same_command_makes_what_it_left_when_it_was_killed(how: str, tmp_path: Path):
    assert write(tmp_path, how, "--out", "x", number=signal.SIGKILL) == (-9, "")
    assert sorted(os.listdir(tmp_path))[-1] == "x" and ".x.lock" in os.listdir(tmp_path)
    code, err = write(tmp_path, how, "--out", "x")
    assert code == 0 and "left when it was ended early: it is made again" in err
    assert os.listdir(tmp_path) == ["x"]
    code, err = write(tmp_path, how, "--out", "x")
    assert code == 2 and "--force" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("change", ["other words", "another folder", "edited", "replaced", "another's lock"])
def test_what_is_not_the_same_commands_own_is_refused(how: str, change: str, tmp_path: Path):
    write(tmp_path, how, "--out", "x", number=signal.SIGKILL)
    path, words, cwd = tmp_path / "x", [how, "--out", "x"], tmp_path
    file = path if how == "atomic" else path / "a"
    if change == "other words":
        words += ["--seed", "2"]
    elif change == "another folder":
        cwd = tmp_path / "below"
        cwd.mkdir()
        words = [how, "--out", "../x"]
    elif change == "edited":
        file.write_text("my own words")
    elif change == "replaced":
        file.rename(tmp_path / "aside")
        file.write_text(file.name if how != "atomic" else "whole")
    else:
        (tmp_path / ".x.lock").write_text("process 1 on a machine\n")
    before = file.read_text()
    code, err = write(cwd, *words)
    assert code == 2 and "pass --force" in err, err
    assert file.read_text() == before


def test_entries_of_a_folder_that_exists_are_known_one_by_one(tmp_path: Path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    write(tmp_path, "entries", "--out", "x", number=signal.SIGKILL)
    (tmp_path / "x" / "b").unlink()  # as if the kill had come between the moves
    assert write(tmp_path, "entries", "--out", "x")[0] == 0
    assert sorted(os.listdir(tmp_path / "x")) == ["a", "b", "mine"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_of_two_outputs_one_may_be_there_already(number: int, tmp_path: Path):
    words = ("atomic", "--out", "x", "--html", "y")
    code, err = write(tmp_path, *words, number=number)
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    assert number == signal.SIGKILL or err == "writer: interrupted; whole already: x\n"
    assert "x" in os.listdir(tmp_path) and "y" not in os.listdir(tmp_path)
    assert write(tmp_path, *words)[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


@pytest.mark.parametrize("how", WAYS)
def test_ctrl_c_before_any_output_leaves_no_lock(how: str, tmp_path: Path):
    code, err = write(tmp_path, how, "--out", "x", number=signal.SIGINT, moment="before")
    assert (code, err) == (130, "writer: interrupted; nothing half written was left behind\n")
    assert os.listdir(tmp_path) == []


def test_a_lock_that_is_no_lock_file_grants_nothing(tmp_path: Path):
    (tmp_path / "x").write_text("mine")
    os.mkfifo(tmp_path / ".x.lock")
    code, err = write(tmp_path, "atomic", "--out", "x")
    assert code == 2 and "pass --force" in err
    assert (tmp_path / "x").read_text() == "mine"


def test_a_file_and_its_sidecar_get_their_names_though_a_signal_comes_between(tmp_path: Path, monkeypatch):
    rename = os.replace

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        if target.name == "x.json":
            signal.raise_signal(signal.SIGINT)

    for name in ("new", "new.json"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        outputs.put(tmp_path / "new", tmp_path / "x", (tmp_path / "new.json", tmp_path / "x.json"))
    assert sorted(os.listdir(tmp_path)) == ["x", "x.json"]


def test_nothing_moves_where_one_of_the_names_is_taken_by_a_folder(tmp_path: Path):
    for name in ("new", "new.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="an ordinary file"):
        outputs.put(tmp_path / "new", tmp_path / "x", (tmp_path / "new.json", tmp_path / "x.json"))
    assert sorted(os.listdir(tmp_path)) == ["new", "new.json", "x"]
