"""Converts a published model as it is, in the process that this file runs in.

    python benchmarks/convert_baseline.py litert-torch|onnx|executorch MODEL WxH|- OUT

It is run by path, with the Python of the baseline's own environment: it needs torch, timm, numpy and the
converter, nothing of the project but `mobileiqa`. The module is the published one with its seeded weights;
nothing is rewritten, because this is what a user of that converter gets today. The last line on stdout is
JSON with the score of the module itself on the benchmark's input, so that a file that computes something
else is noticed.

MODEL may also name a probe: a few layers that measure what this core can do at best (see limit.py).
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import nn

from mobileiqa.zoo import MODELS, build_seeded

SEED = 0  # of the benchmark's inputs, in every environment: drawn by numpy, in the order of the inputs

Shapes = dict[str, tuple[int, ...]]  # input name -> shape
Converter = Callable[[nn.Module, Shapes, Path], None]

# probe -> its layers and the shape of its input
PROBES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "probe-matrix": (lambda: nn.Linear(2420, 2420), (484, 2420)),
    "probe-gelu-cached": (lambda: nn.Sequential(*[nn.GELU()] * 32), (1, 1 << 16)),  # 256 KB: in cache
    "probe-gelu-streamed": (lambda: nn.Sequential(*[nn.GELU()] * 4), (1, 1 << 24)),  # 64 MB: in memory
}


def published(name: str, size: str) -> tuple[nn.Module, Shapes]:
    """A model or a probe in eval mode, and its input shapes; `size` is WxH, or "-" for the model's own."""
    if name in PROBES:
        builder, shape = PROBES[name]
        return builder().eval(), {"x": shape}
    spec = MODELS[name].spec if size == "-" else MODELS[name].spec.sized(size)
    return build_seeded(name), {i.name: i.shape for i in spec.inputs}


def random_inputs(shapes: Shapes) -> tuple[torch.Tensor, ...]:
    """Standard normal float32 tensors."""
    generator = np.random.default_rng(SEED)
    return tuple(torch.from_numpy(generator.standard_normal(s, dtype=np.float32)) for s in shapes.values())


def to_litert(module: nn.Module, shapes: Shapes, out: Path) -> None:
    """litert-torch, as its documentation shows it."""
    import litert_torch

    litert_torch.convert(module, random_inputs(shapes)).export(str(out))


def to_onnx(module: nn.Module, shapes: Shapes, out: Path) -> None:
    """torch's own exporter, for onnx2tf to read; opset 20 has Gelu as one operator."""
    torch.onnx.export(
        module,
        random_inputs(shapes),
        str(out),
        dynamo=True,
        opset_version=20,
        verbose=False,
        input_names=list(shapes),
        output_names=["score"],
        external_data=False,
    )


def to_executorch(module: nn.Module, shapes: Shapes, out: Path) -> None:
    """ExecuTorch with the XNNPACK partitioner, as its documentation shows it."""
    lower(module, random_inputs(shapes), out)


def lower(module: nn.Module, inputs: tuple[torch.Tensor, ...], out: Path) -> None:
    """`to_executorch`, with inputs of the types that the file is to take."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(module, inputs)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    with out.open("wb") as file:
        lowered.to_executorch().write_to_file(file)


CONVERTERS: dict[str, Converter] = {"litert-torch": to_litert, "onnx": to_onnx, "executorch": to_executorch}


def main(converters: Mapping[str, Converter] = CONVERTERS) -> int:
    """See the module."""
    converter, name, size, out = sys.argv[1:]
    module, shapes = published(name, size)
    with torch.no_grad():
        score = float(module(*random_inputs(shapes)).reshape(-1)[0])
        converters[converter](module, shapes, Path(out))
    print(json.dumps({"score": score}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
