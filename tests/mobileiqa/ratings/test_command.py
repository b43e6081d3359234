"""The command and its vote files: counts and fractions, every defect one line, outputs whole or absent."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mobileiqa.main import main as mobileiqa
from mobileiqa.ratings.__main__ import MODEL_NAMES, main
from mobileiqa.ratings.models import MODELS
from mobileiqa.ratings.votes import read

ROWS = [(2, 32, 66, 7, 0), (0, 6, 61, 40, 2), (35, 57, 13, 1, 0), (0, 0, 40, 62, 0), (0, 3, 48, 55, 3)]


def write(
    path: Path, rows: list = ROWS, header: str = "image_name,c1,c2,c3,c4,c5", tail: list | None = None
) -> Path:
    ends = tail or [""] * len(rows)
    lines = [
        f"{i}.jpg,{','.join(map(str, row))}{end}" for i, (row, end) in enumerate(zip(rows, ends, strict=True))
    ]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def last(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_all_models_with_table_files_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = write(tmp_path / "votes.csv")
    out, table, picture = tmp_path / "fits.csv", tmp_path / "fits.json", tmp_path / "fits.png"
    command = ["fit", str(votes), "--out", str(out), "--json", str(table), "--picture", str(picture)]
    assert mobileiqa(["ratings", *command]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "5 images, 533 votes, stored as counts" and lines[1].startswith(
        "1 images have votes in fewer"
    )
    result = json.loads(lines[-1])
    assert sorted(row["model"] for row in result["models"]) == sorted(MODELS)
    aics = [row["aic"] for row in result["models"]]
    assert aics == sorted(aics) and result["best"] == result["models"][0]["model"] and result["votes"] == 533
    assert json.loads(table.read_text(encoding="utf-8")) == result["models"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * len(MODELS) and rows[0]["image_name"] == "0.jpg"
    for row in rows:
        quantiles = [row[name] for name in ("q10", "q50", "q90")]
        if row["model"] in ("gsd", "maxentropy"):
            assert quantiles == ["", "", ""]
        else:
            assert float(quantiles[0]) < float(quantiles[1]) < float(quantiles[2])
        assert 0 <= float(row["good_or_better"]) <= 1 and float(row["log_likelihood"]) < 0
    assert main(command) == 2 and "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


def test_names_are_those_of_the_models() -> None:
    assert tuple(MODELS) == MODEL_NAMES


def test_fractions_give_what_counts_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As KonIQ-10k's own file has them: fractions, c_total, and other columns beside."""
    totals = [sum(row) for row in ROWS]
    shares = [[repr(n / total) for n in row] for row, total in zip(ROWS, totals, strict=True)]
    rounded = [[f"{n / total:.3f}" for n in row] for row, total in zip(ROWS, totals, strict=True)]
    header = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set"
    sets = ["training", "test", "test", "test", "validation"]
    tail = [f",{total},{50 + i},1.5,{name}" for i, (total, name) in enumerate(zip(totals, sets, strict=True))]
    for name, rows in (("shares.csv", shares), ("rounded.csv", rounded)):
        ballots = read(write(tmp_path / name, rows, header, tail))
        assert ballots.stored_as == "fractions" and np.array_equal(ballots.counts, ROWS)
        assert ballots.mos is not None and ballots.mos.tolist() == [50, 51, 52, 53, 54]
    assert main(["fit", str(tmp_path / "shares.csv"), "--model", "normal", "--set", "TEST"]) == 0
    assert last(capsys)["images"] == 3
    assert read(write(tmp_path / "counts.csv", ROWS, header, tail)).stored_as == "counts"


