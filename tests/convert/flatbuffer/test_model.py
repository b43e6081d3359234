"""Edits of a flatbuffer: each on a real export or a graph by hand, run before and after in ai-edge-litert."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convert.delegation.partitions import runtime_delegation
from convert.flatbuffer import model as fb
from convert.flatbuffer import passes
from convert.flatbuffer.reader import read_graph
from convert.fp16_weights import fp16_obstacles, store_fp16_weights
from mobileiqa.errors import UserError


def run(path: Path, *arrays: np.ndarray) -> np.ndarray:
    """The first output, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array.astype(np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def edited(path: Path, *edits) -> Path:
    """A copy of the file after `edits`, each a function of the model."""
    model = fb.read(path)
    for edit in edits:
        edit(model)
    result = path.with_name("edited.tflite")
    fb.write(model, result)
    return result


def delegated(path: Path) -> tuple[int, int]:
    """(operators that XNNPACK does not take, partitions)."""
    delegation = runtime_delegation(path)
    return delegation["nodes_total"] - delegation["nodes_delegated"], delegation["partitions"]


class Products(nn.Module):
    """a @ b.t() of activations between two layers, as in the attentions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 6), nn.Linear(5, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.second(torch.softmax(self.first(a) @ b.t(), -1))


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def test_a_product_of_activations_becomes_a_batch_matmul(exported, operators):
    a, b = arrays((4, 8), (5, 6))
    module = Products()
    path = exported(module, torch.from_numpy(a), torch.from_numpy(b))
    assert operators(path)["FULLY_CONNECTED"] == 3
    changed = []
    new = edited(path, lambda model: changed.append(passes.batch_matmuls(model)))
    assert changed == [1]
    assert (operators(new)["FULLY_CONNECTED"], operators(new)["BATCH_MATMUL"]) == (2, 1)
    expected = module(torch.from_numpy(a), torch.from_numpy(b)).detach().numpy()
    assert np.abs(run(new, a, b) - expected).max() < 1e-6
    assert delegated(path)[0] > 0, "what the edit is for"
    assert delegated(new) == (0, 1)


def test_a_fused_activation_is_not_lost(exported, operators):
    class Clamped(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.relu(a @ b.t()) * 2

    a, b = arrays((4, 8), (5, 8))
    path = edited(exported(Clamped(), torch.from_numpy(a), torch.from_numpy(b)), passes.batch_matmuls)
    assert np.abs(run(path, a, b) - 2 * np.maximum(a @ b.T, 0)).max() < 1e-5


def test_a_graph_without_products_is_left_alone(exported):
    path = exported(nn.Linear(3, 2), torch.zeros(1, 3))
    assert passes.batch_matmuls(fb.read(path)) == 0


# Concatenations.


@pytest.mark.parametrize(("count", "axis"), [(5, 1), (6, 1), (11, -1), (26, 2), (126, 1)])
def test_wide_concatenations_become_trees(flatbuffer, save, operators, count: int, axis: int):
    b = flatbuffer
    widths = [1 + i % 3 for i in range(count)]
    shape = lambda width: tuple(width if d == axis % 3 else 2 for d in range(3))  # noqa: E731
    inputs = [b.input(*shape(width)) for width in widths]
    out = b.op("CONCATENATION", inputs, [b.tensor(*shape(sum(widths)))], "ConcatenationOptions", axis=axis)
    values = arrays(*(shape(width) for width in widths))
    new = edited(save(b.build(out)), passes.narrow_concatenations)
    graph = read_graph(new)
    assert max(len(op.inputs) for op in graph.operators) <= 5
    assert len(graph.operators) == {5: 1, 6: 2, 11: 3, 26: 7, 126: 32}[count]
    assert np.array_equal(run(new, *values), np.concatenate(values, axis))
    assert delegated(new) == (0, 1)


def test_a_constant_among_the_parts_stays_that_part_alone(flatbuffer, save):
    b = flatbuffer
    first = b.constant(np.full((1, 2), 7.0))
    inputs = [first, *(b.input(1, 2) for _ in range(6))]
    out = b.op("CONCATENATION", inputs, [b.tensor(1, 14)], "ConcatenationOptions", axis=1)
    values = arrays(*[(1, 2)] * 6)
    new = edited(save(b.build(out)), passes.narrow_concatenations)
    expected = np.concatenate([np.full((1, 2), 7, np.float32), *values], 1)
    assert np.array_equal(run(new, *values), expected)


# FP16 weights.


class Mixed(nn.Module):
    """Every operator whose weights are halved, and one whose constant is not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.depth = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
        self.fc = nn.Linear(8, 5)
        self.offset = nn.Parameter(torch.randn(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.fc(self.depth(torch.relu(self.conv(x))).mean((2, 3)))) * self.offset


@pytest.fixture
def mixed(exported) -> tuple[Mixed, Path]:
    module = Mixed()
    return module, exported(module, torch.zeros(1, 3, 12, 10))


def test_fp16_weights_are_the_rounded_weights(mixed, operators):
    module, path = mixed
    counts = []
    new = edited(path, lambda model: counts.append(store_fp16_weights(model)), fb.drop_unused_buffers)
    assert counts == [3] and operators(new)["DEQUANTIZE"] == 3
    graph = read_graph(new)
    halves = {t.elements for t in graph.tensors if t.dtype == "float16"}
    assert halves == {8 * 3 * 9, 8 * 9, 8 * 5}
    assert new.stat().st_size < path.stat().st_size
    (x,) = arrays((1, 3, 12, 10))
    full = run(path, x)
    for layer in (module.conv, module.depth, module.fc):
        layer.weight.data = layer.weight.data.half().float()
    expected = module(torch.from_numpy(x)).detach().numpy()
    assert np.abs(run(new, x) - expected).max() < 1e-6
    assert np.abs(full - expected).max() > 1e-5, "rounding must show, or the line above shows nothing"


def test_fp16_weights_are_delegated(mixed):
    assert delegated(edited(mixed[1], store_fp16_weights)) == (0, 1)


def test_biases_and_other_constants_stay_float32(mixed):
    graph = read_graph(edited(mixed[1], store_fp16_weights))
    rest = [t.elements for t in graph.tensors if t.constant and t.dtype == "float32"]
    assert sorted(rest) == [5, 5, 8, 8]


def test_halving_twice_changes_nothing_more(mixed):
    model = fb.read(mixed[1])
    assert [store_fp16_weights(model), store_fp16_weights(model)] == [3, 0]


def test_a_weight_of_two_operators_is_stored_once(flatbuffer, save):
    b = flatbuffer
    x, weight = b.input(1, 4), b.constant(np.arange(16.0).reshape(4, 4) / 7)
    y = b.op("FULLY_CONNECTED", [x, weight, -1], [b.tensor(1, 4)], "FullyConnectedOptions")
    z = b.op("FULLY_CONNECTED", [y, weight, -1], [b.tensor(1, 4)], "FullyConnectedOptions")
    path = save(b.build(z))
    model = fb.read(path)
    assert store_fp16_weights(model) == 1
    fb.write(model, path)
    (value,) = arrays((1, 4))
    rounded = (np.arange(16.0).reshape(4, 4) / 7).astype(np.float16).astype(np.float64)
    assert np.abs(run(path, value) - value @ rounded.T @ rounded.T).max() < 1e-4


@pytest.mark.parametrize("value", [65536.0, -1e9, np.inf, np.nan])
def test_a_weight_beyond_fp16_is_refused(flatbuffer, save, value: float):
    b = flatbuffer
    weight = b.constant(np.array([[1.0, value]]))
    out = b.op("FULLY_CONNECTED", [b.input(1, 2), weight, -1], [b.tensor(1, 1)], "FullyConnectedOptions")
    with pytest.raises(UserError, match=r"FP16's range .* in t0; use --fp32"):
        store_fp16_weights(fb.read(save(b.build(out))))


def test_the_largest_half_is_taken(flatbuffer, save):
    b = flatbuffer
    weight = b.constant(np.array([[65504.0, -65504.0]]))
    out = b.op("FULLY_CONNECTED", [b.input(1, 2), weight, -1], [b.tensor(1, 1)], "FullyConnectedOptions")
    new = edited(save(b.build(out)), store_fp16_weights)
    assert run(new, np.array([[1.0, 0.0]]))[0, 0] == 65504


# What stands against FP16 arithmetic.


@pytest.mark.parametrize("constant", ["left", "right", None])
def test_a_constant_on_the_left_of_a_batch_matmul_is_an_obstacle(flatbuffer, save, constant: str | None):
    b = flatbuffer
    sides = [b.constant(np.ones((3, 3))) if side == constant else b.input(3, 3) for side in ("left", "right")]
    out = b.op("BATCH_MATMUL", sides, [b.tensor(3, 3)], "BatchMatMulOptions")
    result = fp16_obstacles(fb.read(save(b.build(out))))
    assert len(result) == (constant == "left")
    assert all("BATCH_MATMUL 0 has a constant on its left" in reason for reason in result)


# Metadata, names, buffers.


def test_metadata_is_added_and_replaced(mixed):
    path = edited(
        mixed[1],
        lambda model: fb.set_metadata(model, "mobileiqa", b"old"),
        lambda model: fb.set_metadata(model, "mobileiqa", b"{}"),
        lambda model: fb.set_metadata(model, fb.REDUCED_PRECISION, fb.FP16_ACCUMULATE_FP16),
        fb.drop_unused_buffers,
    )
    graph = read_graph(path)
    assert graph.metadata["mobileiqa"].rstrip(b"\0") == b"{}" and graph.reduced_precision == "fp16accfp16"
    assert b"old" not in path.read_bytes()
    model = fb.read(path)  # names come back as bytes: replacing must still find them
    fb.set_metadata(model, "mobileiqa", b"new")
    assert [bytes(m.name) for m in model.metadata].count(b"mobileiqa") == 1


def test_signatures_name_inputs_and_the_score(exported):
    from ai_edge_litert.interpreter import Interpreter

    class Difference(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a - 2 * b).sum(1)

    path = exported(Difference(), torch.zeros(1, 3), torch.zeros(1, 3))
    new = edited(path, lambda model: fb.name_signature(model, ["authentic", "synthetic"]))
    interpreter = Interpreter(model_path=str(new))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["authentic", "synthetic"], "outputs": ["score"]}
    }
    one = np.ones((1, 3), np.float32)
    score = interpreter.get_signature_runner()(authentic=5 * one, synthetic=one)["score"]
    assert score == [9.0], "names must sit on the right tensors"
    names = {read_graph(new).tensors[i].name for i in read_graph(new).inputs}
    assert names == {"authentic", "synthetic"}


