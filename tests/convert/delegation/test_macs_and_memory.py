import numpy as np
import pytest

from convert.delegation.macs_and_memory import Peak, lifetimes, macs, parameters, peak, values
from convert.flatbuffer.reader import read_graph
from mobileiqa.errors import UserError


def test_macs_of_a_convolution(small_net, save):
    graph = read_graph(save(small_net.builder.build(small_net.score)))
    counted = [macs(graph, op) for op in graph.operators]
    assert counted == [8 * 8 * 5 * (3 * 3 * 4), 0, 0]
    assert [values(graph, op) for op in graph.operators] == [320, 320, 5]
    assert parameters(graph) == 5 * 3 * 3 * 4 + 5  # and not MEAN's two axes


@pytest.mark.parametrize(
    ("name", "shapes", "out", "options", "fields", "expected"),
    [
        (
            "CONV_2D",
            [(1, 9, 9, 8), (6, 3, 3, 4)],
            (1, 4, 4, 6),
            "Conv2DOptions",
            {},
            16 * 6 * 36,
        ),  # two groups
        (
            "DEPTHWISE_CONV_2D",
            [(1, 9, 9, 4), (1, 5, 5, 8)],
            (1, 9, 9, 8),
            "DepthwiseConv2DOptions",
            {},
            81 * 8 * 25,
        ),
        ("FULLY_CONNECTED", [(2, 3, 7), (5, 7)], (2, 3, 5), "FullyConnectedOptions", {}, 2 * 3 * 5 * 7),
        ("BATCH_MATMUL", [(2, 6, 8), (2, 8, 5)], (2, 6, 5), "BatchMatMulOptions", {}, 2 * 6 * 5 * 8),
        (
            "BATCH_MATMUL",
            [(2, 8, 6), (2, 5, 8)],
            (2, 6, 5),
            "BatchMatMulOptions",
            {"adjX": True, "adjY": True},
            2 * 6 * 5 * 8,
        ),
        ("ADD", [(4,), (4,)], (4,), "AddOptions", {}, 0),
    ],
)
def test_macs_by_hand(flatbuffer, save, name, shapes, out, options, fields, expected):
    inputs = [flatbuffer.input(*shape) for shape in shapes]
    graph = read_graph(
        save(flatbuffer.build(flatbuffer.op(name, inputs, [flatbuffer.tensor(*out)], options, **fields)))
    )
    assert macs(graph, graph.operators[0]) == expected


def test_macs_of_a_transposed_convolution(flatbuffer, save):
    b = flatbuffer
    x, shape, weights = b.input(1, 4, 4, 3), b.constant([1, 8, 8, 5]), b.constant(np.ones((5, 2, 2, 3)))
    y = b.op("TRANSPOSE_CONV", [shape, weights, x], [b.tensor(1, 8, 8, 5)], "TransposeConvOptions")
    graph = read_graph(save(b.build(y)))
    assert macs(graph, graph.operators[0]) == (4 * 4 * 3) * (5 * 2 * 2)


def test_a_matrix_operator_without_operands_is_a_user_error(flatbuffer, save):
    x = flatbuffer.input(4)
    graph = read_graph(save(flatbuffer.build(flatbuffer.op("FULLY_CONNECTED", [x], [flatbuffer.tensor(4)]))))
    with pytest.raises(UserError, match="FULLY_CONNECTED #0"):
        macs(graph, graph.operators[0])


def test_a_shared_buffer_is_counted_once_and_indices_never(flatbuffer, save):
    b = flatbuffer
    first, second = b.constant(np.ones((5, 8))), b.constant(np.ones((5, 8)))
    b.tensors[second].buffer = b.tensors[first].buffer
    b.constant(np.arange(7))  # a permutation, say
    b.constant(np.ones(5), "int32", (0.1, 0))  # an 8-bit layer's bias
    assert parameters(read_graph(save(b.build(first)))) == 40 + 5


def test_peak_by_hand(small_net, save):
    """At GELU its input and its output live, 1280 bytes each; at the convolution 1024 + 1280."""
    graph = read_graph(save(small_net.builder.build(small_net.score)))
    result = peak(graph)
    assert (result.nbytes, graph.operators[result.operator].name) == (2560, "GELU")
    assert set(result.live) == {small_net.mapped, small_net.bent}


def test_a_residual_keeps_its_input_alive(flatbuffer, save):
    b = flatbuffer
    x = b.input(100)
    y = b.op("RELU", [x], [b.tensor(100)])
    z = b.op("RELU", [y], [b.tensor(100)])
    total = b.op("ADD", [x, z], [b.tensor(100)], "AddOptions")
    graph = read_graph(save(b.build(total)))
    assert lifetimes(graph) == {x: (0, 2), y: (0, 1), z: (1, 2), total: (2, 2)}
    assert peak(graph).nbytes == 3 * 400


def test_weights_that_are_dequantized_are_no_activations(flatbuffer, save):
    b = flatbuffer
    weights = b.op("DEQUANTIZE", [b.constant(np.ones((50, 4)), "float16")], [b.tensor(50, 4)])
    y = b.op("FULLY_CONNECTED", [b.input(1, 4), weights, -1], [b.tensor(1, 50)], "FullyConnectedOptions")
    graph = read_graph(save(b.build(y)))
    assert peak(graph).nbytes == 16 + 200
    assert parameters(graph) == 200


def test_peak_equals_a_simulation_of_random_graphs(flatbuffer, save):
    """The simulation frees a tensor only when nothing later reads it, one operator at a time."""
    rng = np.random.default_rng(3)
    b = flatbuffer
    output = [b.input(int(rng.integers(1, 50))) for _ in range(2)]
    for _ in range(40):
        reads = [int(i) for i in rng.choice(output, 2)]
        output.append(b.op("ADD", reads, [b.tensor(int(rng.integers(1, 50)))], "AddOptions"))
    graph = read_graph(save(b.build(output[-1], output[5])))

    held, most = set(graph.inputs), 0
    for op in graph.operators:
        held |= set(op.outputs)
        most = max(most, sum(graph.tensors[i].nbytes for i in held))
        later = {i for o in graph.operators[op.index + 1 :] for i in o.inputs} | set(graph.outputs)
        held &= later
    assert peak(graph).nbytes == most


def test_a_graph_without_operators(flatbuffer, save):
    result = peak(read_graph(save(flatbuffer.build(flatbuffer.input(4)))))
    assert (result.nbytes, result.operator) == (0, -1)


def test_a_graph_without_operators_has_no_peak(flatbuffer, save):
    """Its input is no output either: a damaged file's list of operators is empty."""
    x, y = flatbuffer.input(4), flatbuffer.tensor(4)
    assert x != y and peak(read_graph(save(flatbuffer.build(y)))) == Peak(0, -1, ())
