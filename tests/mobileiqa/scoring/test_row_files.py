"""Resuming an interrupted run, Parquet, and what rows say of their model."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobileiqa import score
from mobileiqa.errors import UserError
from mobileiqa.scoring import row_files
from mobileiqa.scoring.row_files import partial_path, refuse_other_settings, resume, write
from mobileiqa.scoring.rows import LINE_FORMATS, Origin, Row
from mobileiqa.spec import InputSpec, ModelSpec

ROOT = Path(__file__).resolve().parents[3]
SPEC = ModelSpec("toy", (InputSpec("image", 64, 64),), reasons=("blur", "none"))
ORIGIN = Origin(SPEC, "litert", "", {}, "ab" * 32, "0.1.0")
NAMES = ["a.jpg", "caf\udce9.jpg", "x\n0.9,y.jpg", "=1+1.jpg", '"q",.jpg', "bad.jpg", "z.jpg"]
ROWS = [Row(n, None if n == "bad.jpg" else 0.1 + i / 7, "no" if n == "bad.jpg" else "", {"blur": 0.5, "none": 0.1})
        for i, n in enumerate(NAMES)]  # fmt: skip
FORMS = ["csv", "jsonl", "json", "parquet"]


def interrupted(count: int) -> Iterator[Row]:
    yield from ROWS[:count]
    raise KeyboardInterrupt


def content(out: Path, form: str) -> object:
    if form != "parquet":
        return out.read_bytes()
    from pyarrow import parquet

    return parquet.read_table(out).to_pylist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 3, 5, 7])
@pytest.mark.parametrize("torn", [b"", b'"half a', b'{"image": "half'])
def test_a_resumed_file_is_that_of_a_run_without_interruption(
    form: str, count: int, torn: bytes, tmp_path: Path
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="pip install pyarrow to write Parquet")
    whole, out = tmp_path / "whole", tmp_path / "out"
    write(iter(ROWS), ORIGIN, form, whole)
    with pytest.raises(KeyboardInterrupt):
        write(interrupted(count), ORIGIN, form, out)
    with partial_path(out).open("ab") as file:
        file.write(torn)
    unfinished = resume(NAMES, ORIGIN, form, out)
    assert unfinished is not None and unfinished.tally.images == count
    tally = write(iter(ROWS[count:]), ORIGIN, form, out, unfinished)
    assert (tally.images, len(tally.scores), [row.error for row in tally.failed]) == (7, 6, ["no"])
    assert content(out, form) == content(whole, form)
    assert sorted(os.listdir(tmp_path)) == ["out", "whole"]


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_other_photos_or_of_another_model_are_not_gone_on_with(form: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert resume(NAMES, ORIGIN, form, out) is None
    with pytest.raises(KeyboardInterrupt):
        write(interrupted(3), ORIGIN, form, out)
    before = partial_path(out).read_bytes()
    for photos, origin in (
        (NAMES[1:], ORIGIN),
        (NAMES[:2], ORIGIN),
        (NAMES, dataclasses.replace(ORIGIN, model_sha256="cd" * 32)),
        (NAMES, dataclasses.replace(ORIGIN, version="0.2.0")),
    ):
        with pytest.raises(UserError, match="leave --resume out"):
            resume(photos, origin, form, out)
    assert partial_path(out).read_bytes() == before


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("text", ["words\n", "image,score\na,b\n", "{}\n", "[1]\n", "image,score,note\n"])
def test_a_file_that_is_none_of_ours_is_not_gone_on_with(form: str, text: str, tmp_path: Path) -> None:
    partial_path(tmp_path / "out").write_text(text)
    with pytest.raises(UserError, match="to resume"):
        resume(NAMES, ORIGIN, form, tmp_path / "out")


def test_a_parquet_file_says_what_made_it_and_has_row_groups(tmp_path: Path, monkeypatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install pyarrow to write Parquet")
    monkeypatch.setattr(row_files, "ROW_GROUP", 3)
    write(iter(ROWS), ORIGIN, "parquet", out := tmp_path / "x.parquet")
    file = parquet.ParquetFile(out)
    assert file.num_row_groups == 3
    rows = file.read().to_pylist()
    assert [row["image"] for row in rows] == [n.replace("\udce9", r"\udce9") for n in NAMES]
    assert [row["score"] for row in rows] == [row.score for row in ROWS]
    assert (rows[0]["reason"], rows[0]["probability"], rows[0]["reasons"]) == (
        "blur", 0.5, [("blur", 0.5), ("none", 0.1)],
    )  # fmt: skip
    assert {(row["model"], row["model_sha256"], row["version"]) for row in rows} == {
        ("toy", "ab" * 32, "0.1.0")
    }
    assert rows[5]["error"] == "no" and rows[5]["score"] is None
    with pytest.raises(UserError, match="a file for Parquet"):
        write(iter(ROWS), ORIGIN, "parquet", None)


def test_the_command_says_the_model_in_every_row(photos: Path, tiny, tmp_path: Path, capsys) -> None:
    out, words = tmp_path / "x.jsonl", [str(photos), "--model", str(tiny[2]), "--out"]
    assert score.main([*words, str(out), "--shard", "2/3"]) == 0
    (row,) = map(json.loads, out.read_text().splitlines())
    summary = json.loads(capsys.readouterr().out)
    assert row["image"] == str(photos / "photo1.jpg") and row["model"] == "toy" == summary["model"]
    assert row["model_sha256"] == summary["model_sha256"] and len(row["model_sha256"]) == 64
    assert score.main([*words, str(tmp_path / "none.csv"), "--shard", "9/9"]) == 0, "an empty shard is whole"
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1


def test_resume_on_the_command_line(photos: Path, tiny, tmp_path: Path, capsys) -> None:
    out, words = tmp_path / "x.csv", [str(photos), "--model", str(tiny[2]), "--resume"]
    assert score.main(words) == 2
    assert "--out PATH with --resume" in capsys.readouterr().err
    assert score.main([*words, "--out", str(out.with_suffix(".txt"))]) == 2
    assert "a table" in capsys.readouterr().err
    assert score.main([*words, "--out", str(out)]) == 0, "without rows it starts"
    first = out.read_bytes()
    assert score.main([*words, "--out", str(out)]) == 0
    assert "is whole" in capsys.readouterr().err
    lines = first.splitlines(keepends=True)
    partial_path(out).write_bytes(b"".join(lines[:3]))
    out.unlink()
    assert score.main([*words, "--out", str(out)]) == 0
    assert out.read_bytes() == first


@pytest.fixture(scope="module")
def voter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that predicts votes."""
    from mobileiqa import checkpoint
    from mobileiqa.zoo import build_seeded, entry

    name = "lar-iqa-lite+votes"
    path = tmp_path_factory.mktemp("voter") / "voter.safetensors"
    return checkpoint.save(path, build_seeded(name), entry(name).spec.sized("64x64"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_resume_knows_the_settings_of_its_rows(
    suffix: str, photos: Path, voter: Path, tmp_path: Path, capsys
) -> None:
    def run(name: str, *more: str) -> int:
        return score.main([str(photos), "--model", str(voter), *more, "--out", str(tmp_path / name)])

    settings = ("--quantile", "0.1", "--color-space", "hsv")
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"x.{suffix}"
    assert run(whole.name, *settings) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["settings"] == "color_space=hsv; quantile=0.1"
    lines = tmp_path / ("lines.csv" if suffix == "csv" else "lines.jsonl")
    assert run(lines.name, *settings) == 0
    rows = b"".join(lines.read_bytes().splitlines(keepends=True)[:3])
    others = (
        (), ("--quantile", "0.2", "--color-space", "hsv"), ("--quantile", "0.1", "--color-space", "lab"),
    )  # fmt: skip
    for other in others:
        partial_path(out).write_bytes(rows)
        capsys.readouterr()
        assert run(out.name, "--resume", *other) == 2
        assert "leave --resume out" in capsys.readouterr().err.splitlines()[-1]
        assert partial_path(out).read_bytes() == rows and not out.exists()
    assert run(out.name, "--resume", *settings) == 0
    assert content(out, suffix) == content(whole, suffix)
    capsys.readouterr()
    assert run(out.name, "--resume", *settings) == 0
    assert "is whole" in capsys.readouterr().err
    assert run(out.name, "--resume", "--tta") == 2
    assert "scores of tta in" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_file_says_its_settings(form: str, tmp_path: Path) -> None:
    plain, other, empty = tmp_path / "plain", tmp_path / "other", tmp_path / "empty"
    write(iter(ROWS), ORIGIN, form, plain)
    write(iter(ROWS), dataclasses.replace(ORIGIN, settings="tta"), form, other)
    write(iter(()), ORIGIN, form, empty)
    refuse_other_settings(plain, form, "")
    refuse_other_settings(other, form, "tta")
    for path, settings in ((plain, "tta"), (other, ""), (other, "tta; weights=raw")):
        with pytest.raises(UserError, match="leave --resume out"):
            refuse_other_settings(path, form, settings)
    if form != "json":  # whose summary says them without rows, too
        refuse_other_settings(empty, form, "tta")
    empty.write_bytes(b"\xff\x00")
    refuse_other_settings(empty, form, "tta")


def test_rows_of_other_settings_are_refused_where_these_have_none(tmp_path: Path) -> None:
    for form in ("csv", "jsonl"):
        out = tmp_path / f"x.{form}"
        other = dataclasses.replace(ORIGIN, settings="tta")
        head = LINE_FORMATS[form].head(other)
        partial_path(out).write_text(head + LINE_FORMATS[form].line(ROWS[0], other))
        with pytest.raises(UserError, match="leave --resume out"):
            resume(NAMES, ORIGIN, form, out)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_kill_9_at_90_per_cent_and_resume_loses_nothing_that_was_written(
    suffix: str, photos: Path, tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(400):
        os.link(photos / f"photo{index % 4}.{'jpg' if index % 2 else 'png'}", folder / f"{index:03d}.jpg")
    outs = [tmp_path / f"{name}.{suffix}" for name in ("killed", "whole")]
    words = [[sys.executable, "-m", "mobileiqa.score", str(folder), "--model", str(tiny[2]), "--out", str(out),
              "--workers", "2"] for out in outs]  # fmt: skip
    process = subprocess.Popen(words[0], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (partial := partial_path(outs[0])).exists() or partial.read_bytes().count(b"\n") < 360:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait(60)
    kept = partial.read_bytes().count(b"\n") - (suffix == "csv")
    assert kept >= 359 and not outs[0].exists()
    again = subprocess.run([*words[0], "--resume"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["images"] == 400
    subprocess.run(words[1], cwd=ROOT, capture_output=True, check=True)
    assert content(outs[0], suffix) == content(outs[1], suffix)
    assert not partial.exists()