def test_tensor_names_lose_their_module_paths(exported):
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    path = exported(Deep(), torch.zeros(1, 3))
    new = edited(path, passes.shorten_names)
    before, after = ([t.name for t in read_graph(p).tensors] for p in (path, new))
    assert any("torch.nn" in name for name in before) and not any("torch.nn" in name for name in after)
    assert new.stat().st_size < path.stat().st_size
    (x,) = arrays((1, 3))
    assert np.array_equal(run(new, x), run(path, x))


def test_equal_tensor_names_get_numbers(mixed):
    def alike(model) -> None:
        for tensor in model.subgraphs[0].tensors[1:4]:
            tensor.name = b"body/Linear;"
        passes.shorten_names(model)

    names = [tensor.name for tensor in read_graph(edited(mixed[1], alike)).tensors]
    assert names[1:4] == ["Linear;", "Linear;#2", "Linear;#3"]
    assert len(set(names)) == len(names)


def test_unused_buffers_are_emptied_and_used_ones_kept(mixed):
    model = fb.read(mixed[1])
    fb.drop_unused_buffers(model)
    sizes = [len(b.data) for b in model.buffers if b.data is not None]
    store_fp16_weights(model)
    fb.drop_unused_buffers(model)
    halved = [len(b.data) for b in model.buffers if b.data is not None]
    weights = 4 * (8 * 3 * 9 + 8 * 9 + 8 * 5)
    assert sum(sizes) - sum(halved) == weights // 2


