"""Colour profiles against the arithmetic of their standards, done here without ICC."""

import dataclasses
import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from mobileiqa.photos.color_profiles import CODED_PRIMARIES, D65, ColorTags, matrix_profile, to_srgb
from mobileiqa.photos.loading import load_image, to_rgb
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ColorManagement, InputSpec, ModelSpec
from tests.mobileiqa.photos.test_samples import png

P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
WHITE = (0.3127, 0.3290)
ADOBE_GAMMA = 563 / 256


def to_xyz(primaries: tuple) -> np.ndarray:
    points = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (*primaries, WHITE)]).T
    return points[:, :3] * np.linalg.solve(points[:, :3], points[:, 3])


def decoded(levels: np.ndarray, gamma: float | None) -> np.ndarray:
    v = levels / 255
    return v**gamma if gamma else np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray, gamma: float | None = None) -> np.ndarray:
    v = light.clip(0, 1)
    curve = v ** (1 / gamma) if gamma else np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055)
    return (curve * 255).round().astype(np.uint8)


def converted(pixels: np.ndarray, source: tuple, target: tuple, gammas: tuple) -> np.ndarray:
    """RGB of one set of primaries as RGB of another, both of white D65."""
    matrix = np.linalg.solve(to_xyz(target), to_xyz(source))
    return encoded(decoded(pixels, gammas[0]) @ matrix.T, gammas[1])


def worst(image: Image.Image, expected: np.ndarray) -> int:
    return int(np.abs(np.asarray(image, int) - expected).max())


def tag(name: bytes, content: bytes) -> tuple[bytes, bytes]:
    return name, content


def icc(space: bytes, tags: list[tuple[bytes, bytes]], pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """A version 2 profile, written here so that the project's own writer is not its own judge."""
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags:
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, kind, space, pcs)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def curve(*values: int) -> bytes:
    return struct.pack(f">4s4xI{len(values)}H", b"curv", len(values), *values)


def xyz(*values: float) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(value * 65536) for value in values))


