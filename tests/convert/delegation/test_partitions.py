"""The forecast against the runtime itself: partitions, and graphs that PyTorch models become.

The rules of single operators are in test_delegation_operators.
"""

import dataclasses

import numpy as np
import pytest

from convert.delegation.partitions import Forecast, disagreements, forecast, partitions, runtime_delegation
from convert.flatbuffer.reader import read_graph
from mobileiqa.errors import UserError

ONES = np.ones((5, 8))


def dequantized(b, values, dtype="float16", scale=None):
    source = b.constant(values, dtype, scale)
    return b.op("DEQUANTIZE", [source], [b.tensor(*np.shape(values))], version=3)


@pytest.mark.parametrize("kind", [("float16",), ("int8", (0.1, 0))], ids=["fp16", "int8"])
@pytest.mark.parametrize("shared", [False, True], ids=["folded", "also read by TFLite"])
def test_dequantized_weights_are_folded_unless_tflite_reads_them(flatbuffer, save, kind, shared):
    b = flatbuffer
    x = b.input(6, 8)
    weights = dequantized(b, ONES, *kind)
    outputs = [b.op("FULLY_CONNECTED", [x, weights, -1], [b.tensor(6, 5)], "FullyConnectedOptions")]
    outputs.append(
        b.op(
            "MUL",
            [outputs[0], dequantized(b, np.ones((6, 5)), *kind)],
            [b.tensor(6, 5)],
            options="MulOptions",
        )
    )
    if shared:
        outputs.append(b.op("TILE", [weights, b.constant([1, 2])], [b.tensor(5, 16)], options="TileOptions"))
    graph = read_graph(save(b.build(*outputs)))
    ours = forecast(graph)
    assert disagreements(graph, ours, runtime_delegation(graph.path)) == []
    assert ours.delegated == ({1, 2, 3} if shared else {0, 1, 2, 3})
    assert len(ours.partitions) == 1
    assert not shared or ours.refusals[0] == "its output feeds TILE #4, which is not delegated"


def test_partitions_of_two_branches(flatbuffer, save):
    """relu -> cumsum -> relu beside relu -> relu: the second branch joins the first partition."""
    b = flatbuffer
    x = b.input(4, 4)

    def step(name, inputs):
        return b.op(name, inputs, [b.tensor(4, 4)], options="CumsumOptions" if name == "CUMSUM" else "")

    left = step("RELU", [x])
    left = step("CUMSUM", [left, b.constant(0)])
    left = step("RELU", [left])
    right = step("RELU", [step("RELU", [x])])
    graph = read_graph(save(b.build(step("ADD", [left, right]))))
    ours = forecast(graph)
    assert ours.partitions == ((0, 3, 4), (2, 5))
    assert disagreements(graph, ours, runtime_delegation(graph.path)) == []


def test_a_cycle_is_a_user_error(flatbuffer, save):
    first, second = flatbuffer.tensor(4), flatbuffer.tensor(4)
    flatbuffer.op("RELU", [second], [first])
    flatbuffer.op("RELU", [first], [second])
    with pytest.raises(UserError, match="cycle at RELU #0"):
        partitions(read_graph(save(flatbuffer.build(second))), frozenset())


def test_a_wrong_forecast_is_reported(small_net, save):
    """The failing case: a forecast that refuses what the runtime takes, and one that splits what it joins."""
    graph = read_graph(save(small_net.builder.build(small_net.score)))
    runtime, ours = runtime_delegation(graph.path), forecast(graph)
    assert (runtime["nodes_total"], runtime["nodes_delegated"], runtime["partitions"]) == (3, 3, 1)
    assert disagreements(graph, ours, runtime) == []
    refuses = Forecast(3, {1: "no kernel"}, ((0,), (2,)))
    assert disagreements(graph, refuses, runtime) == [
        "GELU #1: the runtime delegates it, the forecast does not (no kernel)",
        "delegated operators: forecast 2, runtime 3",
        "partitions: forecast 2, runtime 1",
    ]
    splits = dataclasses.replace(ours, partitions=((0,), (1, 2)))
    assert disagreements(graph, splits, runtime) == ["partitions: forecast 2, runtime 1"]
    takes = disagreements(graph, ours, {**runtime, "nodes_delegated": 2, "outputs": runtime["outputs"][:2]})
    assert takes == [
        "MEAN #2: the forecast delegates it, the runtime does not",
        "delegated operators: forecast 3, runtime 2",
    ]


def test_a_file_that_does_not_load_gives_the_runtimes_own_words(flatbuffer, save):
    x = flatbuffer.input(4)
    path = save(flatbuffer.build(flatbuffer.op("FlexErf", [x], [flatbuffer.tensor(4)])))
    with pytest.raises(UserError, match="FlexErf"):
        runtime_delegation(path)


@pytest.fixture(scope="module")
def convert(tmp_path_factory):
    litert_torch = pytest.importorskip("litert_torch")
    torch = pytest.importorskip("torch")

    def run(module, *shape):
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("converted") / "model.tflite"
        litert_torch.convert(module.eval(), (torch.randn(*shape),)).export(str(path))
        return read_graph(path)

    return run


def test_a_small_mobilenet_is_one_partition(convert):
    """Its parts (depthwise convolution, squeeze and excite, hard-swish, a residual) in two blocks."""
    import torch
    from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite

    blocks = [
        InvertedResidual(8, 8, stride=s, exp_ratio=2.0, act_layer=torch.nn.Hardswish, se_layer=SqueezeExcite)
        for s in (2, 1)
    ]
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1),
        torch.nn.Hardswish(),
        *blocks,
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 1),
    )
    graph = convert(net, 1, 3, 32, 32)
    ours = forecast(graph)
    assert disagreements(graph, ours, runtime_delegation(graph.path)) == []
    assert (ours.refusals, len(ours.partitions)) == ({}, 1)
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "HARD_SWISH", "MEAN"} <= {op.name for op in graph.operators}


def test_attention_breaks_where_both_sides_are_computed(convert):
    import torch

    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)

        def forward(self, x):
            return (self.q(x) @ self.k(x).transpose(-1, -2)).softmax(-1).mean(-1)

    graph = convert(Attention(), 9, 16)
    ours = forecast(graph)
    assert disagreements(graph, ours, runtime_delegation(graph.path)) == []
    assert list(ours.refusals.values()) == ["weights not constant"]
    assert len(ours.partitions) == 2


def test_operators_that_xnnpack_lacks_split_the_graph(convert):
    import torch

    class Sorted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(16, 16), torch.nn.Linear(16, 4)

        def forward(self, x):
            return self.second(torch.cumsum(self.first(x), -1)).relu()[:, [0, 3, 1]].sum(-1)

    graph = convert(Sorted(), 9, 16)
    ours = forecast(graph)
    assert disagreements(graph, ours, runtime_delegation(graph.path)) == []
    assert "CUMSUM" in {graph.operators[i].name for i in ours.refusals}
    assert len(ours.partitions) >= 2


def test_a_crash_while_loading_is_named(flatbuffer, save) -> None:
    """An IF whose branches are the subgraph that it stands in ends the runtime's process."""
    b = flatbuffer
    yes, x = b.constant(np.array([True]), dtype="bool"), b.input(1, 4)
    b.op("IF", [yes, x], [b.tensor(1, 4)], "IfOptions", thenSubgraphIndex=0, elseSubgraphIndex=0)
    with pytest.raises(UserError, match="ended by SIGSEGV while loading it"):
        runtime_delegation(save(b.build(2)))