def test_operator_codes_are_reused(mixed):
    model = fb.read(mixed[1])
    codes = len(model.operatorCodes)
    first, again = fb.opcode(model, "BATCH_MATMUL"), fb.opcode(model, "BATCH_MATMUL")
    assert first == again == codes and len(model.operatorCodes) == codes + 1
    assert model.operatorCodes[first].deprecatedBuiltinCode == 126
    kinds = {fb.kind(model, operator) for operator in model.subgraphs[0].operators}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= kinds


def test_reading_and_writing_changes_no_value(mixed):
    (x,) = arrays((1, 3, 12, 10))
    assert np.array_equal(run(edited(mixed[1]), x), run(mixed[1], x))
    before, after = read_graph(mixed[1]), read_graph(mixed[1].with_name("edited.tflite"))
    for old, new in itertools.zip_longest(before.operators, after.operators):
        assert (old.name, old.inputs, old.outputs) == (new.name, new.inputs, new.outputs)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("tensor", "buffer", 999, "buffer 999 of"),
        ("operator", "opcodeIndex", 99, "operator code 99 of"),
        ("operator", "inputs", [0, 5000], "tensor 5000 of"),
        ("operator", "outputs", [-1], "tensor -1 of"),
        ("graph", "inputs", [77], "tensor 77 of"),
        ("signature", "subgraphIndex", 1, "subgraph 1 of 1"),
        ("metadata", "buffer", 999, "buffer 999 of"),
    ],
)
def test_an_index_that_leads_out_of_the_file_is_refused(small_net, save, part, field, value, message):
    small_net.builder.note("mobileiqa", b"{}")
    path = save(small_net.builder.build(small_net.score))
    model = fb.read(path)
    graph = model.subgraphs[0]
    parts = {
        "tensor": graph.tensors[0], "operator": graph.operators[0], "graph": graph,
        "signature": model.signatureDefs[0], "metadata": model.metadata[0],
    }  # fmt: skip
    setattr(parts[part], field, value)
    fb.write(model, path)
    with pytest.raises(UserError, match=message):
        fb.read(path)