def rgb_profile(primaries: tuple, trc: bytes) -> bytes:
    """Matrix and curves, adapted to D50 by the chromatic adaptation of Bradford."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d65 = to_xyz(primaries) @ np.ones(3)
    scale = np.diag((bradford @ [0.9642, 1, 0.8249]) / (bradford @ d65))
    columns = (np.linalg.inv(bradford) @ scale @ bradford @ to_xyz(primaries)).T
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = [tag(name, xyz(*column)) for name, column in zip(names, columns, strict=True)]
    tags += [tag(name, trc) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return icc(b"RGB ", [tag(b"wtpt", xyz(0.9642, 1, 0.8249)), *tags])


SRGB_CURVE = curve(*(round(float(v) * 65535) for v in decoded(np.linspace(0, 255, 1024), None)))
P3_PROFILE = rgb_profile(P3, SRGB_CURVE)
ADOBE_PROFILE = rgb_profile(ADOBE, curve(563))
SRGB_PROFILE = rgb_profile(SRGB, SRGB_CURVE)


def cmyk_profile() -> bytes:
    """A LUT of 9 grid points: inks that multiply, on a black of L* 12; Lab is what LUT profiles connect through."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    paper = (1 - grid[:, :3] * 0.97) * (1 - grid[:, 3:] * 0.97)
    light = 0.013 + 0.987 * paper**1.5
    bradford_free = light @ to_xyz(SRGB).T / (to_xyz(SRGB) @ np.ones(3))
    cube = np.where(bradford_free > 0.008856, np.cbrt(bradford_free), 7.787 * bradford_free + 16 / 116)
    lab = np.stack(
        [116 * cube[:, 1] - 16, 500 * (cube[:, 0] - cube[:, 1]), 200 * (cube[:, 1] - cube[:, 2])], -1
    )
    codes = np.stack([lab[:, 0] / 100 * 65280, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256], -1)
    table = struct.pack(">4s4xBBBx9i", b"mft2", 4, 3, 9, 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table += struct.pack(">HH", 2, 2) + struct.pack(">8H", *([0, 65535] * 4))
    table += codes.round().clip(0, 65535).astype(">u2").tobytes() + struct.pack(">6H", *([0, 65535] * 3))
    tags = [tag(b"wtpt", xyz(0.9642, 1, 0.8249)), tag(b"A2B0", table), tag(b"A2B1", table)]
    return icc(b"CMYK", tags, b"Lab ", b"spac")  # a printer's has the way back too


def save(path: Path, image: Image.Image, profile: bytes | None, **options) -> Path:
    image.save(path, icc_profile=profile, **options)
    return path


LOSSLESS = {"png": {}, "tif": {}, "webp": {"lossless": True, "exact": True}}


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize(
    ("profile", "primaries", "gamma"), [(P3_PROFILE, P3, None), (ADOBE_PROFILE, ADOBE, ADOBE_GAMMA)]
)
def test_wide_rgb_is_converted_as_its_standard_says(tmp_path: Path, photo, suffix, profile, primaries, gamma):
    image = photo(1, 80, 60)
    expected = converted(np.asarray(image), primaries, SRGB, (gamma, None))
    path = save(tmp_path / f"wide.{suffix}", image, profile, **LOSSLESS[suffix])
    assert worst(load_image(path), expected) <= 2
    assert worst(load_image(path, ColorManagement.AS_STORED), np.asarray(image)) == 0
    with Image.open(path) as opened:
        assert worst(to_rgb(opened), expected) <= 2
    loaded = load_image(path)
    np.testing.assert_array_equal(to_rgb(loaded), loaded, err_msg="converted once, not twice")


def test_what_an_srgb_photo_becomes_in_another_space_and_back(tmp_path: Path, photo):
    image = photo(2, 120, 90)
    for profile, primaries, gamma in ((P3_PROFILE, P3, None), (ADOBE_PROFILE, ADOBE, ADOBE_GAMMA)):
        stored = Image.fromarray(converted(np.asarray(image), SRGB, primaries, (None, gamma)))
        back = load_image(save(tmp_path / "wide.png", stored, profile))
        assert np.abs(np.asarray(back, int) - np.asarray(image)).mean() < 0.6
        assert np.abs(np.asarray(stored, int) - np.asarray(image)).mean() > 3, "the space is another one"


def test_profiles_that_are_srgb_leave_every_pixel(tmp_path: Path, photo):
    compact = rgb_profile(
        SRGB, curve(*(round(float(v) * 65535) for v in decoded(np.linspace(0, 255, 64), None)))
    )
    built_in = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = photo(3, 60, 40)
    for profile in (SRGB_PROFILE, compact, built_in, matrix_profile(CODED_PRIMARIES[1], D65, None)):
        path = save(tmp_path / "same.png", image, profile)
        np.testing.assert_array_equal(load_image(path), image)


def test_grey_profiles_and_grey_pictures(tmp_path: Path, photo):
    image = photo(4, 60, 40).convert("L")
    linear = encoded(np.asarray(image) / 255)
    white = tag(b"wtpt", xyz(0.9642, 1, 0.8249))
    profiles = {"grey": icc(b"GRAY", [white, tag(b"kTRC", curve())]), "rgb": rgb_profile(SRGB, curve())}
    for name, profile in profiles.items():
        assert worst(load_image(save(tmp_path / f"{name}.png", image, profile)), linear[..., None]) <= 1, name
    deep = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    assert worst(load_image(save(tmp_path / "deep.tif", deep, profiles["grey"])), linear[..., None]) <= 1
    alpha = Image.merge("LA", (image, Image.new("L", image.size, 255)))
    assert worst(load_image(save(tmp_path / "la.png", alpha, profiles["grey"])), linear[..., None]) <= 1
    bits = image.point(lambda level: 255 * (level > 90)).convert("1")
    assert (
        worst(load_image(save(tmp_path / "1.png", bits, profiles["grey"])), np.asarray(bits)[..., None] * 255)
        == 0
    )


def test_transparent_pixels_are_white_after_the_conversion(tmp_path: Path):
    rgba = Image.fromarray(np.array([[[200, 30, 30, 255], [200, 30, 30, 0], [200, 30, 30, 128]]], np.uint8))
    solid = converted(np.array([[200, 30, 30]]), P3, SRGB, (None, None))[0].astype(int)
    loaded = np.asarray(load_image(save(tmp_path / "a.png", rgba, P3_PROFILE)), int)[0]
    assert np.abs(loaded[0] - solid).max() <= 1 and (loaded[1] == 255).all()
    assert np.abs(loaded[2] - (solid * 128 + 255 * 127) / 255).max() <= 2


def test_palette_and_16_bit_colors(tmp_path: Path, photo):
    image = photo(5, 60, 40).quantize(32)
    expected = converted(np.asarray(image.convert("RGB")), P3, SRGB, (None, None))
    assert worst(load_image(save(tmp_path / "p.png", image, P3_PROFILE)), expected) <= 2
    samples = (np.asarray(image.convert("RGB")).astype(">u2") * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    iccp = (b"iCCP", b"x\0\0" + zlib.compress(P3_PROFILE))
    (tmp_path / "deep.png").write_bytes(png(60, 40, 16, 2, rows, iccp))
    assert worst(load_image(tmp_path / "deep.png"), expected) <= 2


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk_with_a_profile(tmp_path: Path, suffix: str):
    inks = np.stack(np.meshgrid(*[np.linspace(0, 255, 3).astype(np.uint8)] * 4), -1).reshape(9, 9, 4)
    image = Image.fromarray(np.repeat(np.repeat(inks, 16, 0), 16, 1), "CMYK")
    options = {"quality": 100} if suffix == "jpg" else {}
    profile = cmyk_profile()
    loaded = np.asarray(load_image(save(tmp_path / f"c.{suffix}", image, profile, **options)), int)[
        8::16, 8::16
    ]
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), "CMYK", "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    expected = np.asarray(transform.apply(Image.fromarray(inks, "CMYK")), int)
    assert np.abs(loaded - expected).max() <= (0 if suffix == "tif" else 6)
    naive = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"), int)
    assert np.abs(expected - naive).mean() > 5, "the profile matters"
    by_level = loaded.reshape(-1, 3).sum(-1)
    darkest = inks.reshape(-1, 4).astype(int).sum(-1).argmax()
    assert by_level[darkest] <= 6, "black is black: its own black point is compensated"
    assert by_level.max() >= 3 * 253, "paper is white"


def test_cmyk_without_a_profile_is_as_pillow_has_it(tmp_path: Path, photo):
    image = photo(6, 30, 20).convert("CMYK")
    np.testing.assert_array_equal(load_image(save(tmp_path / "c.tif", image, None)), image.convert("RGB"))


def test_lab_tiff(tmp_path: Path, photo):
    image = photo(7, 60, 40)
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    path = save(tmp_path / "lab.tif", to_lab.apply(image), None)
    assert np.abs(np.asarray(load_image(path), int) - np.asarray(image)).mean() < 2


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", P3_PROFILE[:200]), ("RGB", b"no profile at all"), ("RGB", cmyk_profile()),
        ("RGB", icc(b"GRAY", [(b"kTRC", curve())])), ("CMYK", P3_PROFILE), ("L", cmyk_profile()),
        ("RGB", P3_PROFILE[:12] + b"link" + P3_PROFILE[16:]), ("RGB", icc(b"RGB ", [])),
    ],
)  # fmt: skip
def test_a_profile_that_says_nothing_about_the_pixels_is_said(tmp_path, photo, caplog, mode, profile):
    image = photo(8, 30, 20).convert(mode)
    path = save(tmp_path / "odd.tif", image, profile)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load_image(path), image.convert("RGB"))
    assert str(path) in caplog.text and "taken as sRGB, as phones do" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(load_image(path, ColorManagement.AS_STORED), image.convert("RGB"))
    assert not caplog.text


