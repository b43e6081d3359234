"""Every model of the zoo, converted as a user does: minutes."""

from pathlib import Path

import pytest

from convert.comparison.compare import TOLERANCES
from convert.delegation.partitions import runtime_delegation
from tests.convert.conversions import as_a_user


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "precision"),
    # What differs from another row in size or head alone, and what takes minutes, comes in one precision: an FP16
    # file is the FP32 file with other weights.
    [
        ("mobilenet-iqa", "224x224", "fp32"),
        ("mobilenet-iqa", "317x205", "fp16"),
        ("mobilenet-iqa-small", "256x256", "fp16"),
        ("mobilevit-iqa", "256x256", "fp16"),
        ("lar-iqa-single", "224x224", "fp32"),
        ("lar-iqa-single", "224x224", "fp16"),
        ("lar-iqa-lite", None, "fp32"),
        ("lar-iqa-kan", None, "fp32"),
        ("lar-iqa-kan", None, "fp16"),
        ("lar-iqa-mlp", None, "fp16"),
        ("hyperiqa", None, "fp16"),
    ],
)
def test_every_model_converts_and_passes(name: str, size: str | None, precision: str, tmp_path: Path):
    run = as_a_user(tmp_path, "--model", name, f"--{precision}", *(["--size", size] if size else []))
    assert run.result["passed"], "\n".join(run.lines)
    assert run.code == 0 and run.result["refused"] == []
    assert run.max_abs(precision) <= TOLERANCES[precision].max_abs
    graph = run.graph
    assert len(graph.signatures) == 1 and not any(op.custom for op in graph.operators)
    for op in graph.operators:
        weight = graph.tensors[op.inputs[1]] if op.name == "FULLY_CONNECTED" else None
        assert weight is None or weight.constant or precision == "fp16"
    delegation = runtime_delegation(run.path)
    assert (delegation["nodes_total"], delegation["partitions"]) == (delegation["nodes_delegated"], 1)
    if precision == "fp16":
        assert graph.reduced_precision == "fp16accfp16"
    if name == "mobilenet-iqa":
        size_mb = run.path.stat().st_size / 1e6
        assert size_mb <= (83 if precision == "fp16" else 166)
        assert run.result["seconds"] < 120  # 60 on a machine of its own
