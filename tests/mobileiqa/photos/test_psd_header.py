"""Photoshop files whose flattened picture is not what its samples look like."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mobileiqa.errors import UserError
from mobileiqa.photos.loading import load_image

HEIGHT, WIDTH = 6, 16
GREY = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
RGB = [GREY, GREY + 50, GREY + 100]
HALF = np.where(np.arange(WIDTH) < 8, 255, 0).astype(np.uint8)[None].repeat(HEIGHT, 0)


def psd(
    mode: int, planes: Sequence[np.ndarray], depth: int = 8, resources: bytes = b"", layers: bytes = b""
) -> bytes:
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, len(planes), HEIGHT, WIDTH, depth, mode) + bytes(4)
    sections = b"".join(struct.pack(">I", len(part)) + part for part in (resources, layers))
    return head + sections + b"\0\0" + b"".join(plane.tobytes() for plane in planes)


def layer_info(count: int) -> bytes:
    return struct.pack(">Ih", 2, count)


def version_info(has_picture: bool, name: bytes = b"") -> bytes:
    named = bytes([len(name)]) + name
    named += b"\0" * (len(named) % 2)
    other = b"8BIM" + struct.pack(">H", 1005) + named + struct.pack(">I", 3) + b"abc\0"
    return (
        other
        + b"8BIM"
        + struct.pack(">H", 1057)
        + b"\0\0"
        + struct.pack(">IIB8x", 13, 1, has_picture)
        + b"\0"
    )


def test_ones_of_a_bitmap_are_black(tmp_path: Path):
    black = GREY % 3 == 0
    (tmp_path / "scan.psd").write_bytes(psd(0, [np.packbits(black, axis=1)], depth=1))
    np.testing.assert_array_equal(
        np.asarray(load_image(tmp_path / "scan.psd"))[..., 0], np.where(black, 0, 255)
    )


@pytest.mark.parametrize(("count", "is_transparent"), [(0, False), (2, False), (-1, True), (-3, True)])
@pytest.mark.parametrize("behind", [False, True])
def test_a_fourth_channel_is_transparency_where_the_layers_say_so(
    tmp_path: Path, count: int, is_transparent: bool, behind: bool
):
    info = layer_info(count)
    layers = bytes(4) + bytes(4) + b"8BIMLr16" + info if behind else info
    (tmp_path / "cut_out.psd").write_bytes(psd(3, [*RGB, HALF], layers=layers))
    expected = np.stack(RGB, axis=-1)
    if is_transparent:
        expected = np.where(HALF[..., None] > 0, expected, 255)
    np.testing.assert_array_equal(load_image(tmp_path / "cut_out.psd"), expected)


def test_a_file_without_layers_has_no_transparency(tmp_path: Path):
    (tmp_path / "flat.psd").write_bytes(psd(3, [*RGB, HALF]))
    np.testing.assert_array_equal(load_image(tmp_path / "flat.psd"), np.stack(RGB, axis=-1))


@pytest.mark.parametrize("name", [b"", b"a", b"ab"])
def test_a_file_without_its_flattened_picture(tmp_path: Path, name: bytes):
    sheet = np.full((HEIGHT, WIDTH), 255, np.uint8)
    (tmp_path / "layers.psd").write_bytes(psd(3, [sheet] * 3, resources=version_info(False, name)))
    with pytest.raises(UserError, match="Maximize Compatibility"):
        load_image(tmp_path / "layers.psd")
    (tmp_path / "flat.psd").write_bytes(psd(3, RGB, resources=version_info(True, name)))
    np.testing.assert_array_equal(load_image(tmp_path / "flat.psd"), np.stack(RGB, axis=-1))


def test_inks_are_no_picture(tmp_path: Path):
    (tmp_path / "inks.psd").write_bytes(psd(7, RGB))
    with pytest.raises(UserError, match="multichannel"):
        load_image(tmp_path / "inks.psd")
