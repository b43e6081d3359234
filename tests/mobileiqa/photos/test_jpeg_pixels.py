"""simplejpeg's pixels are Pillow's, and whatever is odd is decoded by Pillow as before."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from mobileiqa.errors import UserError
from mobileiqa.photos import jpeg_scans
from mobileiqa.photos.loading import load_bytes, load_image, read_pixels
from mobileiqa.spec import ColorManagement

pytest.importorskip("simplejpeg", reason="pip install simplejpeg to compare its pixels")

KINDS = {
    "plain": {},
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "best": {"quality": 100},
    "worst": {"quality": 3},
    "progressive": {"progressive": True, "quality": 60},
    "restarts": {"restart_marker_rows": 1},
    "optimized": {"optimize": True},
    "rgb inside": {"keep_rgb": True},
}


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def outcome(content: bytes, monkeypatch: pytest.MonkeyPatch, with_decoder: bool) -> tuple[str, bytes]:
    """The error, or the mode RGB pixels, of a file's content."""
    with monkeypatch.context() as patch:
        if not with_decoder:
            patch.setattr(jpeg_scans, "decoder", lambda: None)
        try:
            image = load_bytes(content, "x.jpg")
        except UserError as error:
            return str(error), b""
    return f"{image.size} {image.info}", image.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (131, 77), (1, 1), (17, 300)])
def test_the_pixels_are_pillows(kind: str, size: tuple[int, int], photo, monkeypatch) -> None:
    content = jpeg(photo(1, *size), **KINDS[kind])
    with Image.open(io.BytesIO(content)) as opened:
        pixels = jpeg_scans.decode(content, opened)
        assert pixels is not None
        np.testing.assert_array_equal(pixels, np.asarray(opened.convert("RGB")))
    assert outcome(content, monkeypatch, True) == outcome(content, monkeypatch, False)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_are_left_to_pillow(mode: str, photo, monkeypatch) -> None:
    content = jpeg(photo(2, 40, 30).convert(mode))
    with Image.open(io.BytesIO(content)) as opened:
        assert jpeg_scans.decode(content, opened) is None
    assert outcome(content, monkeypatch, True) == outcome(content, monkeypatch, False)


@pytest.mark.parametrize("orientation", [1, 2, 3, 5, 6, 8, 9, 0])
@pytest.mark.parametrize("with_profile", [False, True])
def test_orientation_and_profile_are_applied(
    orientation: int, with_profile: bool, photo, monkeypatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = jpeg(photo(3, 40, 30), exif=exif, **({"icc_profile": lab} if with_profile else {}))
    result = outcome(content, monkeypatch, True)
    assert result == outcome(content, monkeypatch, False)
    assert result[0].startswith("(30, 40)" if orientation in (5, 6, 8) else "(40, 30)")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, lost, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(2, len(data)) if rng.random() < 0.7 else rng.randrange(2, min(len(data), 700))
        action = rng.randrange(5)
        if action == 0:
            data[at] = rng.randrange(256)
        elif action == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif action == 2:
            del data[at : at + rng.randrange(1, 40)]
        elif action == 3:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        else:
            del data[max(at, 3) :]
            if rng.random() < 0.5:
                data += b"\xff\xd9"
        if len(data) < 4:
            break
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_have_the_same_pixels_or_the_same_error(kind: str, photo, monkeypatch) -> None:
    rng = random.Random(kind)
    content = jpeg(photo(4, 72, 56), **KINDS[kind])
    decoded = 0
    for number in range(150):
        changed = mutated(content, rng)
        result = outcome(changed, monkeypatch, True)
        assert result == outcome(changed, monkeypatch, False), f"mutation {number}"
        decoded += bool(result[1])
    assert decoded > 20


def test_a_file_and_its_content_are_the_same_photo(photos: Path) -> None:
    for path in sorted(photos.iterdir()):
        assert load_bytes(path.read_bytes()).tobytes() == load_image(path).tobytes()
        pixels = read_pixels(path, ColorManagement.SRGB)
        assert isinstance(pixels, np.ndarray) == (path.suffix == ".jpg")
        assert np.asarray(pixels).tobytes() == load_image(path).tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"words", "no image format"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"II+\0" * 9, "TIFF"),
    ],
)
def test_content_that_is_no_photo_is_named(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=r"a\.jpg") as error:
        load_bytes(content, "a.jpg")
    assert message in str(error.value)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_an_array_is_rgb(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="uint8 array"):
        read_pixels(np.zeros(shape, np.uint8), ColorManagement.SRGB)


def test_photos_of_phones(real_photos: list[Path], monkeypatch) -> None:
    for path in (each for each in real_photos if each.suffix == ".jpg"):
        content = path.read_bytes()
        with Image.open(path) as opened:
            assert jpeg_scans.decode(content, opened) is not None
        assert outcome(content, monkeypatch, True) == outcome(content, monkeypatch, False)
