"""One uint8 RGB image in, the score out: preprocessing drawn in front of a finished .tflite graph.

    image (1, H, W, 3) uint8 RGB -> resize, centre crop or fragments -> (pixel - 255 mean) * 1 / (255 std) -> the model

The weights stay as they are, so FP32, FP16 and INT8 files all take it, and a packaged file is its float file behind a
few more operators. Normalisation is therefore not folded into the first convolution: it would change that
convolution's weights (8-bit ones could not hold it), its zero padding would have to become padding
with the mean, and it would save two passes over three channels, where the model makes hundreds over more.
"""

from typing import TYPE_CHECKING

import numpy as np

from convert.flatbuffer import model as fb
from convert.flatbuffer.builder import Builder
from convert.packaging.nhwc_input import channels_last
from convert.packaging.resize import GraphBuilder, resize
from mobileiqa.errors import UserError
from mobileiqa.fragments import starts
from mobileiqa.preprocess import centred as centred  # the rule itself: a copy could drift
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

IMAGE = "image"  # the one input's name
_FLOAT = "use the float file, and mobileiqa.preprocess in the app"


def image_size(spec: ModelSpec, size: tuple[int, int] | None) -> tuple[int, int]:
    """`size`, or the model's own (width, height); UserError where the graph cannot prepare the inputs from it."""
    for input_spec in spec.inputs:
        if input_spec.color_space is not ColorSpace.RGB:
            raise UserError(
                "a model that scores RGB", f"{input_spec.color_space} in {input_spec.name!r}", _FLOAT
            )
        if size is not None and min(size) < input_spec.patch_px:
            expected = f"an image of {input_spec.patch_px} pixels or more each way, for patches of that size"
            raise UserError(expected, "--input-size {}x{}".format(*size), "correct --input-size")
        if input_spec.fit is Fit.RANDOM_CROPS:
            raise UserError(
                "inputs that are resized or centre crops", f"{input_spec.crops} random crops", _FLOAT
            )
    if size is None and len(spec.inputs) > 1:
        raise UserError(
            f"--input-size WxH of the app's image: {spec.name} prepares it in {len(spec.inputs)} ways",
            "none",
            "give --input-size, such as 4032x3024",
        )
    return size or (spec.inputs[0].width_px, spec.inputs[0].height_px)


def take_uint8_image(model: "Model", spec: ModelSpec, width: int, height: int) -> None:
    """Replaces the float NCHW inputs of `spec` by one uint8 (1, height, width, 3) RGB image named `image`."""
    graph = model.subgraphs[0]
    builder = Builder(model, graph)
    named = {entry.name.decode(): int(entry.tensorIndex) for entry in model.signatureDefs[0].inputs}
    inputs = [named[input_spec.name] for input_spec in spec.inputs]
    image = _image(model, width, height)
    ops = GraphBuilder(builder, image, inputs[0])
    to_float = "CAST" if _fp16(model) else "DEQUANTIZE"
    for input_spec, tensor in zip(spec.inputs, inputs, strict=True):
        graph.tensors[tensor].name += b"_normalized"
        fitted = _fit(ops, image, input_spec)
        _normalize(ops, fitted, input_spec, tensor, to_float)
    graph.operators = [*ops.nodes, *graph.operators]
    graph.inputs = [image]
    fb.name_signature(model, [IMAGE], spec.outputs)


def _fp16(model: "Model") -> bool:
    """Whether the file is marked for FP16 arithmetic.

    XNNPACK turns a partition to FP16 only when every operator in it has float values, and stays in FP32 without
    a word otherwise. CAST, which it does not take, keeps the 8-bit operators in a partition of their own; in
    files without the mark, DEQUANTIZE leaves all of the graph in one.
    """
    return any(entry.name == fb.REDUCED_PRECISION.encode() for entry in model.metadata or [])