def chrm(*points: tuple[float, float]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(v * 100_000) for point in points for v in point))


def gama(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


@pytest.mark.parametrize(
    ("extra", "primaries", "gamma"),
    {
        "gAMA of sRGB": ([gama(0.45455)], SRGB, None),
        "linear": ([gama(1.0)], SRGB, 1.0),
        "old Mac": ([gama(1 / 1.8)], SRGB, 1.8),
        "P3": ([gama(0.45455), chrm(WHITE, *P3)], P3, None),
        "Adobe": ([gama(1 / ADOBE_GAMMA * 0.97), chrm(WHITE, *ADOBE)], ADOBE, ADOBE_GAMMA / 0.97),
        "sRGB wins": ([gama(1.0), chrm(WHITE, *P3), (b"sRGB", b"\0")], SRGB, None),
        "cICP wins": ([(b"cICP", bytes([12, 13, 0, 1])), (b"sRGB", b"\0")], P3, None),
        "cICP of BT.709": ([(b"cICP", bytes([1, 1, 0, 1])), gama(1.0)], SRGB, None),
        "nonsense": ([gama(0)], SRGB, None),
    }.values(),
)
def test_png_chunks(tmp_path: Path, photo, extra, primaries, gamma):
    pixels = np.asarray(photo(9, 30, 20))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    (tmp_path / "x.png").write_bytes(png(30, 20, 8, 2, rows, *extra))
    same = primaries is SRGB and gamma is None
    expected = pixels if same else converted(pixels, primaries, SRGB, (gamma, None))
    assert worst(load_image(tmp_path / "x.png"), expected) <= (0 if same else 2)


def test_a_profile_in_a_jpeg_2000(tmp_path: Path, photo):
    image = photo(13, 64, 48)
    file = io.BytesIO()
    try:
        image.save(file, "JPEG2000")
    except (KeyError, OSError):
        pytest.skip("this Pillow writes no JPEG 2000")
    content = file.getvalue()
    at = content.index(b"colr") - 4
    length = int.from_bytes(content[at : at + 4])
    box = struct.pack(">I4s3B", 11 + len(P3_PROFILE), b"colr", 2, 0, 0) + P3_PROFILE
    header = content.index(b"jp2h") - 4
    grown = int.from_bytes(content[header : header + 4]) + len(box) - length
    content = (
        content[:header] + struct.pack(">I", grown) + content[header + 4 : at] + box + content[at + length :]
    )
    (tmp_path / "p3.jp2").write_bytes(content)
    assert worst(load_image(tmp_path / "p3.jp2"), converted(np.asarray(image), P3, SRGB, (None, None))) <= 2


def test_the_photo_of_an_mpo_is_converted(tmp_path: Path, photo):
    path = tmp_path / "phone.jpg"
    more = {"save_all": True, "append_images": [photo(14, 20, 15)]}
    photo(15, 64, 48).save(path, "MPO", quality=100, subsampling=0, icc_profile=P3_PROFILE, **more)
    expected = converted(np.asarray(Image.open(path)), P3, SRGB, (None, None))
    assert worst(load_image(path), expected) <= 2


@pytest.mark.parametrize(("primaries", "space"), [(1, SRGB), (2, SRGB), (12, P3)])
def test_colors_coded_in_an_avif(tmp_path: Path, photo, primaries: int, space: tuple):
    file = io.BytesIO()
    try:
        photo(12, 64, 48).save(file, "AVIF", quality=100, subsampling="4:4:4")
    except (KeyError, OSError, ValueError):
        pytest.skip("this Pillow writes no AVIF")
    content = bytearray(file.getvalue())
    at = content.index(b"colrnclx") + 8
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    content[at : at + 4] = struct.pack(">HH", primaries, 13)
    (tmp_path / "coded.avif").write_bytes(content)
    expected = pixels if space is SRGB else converted(pixels, space, SRGB, (None, None))
    assert worst(load_image(tmp_path / "coded.avif"), expected) <= (0 if space is SRGB else 2)


@pytest.mark.parametrize("extra", [chrm((0.3, 0.3), (0.3, 0.3), (0.3, 0.3), (0.3, 0.3)), chrm(WHITE, *[(0.2, 0)] * 3),
                                   (b"cICP", bytes([9, 16, 0, 1]))])  # fmt: skip
def test_png_chunks_that_describe_no_picture(tmp_path: Path, photo, caplog, extra):
    pixels = np.asarray(photo(9, 30, 20))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    (tmp_path / "x.png").write_bytes(png(30, 20, 8, 2, rows, extra))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load_image(tmp_path / "x.png"), pixels)
    assert "taken as sRGB" in caplog.text


