"""JPEG files that decode without an error although parts of the picture are missing."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileiqa.errors import UserError
from mobileiqa.photos.color_profiles import CODED_PRIMARIES, D65, matrix_profile
from mobileiqa.photos.loading import load_image, to_rgb

END = b"\xff\xd9"


def jpeg(**options) -> bytes:
    y, x = np.mgrid[:200, :320]
    waves = 127 * np.sin(x / 9) * np.cos(y / 7) + 127
    rng = np.random.default_rng(5)
    pixels = np.clip(np.stack([waves, x / 2, y], axis=-1) + rng.normal(0, 9, (200, 320, 3)), 0, 255)
    stored = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(options.pop("mode", "RGB")).save(
        stored, "JPEG", quality=90, **options
    )
    return stored.getvalue()


OPTIONS = {
    "420": {},
    "444": {"subsampling": 0},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "restarts of blocks": {"restart_marker_blocks": 7},
    "progressive restarts": {"progressive": True, "restart_marker_rows": 2},
}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("kind", OPTIONS)
def test_an_end_marker_after_a_cut_does_not_make_a_whole_picture(tmp_path: Path, kind: str, share: float):
    whole = jpeg(**OPTIONS[kind])
    path = tmp_path / "photo.jpg"
    path.write_bytes(whole)
    assert load_image(path).size == (320, 200)
    if kind.startswith("progressive") and share > 0.5:
        return  # the cut may lie in the last refinement, which a marker cannot tell
    path.write_bytes(whole[: int(len(whole) * share)] + END)
    with pytest.raises(UserError, match="truncated or damaged"):
        load_image(path)
    with Image.open(path) as opened, pytest.raises(UserError, match="truncated or damaged"):
        to_rgb(opened)


def test_a_header_of_more_rows_than_there_are(tmp_path: Path):
    content = bytearray(jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 7] = struct.pack(">H", 400)
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(UserError, match="last rows are missing"):
        load_image(tmp_path / "photo.jpg")


def test_lost_restart_intervals(tmp_path: Path):
    content = jpeg(restart_marker_rows=1)
    third, fifth = content.index(b"\xff\xd2"), content.index(b"\xff\xd4")
    (tmp_path / "photo.jpg").write_bytes(content[:third] + content[fifth:])
    with pytest.raises(UserError, match="restart markers are missing"):
        load_image(tmp_path / "photo.jpg")


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_grey_card_is_a_picture(tmp_path: Path, kind: str):
    """Grey of 128 is what missing blocks look like: here the file holds it."""
    options = {key: value for key, value in OPTIONS[kind].items() if key != "mode"}
    Image.new("L" if kind == "grey" else "RGB", (333, 65), 128 if kind == "grey" else (128,) * 3).save(
        tmp_path / "grey.jpg", **options
    )
    np.testing.assert_array_equal(np.unique(load_image(tmp_path / "grey.jpg")), [128])


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (8, 8), (17, 9), (2000, 1)])
@pytest.mark.parametrize("kind", OPTIONS)
def test_small_pictures_are_whole(tmp_path: Path, kind: str, size: tuple[int, int]):
    with Image.open(io.BytesIO(jpeg(**OPTIONS[kind]))) as image:
        picture = image.resize(size)
    options = {key: value for key, value in OPTIONS[kind].items() if key != "mode"}
    picture.save(tmp_path / "small.jpg", **options)
    assert load_image(tmp_path / "small.jpg").size == size


def test_fill_bytes_and_what_follows_the_end_do_not_matter(tmp_path: Path):
    content = jpeg()
    expected = np.asarray(Image.open(io.BytesIO(content)))
    (tmp_path / "filled.jpg").write_bytes(
        content[:2] + b"\xff" * 7 + content[2:-2] + b"\xff" * 3 + END + bytes(4096)
    )
    np.testing.assert_array_equal(load_image(tmp_path / "filled.jpg"), expected)


@pytest.mark.parametrize("kind", ["420", "progressive", "restarts"])
@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 1, 2)])
def test_a_profile_behind_the_frame_header_counts(tmp_path: Path, kind: str, numbers: tuple[int, ...]):
    profile = matrix_profile(CODED_PRIMARIES[12], D65, None)
    content = jpeg(**OPTIONS[kind])
    (tmp_path / "usual.jpg").write_bytes(jpeg(**OPTIONS[kind], icc_profile=profile))
    parts = {1: profile[:100], 2: profile[100:200], 3: profile[200:]}
    segments = b""
    for number in numbers:
        body = b"ICC_PROFILE\0" + bytes([number, 3]) + parts[number]
        segments += b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body
    scan = content.index(b"\xff\xda")
    (tmp_path / "photo.jpg").write_bytes(content[:scan] + segments + content[scan:])
    expected = np.asarray(load_image(tmp_path / "usual.jpg"))
    assert np.abs(expected.astype(int) - np.asarray(Image.open(io.BytesIO(content)))).max() > 20
    np.testing.assert_array_equal(load_image(tmp_path / "photo.jpg"), expected)
