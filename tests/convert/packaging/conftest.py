"""Small .tflite files by hand: one that shows the pixels which a model would get, one that scores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY
from convert.output_file import embedded_metadata
from convert.packaging.preprocessing import take_uint8_image
from mobileiqa.spec import Fit, InputSpec, ModelSpec

TINY = ModelSpec(
    "tiny",
    (InputSpec("image", 48, 64, fit=Fit.RESIZE),),
    origin="a test",
    license="Apache-2.0",
    trained_on="noise",
)


@pytest.fixture
def shown(flatbuffer: Any, tmp_path: Path) -> Callable[[Image.Image, InputSpec], np.ndarray]:
    """shown(photo, input): what the packaged graph makes of a photo, (1, 3, H, W) in LiteRT, grey levels."""

    def run(photo: Image.Image, expected: InputSpec) -> np.ndarray:
        path = tmp_path / "pixels.tflite"
        spec = ModelSpec("pixels", (expected,))
        b = flatbuffer
        source = b.input(*expected.shape)
        path.write_bytes(b.build(b.op("ABS", [source], [b.tensor(*expected.shape)], "AbsOptions")))
        model = fb.read(path)
        fb.name_signature(model, [expected.name])
        take_uint8_image(model, spec, *photo.size)
        fb.write(model, path)
        return run_on_pixels(path, np.asarray(photo))

    return run


def run_on_pixels(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The output for one uint8 image, whatever its shape."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner("serving_default")(image=pixels[None])["score"]


@pytest.fixture
def tiny(flatbuffer: Any, tmp_path: Path) -> Path:
    """A file as convert.tflite writes it: TRANSPOSE, PAD, convolution, GELU, mean, one linear layer."""
    return write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY)


def write_tiny(b: Any, path: Path, spec: ModelSpec, fp16: bool = False) -> Path:
    """The same for another spec of that input shape."""
    rng = np.random.default_rng(0)
    image = b.input(1, 3, 48, 64)
    turned = b.op(
        "TRANSPOSE", [image, b.constant([0, 2, 3, 1])], [b.tensor(1, 48, 64, 3)], "TransposeOptions"
    )
    weights, bias = b.constant(rng.normal(0, 0.3, (8, 3, 3, 3))), b.constant(rng.normal(0, 0.3, 8))
    options: dict[str, Any] = {"padding": 0, "strideW": 2, "strideH": 2}
    mapped = b.op("CONV_2D", [turned, weights, bias], [b.tensor(1, 24, 32, 8)], "Conv2DOptions", **options)
    bent = b.op("GELU", [mapped], [b.tensor(1, 24, 32, 8)], "GeluOptions")
    pooled = b.op("MEAN", [bent, b.constant([1, 2])], [b.tensor(1, 8)], "ReducerOptions")
    head = [pooled, b.constant(rng.normal(0, 0.3, (1, 8))), b.constant(np.array([0.5]))]
    linear = b.op("FULLY_CONNECTED", head, [b.tensor(1, 1)], "FullyConnectedOptions")
    score = b.op("RESHAPE", [linear, b.constant([1])], [b.tensor(1)], "ReshapeOptions", newShape=[1])
    b.note(
        METADATA_ENTRY, json.dumps(embedded_metadata(spec, "fp16" if fp16 else "fp32", "ab" * 32)).encode()
    )
    if fp16:
        b.note(fb.REDUCED_PRECISION, fb.FP16_ACCUMULATE_FP16)
    path.write_bytes(b.build(score))
    model = fb.read(path)
    fb.name_signature(model, [spec.inputs[0].name])
    fb.write(model, path)
    return path
