"""What a file of convert.delivery takes: the camera's bytes, in one size or several.

Each size is a subgraph of its own with a signature of its own; all of them share the weights. The first is the
file's default subgraph. A file of one size calls its signature serving_default, as float files do.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa import preprocess
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec


@dataclass(frozen=True)
class Size:
    """One size of the camera's image, and the signature that takes it."""

    signature: str
    width_px: int
    height_px: int

    @property
    def pixels(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width_px, self.height_px

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}"


@dataclass(frozen=True)
class Delivery:
    """The file's metadata entry `delivery`. `fitted`: the app resizes or crops to the one size, the model's own."""

    input: str  # name of the image, uint8 (1, height_px, width_px, 3) RGB, in every signature
    fitted: bool
    source_sha256: str  # of the file with float inputs
    sizes: tuple[Size, ...]  # the first one's subgraph is the default

    def __str__(self) -> str:
        return " or ".join(map(str, self.sizes))

    @property
    def described(self) -> str:
        """What the file takes, for people."""
        where = "the app resizes or crops to it" if self.fitted else "resize and crop in the graph"
        return f"one uint8 RGB image of {self} ({where})"

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_json` reverses it."""
        return dataclasses.asdict(self)


def from_json(data: Any, file: str) -> Delivery:
    """The Delivery of `to_json`'s dict. Raises UserError, naming `file`, for anything else."""
    try:
        sizes = tuple(
            Size(str(s["signature"]), int(s["width_px"]), int(s["height_px"])) for s in data["sizes"]
        )
        found = Delivery(str(data["input"]), bool(data["fitted"]), str(data["source_sha256"]), sizes)
        if not sizes:
            raise ValueError("no sizes")
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'"input", "fitted", "source_sha256" and "sizes" in the delivery metadata of {file}',
            f"{type(error).__name__}: {error}",
            "deliver the model again",
        ) from error


def inputs_of(
    delivery: Delivery, spec: ModelSpec, file: str
) -> Callable[[Image.Image], dict[str, NDArray[np.uint8]]]:
    """How an upright RGB photo becomes the one input of `file`; a photo of another size is a UserError."""

    def prepare(rgb: Image.Image) -> dict[str, NDArray[np.uint8]]:
        if delivery.fitted:
            (rgb,) = preprocess.fit_pixels(rgb, spec.inputs[0])
        if rgb.size not in [size.pixels for size in delivery.sizes]:
            raise UserError(
                f"a photo of {delivery}, which {file} was made for",
                f"{rgb.width}x{rgb.height}",
                "deliver the model for this size too, or score with the float file",
            )
        return {delivery.input: np.asarray(rgb)[None]}

    return prepare
