"""One uint8 RGB image in, the score out: preprocessing drawn in front of a finished .tflite graph.

    image (1, H, W, 3) uint8 RGB -> resize, centre crop or fragments -> (pixel - 255 mean) * 1 / (255 std) -> the model

The weights stay as they are, so FP32, FP16 and INT8 files all take it, and a packaged file is its float file behind a
few more operators. Normalisation is therefore not folded into the first convolution: it would change that
convolution's weights (8-bit ones could not hold it), its zero padding would have to become padding
with the mean, and it would save two passes over three channels, where the model makes hundreds over more.
"""

import copy
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb
from convert.flatbuffer.builder import Builder
from convert.packaging.resize import GraphBuilder, resize
from mobileiqa.errors import UserError
from mobileiqa.fragments import starts
from mobileiqa.preprocess import centred as centred  # the rule itself: a copy could drift
from mobileiqa.scoring.embedded_preprocessing import Size
from mobileiqa.scoring.litert import SIGNATURE
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec, parse_size

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
    """Whether the file computes all of it in FP16 where the core can.

    XNNPACK turns a partition with an 8-bit image in it to FP16 only when every operator in it has float values, and
    stays in FP32 without a word otherwise. CAST, which it does not take, keeps the 8-bit operators in a partition of
    their own; in files without the mark, and in INT8 files, DEQUANTIZE leaves all of the graph in one.
    """
    from ai_edge_litert import schema_py_generated as schema

    eight_bits = any(t.type == schema.TensorType.INT8 for graph in model.subgraphs for t in graph.tensors)
    return fb.has_metadata(model, fb.REDUCED_PRECISION) and not eight_bits


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


OPTION = "--input-size"


def parse_sizes(text: str | None) -> list[tuple[int, int]]:
    """`WxH` or `WxH,WxH...` as (width, height) pairs; empty for None. UserError for a size given twice."""
    sizes = [parse_size(each) for each in text.split(",")] if text else []
    if len(set(sizes)) < len(sizes):
        raise UserError(f"every size of {OPTION} once", repr(text), f"correct {OPTION}")
    return sizes


def image_sizes(spec: ModelSpec, pixels: Sequence[tuple[int, int]]) -> tuple[Size, ...]:
    """Signature and size of each of `pixels`, or of the model's own size where that is empty.

    UserError where no graph can prepare the model's inputs.
    """
    sizes = [image_size(spec, size) for size in pixels or [None]]
    if len(sizes) == 1:
        return (Size(SIGNATURE, *sizes[0]),)
    return tuple(Size(f"score_{width}x{height}", width, height) for width, height in sizes)


def take_uint8_images(model: "Model", spec: ModelSpec, sizes: Sequence[Size]) -> None:
    """Replaces the model's one subgraph by one for each of `sizes`, which takes a uint8 image."""
    (source,) = model.subgraphs
    graphs, signatures = [], []
    for index, size in enumerate(sizes):
        part = copy.copy(model)  # one subgraph; buffers and operator codes are the file's own lists
        part.subgraphs, part.signatureDefs = [copy.deepcopy(source)], copy.deepcopy(model.signatureDefs)
        take_uint8_image(part, spec, size.width_px, size.height_px)
        (signature,) = part.signatureDefs
        signature.signatureKey, signature.subgraphIndex = size.signature.encode(), index
        graphs += part.subgraphs
        signatures.append(signature)
    model.subgraphs, model.signatureDefs = graphs, signatures
    _share_buffers(model)


def _share_buffers(model: "Model") -> None:
    """Tensors of equal values name one buffer: the sizes' normalization, and filters of equal length."""
    first: dict[bytes, int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                digest = hashlib.sha256(memoryview(data)).digest()
                tensor.buffer = first.setdefault(digest, tensor.buffer)


NHWC = [0, 2, 3, 1]  # positions in NCHW


def channels_last(builder: Builder, tensor: int) -> bool:
    """Makes input `tensor` (N, H, W, C) where everything that reads it allows that; returns whether it did."""
    model, graph = builder.model, builder.graph
    way = _way(model, graph, tensor)
    if way is None:
        return False
    for index in [tensor, *(int(o.outputs[0]) for o in way if fb.kind(model, o) != "TRANSPOSE")]:
        turned = graph.tensors[index]
        turned.shape, turned.shapeSignature = np.array(turned.shape)[NHWC], None
    for operator in way:
        if fb.kind(model, operator) == "PAD":
            paddings = _constant(model, graph, operator.inputs[1]).reshape(4, 2)[NHWC]
            operator.inputs = [int(operator.inputs[0]), builder.constant(paddings, "paddings")]
    _bypass(graph, [o for o in way if fb.kind(model, o) == "TRANSPOSE"])
    return True


def _way(model: "Model", graph: Any, tensor: int) -> list[Any] | None:
    """The operators between `tensor` and the TRANSPOSEs to NHWC, those included; None if something else reads it."""
    operators: list[Any] = []
    open_ends = [tensor]
    while open_ends:
        source = open_ends.pop()
        readers = [o for o in graph.operators if source in (int(i) for i in o.inputs)]
        if not readers or source in (int(i) for i in graph.outputs):
            return None
        for reader in readers:
            kind = fb.kind(model, reader)
            if kind not in ("QUANTIZE", "PAD", "TRANSPOSE"):
                return None
            if kind == "TRANSPOSE" and _constant(model, graph, reader.inputs[1]).tolist() != NHWC:
                return None
            if kind != "TRANSPOSE":
                open_ends.append(int(reader.outputs[0]))
            operators.append(reader)
    return operators


def _constant(model: "Model", graph: Any, index: int) -> np.ndarray:
    """An int32 constant; empty where the tensor is none."""
    data = model.buffers[graph.tensors[index].buffer].data
    return np.frombuffer(b"" if data is None else bytes(data), np.int32)


def _bypass(graph: Any, operators: list[Any]) -> None:
    """Removes operators of one output: whatever reads it reads their first input instead."""
    instead = {int(o.outputs[0]): int(o.inputs[0]) for o in operators}
    removed = {id(o) for o in operators}
    graph.operators = [o for o in graph.operators if id(o) not in removed]
    for operator in graph.operators:
        operator.inputs = [instead.get(int(i), int(i)) for i in operator.inputs]
