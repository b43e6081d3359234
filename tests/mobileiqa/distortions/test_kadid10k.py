"""None"""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from mobileiqa.datasets.readers import KADID_DISTORTIONS
from mobileiqa.distortions.kadid10k import DISTORTIONS, LEVELS, MIN_PX, distort, read_severity
from mobileiqa.errors import UserError

RANDOM = {3, 5, 11, 12, 13, 14, 15, 19, 20, 23}
UNCHANGED = {(1, 1), (3, 1), (8, 1), (18, 3)}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a.astype(float) - b) ** 2).mean())


def test_table_is_kadids():
    assert tuple(d.name for d in DISTORTIONS.values()) == KADID_DISTORTIONS
    assert list(DISTORTIONS) == [d.number for d in DISTORTIONS.values()] == list(range(1, 26))
    assert all(len(d.levels) == len(LEVELS) == 5 for d in DISTORTIONS.values())
    assert {n for n, d in DISTORTIONS.items() if not d.monotone} == {18, 25}


@pytest.mark.parametrize("number", DISTORTIONS)
def test_same_input_same_output_and_the_input_stays(scene, number):
    before = scene.copy()
    first, second = distort(scene, number, 4), distort(scene, number, 4)
    assert np.array_equal(first, second)
    assert np.array_equal(scene, before)
    assert not np.shares_memory(first, scene)
    other_seed = np.array_equal(distort(scene, number, 4, seed=1), first)
    assert other_seed == (number not in RANDOM)


def test_noise_is_another_one_for_other_pixels_numbers_levels_and_seeds(scene):
    grey = np.full_like(scene, 128)
    cases = [(grey, 11, 3, 0), (grey + 1, 11, 3, 0), (grey, 14, 3, 0), (grey, 11, 2, 0), (grey, 11, 3, 1)]
    noises = [(distort(rgb, *rest).astype(float) - rgb).ravel() for rgb, *rest in cases]
    assert np.abs(np.corrcoef(noises) - np.eye(len(cases))).max() < 0.02


@pytest.mark.parametrize("number", DISTORTIONS)
def test_every_level_is_farther_from_the_reference_than_the_one_before(scene, number):
    seeds = range(4 if number in RANDOM - {15} else 1)  # places and directions are averaged over
    far = [np.mean([distance(distort(scene, number, level, s), scene) for s in seeds]) for level in LEVELS]
    changed = [level for level in LEVELS if far[level - 1] > 0]
    assert changed == [level for level in LEVELS if (number, level) not in UNCHANGED]
    if DISTORTIONS[number].monotone:
        assert all(a < b for a, b in pairwise(far)), far


@pytest.mark.parametrize("size", [(MIN_PX, MIN_PX), (33, 71)])
def test_smallest_and_odd_sizes(photo, size):
    """Every distortion but the mildest changes them, and where nothing is random, grey stays grey."""
    small = np.asarray(photo(8, *size))
    grey = np.repeat(small[..., :1], 3, axis=-1)
    colored = {6, 11, 12, 13, 14, 15, 23, 5, 9, 10}
    for number in DISTORTIONS:
        out = distort(small, number, 5)
        assert out.shape == small.shape
        assert out.dtype == np.uint8
        assert distance(out, small) > 1, number
        if number not in colored:
            assert np.ptp(distort(grey, number, 5).astype(int), axis=-1).max() <= 1, number


def test_strided_pixels_give_what_contiguous_ones_give(scene):
    turned = scene.transpose(1, 0, 2)
    for number in (1, 10, 11, 21):
        assert np.array_equal(distort(turned, number, 3), distort(np.ascontiguousarray(turned), number, 3))


def test_opencvs_settings_stay(scene):
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        for number in DISTORTIONS:
            distort(scene, number, 2)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rgb": np.zeros((64, 64), np.uint8)}, r"uint8 \(64, 64\)"),
        ({"rgb": np.zeros((64, 64, 4), np.uint8)}, r"\(64, 64, 4\)"),
        ({"rgb": np.zeros((64, 64, 3), np.float32)}, "float32"),
        ({"rgb": np.zeros((64, 31, 3), np.uint8)}, r"\(64, 31, 3\)"),
        ({"number": 0}, "found 0"),
        ({"number": 26}, "found 26"),
        ({"level": 0}, "found 0"),
        ({"level": 6}, "found 6"),
        ({"seed": -1}, "found -1"),
    ],
)
def test_bad_input_says_what_was_expected_and_found(scene, change, message):
    with pytest.raises(ValueError, match=f"expected .*{message}"):
        distort(**{"rgb": scene, "number": 1, "level": 1} | change)


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
    severities = read_severity(write(tmp_path / "s.csv", [HEADER, *reversed(rows())]))
    assert list(severities) == [(n, level) for n in range(1, 26) for level in range(1, 6)]
    assert severities[10, 3] == pytest.approx(3.4)


def test_reads_kadids():
    path = SHARED / "data" / "labels" / "kadid10k_severity.csv"
    if not path.exists():
        pytest.skip("no ../shared/data/labels beside the checkout; the generated table stands in")
    severities = read_severity(path)
    assert (severities[1, 1], severities[25, 5]) == (4.6122, 3.3238)


@pytest.mark.parametrize(
    ("line", "message"),
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
def test_bad_rows_are_named(tmp_path, line, message):
    with pytest.raises(UserError, match=f"{message}.*mobileiqa.data severity"):
        read_severity(write(tmp_path / "s.csv", [HEADER, line, *rows()[1:]]))


def test_missing_rows_columns_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"125 .*found 2 missing \(distortion 3, level 4"):
        read_severity(write(tmp_path / "s.csv", [HEADER, *rows()[:13], *rows()[14:-1]]))
    with pytest.raises(UserError, match=r"mean_score.*found columns distortion, level;.*severity"):
        read_severity(write(tmp_path / "s.csv", ["distortion,level", "1,1"]))
    with pytest.raises(UserError, match=r"none\.csv; found nothing; make one from KADID-10k"):
        read_severity(tmp_path / "none.csv")
