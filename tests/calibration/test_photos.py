"""What is measured of an image, against figures known by construction."""

import io

import numpy as np
import pytest
from PIL import Image

from calibration.photos import difference_hash, measure, pixels_sha256, read_photos, refuse_unreadable
from mobileiqa.errors import UserError


def bits_apart(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def test_luminance_and_saturation_are_exact():
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:5] = 255  # half white, half black
    pixels[0, :, 0] = 128  # a twentieth of the pixels lose their red
    result = measure(Image.fromarray(pixels), "half.png")
    assert result.white == pytest.approx(0.5 - 20 / 600, abs=1e-4)
    assert result.black == 0.5
    cyan = round(0.299 * 128 + (0.587 + 0.114) * 255)  # BT.601
    assert result.luminance == pytest.approx((80 * 255 + 20 * cyan) / 200 / 255, abs=2e-3)
    assert (result.width_px, result.height_px, result.megapixels) == (20, 10, 0.0002)


def test_pixels_hash_tells_shapes_apart_and_not_files(photo, tmp_path):
    picture = photo(1, 40, 20)
    for name in ("a.png", "b.bmp"):
        picture.save(tmp_path / name)
    (a, b), broken = read_photos([tmp_path / "a.png", tmp_path / "b.bmp"], tmp_path, "test")
    assert not broken and (a.id, b.id) == ("a.png", "b.bmp")
    assert a.sha256 != b.sha256 and a.pixels_sha256 == b.pixels_sha256 == pixels_sha256(picture)
    same_bytes = Image.frombytes("RGB", (20, 40), picture.tobytes())
    assert pixels_sha256(same_bytes) != a.pixels_sha256


def test_difference_hash_survives_compression_and_size_but_not_another_picture(photo):
    picture = photo(3, 300, 200)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=30)
    original = difference_hash(picture.convert("L"))
    assert bits_apart(original, difference_hash(Image.open(file).convert("L"))) <= 6
    assert bits_apart(original, difference_hash(picture.resize((200, 133)).convert("L"))) <= 6
    assert bits_apart(original, difference_hash(photo(4, 300, 200).convert("L"))) > 20


def test_flat_pictures_have_no_difference_hash():
    noise = np.random.default_rng(0).integers(100, 104, (90, 90), dtype=np.uint8)
    assert difference_hash(Image.fromarray(noise)) == ""


@pytest.mark.parametrize(("mode", "grey"), [("L", True), ("RGB", False), ("1", True), ("CMYK", False)])
def test_images_of_every_mode_are_measured_as_they_look(photo, tmp_path, mode: str, grey: bool):
    path = tmp_path / "x.tiff"
    photo(2, 60, 60).convert(mode).save(path)
    (result,), broken = read_photos([path], tmp_path, "test")
    assert not broken and result.grey is grey
    assert result.luminance == pytest.approx(measure(photo(2, 60, 60), "x").luminance, abs=0.05)


def test_a_grey_photo_is_grey_after_jpeg_colour_noise(photo):
    file = io.BytesIO()
    pixels = np.asarray(photo(2, 200, 160).convert("L").convert("RGB")).astype(int)
    noisy = pixels + np.random.default_rng(0).normal(0, 3, pixels.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=60)
    assert measure(Image.open(file).convert("RGB"), "grey.jpg").grey


def test_orientation_is_applied_before_measuring(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(1, 40, 20).save(tmp_path / "turned.png", exif=exif)
    (result,), _ = read_photos([tmp_path / "turned.png"], tmp_path, "test")
    assert (result.width_px, result.height_px) == (20, 40)


def test_unreadable_images_are_listed_and_refused_unless_skipped(photo, tmp_path, capsys):
    photo(1, 40, 40).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:200])
    (tmp_path / "empty.png").touch()
    names = ("cut.png", "empty.png", "good.png")
    photos, broken = read_photos([tmp_path / name for name in names], tmp_path, "test")
    assert [p.id for p in photos] == ["good.png"] and [b.id for b in broken] == ["cut.png", "empty.png"]
    with pytest.raises(UserError, match=r"found 2 that cannot \(cut.png, ...\)"):
        refuse_unreadable(broken, 3, skip=False)
    refuse_unreadable(broken, 3, skip=True)
    assert capsys.readouterr().err.count("left out empty.png: expected an image") == 2
