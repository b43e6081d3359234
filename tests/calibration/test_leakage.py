"""The same picture twice, in every disguise that is claimed to be seen, and none where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from calibration import leakage
from calibration.leakage import Match
from calibration.photos import Photo, measure, read_photos
from mobileiqa.errors import UserError
from mobileiqa.photos.loading import find_images


@pytest.fixture
def make(photo):
    """make(name, seed, **fields): the Photo of a generated picture, as if its file's hash were its name."""

    def build(name: str, seed: int, **fields: str) -> Photo:
        return replace(measure(photo(seed, 120, 90), name, f"file of {name}"), **fields)

    return build


def test_copies_of_bytes_and_of_pixels_are_left_out_and_the_first_is_kept(photo, tmp_path):
    photo(1, 60, 40).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes())
    photo(1, 60, 40).save(tmp_path / "a.bmp")
    photo(2, 60, 40).save(tmp_path / "d.png")
    photos, _ = read_photos(find_images([tmp_path]), tmp_path, "test")
    rest, copies = leakage.without_duplicates(photos[::-1])
    assert [p.id for p in rest] == ["a.bmp", "d.png"]
    assert copies == [Match("b.png", "a.bmp", "pixels"), Match("c.png", "b.png", "file")]


def test_near_duplicates_are_pairs_named_once(make, photo):
    small = measure(photo(1, 120, 90).resize((100, 75)), "small.png")
    result = leakage.near_duplicates([make("large.png", 1), make("other.png", 2), small])
    assert result == [Match("small.png", "large.png", "near")]
    assert str(result[0]) == "small.png looks nearly the same as large.png"


def test_images_of_one_reference_are_meant_to_be_alike(make):
    first, second = (make(f"{name}.png", 1, reference="r1") for name in "ab")
    assert leakage.near_duplicates([first, second]) == []
    assert len(leakage.near_duplicates([first, replace(second, reference="r2")])) == 1


def test_flat_pictures_are_not_near_duplicates_of_each_other():
    flat = [measure(Image.new("RGB", (64, 64), color), color) for color in ("red", "navy")]
    assert leakage.near_duplicates(flat) == []


@pytest.mark.parametrize(
    ("fields", "test_fields", "kind"),
    [
        ({"sha256": "same"}, {"sha256": "same"}, "file"),
        ({"pixels_sha256": "same"}, {"pixels_sha256": "same"}, "pixels"),
        ({"reference": "r7.png"}, {"reference": "refs/R7"}, "reference"),
        ({"reference": "test_3"}, {}, "reference"),  # made from a test image
        ({"id": "r7.png"}, {"reference": "r7.bmp"}, "name"),  # a test image was made from it
        ({"id": "sub/Test_3.JPG"}, {}, "name"),
        ({}, {}, None),
        ({"reference": "r7"}, {"reference": "r8"}, None),
    ],
)
def test_leaks_are_seen_by_every_kind_of_evidence(make, fields, test_fields, kind):
    candidate = replace(make("candidate.png", 1), **fields)
    test = replace(make("test_3.png", 2), **test_fields)
    other = make("harmless.png", 3)
    expected = [Match(candidate.id, "test_3.png", kind)] if kind else []
    assert leakage.leaks([other, candidate], [make("unrelated.png", 4), test]) == expected


def test_a_recompressed_test_image_leaks(make, photo, tmp_path):
    photo(5, 120, 90).save(tmp_path / "new_name.jpg", quality=40)
    photos, _ = read_photos([tmp_path / "new_name.jpg"], tmp_path, "test")
    assert leakage.leaks(photos, [make("test.png", 5)]) == [Match("new_name.jpg", "test.png", "near")]


def test_the_strongest_evidence_is_reported(make):
    photo = make("a.png", 1)
    assert [m.kind for m in leakage.leaks([photo], [photo])] == ["file"]


def test_a_test_split_is_a_folder_or_a_csv_whose_sides_count(make_photos, tmp_path):
    folder = make_photos(tmp_path / "set" / "images", 3)
    photos, broken = leakage.read_test_split(folder)
    assert [p.id for p in photos] == ["p00.png", "p01.png", "p02.png"] and not broken
    labels = tmp_path / "set" / "labels.csv"
    labels.write_text("image,split,reference\nimages/p00.png,train,r0\nimages/p02.png,test,r2\n")
    photos, _ = leakage.read_test_split(labels)
    assert [(Path(p.id).name, p.reference) for p in photos] == [("p02.png", "r2")]
    labels.write_text("image\nimages/p00.png\nimages/p01.png\n")
    assert [Path(p.id).name for p in leakage.read_test_split(labels)[0]] == ["p00.png", "p01.png"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,split\nimages/p00.png,train\n", "rows of the test split"),
        ("image\nimages/gone.png\n", "labels.csv, line 2"),
        ("picture\nx\n", "columns image"),
        ("image,split\nimages/p00.png,tset\n", "a split of"),
    ],
)
def test_a_bad_test_csv_is_refused(make_photos, tmp_path, text: str, words: str):
    make_photos(tmp_path / "images", 1)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        leakage.read_test_split(tmp_path / "labels.csv")


def test_real_photos_have_no_near_duplicates_and_their_copies_do(real_photos, tmp_path):
    photos, _ = read_photos(real_photos, real_photos[0].parent, "test")
    assert leakage.near_duplicates(photos) == []
    with Image.open(real_photos[0]) as image:
        copy = image.convert("RGB").resize((image.width // 3, image.height // 3))
    copy.save(tmp_path / "copy.jpg", quality=50)
    copies, _ = read_photos([tmp_path / "copy.jpg"], tmp_path, "test")
    assert [m.other for m in leakage.leaks(copies, photos)] == [real_photos[0].name]
