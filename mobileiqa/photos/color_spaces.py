"""OpenCV's 8-bit RGB to HSV / LAB / YUV, bit for bit, in numpy alone.

LAR-IQA was trained on `cv2.cvtColor`'s 8-bit output, so its fixed-point arithmetic (not the textbook
formulas) is part of the model. Every one of the 2^24 colours gives the same bytes as OpenCV 5.0's RGB2HSV,
RGB2LAB and RGB2YUV; a base install needs no OpenCV. Constants: OpenCV, modules/imgproc/src/color_*.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mobileiqa.spec import ColorSpace

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]

_BAND_PX = 1 << 18  # pixels converted at once: about 10 MB of int32 temporaries, whatever the image's size


def convert(rgb: Bytes, space: ColorSpace) -> Bytes:
    """8-bit RGB, (height, width, 3), in another colour space, same shape and type.

    H is 0..179 (degrees / 2), S and V 0..255; L is scaled from 0..100 to 0..255, a and b are offset by 128;
    Y is 0..255, U and V are offset by 128. RGB is returned as it is. Memory beyond the result: about 10 MB.
    Raises ValueError for another shape or type.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3); found {rgb.dtype} {rgb.shape}")
    space = ColorSpace(space)
    if space is ColorSpace.RGB:
        return rgb
    pixels = rgb.reshape(-1, 3)
    out = np.empty_like(pixels)
    for start in range(0, len(pixels), _BAND_PX):
        band = slice(start, start + _BAND_PX)
        r, g, b = pixels[band].T.astype(np.int32)
        for channel, values in enumerate(_CONVERSIONS[space](r, g, b)):
            out[band, channel] = np.clip(values, 0, 255)
    return out.reshape(rgb.shape)


def _descale(values: Ints, bits: int) -> Ints:
    """values / 2^bits, rounded half up."""
    return (values + (1 << (bits - 1))) >> bits


def _hsv(r: Ints, g: Ints, b: Ints) -> tuple[Ints, Ints, Ints]:
    s_scale, h_scale = _hsv_tables()
    value = np.maximum(np.maximum(r, g), b)
    spread = value - np.minimum(np.minimum(r, g), b)
    saturation = _descale(spread * s_scale[value], 12)
    # The first channel that equals the maximum wins, in the order r, g, b.
    sector = np.where(value == r, g - b, np.where(value == g, b - r + 2 * spread, r - g + 4 * spread))
    hue = _descale(sector * h_scale[spread], 12)
    return np.where(hue < 0, hue + 180, hue), saturation, value


@cache
def _hsv_tables() -> tuple[Ints, Ints]:
    """Rounded 2^12 * 255 / i and 2^12 * 180 / (6 i), for i in 0..255; entry 0 is 0."""
    divisor = np.arange(1, 256)
    s_scale, h_scale = np.zeros((2, 256), np.int32)
    s_scale[1:] = np.rint((255 << 12) / divisor)
    h_scale[1:] = np.rint((180 << 12) / (6 * divisor))
    return s_scale, h_scale


def _lab(r: Ints, g: Ints, b: Ints) -> tuple[Ints, Ints, Ints]:
    linear, root = _lab_tables()
    r, g, b = linear[r], linear[g], linear[b]
    # sRGB to XYZ over the D65 white, times 2^12: each row sums to 2^12, so greys have a = b = 128.
    fx = root[_descale(1777 * r + 1541 * g + 778 * b, 12)]
    fy = root[_descale(871 * r + 2929 * g + 296 * b, 12)]
    fz = root[_descale(73 * r + 448 * g + 3575 * b, 12)]
    lightness = _descale(296 * fy - 1336934, 15)  # (116 f - 16) * 255 / 100
    return lightness, _descale(500 * (fx - fy) + (128 << 15), 15), _descale(200 * (fy - fz) + (128 << 15), 15)


@cache
def _lab_tables() -> tuple[Ints, Ints]:
    """Byte to linear light times 8 * 255, and linear light (0..1.5 times 8 * 255) to CIE f times 2^15."""
    s = np.arange(256) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    t = np.arange(256 * 3 // 2 * 8) / (8 * 255)
    root = np.rint(32768 * np.where(t < 216 / 24389, t * 841 / 108 + 16 / 116, np.cbrt(t))).astype(np.int32)
    # OpenCV fills this table in float32: the only two of its entries that come out differently,
    # both within 2e-4 of a tie.
    root[49] -= 1
    root[628] += 1
    return np.rint(8 * 255 * linear).astype(np.int32), root


def _yuv(r: Ints, g: Ints, b: Ints) -> tuple[Ints, Ints, Ints]:
    y = _descale(4899 * r + 9617 * g + 1868 * b, 14)
    return y, _descale(8061 * (b - y) + (128 << 14), 14), _descale(14369 * (r - y) + (128 << 14), 14)


_CONVERSIONS: dict[ColorSpace, Callable[[Ints, Ints, Ints], tuple[Ints, Ints, Ints]]] = {
    ColorSpace.HSV: _hsv,
    ColorSpace.LAB: _lab,
    ColorSpace.YUV: _yuv,
}
