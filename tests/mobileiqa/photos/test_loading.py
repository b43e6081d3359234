import io
import logging
import os
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mobileiqa.errors import UserError
from mobileiqa.photos import loading
from mobileiqa.photos.loading import find_images, load_image, to_rgb


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color_type: int, raw: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff_12_bit(samples: list[int]) -> bytes:
    """One row of 12-bit grey, two samples in three bytes."""
    bits = "".join(f"{sample:012b}" for sample in samples)
    pixels = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags = [
        (256, len(samples)),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, len(pixels)),
    ]
    offset = 8 + len(pixels) + len(pixels) % 2
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    padding = b"\0" * (len(pixels) % 2)
    return (
        b"II*\0"
        + struct.pack("<I", offset)
        + pixels
        + padding
        + struct.pack("<H", len(tags))
        + table
        + b"\0" * 4
    )


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def pixels(image: Image.Image) -> list:
    assert image.mode == "RGB"
    return np.asarray(image).reshape(-1, 3).tolist()


def grey(*values: int) -> list:
    return [[value] * 3 for value in values]


def test_every_way_to_store_colors(tmp_path: Path):
    rgb = Image.fromarray(np.array([[[255, 0, 0], [0, 128, 255]]], np.uint8))
    cases = {
        "rgb.png": (rgb, [[255, 0, 0], [0, 128, 255]]),
        "palette.png": (rgb.quantize(2), [[255, 0, 0], [0, 128, 255]]),
        "grey.png": (Image.fromarray(np.array([[3, 200]], np.uint8)), grey(3, 200)),
        "bits.png": (Image.fromarray(np.array([[False, True]])), grey(0, 255)),
        "still.gif": (rgb.quantize(2), [[255, 0, 0], [0, 128, 255]]),
        "cmyk.tif": (Image.new("CMYK", (2, 1), (0, 255, 255, 0)), [[255, 0, 0]] * 2),
        "lossless.webp": (rgb, [[255, 0, 0], [0, 128, 255]]),
    }
    for name, (image, expected) in cases.items():
        options = {"lossless": True} if name.endswith("webp") else {}
        assert pixels(load_image(save(tmp_path / name, image, **options))) == expected, name


def test_cmyk_and_progressive_jpeg(tmp_path: Path, photo):
    image = photo(1, 90, 60)
    cmyk = load_image(save(tmp_path / "cmyk.jpg", image.convert("CMYK"), quality=95))
    progressive = load_image(save(tmp_path / "p.jpg", image, quality=95, progressive=True))
    baseline = load_image(save(tmp_path / "b.jpg", image, quality=95))
    np.testing.assert_array_equal(progressive, baseline)
    difference = np.abs(np.asarray(cmyk, float) - np.asarray(image, float))
    assert difference.mean() < 6, "inverted CMYK would be off by a hundred"


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str):
    samples = np.array([[0, 255, 256, 0x8000, 0xFFFF]], np.uint16)
    path = save(tmp_path / f"deep.{suffix}", Image.fromarray(samples))
    assert pixels(load_image(path)) == grey(0, 0, 1, 128, 255)


def test_16_bit_color_scales_as_grey_does(tmp_path: Path):
    samples = np.array([[0x1234, 0xFFFF, 0x00FF], [0x8000, 0, 0x0100]], ">u2")
    path = tmp_path / "deep.png"
    path.write_bytes(png(2, 1, 16, 2, b"\0" + samples.tobytes()))
    assert pixels(load_image(path)) == [[0x12, 0xFF, 0], [0x80, 0, 1]]


def test_12_bit_tiff(tmp_path: Path):
    path = tmp_path / "medical.tif"
    path.write_bytes(tiff_12_bit([0, 0xFFF, 0x800, 0x00F]))
    assert pixels(load_image(path)) == grey(0, 255, 128, 0)