def test_an_operator_of_no_known_code_is_named_by_its_number(small_net, save):
    model = fb.read(save(small_net.builder.build(small_net.score)))
    model.operatorCodes[0].builtinCode = -1
    assert fb.kind(model, model.subgraphs[0].operators[0]) == "-1"


@pytest.mark.parametrize("at", [0, 4, 40, 200])
def test_damaged_tables_are_one_line(small_net, save, at: int):
    content = bytearray(small_net.builder.build(small_net.score))
    content[at : at + 4] = b"\xf0\xff\xff\x7f"
    del content[-300:]
    with pytest.raises(UserError, match="a whole TFLite file"):
        fb.read(save(bytes(content)))


def test_equal_zero_points_are_stored_once(mixed):
    """What is shared reads back as its own for each tensor, and the file still runs."""
    from ai_edge_litert import schema_py_generated as schema

    _, plain = mixed

    def with_zero_points(count: int) -> Path:
        model = fb.read(plain)
        for tensor in [t for t in model.subgraphs[0].tensors if fb.is_constant(model, t)][:count]:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.zeroPoint = np.zeros(5000, np.int64)
        path = plain.with_name(f"zeros{count}.tflite")
        fb.write(model, path)
        return path

    one, three = with_zero_points(1), with_zero_points(3)
    assert one.stat().st_size > plain.stat().st_size + 40_000 - 2000
    assert three.stat().st_size < one.stat().st_size + 1000
    results = [t.quantization for t in fb.read(three).subgraphs[0].tensors if t.quantization is not None]
    assert sum(q.zeroPoint is not None and len(q.zeroPoint) == 5000 for q in results) == 3


@pytest.mark.parametrize("content", [b"\0" * 5, b"\0" * 12, b"\0" * 20])
def test_a_constant_of_another_length_than_its_shape_is_damage(flatbuffer, save, content: bytes) -> None:
    """Readers take a constant by its shape: one of another length would be cut, or end them."""
    b = flatbuffer
    order = b.constant(np.array([0, 2, 1, 3], np.int32))
    path = save(b.build(b.op("TRANSPOSE", [b.input(1, 2, 2, 1), order], [b.tensor(1, 2, 2, 1)])))
    model = fb.read(path)
    model.buffers[model.subgraphs[0].tensors[order].buffer].data = np.frombuffer(content, np.uint8)
    fb.write(model, path)
    with pytest.raises(UserError, match=rf"{len(content)} bytes in the constant .*, whose shape has 16"):
        fb.read(path)
