"""What an app needs to know of a .tflite file: the views that it reads, what its outputs mean, what must come out.

A file with float inputs (convert.tflite) takes a photo of any size: the app makes the views, as mobileiqa.preprocess
does. So does a file that was packaged for its own input size. Files packaged for a camera's sizes take these alone:
they are for snippets.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convert.app.golden_photos import outputs_of
from convert.comparison.converted_file import read_converted_file
from convert.comparison.verified import gpu_refused
from convert.flatbuffer.reader import read_graph
from convert.packaging import golden_vectors
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError
from mobileiqa.scoring import litert
from mobileiqa.spec import ColorManagement, ColorSpace, Fit, InputSpec, ModelSpec
from mobileiqa.zoo import UNTRAINED

DRAWN_PX = (
    401,
    307,
)  # width and height of the drawn golden images: both shrink in one axis of a small view only
FITS = (Fit.RESIZE, Fit.CENTER_CROP, Fit.FRAGMENTS)


@dataclass(frozen=True)
class View:
    """One input: how it is made of the upright sRGB photo, and normalised: (pixel / 255 - mean) / std."""

    name: str
    width: int
    height: int
    fit: str  # resize, center_crop, fragments
    filter: str  # bilinear, bicubic, lanczos: of resize
    patch: int  # side of a patch, of fragments
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Drawn:
    """A golden image that an app draws with integers, and what the file gives for it: score, then reasons."""

    image: str
    width: int
    height: int
    expected: tuple[float, ...]


@dataclass(frozen=True)
class Photo:
    """A golden photo that goes through the app's own decoder; `expected`: score, then reasons."""

    file: str
    what: str
    tolerance: float
    expected: tuple[float, ...]


@dataclass(frozen=True)
class ModelFacts:
    """A file, as every platform's sources name it."""

    file: str
    sha256: str
    about: str
    signature: str
    takes_bytes: bool  # uint8 NHWC in place of normalised float32 NCHW
    views: tuple[View, ...]
    reasons: tuple[str, ...]
    low: float  # of the score range
    high: float
    higher_is_better: bool
    tolerance: float
    drawn: tuple[Drawn, ...]
    photos: tuple[Photo, ...]
    gpu_refused: str  # why no GPU may run the file; empty: its self-test decides


def read_facts(path: Path) -> ModelFacts:
    """The facts of a file, without golden photos.

    Raises UserError for a file that is none of ours, or takes no photo of any size.
    """
    converted = read_converted_file(path)
    spec, embedded = converted.spec, litert.preprocessing_of(path)
    if embedded is not None and not embedded.fitted:
        raise UserError(
            "a file that takes photos of any size", f"{path}, packaged for {embedded}",
            "give the float file that it was packaged from, or use `python -m convert.snippets`",
        )  # fmt: skip
    low, high = spec.score_range
    run = outputs_of(path)
    width, height = DRAWN_PX
    drawn = tuple(
        Drawn(
            name, width, height, _finite(run(Image.fromarray(golden_vectors.draw(name, width, height))), path)
        )
        for name in golden_vectors.IMAGES
    )
    return ModelFacts(
        file=path.name,
        sha256=sha256(path),
        about=_about(spec, converted.precision),
        signature=embedded.sizes[0].signature if embedded else litert.SIGNATURE,
        takes_bytes=embedded is not None,
        views=_views(spec, path, embedded.input if embedded else ""),
        reasons=spec.reasons,
        low=low,
        high=high,
        higher_is_better=spec.higher_is_better,
        tolerance=golden_vectors.TOLERANCES[converted.precision] * (high - low),
        drawn=drawn,
        photos=(),
        gpu_refused=gpu_refused(path),
    )


def _finite(values: NDArray[np.float64], path: Path) -> tuple[float, ...]:
    if not np.isfinite(values).all():
        raise UserError(
            f"finite outputs of {path}", f"{values[0]}", "check it with `python -m convert.check`"
        )
    return tuple(map(float, values))


def _views(spec: ModelSpec, path: Path, name: str) -> tuple[View, ...]:
    """The spec's inputs in the order of the file's signature, the one of a packaged file by its `name` there.

    Raises UserError for other kinds of inputs.
    """
    if spec.color_management is not ColorManagement.SRGB:
        raise UserError(
            f"a model that reads sRGB, as phones hold photos, in {spec.name}",
            spec.color_management,
            "train or convert another",
        )
    for each in spec.inputs:
        if each.fit not in FITS or each.color_space is not ColorSpace.RGB or each.of_reference:
            kind = f"{each.name}: {each.fit} of {each.color_space}"
            raise UserError(
                "inputs that are resized, centre crops or fragments, in RGB", kind, "use another model"
            )
    order = list(read_graph(path).signatures[0].inputs)
    views = (_view(each, name or each.name) for each in spec.inputs)
    return tuple(sorted(views, key=lambda view: order.index(view.name)))


def _view(each: InputSpec, name: str) -> View:
    return View(
        name,
        each.width_px,
        each.height_px,
        str(each.fit),
        str(each.resample),
        each.patch_px,
        each.mean,
        each.std,
    )


def _about(spec: ModelSpec, precision: str) -> str:
    note = f"; weights {UNTRAINED}" if spec.untrained else ""
    return f"{spec.name} ({precision}){note}"