def test_transparent_pixels_are_shown_on_white(tmp_path: Path):
    rgba = Image.fromarray(np.array([[[9, 8, 7, 255], [9, 8, 7, 0], [0, 0, 0, 128]]], np.uint8))
    assert pixels(load_image(save(tmp_path / "alpha.png", rgba))) == [
        [9, 8, 7],
        [255, 255, 255],
        [127, 127, 127],
    ]
    la = Image.fromarray(np.array([[[5, 255], [5, 0]]], np.uint8), "LA")
    assert pixels(load_image(save(tmp_path / "la.png", la))) == grey(5, 255)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    path = save(tmp_path / "p.png", palette, transparency=1)
    assert pixels(load_image(path)) == grey(0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied_once(tmp_path: Path, photo, orientation: int, suffix: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"turned.{suffix}", photo(2, 31, 17), exif=exif)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    loaded = load_image(path)
    np.testing.assert_array_equal(loaded, expected)
    np.testing.assert_array_equal(to_rgb(loaded), expected)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(to_rgb(opened), expected)
    assert loaded.size == ((17, 31) if orientation >= 5 else (31, 17))


def test_exif_that_cannot_be_read_leaves_the_image_upright(tmp_path: Path, photo):
    image = photo(3, 20, 10)
    path = save(tmp_path / "odd.png", image, exif=b"Exif\0\0this is not a TIFF header")
    np.testing.assert_array_equal(load_image(path), image)


def test_phone_photo_with_a_second_picture(tmp_path: Path, photo):
    path = tmp_path / "phone.jpg"
    photo(4, 40, 30).save(path, format="MPO", save_all=True, append_images=[photo(5, 20, 15)], quality=95)
    with Image.open(path) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
    assert load_image(path).size == (40, 30)


def broken_files(folder: Path, photo) -> dict[str, str]:
    """File name to the words its message must have."""
    image = photo(6, 64, 48)
    for name in ("cut.jpg", "cut.png", "cut.webp", "cut.tif", "cut.gif", "cut.bmp"):
        whole = save(folder / name, image).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "text.jpg").write_text("not an image at all, only some words\n" * 20)
    (folder / "empty.jpg").touch()
    (folder / "bomb.png").write_bytes(png(20_000, 20_000, 1, 0, bytes(2501 * 4)))
    (folder / "flat.png").write_bytes(png(0, 5, 8, 2, b"\0" * 5))
    image.save(folder / "moving.gif", save_all=True, append_images=[photo(7, 64, 48)])
    image.save(folder / "moving.png", save_all=True, append_images=[photo(7, 64, 48)])
    image.save(folder / "moving.webp", save_all=True, append_images=[photo(7, 64, 48)])
    image.save(folder / "pages.tif", save_all=True, append_images=[photo(7, 64, 48)])
    Image.fromarray(np.zeros((3, 3), np.float32)).save(folder / "float.tif")
    Image.fromarray(np.zeros((3, 3), np.int32)).save(folder / "int32.tif")
    (folder / "vector.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    (folder / "folder.jpg").mkdir()
    return {
        **{f"cut.{suffix}": "truncated or damaged" for suffix in ("jpg", "png", "webp", "tif", "gif", "bmp")},
        "text.jpg": "no image format",
        "empty.jpg": "an empty file",
        "bomb.png": "at most 200 megapixels",
        "flat.png": "",
        "moving.gif": "2 frames",
        "moving.png": "2 frames",
        "moving.webp": "2 frames",
        "pages.tif": "2 frames or pages",
        "float.tif": "mode F",
        "int32.tif": "mode I",
        "vector.eps": "no image format",
        "folder.jpg": "a folder",
        "missing.jpg": "nothing at",
    }


def test_unusable_files_are_named_with_their_reason(tmp_path: Path, photo, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12_345)
    reasons = broken_files(tmp_path, photo)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, reason in reasons.items():
            with pytest.raises(UserError) as error:
                load_image(tmp_path / name)
            assert str(tmp_path / name) in str(error.value), name
            assert reason in str(error.value), name
    assert Image.MAX_IMAGE_PIXELS == 12_345, "Pillow's own limit must be as it was"


def test_what_pillow_logs_is_not_printed():
    """Python prints an error that no handler takes: "More samples per pixel than can be decoded: 256"."""
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("PIL").handlers)


def test_a_cut_anywhere_is_an_error(tmp_path: Path, photo):
    whole = save(tmp_path / "whole.jpg", photo(8, 64, 48)).read_bytes()
    for length in np.linspace(1, len(whole) - 3, 40, dtype=int):
        (tmp_path / "cut.jpg").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.jpg"):
            load_image(tmp_path / "cut.jpg")


