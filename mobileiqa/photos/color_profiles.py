"""Colour profiles: a picture's numbers as sRGB, which is what a phone's Bitmap or CGImage holds.

Relative colorimetric with black point compensation, through LittleCMS (PIL.ImageCms). A profile that is sRGB under
another name leaves every pixel as it is. What a picture says of its colours counts in this order: PNG's cICP, an ICC
profile, PNG's sRGB chunk, PNG's cHRM and gAMA (as Android and browsers do; a gAMA of 1/2.2 is how writers of the
nineties said sRGB). A picture that says nothing, or whose profile is damaged or of another colour model, is taken
as sRGB, as phones do; of the latter a line is logged. Not honoured, as on Android: Exif's ColorSpace.
"""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from mobileiqa.errors import UserError

Chromaticity = tuple[float, float]

SAME = (
    3  # 8-bit levels by which no colour moves under a profile that is sRGB: rounded tables, not another space
)
_COMPENSATED = ImageCms.Flags.BLACKPOINTCOMPENSATION
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # an ICC colour space, and Pillow's mode of it
_NO_SPACE = frozenset(
    {"link", "abst", "nmcl"}
)  # device classes that do not say what a picture's numbers mean
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # ICC's parametric curve of type 3
_OLD_SRGB_GAMMA = 1 / 2.2

D65: Chromaticity = (0.3127, 0.3290)
# Red, green and blue of ITU-T H.273's colour primaries, white D65.
CODED_PRIMARIES: dict[int, tuple[Chromaticity, ...]] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),  # BT.709, sRGB
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # BT.601, 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # BT.601, 525 lines
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
# H.273's transfer functions as a power; None: sRGB's curve, which screens show for the camera curves too.
_CODED_GAMMA: dict[int, float | None] = {
    **dict.fromkeys((1, 6, 13, 14, 15), None),
    4: 2.2,
    5: 2.8,
    8: 1.0,
}


class ProfileError(ValueError):
    """A profile that does not say what the picture's numbers mean; the message says why."""


@dataclass(frozen=True)
class ColorTags:
    """What a file says of its colours, beside its pixels."""

    profile: bytes | None = None
    coding: tuple[int, int] | None = None  # PNG's cICP
    is_srgb: bool = False  # PNG's sRGB chunk
    gamma: float | None = None  # PNG's gAMA: the exponent of encoding, 0.45455 for 1/2.2
    chromaticity: Sequence[float] | None = None  # PNG's cHRM: x and y of white, red, green, blue

    def icc(self) -> bytes | None:
        """The ICC profile to convert from; None: sRGB. Raises ProfileError for a coding that no profile describes."""
        if self.coding is not None:
            return _coded_profile(*self.coding)
        if self.profile is not None:
            return self.profile
        if self.is_srgb or not (self.gamma or self.chromaticity):
            return None
        white, *primaries = _points(self.chromaticity) if self.chromaticity else (D65, *CODED_PRIMARIES[1])
        gamma = None
        if self.gamma and abs(self.gamma / _OLD_SRGB_GAMMA - 1) > 0.01:
            gamma = 1 / self.gamma
        return matrix_profile(tuple(primaries), white, gamma)


def to_srgb(image: Image.Image, tags: ColorTags) -> Image.Image:
    """`image` (mode L, RGB or CMYK, 8 bits; or LAB) as mode RGB, its numbers being sRGB's; itself where it is that.

    Raises ProfileError where the profile is damaged or of another colour model than the picture.
    """
    profile = tags.icc()
    if image.mode == "LAB":
        return _converted(image, _lab_transform())
    if profile is None:
        return _as_rgb(image)
    space = _space(profile)
    if space == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if _MODES.get(space) != image.mode:
        raise ProfileError(f"its colour profile is for {space}, its pixels are {image.mode}")
    transform = _transform(profile, image.mode)
    return _as_rgb(image) if transform is None else _converted(image, transform)


def _as_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")  # a copy of a large photo takes time


