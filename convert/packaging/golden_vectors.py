"""Golden vectors: images that any language can draw with integers, and the outputs that the file must give them.

They are stored in the file, as JSON in the metadata entry `mobileiqa_golden`, with the formulas below: an app can
check on its own phone that the file, the runtime and its own image handling work together. The scores are those
of the file that was packaged, prepared by mobileiqa.preprocess: the graph's own preprocessing is what they test.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer.reader import Graph
from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.scoring.embedded_preprocessing import Size

ENTRY = "mobileiqa_golden"
AGAIN = "package the model again with `python -m convert.package`"
BAND = 256  # rows drawn at once: the numbers of a 12 megapixel image would be 300 MB

# Of the score range: a phone's kernels sum in another order; FP16 ones round to 11 bits (convert.comparison.compare).
TOLERANCES = {"fp32": 1e-3, "fp16": 5e-3, "int8": 1e-2}

Grid = NDArray[np.uint32]
Draw = Callable[[Grid, Grid, Grid, int, int], Grid]  # x, y, channel, width, height -> value


def _ramp(x: Grid, y: Grid, c: Grid, width: int, height: int) -> Grid:
    across, down = (
        x * np.uint32(255) // np.uint32(max(width - 1, 1)),
        y * np.uint32(255) // np.uint32(max(height - 1, 1)),
    )
    return np.where(c == 0, across, np.where(c == 1, down, (across + down) // np.uint32(2)))


def _tiles(x: Grid, y: Grid, c: Grid, width: int, height: int) -> Grid:
    return (
        x // np.uint32(16) * np.uint32(73) + y // np.uint32(16) * np.uint32(151) + c * np.uint32(37)
    ) & np.uint32(255)


def _noise(x: Grid, y: Grid, c: Grid, width: int, height: int) -> Grid:
    mixed = (y * np.uint32(width) + x) * np.uint32(3) + c
    mixed = mixed * np.uint32(2654435769)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)
    return mixed >> np.uint32(24)


# What `value` is at column x, row y and channel c (0, 1, 2: red, green, blue), in unsigned 32-bit arithmetic.
IMAGES: dict[str, tuple[Draw, str]] = {
    "ramp": (_ramp, "a = x * 255 / (w - 1); b = y * 255 / (h - 1); c == 0 ? a : c == 1 ? b : (a + b) / 2"),
    "tiles": (_tiles, "(x / 16 * 73 + y / 16 * 151 + c * 37) & 255"),
    "noise": (_noise, "m = ((y * w + x) * 3 + c) * 2654435769; m = (m ^ m >> 15) * 2246822519; m >> 24"),
}


@dataclass(frozen=True)
class GoldenSize:
    """One size's signature, and its golden scores and reasons by image."""

    signature: str
    width_px: int = field(metadata={"range": (1, 32768)})
    height_px: int = field(metadata={"range": (1, 32768)})
    scores: dict[str, float] = field(metadata={"range": (-1e9, 1e9)})
    reasons: dict[str, tuple[float, ...]] = field(default_factory=dict, metadata={"range": (-1e9, 1e9)})

    def outputs(self, image: str) -> NDArray[np.float64]:
        """The score and the probabilities of the reasons, (1 + reasons,)."""
        return np.array([self.scores[image], *self.reasons.get(image, ())])


@dataclass(frozen=True)
class Vectors:
    """The entry's content, as `vectors` makes it; `tolerance` in score units."""

    arithmetic: str
    images: dict[str, str]
    tolerance: float = field(metadata={"range": (0, 1e9)})
    sizes: tuple[GoldenSize, ...]


def read(graph: Graph) -> Vectors:
    """The golden vectors in a file. Raises UserError where there are none, or none that this version can draw."""
    source = f"the golden vectors of {graph.path}"
    content = typed_json.parse_object(graph.metadata.get(ENTRY, b"null").rstrip(b"\0"), source, AGAIN)
    stored = typed_json.decode(Vectors, content, source, AGAIN)
    if unknown := [name for size in stored.sizes for name in size.scores if name not in IMAGES]:
        raise UserError(f"images among {', '.join(IMAGES)} in {source}", repr(unknown[0]), AGAIN)
    return stored


def draw(name: str, width: int, height: int) -> NDArray[np.uint8]:
    """The golden image `name`: uint8 (height, width, 3) RGB."""
    picture = np.empty((height, width, 3), np.uint8)
    x = np.arange(width, dtype=np.uint32)[:, None]
    channel = np.arange(3, dtype=np.uint32)
    for top in range(0, height, BAND):
        y = np.arange(top, min(top + BAND, height), dtype=np.uint32)[:, None, None]
        picture[top : top + BAND] = IMAGES[name][0](x, y, channel, width, height)
    return picture


def compare(
    outputs: NDArray[np.floating], expected: NDArray[np.floating], tolerance: float
) -> tuple[bool, str]:
    """Whether score and reasons, (1 + reasons,), are the golden ones, and the figures. NaN never is."""
    if outputs.shape != expected.shape:
        return False, f"{len(outputs) - 1} reasons, expected {len(expected) - 1}"
    errors = np.abs(outputs - expected)
    figures = f"{outputs[0]:.6f}, expected {expected[0]:.6f} within {tolerance:g}"
    if len(errors) > 1:
        figures += f"; reasons off by {errors[1:].max():.6f} at most"
    return bool((errors <= tolerance).all()), figures


def vectors(
    outputs: Callable[[NDArray[np.uint8]], NDArray[np.float64]], sizes: Sequence[Size], tolerance: float
) -> dict[str, Any]:
    """The entry's content: every image's formula, and its score and reasons in every size.

    outputs: an image's score and reasons, (1 + reasons,). `tolerance` in score units; reasons share it.
    """

    def golden(size: Size) -> dict[str, Any]:
        values = {name: [float(each) for each in outputs(draw(name, *size.pixels))] for name in IMAGES}
        reasons = {name: value[1:] for name, value in values.items() if value[1:]}
        scores = {name: value[0] for name, value in values.items()}
        return {**asdict(size), "scores": scores, **({"reasons": reasons} if reasons else {})}

    return {
        "arithmetic": "unsigned 32 bits, wrapping; / rounds down",
        "images": {name: formula for name, (_, formula) in IMAGES.items()},
        "tolerance": tolerance,
        "sizes": [golden(size) for size in sizes],
    }
