"""What a model expects and what its score means: ModelSpec and InputSpec (no torch).

The spec is part of a model's identity: it is saved with a checkpoint and inside every converted file, and
`mobileiqa.preprocess.prepare` needs nothing else. Input size is a property of the checkpoint, never a global.
"""

import dataclasses
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mobileiqa.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Fit(StrEnum):
    """How an image becomes height_px x width_px."""

    RESIZE = "resize"  # the whole image, aspect ratio not kept
    CENTER_CROP = "center_crop"  # the centre, zero padded (before normalisation) where the image is smaller
    RANDOM_CROPS = "random_crops"  # resize to resize_px (height, width), then `crops` seeded random crops


class Resample(StrEnum):
    """Pillow's filters, antialiased when they shrink."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


class ColorSpace(StrEnum):
    """RGB, or one of OpenCV's 8-bit conversions (H in 0..179, LAB scaled to 0..255)."""

    RGB = "rgb"
    HSV = "hsv"
    LAB = "lab"
    YUV = "yuv"


class ColorManagement(StrEnum):
    """What the numbers of a photo with a colour profile mean before they become an input."""

    SRGB = "srgb"  # converted to sRGB, as a phone's Bitmap or CGImage holds it
    AS_STORED = "as_stored"  # the profile is not looked at: for weights that were trained so


@dataclass(frozen=True)
class InputSpec:
    """One named input: float32 NCHW, (crops, 3, height_px, width_px), value (pixel / 255 - mean) / std."""

    name: str
    height_px: int
    width_px: int
    fit: Fit = Fit.RESIZE
    resample: Resample = Resample.BICUBIC
    color_space: ColorSpace = ColorSpace.RGB
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crops: int = 1
    resize_px: tuple[int, int] | None = None  # (height, width) before random crops

    def __post_init__(self) -> None:
        object.__setattr__(self, "fit", Fit(self.fit))
        object.__setattr__(self, "resample", Resample(self.resample))
        object.__setattr__(self, "color_space", ColorSpace(self.color_space))
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        if self.resize_px is not None:
            object.__setattr__(self, "resize_px", tuple(int(v) for v in self.resize_px))
        if self.height_px < 1 or self.width_px < 1 or self.crops < 1:
            raise ValueError(f"input {self.name!r}: size and crops must be positive, got {self}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"input {self.name!r}: mean and std need three values, std positive")
        if (self.fit is Fit.RANDOM_CROPS) != (self.resize_px is not None):
            raise ValueError(f"input {self.name!r}: resize_px goes with random_crops, and only with it")
        if self.crops > 1 and self.fit is not Fit.RANDOM_CROPS:
            raise ValueError(f"input {self.name!r}: {self.crops} crops need random_crops, got {self.fit}")
        if self.resize_px is not None and not self._crops_fit(*self.resize_px):
            crop, resized = f"{self.width_px}x{self.height_px}", "{1}x{0}".format(*self.resize_px)
            raise ValueError(f"input {self.name!r}: crops of {crop} do not fit an image resized to {resized}")

    def _crops_fit(self, height_px: int, width_px: int) -> bool:
        return height_px >= self.height_px and width_px >= self.width_px

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """NCHW shape of the array that `prepare` makes for one image."""
        return (self.crops, 3, self.height_px, self.width_px)


@dataclass(frozen=True)
class ModelSpec:
    """What a checkpoint is: its inputs, and what its score means; an image scores the mean over its crops."""

    name: str
    inputs: tuple[InputSpec, ...]
    score_range: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    license: str = ""
    origin: str = ""
    trained_on: str = ""  # empty: untrained
    color_management: ColorManagement = ColorManagement.SRGB

    def __post_init__(self) -> None:
        object.__setattr__(self, "color_management", ColorManagement(self.color_management))
        names = [i.name for i in self.inputs]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"model {self.name!r}: input names must be present and distinct, got {names}")
        low, high = self.score_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"model {self.name!r}: score_range must be finite, low < high, got {low}..{high}"
            )

    @property
    def untrained(self) -> bool:
        """True when the weights were never trained: good for latency and parity only."""
        return not self.trained_on

    @property
    def size_is_free(self) -> bool:
        """True for one input that is resized or a centre crop: such a model scores images of any size.

        Random crops feed fully connected layers, and the sizes of several inputs belong together.
        """
        return len(self.inputs) == 1 and self.inputs[0].fit is not Fit.RANDOM_CROPS

    def resized(self, width_px: int, height_px: int) -> "ModelSpec":
        """The same model at another input size. Raises UserError where the size is not free."""
        if not self.size_is_free:
            shapes = ", ".join(f"{i.name} {i.width_px}x{i.height_px} ({i.fit})" for i in self.inputs)
            raise UserError(
                f"a model with one input, resized or centre cropped, for --size {width_px}x{height_px}",
                f"{self.name} with {shapes}",
                "leave --size out, or give each of several inputs a size, such as 64x64,64x64",
            )
        return self._with((width_px, height_px))

    def sized(self, text: str) -> "ModelSpec":
        """The same model at the size `WxH`, or at one for each input, `WxH,WxH`. UserError where that does not fit."""
        sizes = [parse_size(each) for each in text.split(",")]
        if len(sizes) == 1:
            return self.resized(*sizes[0])
        if len(sizes) != len(self.inputs) or any(i.fit is Fit.RANDOM_CROPS for i in self.inputs):
            names = ", ".join(f"{i.name} ({i.fit})" for i in self.inputs)
            raise UserError(
                f"a size for each input of {self.name}: {names}", f"{len(sizes)} sizes", "correct --size"
            )
        return self._with(*sizes)

    def _with(self, *sizes: tuple[int, int]) -> "ModelSpec":
        """Every input at its (width_px, height_px)."""
        inputs = (
            dataclasses.replace(wanted, width_px=width, height_px=height)
            for wanted, (width, height) in zip(self.inputs, sizes, strict=True)
        )
        return dataclasses.replace(self, inputs=tuple(inputs))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_json` reverses it."""
        return dataclasses.asdict(self)


def from_json(data: dict[str, Any]) -> ModelSpec:
    """The ModelSpec of `to_json`'s dict. Raises UserError when fields are missing, unknown or malformed."""
    try:
        inputs = tuple(InputSpec(**entry) for entry in data["inputs"])
        rest = {k: v for k, v in data.items() if k != "inputs"}
        if "score_range" in rest:
            low, high = rest["score_range"]
            rest["score_range"] = (float(low), float(high))
        return ModelSpec(inputs=inputs, **rest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            "a model spec as mobileiqa writes it",
            f"{type(error).__name__}: {error}",
            "convert or save the model again with this version",
        ) from error


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` as (width_px, height_px); each 32..8192."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and 32 <= int(width) <= 8192 and 32 <= int(height) <= 8192):
        raise UserError(
            "a size as WIDTHxHEIGHT, each 32..8192 pixels, such as 1271x820", repr(text), "correct --size"
        )
    return int(width), int(height)
