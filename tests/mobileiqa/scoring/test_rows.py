"""Rows of scores as they are made: on stdout, in NAME.partial, after an interruption, on a full disk."""

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.files.interruption import Terminated
from mobileiqa.scoring import row_files
from mobileiqa.scoring.row_files import partial_path, write
from mobileiqa.scoring.rows import FORMATS, Origin, Row
from mobileiqa.spec import InputSpec, ModelSpec
from mobileiqa.text import csv_value

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("a.jpg", "caf\udce9.jpg", "ü写.jpg", "x\n0.9  y.jpg", "=1+1.jpg", '"q",.jpg', "\x1b[2J.jpg")
ROWS = [*(Row(name, 0.1 + i / 10) for i, name in enumerate(NAMES)), Row("bad.jpg", None, "no image")]
SPEC = ModelSpec("toy", (InputSpec("image", 64, 64),))
ORIGIN = Origin(SPEC, "litert", "untrained")


def names(text: str, form: str) -> list[str]:
    """The images' names, as a reader of that format has them."""
    if form == "csv":
        cells = [row["image"] for row in csv.DictReader(io.StringIO(text, newline=""))]
        return [csv_value(cell).replace(r"\udce9", "\udce9") for cell in cells]
    if form == "jsonl":
        return [json.loads(line)["image"] for line in text.splitlines()]
    content = json.loads(text)
    return [row["image"] for row in content["results"]] + [row["image"] for row in content["failed"]]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_a_file_gives_every_name_back(form: str, tmp_path: Path):
    out = tmp_path / "scores"
    assert write(iter(ROWS), ORIGIN, form, out).images == len(ROWS)
    assert names(out.read_bytes().decode(), form) == [row.image for row in ROWS]
    assert os.listdir(tmp_path) == ["scores"]
    assert os.fsencode("caf\udce9.jpg") == b"caf\xe9.jpg"


def test_json_lines_are_whole_objects(tmp_path: Path):
    write(iter(ROWS[-2:]), ORIGIN, "jsonl", tmp_path / "x")
    assert [json.loads(line) for line in (tmp_path / "x").read_text().splitlines()] == [
        {"image": NAMES[-1], "score": ROWS[-2].score, "note": "untrained"},
        {"image": "bad.jpg", "score": None, "error": "no image", "note": "untrained"},
    ]


def test_a_name_forges_no_row_of_a_table(tmp_path: Path):
    write(iter(ROWS), ORIGIN, "table", tmp_path / "x")
    lines = (tmp_path / "x").read_text().splitlines()
    assert len(lines) == 3 + len(ROWS)
    assert lines[4:7] == ["   0.2000  caf\\udce9.jpg", "   0.3000  ü写.jpg", "   0.4000  x\\n0.9  y.jpg"]


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_every_row_is_there_before_the_next_is_made(form: str, tmp_path: Path, capsys):
    out, seen = tmp_path / "x", []

    def rows() -> Iterator[Row]:
        for row in ROWS:
            seen.append(len(partial_path(out).read_bytes()))
            yield row

    write(rows(), ORIGIN, form, out)
    assert seen == sorted(set(seen)) and seen[-1] < out.stat().st_size

    def shown() -> Iterator[Row]:
        for row in ROWS:
            seen.append(capsys.readouterr().out)
            yield row

    seen.clear()
    assert cli.run("s", lambda: write(shown(), ORIGIN, form, None) and 0) == 0  # stdout then takes any name
    seen.append(capsys.readouterr().out)
    assert all(seen[1:]) and "".join(seen).encode(errors="backslashreplace") == out.read_bytes()


def stopping(count: int, error: BaseException) -> Iterator[Row]:
    """`count` rows, then the error."""
    yield from ROWS[:count]
    raise error


STOPS = (KeyboardInterrupt(), Terminated(), UserError("a", "b", "c"), OSError(28, "No space left"))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
def test_an_interrupted_run_keeps_its_rows_and_says_where(form: str, error: BaseException, tmp_path, capsys):
    out = tmp_path / "x"
    out.write_text("old")
    code = {Terminated: 143, KeyboardInterrupt: 130}.get(type(error), 2)
    assert cli.run("s", lambda: bool(write(stopping(3, error), ORIGIN, form, out))) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the rows of 3 images are in {out}.partial" in line
    assert out.read_text() == "old" and sorted(os.listdir(tmp_path)) == ["x", "x.partial"]
    text = partial_path(out).read_bytes().decode()
    if form == "table":
        assert len(text.splitlines()) == 6
    else:
        assert names(text, "csv" if form == "csv" else "jsonl") == list(NAMES[:3])
    write(iter(ROWS), ORIGIN, form, out)
    assert "are replaced" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["x"]