def test_images_in_memory_are_checked_too(tmp_path: Path, photo):
    with pytest.raises(UserError, match="size of 0x5"):
        to_rgb(Image.new("RGB", (0, 5)))
    with pytest.raises(UserError, match="mode F"):
        to_rgb(Image.new("F", (2, 2)))
    whole = save(tmp_path / "whole.jpg", photo(9, 64, 48)).read_bytes()
    with Image.open(io.BytesIO(whole[:-400])) as opened, pytest.raises(UserError, match="truncated"):
        to_rgb(opened)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UserError, match="no ordinary file"):
        load_image(tmp_path / "pipe.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path, photo):
    path = save(tmp_path / "secret.png", photo(1, 8, 8))
    path.chmod(0)
    with pytest.raises(UserError, match="no permission"):
        load_image(path)


def test_largest_sensor_fits_and_one_row_more_does_not(tmp_path: Path, monkeypatch, recwarn):
    monkeypatch.setattr(loading, "MAX_PIXELS", 60 * 40)
    assert load_image(save(tmp_path / "max.png", Image.new("L", (60, 40)))).size == (60, 40)
    with pytest.raises(UserError, match="megapixels"):
        load_image(save(tmp_path / "more.png", Image.new("L", (60, 41))))
    assert not recwarn.list, "Pillow warns from half its limit on"


@pytest.mark.slow
def test_48_megapixels(tmp_path: Path, photo):
    image = photo(1, 800, 600).resize((8000, 6000))
    loaded = load_image(save(tmp_path / "48.jpg", image, quality=90))
    assert loaded.size == (8000, 6000)
    assert abs(np.asarray(loaded, np.float32).mean() - np.asarray(image, np.float32).mean()) < 0.5


def test_find_images(tmp_path: Path, photo):
    image = photo(1, 8, 8)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("b.PNG", "a.jpg", "deep/c.webp", "deep/er/d.tiff", ".hidden/e.png"):
        save(tmp_path / name, image)
    for name in ("notes.txt", "._a.jpg", "model.tflite", "paper.pdf", "figure.eps"):
        (tmp_path / name).write_text("x")
    paths = find_images([tmp_path])
    assert [str(p.relative_to(tmp_path)) for p in paths] == [
        "a.jpg",
        "b.PNG",
        "deep/c.webp",
        "deep/er/d.tiff",
    ]
    odd = tmp_path / "notes.txt"
    assert find_images([odd, tmp_path / "b.PNG", tmp_path])[:2] == [odd, tmp_path / "b.PNG"]
    assert len(find_images([tmp_path, tmp_path / "a.jpg", str(tmp_path)])) == 4
    with pytest.raises(UserError, match="nothing at"):
        find_images([tmp_path / "missing"])
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="at least one image"):
        find_images([tmp_path / "none"])


def test_real_photos_load_upright(real_photos: list[Path]):
    for path in real_photos[:5]:
        with Image.open(path) as opened:
            expected = ImageOps.exif_transpose(opened).convert("RGB")
        np.testing.assert_array_equal(load_image(path), expected)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("g16_white0.tif", "ref_grey.png"),
        ("g8_white0.tif", "ref_grey.png"),
        ("alpha0_desc0.tga", "alpha0_reference.png"),
        ("g16_trns.png", "g8_trns.png"),
    ],
)
def test_files_that_show_the_same_picture(shared_case, stored: str, shown: str):
    np.testing.assert_array_equal(load_image(shared_case(stored)), load_image(shared_case(shown)))


@pytest.mark.parametrize(
    ("name", "words"),
    [("phone.dng", "preview"), ("bad_crc_rgba.png", "damaged"), ("header_only.HEIC", "HEIC")],
)
def test_files_that_show_no_photo(shared_case, name: str, words: str):
    with pytest.raises(UserError, match=words):
        load_image(shared_case(name))


def test_files_whose_pixels_are_whole(shared_case):
    assert load_image(shared_case("good_rgba.png")).size == (120, 88)
    odd = shared_case("xmp_None_2_None.tif")
    pixels = np.frombuffer(odd.read_bytes()[332:], np.uint8).reshape(160, 256, 3)
    np.testing.assert_array_equal(load_image(odd), pixels)


@pytest.mark.parametrize("at", [(0, 0), (9, 5)])
def test_a_gif_whose_frame_leaves_part_of_its_canvas_bare(tmp_path: Path, photo, at: tuple[int, int]):
    stored = io.BytesIO()
    photo(4, 40, 30).quantize(64).save(stored, "GIF")
    content = bytearray(stored.getvalue())
    shown = np.asarray(Image.open(stored).convert("RGB"))
    frame = content.index(b",\0\0\0\0")
    content[6:10] = struct.pack("<HH", 60, 50)
    content[frame + 1 : frame + 5] = struct.pack("<HH", *at)
    (tmp_path / "frame.gif").write_bytes(content)
    expected = np.full((50, 60, 3), 255, np.uint8)
    expected[at[1] : at[1] + 30, at[0] : at[0] + 40] = shown
    np.testing.assert_array_equal(load_image(tmp_path / "frame.gif"), expected)


def test_a_length_that_no_memory_holds_is_one_line(tmp_path: Path) -> None:
    """JPEG 2000's boxes may say 64-bit lengths, which Pillow's reader asks for at once."""
    path = tmp_path / "box.jp2"
    signature = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    path.write_bytes(signature + b"\0\0\0\1jp2h" + (1 << 60).to_bytes(8, "big") + b"\0" * 64)
    with pytest.raises(UserError, match=r"box\.jp2.*a length that asks for more than there is"):
        load_image(path)
