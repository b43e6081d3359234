"""JPEG and JPEG2000, by Pillow's own encoders: libjpeg-turbo and OpenJPEG."""

import io

import numpy as np
from PIL import Image

from mobileiqa.distortions.pixels import Pixels


def jpeg2000(rgb: Pixels, ratio: float, rng: np.random.Generator) -> Pixels:
    """9: compressed to 1/ratio of the raw size, with the irreversible 9/7 wavelet."""
    return _decode(encode_jpeg2000(rgb, ratio), "JPEG2000")


def jpeg(rgb: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """10: quality 1..100, colour at half resolution (4:2:0)."""
    return _decode(encode_jpeg(rgb, int(quality)), "JPEG")


def encode_jpeg2000(rgb: Pixels, ratio: float) -> bytes:
    """The file's bytes."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(
        file, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[ratio]
    )
    return file.getvalue()


def encode_jpeg(rgb: Pixels, quality: int) -> bytes:
    """The file's bytes."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _decode(data: bytes, form: str) -> Pixels:
    return np.array(Image.open(io.BytesIO(data), formats=(form,)))
