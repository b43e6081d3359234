"""A small model of two views with reasons, photos of awkward sizes, and how programs are compiled and run here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convert import output_file
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY
from convert.output_file import embedded_metadata
from mobileiqa.photos import loading
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.preprocess import fit_pixels
from mobileiqa.spec import Fit, InputSpec, ModelSpec, Resample

PROGRAMS = Path(__file__).with_name("programs")
REASONS = ("blur", "too dark", "none")
SPEC = ModelSpec(
    "two-views",
    (InputSpec("overview", 24, 32), InputSpec("fragments", 64, 96, fit=Fit.FRAGMENTS, patch_px=32)),
    trained_on="noise",
    license="CC BY-SA 4.0",
    origin="a test",
    reasons=REASONS,
)  # fmt: skip


def write_two_views(
    b: Any, path: Path, accelerators: tuple[str, ...] | None = None, for_gpus: bool = True
) -> Path:
    """As convert.tflite writes it: a convolution of each view, means, one linear layer, sigmoid.

    accelerators: what its metadata says. for_gpus: False ends it with an operator that LiteRT's GPU accelerator leaves.
    """
    rng, means = np.random.default_rng(0), []
    spec = SPEC
    for each in spec.inputs:
        _, channels, height, width = each.shape
        image = b.input(*each.shape)
        turned = b.tensor(1, height, width, channels)
        b.op("TRANSPOSE", [image, b.constant([0, 2, 3, 1])], [turned], "TransposeOptions")
        weights = [b.constant(rng.normal(0, 0.5, (8, 3, 3, 3))), b.constant(rng.normal(0, 0.3, 8))]
        mapped = b.op(
            "CONV_2D", [turned, *weights], [b.tensor(1, height // 2, width // 2, 8)], "Conv2DOptions",
            padding=0, strideW=2, strideH=2, fusedActivationFunction=1,
        )  # fmt: skip
        means.append(b.op("MEAN", [mapped, b.constant([1, 2])], [b.tensor(1, 8)], "ReducerOptions"))
    features = b.op("CONCATENATION", means, [b.tensor(1, 16)], "ConcatenationOptions", axis=1)
    outputs = []
    for count in (1, len(spec.reasons)):
        head = [features, b.constant(rng.normal(0, 0.7, (count, 16))), b.constant(rng.normal(0, 0.2, count))]
        linear = b.op("FULLY_CONNECTED", head, [b.tensor(1, count)], "FullyConnectedOptions")
        outputs.append(b.op("LOGISTIC", [linear], [b.tensor(1, count)]))
    content = embedded_metadata(spec, "fp32", "ab" * 32)
    if accelerators is not None:
        content["accelerators"] = list(accelerators)
    b.note(METADATA_ENTRY, json.dumps(content).encode())
    if for_gpus:
        score = b.op("RESHAPE", [outputs[0], b.constant([1])], [b.tensor(1)], "ReshapeOptions", newShape=[1])
    else:
        score = b.op("GATHER_ND", [outputs[0], b.constant([[0, 0]])], [b.tensor(1)], "GatherNdOptions")
    path.write_bytes(b.build(score, outputs[1]))
    model = fb.read(path)
    fb.name_signature(model, [each.name for each in spec.inputs], spec.outputs)
    fb.write(model, path)
    return path


def write_sidecar(path: Path) -> None:
    """FILE.json of a file of `write_two_views`, as convert.tflite writes it."""
    output_file.write_sidecar(
        path, precision="fp32", via="litert", spec=SPEC, checkpoint_sha256="ab" * 32, calibration_sha256=None,
        fp16_arithmetic_allowed=False, rewrites={},
    )  # fmt: skip


@dataclass(frozen=True)
class ViewCase:
    """A stored photo and a view of it, with the pixels that Python makes."""

    stored: Image.Image
    orientation: int
    view: InputSpec

    @property
    def upright(self) -> Image.Image:
        turn = loading._UPRIGHT.get(self.orientation)
        return self.stored if turn is None else self.stored.transpose(turn)

    @property
    def expected(self) -> bytes:
        (view,) = fit_pixels(self.upright, self.view)
        return view.tobytes()


def view_cases() -> list[ViewCase]:
    """Every fit and filter, every orientation, sizes below and above the view's, odd and even, and a thin one."""
    views = [InputSpec("v", 24, 32, resample=each) for each in tuple(Resample)[:3]]
    views += [
        InputSpec("v", 61, 90, resample=Resample.BICUBIC),
        InputSpec("v", 64, 96, fit=Fit.FRAGMENTS, patch_px=32),
        InputSpec("v", 60, 41, fit=Fit.CENTER_CROP),
    ]
    sizes = [(90, 61), (203, 157), (40, 33), (19, 300), (32, 24), (41, 60)]
    return [
        ViewCase(photo_like(seed, *size), orientation, view)
        for seed, size in enumerate(sizes)
        for number, view in enumerate(views)
        for orientation in (range(1, 9) if seed == 1 else (1, 5 + (seed + number) % 4))
    ]


def write_view_cases(cases: Sequence[ViewCase], folder: Path) -> Path:
    """The stored pixels, and one line for each case: what it is, and where the program writes what it makes."""
    lines = []
    for number, case in enumerate(cases):
        (folder / f"{number}.rgb").write_bytes(case.stored.tobytes())
        view = case.view
        lines.append(
            f"{folder}/{number}.rgb {case.stored.width} {case.stored.height} {case.orientation} {view.width_px}"
            f" {view.height_px} {view.fit} {view.resample} {view.patch_px} {folder}/{number}.view"
        )
    listing = folder / "cases.txt"
    listing.write_text("\n".join(lines) + "\n")
    return listing


def check_view_cases(cases: Sequence[ViewCase], folder: Path) -> None:
    """The program's views are Python's, to the last bit."""
    wrong = [
        f"{case.stored.size} {case.orientation} {case.view.fit} {case.view.resample}"
        for number, case in enumerate(cases)
        if (folder / f"{number}.view").read_bytes() != case.expected
    ]
    assert cases and not wrong


def yuv_frame(photo: Image.Image) -> tuple[bytes, Image.Image]:
    """A 4:2:0 frame (Y, U, V; sides rounded up for chroma), and its pixels as JPEG's full-range BT.601 has them."""
    y, u, v = np.moveaxis(np.asarray(photo.convert("YCbCr"), np.int64), 2, 0)
    u, v = u[::2, ::2], v[::2, ::2]
    height, width = y.shape
    rows, columns = np.arange(height)[:, None] // 2, np.arange(width) // 2
    luma, blue, red = y << 16, u[rows, columns] - 128, v[rows, columns] - 128
    channels = (luma + 91881 * red, luma - 22554 * blue - 46802 * red, luma + 116130 * blue)
    rgb = np.stack([np.clip(each + 32768 >> 16, 0, 255) for each in channels], 2).astype(np.uint8)
    return b"".join(plane.astype(np.uint8).tobytes() for plane in (y, u, v)), Image.fromarray(rgb)


def large(seed: int, width: int, height: int, times: int) -> Image.Image:
    """A photo of `times` squared as many pixels as it has different ones."""
    return Image.fromarray(np.asarray(photo_like(seed, width, height)).repeat(times, 0).repeat(times, 1))