def _image(model: "Model", width: int, height: int) -> int:
    """The input: a uint8 tensor whose value is the pixel's, 0..255."""
    from ai_edge_litert import schema_py_generated as schema

    graph, tensor = model.subgraphs[0], schema.TensorT()
    tensor.shape, tensor.type = np.array([1, height, width, 3], np.int32), schema.TensorType.UINT8
    tensor.name, tensor.buffer, tensor.hasRank = IMAGE.encode(), 0, True
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([1], np.float32)
    tensor.quantization.zeroPoint = np.array([0], np.int64)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _fit(ops: GraphBuilder, image: int, input_spec: InputSpec) -> int:
    """The image as preprocess.fit_pixels makes it: uint8 (1, height_px, width_px, 3)."""
    if input_spec.fit is Fit.RESIZE:
        return resize(ops, image, input_spec.width_px, input_spec.height_px, input_spec.resample)
    if input_spec.fit is Fit.FRAGMENTS:
        return _fragments(ops, image, input_spec)
    return _crop(ops, image, input_spec.width_px, input_spec.height_px)


def _fragments(ops: GraphBuilder, image: int, spec: InputSpec) -> int:
    """The mosaic of mobileiqa.fragments: whole rows of patches first, so that rows + columns are sliced, not each."""
    _, height, width, _ = ops.shape(image)
    patch = spec.patch_px
    rows = [
        ops.slice(image, [0, top, 0, 0], [1, patch, width, 3])
        for top in starts(height, spec.height_px // patch, patch)
    ]
    bands = _joined(ops, rows, 1, (1, spec.height_px, width, 3))
    columns = [
        ops.slice(bands, [0, 0, left, 0], [1, spec.height_px, patch, 3])
        for left in starts(width, spec.width_px // patch, patch)
    ]
    return _joined(ops, columns, 2, (1, spec.height_px, spec.width_px, 3))


def _joined(ops: GraphBuilder, parts: list[int], axis: int, shape: tuple[int, ...]) -> int:
    if len(parts) == 1:
        return parts[0]
    output = ops.bytes(*shape)
    ops.nodes.extend(ops.builder.join(parts, axis, output))
    return output


def _crop(ops: GraphBuilder, image: int, width: int, height: int) -> int:
    """The centre; black where the image is smaller."""
    _, rows, columns, _ = ops.shape(image)
    left, top = centred(columns, width), centred(rows, height)
    window = (1, min(rows, height), min(columns, width), 3)
    if window != ops.shape(image):
        image = ops.slice(image, [0, max(top, 0), max(left, 0), 0], list(window))
    if window[1:3] == (height, width):
        return image
    before = (max(-top, 0), max(-left, 0))
    after = (height - window[1] - before[0], width - window[2] - before[1])
    paddings = [[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]]
    output = ops.bytes(1, height, width, 3)
    return ops.add("PAD", [image, ops.integers(*paddings)], output)


def _normalize(ops: GraphBuilder, pixels: int, input_spec: InputSpec, tensor: int, to_float: str) -> None:
    """uint8 (1, H, W, 3) -> the model's input `tensor`, which becomes NHWC where the model allows that."""
    shape = ops.shape(pixels)
    direct = channels_last(ops.builder, tensor)
    values = ops.add(to_float, [pixels], ops.reals(*shape))
    # Constants for a whole row: those of three channels would be applied three values at a time. Multiplied, not
    # divided: behind a DIV, LiteRT's GPU accelerator computes one constant (convert.delegation.accelerators).
    mean, scale = (
        ops.builder.constant(np.broadcast_to(np.float32(c), (1, 1, shape[2], 3)).copy(), "normalization")
        for c in (-255 * np.array(input_spec.mean), 1 / (255 * np.array(input_spec.std)))
    )
    differences = ops.add("ADD", [values, mean], ops.reals(*shape))
    output = tensor if direct else ops.reals(*shape)
    ops.add("MUL", [differences, scale], output)
    if not direct:
        ops.add("TRANSPOSE", [output, ops.integers(0, 3, 1, 2)], tensor)