def _converted(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    out = Image.new("RGB", image.size)
    transform.apply(image, out)
    return out


@lru_cache(maxsize=64)
def _space(profile: bytes) -> str:
    """The colour space of the numbers that the profile describes: "RGB", "GRAY", "CMYK"..."""
    opened = _opened(profile)
    if opened.profile.device_class in _NO_SPACE:
        raise ProfileError(f"its colour profile is of the class {opened.profile.device_class!r}")
    return opened.profile.xcolor_space.strip()


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From `mode` to sRGB; None where no colour would move by more than SAME levels."""
    try:
        transform = _built(_opened(profile), mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ProfileError(f"its colour profile is damaged ({error})") from error
    if mode == "CMYK":
        return transform
    probe = _probe(mode)
    moved = np.abs(
        np.asarray(_converted(probe, transform), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
    )
    return None if moved.max() <= SAME else transform


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return _built(ImageCms.createProfile("LAB"), "LAB")


def _built(
    profile: "ImageCms.ImageCmsProfile | ImageCms.core.CmsProfile", mode: str
) -> ImageCms.ImageCmsTransform:
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, _COMPENSATED)


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    if not features.check("littlecms2"):
        raise UserError(
            "Pillow with LittleCMS, to convert a colour profile", "one without", "install Pillow's wheel"
        )
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (OSError, ValueError, TypeError) as error:
        raise ProfileError(f"its colour profile is damaged ({error})") from error


def _probe(mode: str) -> Image.Image:
    """Every grey level, and of RGB 9x9x9 colours too."""
    greys = np.arange(256, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(greys[None])
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    return Image.fromarray(np.concatenate([np.stack([greys] * 3, axis=-1), colors])[None])


def _coded_profile(primaries: int, transfer: int) -> bytes:
    """The profile of cICP's two numbers, full range."""
    if primaries == 2 or transfer == 2:  # unspecified
        return matrix_profile(CODED_PRIMARIES[1], D65, None)
    if primaries not in CODED_PRIMARIES or transfer not in _CODED_GAMMA:
        raise ProfileError(
            f"its colours are coded as ITU-T H.273's primaries {primaries}, transfer {transfer}"
        )
    return matrix_profile(CODED_PRIMARIES[primaries], D65, _CODED_GAMMA[transfer])


def _points(values: Sequence[float]) -> list[Chromaticity]:
    if len(values) != 8:
        raise ProfileError(f"its chromaticities are {len(values)} numbers")
    return [(float(x), float(y)) for x, y in zip(values[::2], values[1::2], strict=True)]


@lru_cache(maxsize=16)
def matrix_profile(primaries: tuple[Chromaticity, ...], white: Chromaticity, gamma: float | None) -> bytes:
    """An ICC profile (version 4) of an RGB space: red, green and blue, white, and a power or sRGB's curve (None).

    Raises ProfileError for primaries that span no space. ICC.1:2022, 8.3 and annex E.
    """
    curve = (
        struct.pack(">4s4xI", b"para", 0) if gamma is not None else struct.pack(">4s4xI", b"para", 3 << 16)
    )
    curve += _fixed(*((gamma,) if gamma is not None else _SRGB_CURVE))
    columns = _adapted_primaries(primaries, white)
    text = "mobileiqa".encode("utf-16-be")
    description = struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": description, b"cprt": description, b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _assembled(tags)


def _adapted_primaries(primaries: tuple[Chromaticity, ...], white: Chromaticity) -> NDArray[np.float64]:
    """(3, 3): the XYZ of red, green and blue in columns, adapted to D50 (Bradford)."""
    if min(y for _, y in (*primaries, white)) <= 0:
        raise ProfileError("its chromaticities are no colours")
    points = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    target = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    try:
        columns = points * np.linalg.solve(points, target)
    except np.linalg.LinAlgError as error:
        raise ProfileError("its chromaticities span no space") from error
    scale = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ target)
    adapted = np.linalg.solve(_BRADFORD, scale[:, None] * (_BRADFORD @ columns))
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 100:
        raise ProfileError("its chromaticities span no space")
    return adapted


def _xyz(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return struct.pack(">4s4x", b"XYZ ") + _fixed(*values)


def _fixed(*values: float) -> bytes:
    """ICC's s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _assembled(tags: dict[bytes, bytes]) -> bytes:
    """The header and the table before the tags' contents; every content starts at a multiple of 4."""
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12s4s24x", start + len(body), 0x04300000, b"mntr", b"RGB ", b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp",
    )  # fmt: skip
    header = (header + struct.pack(">I", 1) + _fixed(*_D50)).ljust(128, b"\0")
    return header + struct.pack(">I", len(tags)) + table + body
