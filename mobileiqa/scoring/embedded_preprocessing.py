"""What a file of convert.package takes: an image's bytes, in one size or several.

Each size is a subgraph of its own with a signature of its own; all of them share the weights. The first is the
file's default subgraph. A file of one size calls its signature serving_default, as float files do.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import preprocess, typed_json
from mobileiqa.errors import UserError
from mobileiqa.photos.loading import Pixels, as_array, size_of
from mobileiqa.spec import MAX_SIDE_PX, ModelSpec

AGAIN = "package the model again"
_SIDE = {"range": (1, MAX_SIDE_PX)}


@dataclass(frozen=True)
class Size:
    """One size of the image, and the signature that takes it."""

    signature: str
    width_px: int = field(metadata=_SIDE)
    height_px: int = field(metadata=_SIDE)

    @property
    def pixels(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width_px, self.height_px

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}"


@dataclass(frozen=True)
class EmbeddedPreprocessing:
    """The file's metadata entry `delivery`. `fitted`: the app resizes or crops to the one size, the model's own."""

    input: str  # name of the image, uint8 (1, height_px, width_px, 3) RGB, in every signature
    fitted: bool
    source_sha256: str  # of the file with float inputs
    sizes: tuple[Size, ...]  # the first one's subgraph is the default

    def __post_init__(self) -> None:
        different = {size.signature for size in self.sizes}, {size.pixels for size in self.sizes}
        if not self.sizes or min(map(len, different)) < len(self.sizes):
            raise ValueError("sizes: one or more, each with a signature of its own")

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


def from_json(data: Any, file: str) -> EmbeddedPreprocessing:
    """The EmbeddedPreprocessing of `to_json`'s dict. Raises UserError, naming `file`, for anything else."""
    return typed_json.decode(EmbeddedPreprocessing, data, f"the embedded preprocessing of {file}", AGAIN)


def inputs_of(
    embedded: EmbeddedPreprocessing, spec: ModelSpec, file: str
) -> Callable[[Pixels], dict[str, NDArray[np.uint8]]]:
    """How an upright RGB photo becomes the one input of `file`; a photo of another size is a UserError."""

    def prepare(rgb: Pixels) -> dict[str, NDArray[np.uint8]]:
        if embedded.fitted:
            (rgb,) = preprocess.fit_pixels(rgb, spec.inputs[0])
        width, height = size_of(rgb)
        if (width, height) not in [size.pixels for size in embedded.sizes]:
            raise UserError(
                f"a photo of {embedded}, which {file} was made for",
                f"{width}x{height}",
                "package the model for this size too, or score with the float file",
            )
        return {embedded.input: as_array(rgb)[None]}

    return prepare
