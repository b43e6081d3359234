from pathlib import Path

import pytest

from mobileiqa.distortions.severity import read
from mobileiqa.errors import UserError

HEADER = "distortion,level,n_references,mean_score,std_score"
SHARED = Path(__file__).resolve().parents[3].parent / "shared"


def rows() -> list[str]:
    return [
        f"{n},{level},81,{5 - 0.5 * level - 0.01 * n:.4f},0.3" for n in range(1, 26) for level in range(1, 6)
    ]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_reads_every_score_in_order(tmp_path):
    found = read(write(tmp_path / "s.csv", [HEADER, *reversed(rows())]))
    assert list(found) == [(n, level) for n in range(1, 26) for level in range(1, 6)]
    assert found[10, 3] == pytest.approx(3.4)


def test_reads_kadids():
    path = SHARED / "data" / "labels" / "kadid10k_severity.csv"
    if not path.exists():
        pytest.skip("no ../shared/data/labels beside the checkout; the generated table stands in")
    found = read(path)
    assert (found[1, 1], found[25, 5]) == (4.6122, 3.3238)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("26,1,81,3.0,0.3", "line 2.*found 26, 1 and 3"),
        ("1,6,81,3.0,0.3", "line 2.*found 1, 6 and 3"),
        ("1,1,81,5.5,0.3", "line 2.*found 1, 1 and 5.5"),
        ("1,1,81,nan,0.3", "finite number.*line 2.*nan"),
        ("one,1,81,3,0.3", "finite number.*line 2.*one"),
        ("1.5,1,81,3,0.3", "whole number.*line 2.*1.5"),
        ("1,1,81,,0.3", "line 2.*empty"),
        ("1,1,81", "5 cells in s.csv, line 2; found 3"),
        ("1,2,81,3.0,0.3", "second one in s.csv, line 3"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, found):
    with pytest.raises(UserError, match=f"{found}.*mobileiqa.data severity"):
        read(write(tmp_path / "s.csv", [HEADER, line, *rows()[1:]]))


def test_missing_rows_columns_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"125 .*found 2 missing \(distortion 3, level 4"):
        read(write(tmp_path / "s.csv", [HEADER, *rows()[:13], *rows()[14:-1]]))
    with pytest.raises(UserError, match=r"mean_score.*found columns distortion, level;.*severity"):
        read(write(tmp_path / "s.csv", ["distortion,level", "1,1"]))
    with pytest.raises(UserError, match=r"none\.csv; found nothing; make one from KADID-10k"):
        read(tmp_path / "none.csv")