def test_without_any_row_nothing_stays(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        write(stopping(0, KeyboardInterrupt()), ORIGIN, "csv", tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_an_interrupted_object_says_so(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(KeyboardInterrupt, match="rows of 2 images were written"):
        write(stopping(2, KeyboardInterrupt()), ORIGIN, "json", None)
    content = json.loads(capsys.readouterr().out)
    assert content["interrupted"] is True and [row["image"] for row in content["results"]] == list(NAMES[:2])


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second row is written half before the disk is full."""

    class Full(io.FileIO):
        def write(self, content: Any) -> int:
            room = 60 - self.tell()
            if room <= 0:
                raise OSError(28, "No space left on device")
            return super().write(bytes(content)[:room])

    monkeypatch.setattr(row_files, "FileIO", Full)
    with pytest.raises(OSError, match="No space left on device; the rows of 1 images are in"):
        write(iter([Row("a", 0.5), Row("b" * 50, 0.5)]), ORIGIN, "csv", tmp_path / "x")
    assert (tmp_path / "x.partial").read_text() == "image,score,error,note\na,0.5,,untrained\n"


def test_a_partial_file_that_is_no_file_is_not_replaced(tmp_path: Path):
    os.mkfifo(tmp_path / "x.partial")
    with pytest.raises(UserError, match="found a FIFO"):
        write(iter(ROWS), ORIGIN, "csv", tmp_path / "x")


def command(photos: Path, tiny: Any, *more: str) -> list[str]:
    """The command on a folder of photos."""
    return [sys.executable, "-m", "mobileiqa.score", str(photos), "--model", str(tiny[2]), *more]


@pytest.fixture
def many(photos: Path, tmp_path: Path) -> Path:
    """The same photo under many names: a run that can be interrupted."""
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(400):
        os.link(photos / "photo0.png", folder / f"{index:03d}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_kill_keeps_rows_and_the_same_command_again_just_works(
    number: int, many: Path, tiny, tmp_path: Path
):
    out = tmp_path / "scores.csv"
    words, partial = command(many, tiny, "--out", str(out)), partial_path(out)
    hears = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=hears)
    deadline = time.monotonic() + 120
    while not partial.exists() or partial.read_bytes().count(b"\n") < 30:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    rows = partial.read_text().splitlines()
    assert len(rows) >= 30 and not out.exists()
    if number != signal.SIGKILL:
        assert f"interrupted; the rows of {len(rows) - 1} images are in {partial}" in err
    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and json.loads(again.stdout)["scored"] == 400
    assert out.read_text().splitlines()[: len(rows)] == rows
    assert sorted(os.listdir(tmp_path)) == ["many", "scores.csv"]


@pytest.mark.parametrize("form", FORMATS)
def test_reasons_stand_beside_the_score(form: str, tmp_path: Path):
    origin = Origin(dataclasses.replace(SPEC, reasons=("blur", "motion blur", "none")), "litert", "")
    reasons = {"motion blur": 0.86, "blur": 0.3, "none": 0.02}
    rows = [Row("a.jpg", 0.31, "", reasons, 0.25), Row("b.jpg", None, "no image")]
    write(rows, origin, form, out := tmp_path / "scores")
    text = out.read_text()
    if form == "table":
        assert [line.split() for line in text.splitlines()[1:]] == [
            ["score", "reason", "image"], ["0.3100", "motion", "blur", "(0.86)", "a.jpg"], ["-", "b.jpg"],
        ]  # fmt: skip
    elif form == "csv":
        first, second = csv.DictReader(io.StringIO(text))
        assert (first["reason"], first["probability"], first["score"]) == ("motion blur", "0.86", "0.31")
        assert (second["reason"], second["probability"], second["error"]) == ("", "", "no image")
    else:
        row = json.loads(text)["results"][0] if form == "json" else json.loads(text.splitlines()[0])
        assert row == {"image": "a.jpg", "score": 0.31, "reasons": reasons, "full_size_share": 0.25}
