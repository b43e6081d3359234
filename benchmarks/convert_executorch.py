"""ExecuTorch's FP16 and INT8 files of a published model, in the process that this file runs in.

    python benchmarks/convert_executorch.py fp16|int8 MODEL WxH|- OUT

Beside convert_baseline.py, which makes its FP32 file, and as ExecuTorch documents them for its XNNPACK backend: FP16 is
the module in halves, inputs and score too; INT8 is its quantizer's symmetric scheme, with a scale for each channel of
weights, calibrated on the generated inputs of int8.py's default_static. Constants are folded before, by its own pass:
else lowering a KAN, whose weights are a product, ends in "ExportedProgram must be provided to extract per channel
params".
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.convert_baseline import Shapes, lower, main, random_inputs

CALIBRATION = 4  # as int8.py's, which this environment cannot import


def to_fp16(module: nn.Module, shapes: Shapes, out: Path) -> None:
    """Its weights, inputs and score in halves."""
    lower(module.half(), tuple(x.half() for x in random_inputs(shapes)), out)


def to_int8(module: nn.Module, shapes: Shapes, out: Path) -> None:
    """Calibrated, with steps to 8 bits and back for XNNPACK to take up."""
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    scheme = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(scheme)
    folded = constant_prop_pass(torch.export.export(module, random_inputs(shapes)))
    prepared = prepare_pt2e(folded.module(), quantizer)
    for seed in range(CALIBRATION):
        rng = np.random.default_rng(seed)
        prepared(*(torch.from_numpy(rng.standard_normal(s, dtype=np.float32)) for s in shapes.values()))
    lower(convert_pt2e(prepared), random_inputs(shapes), out)


if __name__ == "__main__":
    sys.exit(main({"fp16": to_fp16, "int8": to_int8}))