def test_a_spec_decides_for_prepare(tmp_path: Path, photo):
    image = photo(10, 40, 40)
    path = save(tmp_path / "wide.png", image, P3_PROFILE)
    spec = ModelSpec("x", (InputSpec("image", 40, 40, mean=(0, 0, 0), std=(1, 1, 1)),))
    stored = dataclasses.replace(spec, color_management="as_stored")
    with Image.open(path) as one, Image.open(path) as other:
        assert np.array_equal(prepare(path, spec)["image"], prepare(one, spec)["image"])
        assert np.array_equal(prepare(path, stored)["image"], prepare(other, stored)["image"])
    plain = np.asarray(image).transpose(2, 0, 1)[None] / np.float32(255)
    np.testing.assert_allclose(prepare(path, stored)["image"], plain, atol=1e-6)
    assert np.abs(prepare(path, spec)["image"] - plain).max() > 0.05


def test_to_srgb_leaves_its_argument(photo):
    image = photo(11, 20, 10)
    before = np.asarray(image).copy()
    to_srgb(image, ColorTags(P3_PROFILE))
    np.testing.assert_array_equal(image, before)


def test_phone_photos_keep_every_pixel(real_photos: list[Path]):
    for path in real_photos[::3]:
        np.testing.assert_array_equal(load_image(path), load_image(path, ColorManagement.AS_STORED))
