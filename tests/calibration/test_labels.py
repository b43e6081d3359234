"""CSV files about images: as the project's own commands write them, and malformed."""

from dataclasses import replace
from pathlib import Path

import pytest

from calibration import labels
from calibration.labels import with_labels, with_scores
from calibration.photos import Photo
from mobileiqa.errors import UserError
from mobileiqa.zoo import UNTRAINED

NAMES = ("a.png", "b.png", "sub/c.png")


@pytest.fixture
def photos() -> list[Photo]:
    """Three photos, of which only the names matter."""
    plain = Photo("", "a", "b", 9, 9, 0.4, 0, 0, False, "")
    return [replace(plain, id=name) for name in NAMES]


def csv(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("where", ["as given", "beside the csv", "inside the folder"])
def test_images_are_found_wherever_paths_may_start(photos, tmp_path, monkeypatch, where: str):
    folder = tmp_path / "home" / "photos"
    monkeypatch.chdir(tmp_path)
    start, file = {
        "as given": ("home/photos/", tmp_path / "elsewhere" / "scores.csv"),
        "beside the csv": ("photos/", tmp_path / "home" / "scores.csv"),
        "inside the folder": ("", tmp_path / "elsewhere" / "scores.csv"),
    }[where]
    csv(file, f"image,score,error,note\n{start}sub/c.png,0.25,,\n{start}a.png,0.5,,\nother.png,1,,\n")
    photos_read = with_scores(photos, folder, file)
    assert [p.score for p in photos_read.photos] == [0.5, None, 0.25]
    assert photos_read.notes == ("1 of 3 images have no score in scores.csv",)


def test_csv_files_of_windows_and_of_excel_are_read(photos, tmp_path):
    text = "image;score\r\n.\\a.png;0,5\r\nsub\\c.png;0,25\r\n"
    photos_read = with_scores(photos, tmp_path, csv(tmp_path / "scores.csv", text))
    assert [p.score for p in photos_read.photos] == [0.5, None, 0.25]


def test_untrained_scores_say_so_and_failed_ones_are_none(photos, tmp_path):
    rows = f"a.png,0.5,,{UNTRAINED}\nb.png,,damaged,{UNTRAINED}\nsub/c.png,0.1,,{UNTRAINED}\n"
    photos_read = with_scores(photos, tmp_path, csv(tmp_path / "s.csv", "image,score,error,note\n" + rows))
    assert [p.score for p in photos_read.photos] == [0.5, None, 0.1]
    assert f"scores of s.csv: {UNTRAINED}" in photos_read.notes


def test_labels_give_scores_references_distortions_and_the_held_out(photos, tmp_path):
    text = (
        "image,score,split,reference,distortion,level,distortion_name\n"
        "a.png,4,train,r1,10,2,\nb.png,3,test,r2,1,5,blur\nsub/c.png,2,training,r3,0,0,\n"
    )
    result = with_labels(photos, tmp_path, csv(tmp_path / "labels.csv", text))
    assert [(p.score, p.reference, p.distortion) for p in result.photos] == [
        (4, "r1", "10"), (3, "r2", "blur"), (2, "r3", ""),
    ]  # fmt: skip
    assert result.held_out == {"b.png"} and result.unlisted == frozenset()
    result = with_labels(photos, tmp_path, csv(tmp_path / "labels.csv", "image,score\na.png,1\n"))
    assert result.unlisted == {"b.png", "sub/c.png"} and result.held_out == frozenset()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,score\nother.png,1\n", "about the 3 images"),
        ("image,score\na.png,\n", "found none"),
        ("image,score\na.png,nan\n", "finite number"),
        ("image,score\na.png,1\nsub/../a.png,2\n", "one row for a.png"),
        ("image,quality\na.png,1\n", "columns image, score"),
        ("image,score\n", "at least one row"),
    ],
)
def test_bad_scores_are_refused(photos, tmp_path, text: str, words: str):
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match=words):
        with_scores(photos, tmp_path, csv(tmp_path / "s.csv", text))


def test_bad_labels_are_refused(photos, tmp_path):
    for text, words in (("a.png,1,exam,0", "a split of"), ("a.png,1,test,1.5", "whole number")):
        with pytest.raises(UserError, match=words):
            with_labels(photos, tmp_path, csv(tmp_path / "l.csv", f"image,score,split,distortion\n{text}\n"))


def test_test_images_are_not_calibrated_on_for_a_column_of_another_name(photos, tmp_path):
    """Such as `set`: the test side would be unknown, and without a word."""
    file = tmp_path / "labels.csv"
    file.write_text("image,score,set\n" + "".join(f"{photo.id},0.5,test\n" for photo in photos))
    for read_labels in (lambda: with_labels(photos, tmp_path, file), lambda: labels.test_rows(file)):
        with pytest.raises(
            UserError, match=r"a column called split in labels\.csv; found test in the column set"
        ):
            read_labels()
