"""What a model expects and what its score means: ModelSpec and InputSpec (no torch).

The spec is part of a model's identity: it is saved with a checkpoint and inside every converted file, and
`mobileiqa.preprocess.prepare` needs nothing else. Input size is a property of the checkpoint, never a global.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.training_record import TrainingRecord

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SIDE_PX = 8192
MAX_PIXELS = MAX_SIDE_PX**2  # of all crops together: 805 MB of float32
MAX_INPUTS = 16
MIN_WIDTH = 1e-6  # of a score range: scores are divided by it
MAX_WORDS = 4096  # characters of a description
MAX_SCALES = 8
MAX_REASONS = 64
PATCH_PX = 32  # of a token
PATCH_VALUES = 3 * PATCH_PX**2
TOKEN_COLUMNS = PATCH_VALUES + 3  # place, scale, mask: see mobileiqa.tokens

_SIDE = {"range": (1, MAX_SIDE_PX)}
# A name becomes part of file names, of tensors' names and of generated sources: no slash, quote or backslash.
_NAME = re.compile(r"\w[\w .+()-]{0,127}")


class Fit(StrEnum):
    """How an image becomes height_px x width_px."""

    RESIZE = "resize"  # the whole image, aspect ratio not kept
    CENTER_CROP = "center_crop"  # the centre, zero padded (before normalisation) where the image is smaller
    RANDOM_CROPS = "random_crops"  # resize to resize_px (height, width), then `crops` seeded random crops
    FRAGMENTS = "fragments"  # a mosaic of native patches of patch_px, from a grid over the whole image
    MULTI_SCALE = "multi_scale"  # tokens of the image at the longest sides scales_px and at its own size


class Resample(StrEnum):
    """Pillow's filters, antialiased when they shrink; those of multi_scale are others (mobileiqa.tokens)."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"
    GAUSSIAN = "gaussian"  # TensorFlow's, with multi_scale only


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
    """One named input: float32 NCHW, (crops, 3, height_px, width_px), value (pixel / 255 - mean) / std.

    With multi_scale it is (1, tokens, 3075), as many as the image has; a larger image than height_px x width_px is
    first shrunk into it.
    """

    name: str
    height_px: int = field(metadata=_SIDE)
    width_px: int = field(metadata=_SIDE)
    fit: Fit = Fit.RESIZE
    resample: Resample = Resample.BICUBIC
    color_space: ColorSpace = ColorSpace.RGB
    mean: tuple[float, float, float] = field(default=IMAGENET_MEAN, metadata={"range": (-1e6, 1e6)})
    std: tuple[float, float, float] = field(default=IMAGENET_STD, metadata={"range": (1e-6, 1e6)})
    crops: int = field(default=1, metadata={"range": (1, 1024)})
    resize_px: tuple[int, int] | None = field(
        default=None, metadata=_SIDE
    )  # (height, width) before random crops
    scales_px: tuple[int, ...] = field(default=(), metadata=_SIDE)  # longest sides, with multi_scale
    patch_px: int = field(default=0, metadata={"range": (0, MAX_SIDE_PX)})  # side of a patch, with fragments
    fixed_size: bool = False  # fully connected layers leave no other size
    of_reference: bool = False  # made of the pristine original, not of the image that is judged

    def __post_init__(self) -> None:
        _check_fields(self, f"input {self.name!r}")
        if self.crops * self.height_px * self.width_px > MAX_PIXELS:
            raise ValueError(
                f"input {self.name!r}: {self.crops} crops of {self.width_px}x{self.height_px} pixels, "
                f"more than {MAX_PIXELS} in all"
            )
        if (self.fit is Fit.RANDOM_CROPS) != (self.resize_px is not None):
            raise ValueError(f"input {self.name!r}: resize_px goes with random_crops, and only with it")
        if self.crops > 1 and self.fit is not Fit.RANDOM_CROPS:
            raise ValueError(f"input {self.name!r}: {self.crops} crops need random_crops, got {self.fit}")
        if self.resize_px is not None and not self._crops_fit(*self.resize_px):
            crop, resized = f"{self.width_px}x{self.height_px}", "{1}x{0}".format(*self.resize_px)
            raise ValueError(f"input {self.name!r}: crops of {crop} do not fit an image resized to {resized}")
        self._check_patches()
        self._check_tokens()

    def _check_patches(self) -> None:
        if (self.fit is Fit.FRAGMENTS) != (self.patch_px > 0):
            raise ValueError(f"input {self.name!r}: patch_px goes with fragments, and only with it")
        if self.patch_px and (self.height_px % self.patch_px or self.width_px % self.patch_px):
            raise ValueError(
                f"input {self.name!r}: {self.width_px}x{self.height_px} is no mosaic of {self.patch_px} px patches"
            )

    def _check_tokens(self) -> None:
        tokens = self.fit is Fit.MULTI_SCALE
        if self.scales_px and not tokens:
            raise ValueError(f"input {self.name!r}: scales_px goes with multi_scale only")
        if len(self.scales_px) > MAX_SCALES or sorted(set(self.scales_px)) != list(self.scales_px):
            raise ValueError(f"input {self.name!r}: scales_px needs at most {MAX_SCALES} sides, ascending")
        filters = (Resample.BICUBIC, Resample.GAUSSIAN) if tokens else tuple(Resample)[:3]
        if self.resample not in filters:
            raise ValueError(
                f"input {self.name!r}: {self.fit} needs {' or '.join(filters)}, got {self.resample}"
            )

    def _crops_fit(self, height_px: int, width_px: int) -> bool:
        return height_px >= self.height_px and width_px >= self.width_px

    @property
    def shape(self) -> tuple[int, ...]:
        """NCHW shape of the array that `prepare` makes for one image; of tokens, the most that there can be."""
        if self.fit is Fit.MULTI_SCALE:
            areas = [(side, side) for side in self.scales_px] + [(self.height_px, self.width_px)]
            return (1, sum(-(-h // PATCH_PX) * -(-w // PATCH_PX) for h, w in areas), TOKEN_COLUMNS)
        return (self.crops, 3, self.height_px, self.width_px)


@dataclass(frozen=True)
class ModelSpec:
    """What a checkpoint is: its inputs, and what its score means; an image scores the mean over its crops."""

    name: str
    inputs: tuple[InputSpec, ...]
    score_range: tuple[float, float] = field(default=(0.0, 1.0), metadata={"range": (-1e9, 1e9)})
    higher_is_better: bool = True
    license: str = ""
    origin: str = ""
    trained_on: str = ""  # empty: untrained
    color_management: ColorManagement = ColorManagement.SRGB
    training: TrainingRecord | None = None  # which images it was trained on; None: not recorded
    takes_reference: bool = False  # it can also be given the pristine original: `with_reference`
    reasons: tuple[str, ...] = ()  # defects that a second output gives the probabilities of, in its order

    def __post_init__(self) -> None:
        where = f"model {self.name!r}"
        _check_fields(self, where)
        for name in ("license", "origin", "trained_on"):
            words = getattr(self, name)
            if not words.isprintable() or len(words) > MAX_WORDS:
                raise ValueError(f"{where}: {name} needs printable words, at most {MAX_WORDS} characters")
        names = [i.name for i in self.inputs]
        if not 1 <= len(names) <= MAX_INPUTS or len(set(names)) != len(names):
            raise ValueError(
                f"{where}: input names must be present and distinct, at most {MAX_INPUTS}, got {names[:MAX_INPUTS]}"
            )
        self._check_reasons(where)
        low, high = self.score_range
        if high - low < MIN_WIDTH:
            raise ValueError(
                f"{where}: score_range must be finite, low < high by {MIN_WIDTH:g} or more, got {low}..{high}"
            )

    def _check_reasons(self, where: str) -> None:
        odd = [name for name in self.reasons if not _NAME.fullmatch(name)]
        if odd or len(set(self.reasons)) != len(self.reasons) or len(self.reasons) > MAX_REASONS:
            raise ValueError(
                f"{where}: reasons need distinct names of letters and digits, at most {MAX_REASONS}, "
                f"got {typed_json.shortened(str(odd or self.reasons), 100)}"
            )

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the model gives for an image: "score", and "reasons", one probability for each name in `reasons`."""
        return ("score", "reasons") if self.reasons else ("score",)

    @property
    def untrained(self) -> bool:
        """True when the weights were never trained: good for latency and parity only."""
        return not self.trained_on

    @property
    def size_is_free(self) -> bool:
        """True for one input that is resized or a centre crop: such a model scores images of any size.

        Random crops and inputs of a fixed size feed fully connected layers; sizes of several inputs belong together.
        """
        only = self.inputs[0]
        return len(self.inputs) == 1 and only.fit is not Fit.RANDOM_CROPS and not only.fixed_size

    def with_reference(self) -> "ModelSpec":
        """The same model, judging an image beside its pristine original. UserError for one that cannot."""
        if not self.takes_reference or any(each.of_reference for each in self.inputs):
            raise UserError("a model that takes a reference image", self.name, "leave the reference out")
        (image,) = self.inputs
        original = dataclasses.replace(image, name="reference", of_reference=True)
        return dataclasses.replace(self, inputs=(image, original))

    def resized(self, width_px: int, height_px: int) -> "ModelSpec":
        """The same model at another input size. Raises UserError where the size is not free."""
        only = self._only_size
        if only is not None and (width_px, height_px) != only:
            expected = f"the size {only[0]}x{only[1]} for {self.name}, which its layers fix"
            raise UserError(expected, f"--size {width_px}x{height_px}", "leave --size out")
        if only is None and not self.size_is_free:
            shapes = ", ".join(f"{i.name} {i.width_px}x{i.height_px} ({i.fit})" for i in self.inputs)
            own = ",".join(f"{i.width_px}x{i.height_px}" for i in self.inputs)
            raise UserError(
                f"a model with one input, resized or centre cropped, for --size {width_px}x{height_px}",
                f"{self.name} with {shapes}",
                "leave --size out" + (f", or size every input: --size {own}" if self._sizes_are_free else ""),
            )
        return self._with(*[(width_px, height_px)] * len(self.inputs))

    def sized(self, text: str) -> "ModelSpec":
        """The same model at the size `WxH`, or at one for each input, `WxH,WxH`. UserError where that does not fit."""
        sizes = [parse_size(each) for each in text.split(",")]
        if len(sizes) == 1:
            return self.resized(*sizes[0])
        if len(sizes) != len(self.inputs) or not self._sizes_are_free:
            names = ", ".join(f"{i.name} ({i.fit})" for i in self.inputs)
            raise UserError(
                f"a size for each input of {self.name}: {names}", f"{len(sizes)} sizes", "correct --size"
            )
        for i, (width, height) in zip(self.inputs, sizes, strict=True):
            if i.patch_px and (width % i.patch_px or height % i.patch_px):
                expected = f"multiples of {i.patch_px} pixels for {i.name}, a mosaic of such patches"
                raise UserError(expected, f"{width}x{height}", "correct --size")
        return self._with(*sizes)

    @property
    def _sizes_are_free(self) -> bool:
        """Whether every input may have another size, each its own."""
        return not any(i.fit is Fit.RANDOM_CROPS or i.fixed_size for i in self.inputs)

    @property
    def _only_size(self) -> tuple[int, int] | None:
        """(width_px, height_px) of a model whose inputs all have this one size and are made of whole images."""
        sizes = {(i.width_px, i.height_px) for i in self.inputs if i.fixed_size}
        return sizes.pop() if len(sizes) == 1 and all(i.fixed_size for i in self.inputs) else None

    def _with(self, *sizes: tuple[int, int]) -> "ModelSpec":
        """Every input at its (width_px, height_px)."""
        inputs = (
            dataclasses.replace(input_spec, width_px=width, height_px=height)
            for input_spec, (width, height) in zip(self.inputs, sizes, strict=True)
        )
        return dataclasses.replace(self, inputs=tuple(inputs))

    def in_color_space(self, space: ColorSpace) -> "ModelSpec":
        """The same model, every input in another colour space."""
        inputs = tuple(dataclasses.replace(each, color_space=space) for each in self.inputs)
        return dataclasses.replace(self, inputs=inputs)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_json` reverses it. Without a training record there is no such key."""
        content = dataclasses.asdict(self)
        for name in ("training", "takes_reference", "reasons"):
            if not content[name]:
                del content[name]
        for model_input in content["inputs"]:
            for name in ("scales_px", "patch_px", "fixed_size", "of_reference"):
                if not model_input[name]:
                    del model_input[name]  # few inputs have it, and earlier versions do not know it
        return content

    def differences(self, other: "ModelSpec") -> list[tuple[str, Any, Any]]:
        """(field, this one's value, the other's) where they differ, inputs one by one, such as "image.mean".

        Inputs of other names, or another number of them, are the one field "inputs".
        """
        mine, theirs = self.to_json(), other.to_json()
        inputs, others = mine.pop("inputs"), theirs.pop("inputs")
        values = [(name, mine.get(name), theirs.get(name)) for name in {**mine, **theirs}]
        names = [", ".join(each["name"] for each in side) for side in (inputs, others)]
        if names[0] != names[1]:
            values.append(("inputs", *names))
        else:
            values += [
                (f"{a['name']}.{name}", a.get(name), b.get(name))
                for a, b in zip(inputs, others, strict=True)
                for name in {**a, **b}
            ]
        return [(name, one, another) for name, one, another in values if one != another]


def from_json(data: Any, source: str = "the model's metadata") -> ModelSpec:
    """The ModelSpec of `to_json`'s dict. Raises UserError when fields are missing, unknown, malformed or too large.

    source: where `data` was read, for the error.
    """
    return typed_json.decode(ModelSpec, data, source, "convert or save the model again with this version")


def _check_fields(spec: "InputSpec | ModelSpec", where: str) -> None:
    """Raises ValueError, which begins with `where`, for a field of another type, out of bounds, or an odd name."""
    try:
        typed_json.conform(spec)
        if not _NAME.fullmatch(spec.name):
            raise ValueError("the name needs letters, digits, blanks and _.+()-, at most 128")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{typed_json.shortened(where, 100)}: {error}") from error


_SIZE = re.compile(r"([0-9]{2,4})x([0-9]{2,4})", re.IGNORECASE)


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` as (width_px, height_px); each 32..8192."""
    match = _SIZE.fullmatch(text)
    width, height = (int(part) for part in match.groups()) if match else (0, 0)
    if not (32 <= width <= 8192 and 32 <= height <= 8192):
        raise UserError(
            "a size as WIDTHxHEIGHT, each 32..8192 pixels, such as 1271x820", repr(text), "correct --size"
        )
    return width, height
