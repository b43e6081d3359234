"""Sequences that an accelerator computes wrong: found by hand-made files, rewritten, refused, shown."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.delegation.accelerators import MISCOMPUTED, miscomputed, refuse_miscomputed
from convert.flatbuffer import model as fb
from convert.flatbuffer.passes import without_constant_divisions
from convert.flatbuffer.reader import read_graph, read_graphs
from convert.inspect import main
from convert.output_file import place, staged
from convert.packaging.packaged_file import embed_preprocessing
from mobileiqa.errors import UserError
from tests.convert.conftest import FlatbufferBuilder
from tests.convert.packaging.conftest import TINY, write_tiny


@pytest.fixture
def division(flatbuffer, save) -> Callable[..., Path]:
    """division(divisor): x / divisor, then a convolution, as in the file where it was found."""

    def build(divisor: np.ndarray, fused: int = 0) -> Path:
        b = flatbuffer
        x = b.input(1, 8, 8, 3)
        options = {"fusedActivationFunction": fused}
        scaled = b.op("DIV", [x, b.constant(divisor)], [b.tensor(1, 8, 8, 3)], "DivOptions", **options)
        conv = {"padding": 0, "strideW": 1, "strideH": 1}
        weights, bias = b.constant(np.ones((2, 3, 3, 3))), b.constant(np.zeros(2))
        mapped = b.op("CONV_2D", [scaled, weights, bias], [b.tensor(1, 8, 8, 2)], "Conv2DOptions", **conv)
        return save(b.build(mapped))

    return build


def run(path: Path, values: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner("serving_default")(in0=values)["out0"]


@pytest.mark.parametrize("fused", [0, 1])
def test_a_division_by_a_constant_becomes_a_multiplication(division, tmp_path: Path, fused: int) -> None:
    path = division(np.array([58.395, -57.12, 57.375]), fused)
    (sentence,) = miscomputed(read_graph(path))
    assert sentence.startswith("DIV #0 is a division by a constant")
    values = np.random.default_rng(0).normal(0, 60, (1, 8, 8, 3)).astype(np.float32)
    expected = run(path, values)
    model = fb.read(path)
    assert without_constant_divisions(model) == 1
    out = tmp_path / "multiplied.tflite"
    fb.write(model, out)
    assert [op.name for op in read_graph(out).operators] == ["MUL", "CONV_2D"]
    assert miscomputed(read_graph(out)) == [] and without_constant_divisions(fb.read(out)) == 0
    np.testing.assert_allclose(run(out, values), expected, atol=1e-5)
    refuse_miscomputed(out)


@pytest.mark.parametrize("divisor", [0.0, 1e-45, np.nan])
def test_a_divisor_without_a_reciprocal_stays_and_is_refused(division, divisor: float) -> None:
    path = division(np.array([1.0, divisor, 1.0]))
    model = fb.read(path)
    assert without_constant_divisions(model) == 0
    with pytest.raises(UserError, match=r"model\.tflite that accelerators compute right; found DIV #0"):
        refuse_miscomputed(path)


def test_a_division_by_an_activation_is_none_of_them(flatbuffer, save) -> None:
    b = flatbuffer
    path = save(b.build(b.op("DIV", [b.input(1, 4), b.input(1, 4)], [b.tensor(1, 4)], "DivOptions")))
    assert miscomputed(read_graph(path)) == [] and without_constant_divisions(fb.read(path)) == 0


def test_a_divisor_stored_in_half_is_found(flatbuffer, save) -> None:
    b = flatbuffer
    divisor = b.op("DEQUANTIZE", [b.constant(np.ones(4), "float16")], [b.tensor(4)], "DequantizeOptions")
    path = save(b.build(b.op("DIV", [b.input(1, 4), divisor], [b.tensor(1, 4)], "DivOptions")))
    assert "division by a constant" in miscomputed(read_graph(path))[0]


@pytest.mark.parametrize(
    ("shape", "paddings", "wrong"),
    [
        ((1, 4, 4, 3), [[0, 0], [1, 1], [1, 1], [0, 0]], False),
        ((4, 4, 3), [[0, 0], [0, 0], [1, 2]], False),
        ((4, 4, 3), [[0, 0], [1, 0], [0, 0]], True),
        ((4, 3), [[2, 0], [0, 0]], True),
    ],
)
def test_pads_of_few_dimensions(
    flatbuffer, save, shape: tuple[int, ...], paddings: list, wrong: bool
) -> None:
    b = flatbuffer
    larger = [n + sum(p) for n, p in zip(shape, paddings, strict=True)]
    path = save(
        b.build(b.op("PAD", [b.input(*shape), b.constant(paddings)], [b.tensor(*larger)], "PadOptions"))
    )
    assert bool(miscomputed(read_graph(path))) is wrong


def test_pads_of_an_odd_count_are_judged_too(flatbuffer, save) -> None:
    """A damaged file's: three numbers are no pairs."""
    b = flatbuffer
    pad = b.op("PAD", [b.input(1, 4, 4), b.constant([1, 0, 0])], [b.tensor(2, 4, 4)], "PadOptions")
    assert len(miscomputed(read_graph(save(b.build(pad))))) == 1


@pytest.mark.parametrize(("shape", "wrong"), [((1, 5, 4, 3), True), ((5, 12), False), ((1, 5, 12), False)])
def test_a_product_that_flattens(flatbuffer, save, shape: tuple[int, ...], wrong: bool) -> None:
    b = flatbuffer
    inputs = [b.input(*shape), b.constant(np.ones((2, 12))), b.constant(np.zeros(2))]
    path = save(b.build(b.op("FULLY_CONNECTED", inputs, [b.tensor(5, 2)], "FullyConnectedOptions")))
    assert bool(miscomputed(read_graph(path))) is wrong


def test_no_packaged_file_has_one(tmp_path: Path) -> None:
    """Resize, crop and padding, of every precision that a mark changes."""
    for fp16 in (False, True):
        source = write_tiny(FlatbufferBuilder(), tmp_path / "tiny.tflite", TINY, fp16)
        path = tmp_path / f"camera{fp16}.tflite"
        embed_preprocessing(source, path, [(90, 70), (70, 90), (64, 48), (40, 30)])
        refuse_miscomputed(path)
        names = {op.name for graph in read_graphs(path) for op in graph.operators}
        assert "DIV" not in names and {"ADD", "MUL"} <= names


@pytest.mark.parametrize("output_too", [True, False])
def test_an_add_that_is_an_output_and_read(flatbuffer, save, output_too: bool) -> None:
    b = flatbuffer
    total = b.op("ADD", [b.input(1, 4), b.input(1, 4)], [b.tensor(1, 4)], "AddOptions")
    bent = b.op("ABS", [total], [b.tensor(1, 4)], "AbsOptions")
    path = save(b.build(bent, total) if output_too else b.build(bent))
    assert bool(miscomputed(read_graph(path))) is output_too


def test_no_such_file_gets_its_name_and_inspect_shows_why(division, tmp_path: Path, capsys) -> None:
    output = division(np.array([2.0, 2.0, 2.0]))
    assert main([str(output)]) == 0
    assert "WRONG ON AN ACCELERATOR: DIV #0 is a division by a constant" in capsys.readouterr().out
    path = tmp_path / "named.tflite"
    with staged(path) as unproven, pytest.raises(UserError, match="division by a constant"):
        unproven.write_bytes(output.read_bytes())
        place(unproven, path, True)
    assert not path.exists()


def test_every_row_says_where_it_was_seen() -> None:
    assert all("LiteRT" in row.seen for row in MISCOMPUTED)
