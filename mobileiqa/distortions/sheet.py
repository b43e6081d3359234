"""A contact sheet: what the distortions do, at a glance.

A page and no picture, so that nothing that looks for images takes it for one of the set's.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mobileiqa import cli
from mobileiqa.photos.loading import load_image
from mobileiqa.text import escape, plot_text

TILE_PX = 192  # shown pixel by pixel: noise and blur do not survive shrinking
_GAP_PX = 6
_DPI = 100
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 1.9, 0.1, 0.7, 0.1


def draw(
    path: Path,
    rows: Sequence[Sequence[Path]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    title: str,
) -> None:
    """Writes an HTML page, atomically: the middle of every image of `rows`, all of one size, in a labelled grid."""
    grid = np.concatenate([np.concatenate([_tile(image) for image in row], axis=1) for row in rows])
    height, width = (n / _DPI for n in grid.shape[:2])
    size = width + _LEFT_IN + _RIGHT_IN, height + _TOP_IN + _BOTTOM_IN
    figure = Figure(figsize=size, dpi=_DPI)
    axes = figure.add_axes(
        (_LEFT_IN / size[0], _BOTTOM_IN / size[1], width / size[0], height / size[1])
    )  # one grid pixel is one pixel of the file
    axes.imshow(grid, interpolation="nearest")
    axes.set_xticks(_middles(grid.shape[1], len(column_names)), [plot_text(name) for name in column_names])
    axes.set_yticks(_middles(grid.shape[0], len(row_names)), [plot_text(name) for name in row_names])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    figure.text(0.1 / size[0], 1 - 0.3 / size[1], plot_text(title), fontsize=13)
    file = io.BytesIO()
    figure.savefig(file, dpi=_DPI, format="png")
    with cli.atomic(path) as temporary:
        temporary.write_text(_page(title, file.getvalue()), encoding="utf-8", errors="backslashreplace")


def _page(title: str, png: bytes) -> str:
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return f'{head}<img alt="{escape(title)}" src="{source}"></html>\n'


def _tile(path: Path) -> NDArray[np.uint8]:
    """The middle TILE_PX square, or what there is of it, with a white margin."""
    pixels = np.asarray(load_image(path))
    top, left = (max(0, (n - TILE_PX) // 2) for n in pixels.shape[:2])
    middle = pixels[top : top + TILE_PX, left : left + TILE_PX]
    return np.pad(middle, ((_GAP_PX // 2,) * 2, (_GAP_PX // 2,) * 2, (0, 0)), constant_values=255)


def _middles(length: int, count: int) -> NDArray[np.float64]:
    return (np.arange(count) + 0.5) * length / count