def test_single_votes_are_counts(tmp_path: Path) -> None:
    rows = [(0, 1, 0, 0, 0), (0, 0, 0, 1, 0)]
    assert read(write(tmp_path / "a.csv", rows)).stored_as == "counts"
    header = "image_name,c1,c2,c3,c4,c5,c_total"
    assert read(write(tmp_path / "b.csv", rows, header, [",1", ",1"])).stored_as == "counts"
    one = read(write(tmp_path / "c.csv", [(0, 0.5, 0.25, 0.25, 0), (0, 0, 0, 1, 0)], header, [",4", ",1"]))
    assert one.counts.tolist() == [[0, 2, 1, 1, 0], [0, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "columns c1, c2, c3, c4, c5"),
        ("image_name,c1,c2,c3,c4,c5\n", "at least one row"),
        ("image_name,c1,c2,c3,c4\na,1,2,3,4\n", "columns c1, c2, c3, c4, c5"),
        ("picture,c1,c2,c3,c4,c5\na,1,2,3,4,5\n", "a column image_name or image or image_id"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,3,4,5\na,1,2,3,4,5\n", "expected a once"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,x,4,5\n", "a finite number in column c3"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,,4,5\n", "a value in column c3"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,nan,4,5\n", "a finite number in column c3"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,1e999,4,5\n", "a finite number in column c3"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,1e12,4,5\n", "votes in column c3"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,-3,4,5\n", "votes in column c3"),
        ("image_name,c1,c2,c3,c4,c5\na,1,2,3,4\n", "6 cells in"),
        ("image_name,c1,c2,c3,c4,c5\na,0,0,0,0,0\n", "at least one vote in"),
        ("image_name,c1,c2,c3,c4,c5\na,1.5,2,3,4,5\n", "whole numbers of votes"),
        ("image_name,c1,c2,c3,c4,c5\na,.2,.2,.2,.2,.2\n", "c_total beside fractions"),
        ("image_name,c1,c2,c3,c4,c5,c_total\na,.2,.2,.2,.2,.2,7\n", "fractions of 7 votes"),
        ("image_name,c1,c2,c3,c4,c5,c_total\na,.2,.2,.2,.2,.2,0\n", "votes in column c_total"),
        ("image_name,c1,c2,c3,c4,c5,c_total\na,1,2,3,4,5,16\n", "c_total = c1 + ... + c5"),
        ("image_name,c1,c2,c3,c4,c5,c_total\na,.2,.2,.2,.2,.2,5\nb,1,1,1,1,1,5\n", "whole numbers of votes in"),
        ("image_name,c1,c1,c2,c3,c4,c5\na,1,1,2,3,4,5\n", "different column names"),
        ('image_name,c1,c2,c3,c4,c5\n"a,1,2,3,4,5\n', "comma separated values"),
    ],
)  # fmt: skip
def test_defects_of_a_file_are_one_line(text: str, part: str, tmp_path: Path, capsys) -> None:
    path, out = tmp_path / "votes.csv", tmp_path / "fits.csv"
    path.write_text(text, encoding="utf-8")
    assert main(["fit", str(path), "--out", str(out)]) == 2
    shown, error = capsys.readouterr()
    assert shown == "" and len(error.splitlines()) == 1 and part in error and not out.exists()


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = str(write(tmp_path / "votes.csv"))
    for arguments, part in [
        (["fit", str(tmp_path / "no.csv")], "found nothing"),
        (["fit", str(tmp_path)], "found a folder"),
        (["fit", votes, "--picture", "x.jpg"], "ending in .png"),
        (["fit", votes, "--out", "a.png", "--picture", "./a.png"], "different files"),
        (["fit", votes, "--set", "test"], "a column set"),
        (["equivalent", "0.5"], "not extrapolated"),
        (["equivalent", "nan"], "not extrapolated"),
        (["equivalent", "0.9", "--set", "test"], "--votes with --set"),
        (["equivalent", "0.9", "--votes", votes, "--against", "mos"], "a column MOS"),
        (["equivalent", "0.9", "--seed", "-1"], "a seed of 0 or more"),
    ]:
        assert main(arguments) == 2
        shown, error = capsys.readouterr()
        assert shown == "" and len(error.splitlines()) == 1 and part in error, error
    (tmp_path / "latin.csv").write_bytes(b"image_name,c1,c2,c3,c4,c5\n\xe9,1,2,3,4,5\n")
    assert main(["fit", str(tmp_path / "latin.csv")]) == 2 and "UTF-8" in capsys.readouterr().err


def test_what_an_srcc_is_worth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["equivalent", "0.921"]) == 0
    assert last(capsys)["votes"] == pytest.approx(9.397, abs=1e-3)
    assert main(["equivalent", "0.921", "--against", "mos"]) == 0
    assert last(capsys)["votes"] == pytest.approx(8.543, abs=1e-3)
    rng = np.random.default_rng(0)
    rows = [rng.multinomial(40, p) for p in rng.dirichlet(np.ones(5), 60)]
    votes = write(tmp_path / "votes.csv", rows, "image_name,c1,c2,c3,c4,c5,mos", [f",{i}" for i in range(60)])
    assert main(["equivalent", "0.7", "--votes", str(votes)]) == 0
    assert 1 < last(capsys)["votes"] < 20


def test_a_name_that_a_spreadsheet_would_compute_is_text(tmp_path: Path, capsys) -> None:
    path, out = tmp_path / "votes.csv", tmp_path / "fits.csv"
    path.write_text('image,c1,c2,c3,c4,c5\n"=1+1",1,2,3,4,5\n', encoding="utf-8")
    assert main(["fit", str(path), "--model", "normal", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8").splitlines()[1].startswith("'=1+1,normal,")
