import copy

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import read_graph, read_graphs
from mobileiqa.errors import UserError


def test_reads_what_was_written(small_net, save):
    small_net.builder.note("mobileiqa", b'{"precision": "fp16"}')
    small_net.builder.note("reduced_precision_support", b"fp16accfp16\0\0")
    content = small_net.builder.build(small_net.score)
    graph = read_graph(save(content))

    assert [op.name for op in graph.operators] == ["CONV_2D", "GELU", "MEAN"]
    assert graph.operators[0].inputs == (small_net.image, small_net.weights, small_net.bias)
    assert (graph.operators[0].option("strideH"), graph.operators[0].option("dilationHFactor", 7)) == (1, 1)
    assert graph.operators[1].option("noSuchField", 7) == 7
    assert graph.signatures[0].inputs == {"in0": small_net.image}
    assert graph.signatures[0].outputs == {"out0": small_net.score}
    assert graph.description == {"precision": "fp16"}
    assert graph.reduced_precision == "fp16accfp16"
    assert graph.file_bytes == len(content)
    assert graph.consumers[small_net.mapped] == (1,)
    weights = graph.tensors[small_net.weights]
    assert weights.constant and not graph.tensors[small_net.mapped].constant
    assert (weights.shape, weights.elements, weights.nbytes) == ((5, 3, 3, 4), 180, 720)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.arange(6).reshape(2, 3), "int64"),
        (np.array([0.5, -2.0]), "float16"),
        (np.array(3.25), "float32"),
        (np.array([-128, 127]), "int8"),
        (np.array([True, False]), "bool"),
    ],
)
def test_constants_come_back_exactly(flatbuffer, save, values, dtype):
    index = flatbuffer.constant(values, dtype)
    tensor = read_graph(save(flatbuffer.build(index))).tensors[index]
    assert tensor.values().dtype == dtype
    np.testing.assert_array_equal(tensor.values(), values.astype(dtype))


def test_quantization_is_read(flatbuffer, save):
    index = flatbuffer.constant(np.ones((2, 3)), "int8", (np.array([0.5, 0.25]), np.array([0, 0]), 0))
    tensor = read_graph(save(flatbuffer.build(index))).tensors[index]
    assert (tensor.scales, tensor.zero_points, tensor.quantized_axis) == ((0.5, 0.25), (0, 0), 0)


def test_every_subgraph_has_its_own_signature(small_net, save):
    model = fb.read(save(small_net.builder.build(small_net.score)))
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    model.subgraphs[1].operators = model.subgraphs[1].operators[:2]
    model.subgraphs[1].outputs = [small_net.bent]
    second = copy.deepcopy(model.signatureDefs[0])
    second.signatureKey, second.subgraphIndex = b"features", 1
    second.outputs[0].tensorIndex = small_net.bent
    model.signatureDefs.append(second)
    path = save(b"")
    fb.write(model, path)
    first, other = read_graphs(path)
    assert (first.index, other.index, first.subgraphs, first.entries) == (0, 1, 2, 2)
    assert [s.key for s in (*first.signatures, *other.signatures)] == ["serving_default", "features"]
    assert [op.name for op in other.operators] == ["CONV_2D", "GELU"] and other.outputs == (small_net.bent,)
    assert read_graph(path).operators == first.operators


def test_flex_and_custom_operators_keep_their_names(flatbuffer, save):
    x = flatbuffer.input(4)
    flatbuffer.op("FlexErf", [x], [flatbuffer.tensor(4)])
    graph = read_graph(save(flatbuffer.build(flatbuffer.op("MyOp", [x], [flatbuffer.tensor(4)]))))
    assert [(op.name, op.custom, op.flex) for op in graph.operators] == [
        ("FlexErf", True, True),
        ("MyOp", True, False),
    ]


def test_an_old_file_has_only_the_old_operator_code(flatbuffer, save):
    x = flatbuffer.input(4)
    y = flatbuffer.op("RELU", [x], [flatbuffer.tensor(4)])
    flatbuffer.codes[0].builtinCode = 0
    assert read_graph(save(flatbuffer.build(y))).operators[0].name == "RELU"


def test_a_tensor_without_room_for_its_shape_is_damage(flatbuffer, save):
    index = flatbuffer.constant(np.ones(4))
    flatbuffer.tensors[index].shape = [5]
    with pytest.raises(UserError, match=r"16 bytes for tensor 0 \(t0\), which needs 20"):
        read_graph(save(flatbuffer.build(index)))


@pytest.mark.parametrize(
    "break_it",
    [
        lambda b: b.operators[0].inputs.__setitem__(0, 99),
        lambda b: b.operators[0].outputs.__setitem__(0, -1),
        lambda b: setattr(b.operators[0], "opcodeIndex", 99),
        lambda b: setattr(b.tensors[0], "buffer", 99),
        lambda b: setattr(b.tensors[0], "type", 99),
        lambda b: setattr(b.tensors[0], "shape", [-3]),
    ],
    ids=["input", "output", "opcode", "buffer", "type", "shape"],
)
def test_indices_that_lead_nowhere_are_damage(flatbuffer, save, break_it):
    x = flatbuffer.input(4)
    y = flatbuffer.op("RELU", [x], [flatbuffer.tensor(4)])
    break_it(flatbuffer)
    with pytest.raises(UserError, match=r"model\.tflite"):
        read_graph(save(flatbuffer.build(y)))


def test_every_truncation_is_one_user_error(small_net, save):
    content = small_net.builder.build(small_net.score)
    for length in range(0, len(content) - 1, 7):
        with pytest.raises(UserError):
            read_graph(save(content[:length]))


def test_flipped_bytes_give_a_graph_or_a_user_error(small_net, save):
    content = small_net.builder.build(small_net.score)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for at in rng.integers(8, len(content), 4):
            damaged[at] = rng.integers(256)
        try:
            read_graph(save(bytes(damaged)))
        except UserError:
            refused += 1
    assert 50 < refused < 400


def test_other_files_are_named(tmp_path):
    text = tmp_path / "note.tflite"
    text.write_text("this is no flatbuffer at all")
    with pytest.raises(UserError, match=r"note\.tflite.*instead of b'TFL3'"):
        read_graph(text)
    with pytest.raises(UserError, match="a folder"):
        read_graph(tmp_path)
    with pytest.raises(UserError, match="nothing there"):
        read_graph(tmp_path / "none.tflite")
    (tmp_path / "empty.tflite").touch()
    with pytest.raises(UserError, match=r"empty\.tflite"):
        read_graph(tmp_path / "empty.tflite")


def test_metadata_that_is_not_json_is_a_user_error(small_net, save):
    small_net.builder.note("mobileiqa", b"{not json")
    graph = read_graph(save(small_net.builder.build(small_net.score)))
    with pytest.raises(UserError, match="JSON"):
        _ = graph.description
