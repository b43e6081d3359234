"""Several image sizes in one file: a subgraph and a signature for each, weights stored once.

A phone's camera gives portrait and landscape photos, and preprocessing is drawn for one size. Each size therefore
gets a copy of the model's operators behind its own preprocessing; tensors name their values by a buffer's index,
so the copies share every weight.
"""

import copy
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convert.packaging.preprocessing import image_size, take_uint8_image
from mobileiqa.errors import UserError
from mobileiqa.scoring.embedded_preprocessing import Size
from mobileiqa.scoring.litert import SIGNATURE
from mobileiqa.spec import ModelSpec, parse_size

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

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
