"""The command, from a folder of photos to a data set that reads back."""

import base64
import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileiqa.datasets.registry import folder as read_folder
from mobileiqa.distort import main, parse_numbers, whole_folder
from mobileiqa.distortions.kadid10k import distort
from mobileiqa.errors import UserError
from mobileiqa.photos.search import find_images

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pristine(tmp_path: Path, photo) -> Path:
    folder = tmp_path / "pristine"
    folder.mkdir()
    photo(0, 72, 64).save(folder / "barn.png")
    photo(1, 64, 50).save(folder / "lake, north.png")
    return folder


@pytest.fixture
def severity(tmp_path: Path) -> Path:
    path = tmp_path / "severity.csv"
    lines = [
        f"{n},{level},81,{5 - 0.5 * level - 0.01 * n:.4f},0.3" for n in range(1, 26) for level in range(1, 6)
    ]
    path.write_text("\n".join(["distortion,level,n_references,mean_score,std_score", *lines]) + "\n")
    return path


def run(pristine: Path, severity: Path | None, out: Path, *more: str) -> int:
    labels = ["--severity", str(severity)] if severity else []
    return main([str(pristine), *labels, "--out", str(out), *more])


def left(folder: Path) -> set[str]:
    """Names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}


def test_images_labels_description_and_sheet(pristine, severity, tmp_path, capsys):
    out = tmp_path / "set"
    some = ("--distortions", "1,23..24", "--levels", "2..4", "--seed", "5", "--workers", "2")
    assert run(pristine, severity, out, *some) == 0
    assert left(tmp_path) == {"pristine", "severity.csv", "set"}
    assert left(out) == {"images", "labels.csv", "dataset.json", "contact_sheet.html"}
    assert {path.parent.name for path in find_images([out])} == {"images"}, "the sheet is no image of the set"
    with (out / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "score", "reference", "distortion", "level"]
    assert len(rows) == len(left(out / "images")) == 2 * 3 * 3
    for row in rows:
        number, level = int(row["distortion"]), int(row["level"])
        assert row["image"] == f"images/{row['reference']}_{number:02d}_{level}.png"
        assert row["score"] == f"{5 - 0.5 * level - 0.01 * number:.4f}"
        reference = np.asarray(Image.open(pristine / f"{row['reference']}.png"))
        assert np.array_equal(Image.open(out / row["image"]), distort(reference, number, level, 5))
    about = json.loads((out / "dataset.json").read_text())
    assert about["score_name"] == "transferred KADID score"
    assert about["range"] == [1, 5]
    assert about["seed"] == 5
    assert about["severity"]["sha256"] == hashlib.sha256(severity.read_bytes()).hexdigest()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["images"], last["references"]) == (18, 2)


def test_what_is_written_reads_back_as_a_data_set(pristine, severity, tmp_path):
    out = tmp_path / "set"
    for number in range(3, 11):
        Image.open(pristine / "barn.png").rotate(36 * number).save(pristine / f"barn{number}.png")
    assert run(pristine, severity, out, "--distortions", "16", "--levels", "1,5", "--workers", "1") == 0
    photos_read = read_folder(out, seed=0)
    assert (photos_read.score_name, photos_read.raw_range) == ("transferred KADID score", (1, 5))
    scores = {(s.distortion, s.level): s.score for s in photos_read.samples}
    assert scores == pytest.approx({(16, 1): (4.34 - 1) / 4, (16, 5): (2.34 - 1) / 4})
    sides = {
        s.reference: {t.split for t in photos_read.samples if t.reference == s.reference}
        for s in photos_read.samples
    }
    assert len(sides) == 10
    assert all(len(split) == 1 for split in sides.values())


def test_processes_do_not_change_the_pixels(pristine, severity, tmp_path):
    for workers in ("1", "3"):
        out = tmp_path / workers
        assert run(pristine, severity, out, "--distortions", "11,19", "--workers", workers) == 0
    for name in left(tmp_path / "1" / "images"):
        one, three = (tmp_path / workers / "images" / name for workers in ("1", "3"))
        assert one.read_bytes() == three.read_bytes()


def test_sheet_shows_the_reference_and_the_levels_pixel_by_pixel(pristine, severity, tmp_path):
    out = tmp_path / "set"
    assert run(pristine, severity, out, "--distortions", "21,22", "--levels", "5", "--workers", "1") == 0
    embedded = (out / "contact_sheet.html").read_text(encoding="utf-8").split("base64,")[1].split('"')[0]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(embedded))).convert("RGB"))
    reference = np.asarray(Image.open(pristine / "barn.png"))
    pixelated, quantized = (np.asarray(Image.open(out / f"images/barn_{n}_5.png")) for n in (21, 22))
    expected = np.full((2 * 70, 2 * 78, 3), 255, np.uint8)
    for top, image in ((3, pixelated), (73, quantized)):
        expected[top : top + 64, 3 : 3 + 72] = reference
        expected[top : top + 64, 81 : 81 + 72] = image
    assert np.array_equal(sheet[-10 - 140 : -10, -10 - 156 : -10], expected)
    assert (sheet[:70] < 128).any()  # there is a title, and there are names on the left
    assert (sheet[70:, :190] < 128).any()


def refused(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--distortions", "0,3"), "--distortions such as 1,3 or 1..25; found '0,3'"),
        (("--distortions", "26"), "found '26'"),
        (("--distortions", "blur"), "found 'blur'"),
        (("--levels", "4..2"), "--levels such as 1,3 or 1..5; found '4..2'"),
        (("--levels", ""), "found ''"),
        (("--workers", "0"), "--workers of 1 or more; found 0"),
        (("--seed", "-1"), "--seed of 0 or more; found -1"),
    ],
)
def test_bad_flags(pristine, severity, tmp_path, capsys, more, message):
    before = left(tmp_path)
    assert run(pristine, severity, tmp_path / "set", *more) == 2
    assert message in refused(capsys)
    assert left(tmp_path) == before


def test_without_scores_it_says_where_they_come_from(pristine, tmp_path, capsys):
    assert run(pristine, None, tmp_path / "set") == 2
    assert "python -m mobileiqa.data severity KADID_PATH" in refused(capsys)
    assert run(pristine, tmp_path / "none.csv", tmp_path / "set") == 2
    assert "none.csv; found nothing" in refused(capsys)


@pytest.mark.parametrize("bad", ["small", "broken", "doubled"])
def test_bad_images_are_named_before_anything_is_written(pristine, severity, tmp_path, capsys, bad, photo):
    if bad == "small":
        photo(2, 40, 31).save(pristine / "small.png")
    elif bad == "broken":
        (pristine / "broken.png").write_bytes((pristine / "barn.png").read_bytes()[:900])
    else:
        photo(2, 40, 40).save(pristine / "barn.jpg")
    before = left(tmp_path)
    assert run(pristine, severity, tmp_path / "set", "--workers", "2") == 2
    message = refused(capsys)
    expected = {"small": "small.png; found 40x31", "broken": "broken.png", "doubled": "found 2 called barn"}
    assert expected[bad] in message
    assert left(tmp_path) == before


def test_an_existing_set_is_replaced_with_force_only(pristine, severity, tmp_path, capsys):
    out = tmp_path / "set"
    assert run(pristine, severity, out, "--distortions", "1", "--workers", "1") == 0
    capsys.readouterr()
    again = ("--distortions", "2", "--levels", "1", "--workers", "1")
    assert run(pristine, severity, out, *again) == 2
    assert "--force" in refused(capsys)
    assert (out / "images" / "barn_01_1.png").exists()
    assert run(pristine, severity, out, *again, "--force") == 0
    assert left(out / "images") == {"barn_02_1.png", "lake, north_02_1.png"}
    assert left(tmp_path) == {"pristine", "severity.csv", "set"}


def test_force_never_replaces_other_files_or_the_pristine_images(pristine, severity, tmp_path, capsys):
    assert run(pristine, severity, tmp_path, "--force") == 2
    assert "away from the pristine images" in refused(capsys)
    out = tmp_path / "other"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert run(pristine, severity, out, "--force") == 2
    assert "found none; give another --out" in refused(capsys)
    (out / "dataset.json").write_text("{}")
    assert run(pristine, severity, out, "--force") == 2
    assert "found thesis.txt" in refused(capsys)
    assert left(out) == {"thesis.txt", "dataset.json"}
    assert left(pristine) == {"barn.png", "lake, north.png"}


def _hears_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so do its children: also tests that run so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# Ctrl-C goes to the command and to its workers, kill to the command alone.
@pytest.mark.parametrize(("stop", "send"), [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)])
def test_an_interrupted_run_leaves_what_was_there_and_nothing_else(
    pristine, severity, tmp_path, photo, stop, send
):
    out = tmp_path / "set"
    assert run(pristine, severity, out, "--distortions", "1", "--workers", "1") == 0
    old = (out / "labels.csv").read_bytes()
    for name in ("a", "aa", "aaa"):  # first in order, so that most of the work is still to come
        photo(5, 900, 900).save(pristine / f"{name}.png")
    command = [
        sys.executable, "-m", "mobileiqa.distort", str(pristine), "--severity", str(severity),
        "--out", str(out), "--workers", "2", "--force",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=_hears_ctrl_c,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".set.*/new/images/a_*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    send(process.pid, stop)
    _, errors = process.communicate(timeout=120)  # workers that stay would hold the pipe open
    assert process.returncode == 128 + stop
    *progress, last = errors.splitlines()
    assert last == "python -m mobileiqa.distort: interrupted; nothing half written was left behind"
    assert all(line.startswith("distorting: ") for line in progress)
    assert left(tmp_path) == {"pristine", "severity.csv", "set"}
    assert (out / "labels.csv").read_bytes() == old


def test_whole_folder_keeps_the_old_one_when_the_block_fails(tmp_path):
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(UserError), whole_folder(path) as new:
        (new / "half").touch()
        raise UserError("x", "y", "z")
    assert left(tmp_path) == {"a"}
    assert left(path) == {"old"}
    with whole_folder(path) as new:
        (new / "whole").touch()
    assert left(path) == {"whole"}
    assert left(tmp_path) == {"a"}


def test_numbers_and_ranges():
    assert parse_numbers("--levels", "5,1..3,2", 5) == (1, 2, 3, 5)


def test_names_that_a_spreadsheet_would_compute_come_back_from_the_labels(severity, tmp_path, photo):
    names = ["=1+1", "-x", "+y", "@z", "'=q", "it's"]
    (tmp_path / "pristine").mkdir()
    for number, name in enumerate(names):
        photo(number, 40, 36).save(tmp_path / "pristine" / f"{name}.png")
    out = tmp_path / "set"
    assert run(tmp_path / "pristine", severity, out, "--distortions", "17", "--levels", "2") == 0
    lines = (out / "labels.csv").read_text().splitlines()
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line.split(","))
    dataset = read_folder(out, 0)
    assert sorted(sample.reference for sample in dataset.samples) == sorted(names)
    assert set(dataset.reference_keys) == set(names) and all(
        sample.path.is_file() for sample in dataset.samples
    )
