"""Files of other converters: several outputs, scalars, whole numbers, strings, dynamic sizes, no signature."""

import struct
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from android_bench import cli, profile
from android_bench.results.tflite_file import read, with_fixed_sizes
from convert import inspect
from mobileiqa.errors import UserError
from mobileiqa.scoring import litert
from tests.conftest import SHARED
from tests.convert.conftest import FlatbufferBuilder

CASE = SHARED / "cases" / "call_once_mul.tflite"
RUN = ["--runs", "2", "--no-xnnpack"]  # a file of one RESHAPE is none of XNNPACK's
BENCH = ["--launches", "1", "--if-disturbed", "keep"]


def detector(b: FlatbufferBuilder) -> list[int]:
    x, conv = b.input(1, 8, 8, 3), {"padding": 0, "strideW": 1, "strideH": 1}
    return [
        b.op("CONV_2D", [x, b.constant(np.ones((n, 3, 3, 3))), b.constant(np.zeros(n))], [b.tensor(1, 8, 8, n)],
             "Conv2DOptions", **conv)
        for n in (4, 1)
    ]  # fmt: skip


def scalar(b: FlatbufferBuilder) -> list[int]:
    return [b.op("ABS", [b.input()], [b.tensor()], "AbsOptions")]


def indices(b: FlatbufferBuilder) -> list[int]:
    rows = b.constant(np.ones((2, 3)))
    return [b.op("GATHER", [rows, b.input(4, dtype="int32")], [b.tensor(4, 3)], "GatherOptions")]


def truths(b: FlatbufferBuilder) -> list[int]:
    return [b.op("LOGICAL_NOT", [b.input(4, dtype="bool")], [b.tensor(4, dtype="bool")], "LogicalNotOptions")]


def words(b: FlatbufferBuilder) -> list[int]:
    target = b.tensor(2, dtype="string")
    return [b.op("RESHAPE", [b.input(2, 1, dtype="string"), b.constant([2])], [target], "ReshapeOptions")]


def dynamic(b: FlatbufferBuilder) -> list[int]:
    x = b.input(1, 8, 6, 3)
    b.tensors[x].shapeSignature = [-1, -1, -1, 3]
    return [b.op("ABS", [x], [b.tensor(1, 8, 6, 3)], "AbsOptions")]


def negative_logarithm(b: FlatbufferBuilder) -> list[int]:
    """NaN for most random inputs, and no score."""
    return [b.op("LOG", [b.input(64)], [b.tensor(64)])]


def nameless(b: FlatbufferBuilder) -> bytes:
    """detector's file without its signature."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(b.build(*detector(b)), 0))
    model.signatureDefs = []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[[Callable], Path]:
    def write(build: Callable) -> Path:
        b, path = FlatbufferBuilder(), tmp_path / f"{build.__name__}.tflite"
        parts = build(b)
        path.write_bytes(parts if isinstance(parts, bytes) else b.build(*parts))
        return path

    return write


@pytest.mark.parametrize(
    "build", [detector, scalar, indices, truths, words, dynamic, negative_logarithm, nameless]
)
def test_bench_profile_and_inspect_take_any_file(foreign, build, capsys) -> None:
    path = str(foreign(build))
    assert cli.main([path, *RUN, *BENCH]) == 0, capsys.readouterr().err
    assert inspect.main([path]) == 0
    assert profile.main([path, *RUN]) == (1 if build is words else 0)
    assert ("cannot fill, as strings are" in capsys.readouterr().err) is (build is words)


@pytest.mark.parametrize(
    ("build", "cause"),
    [
        (
            detector,
            r"one output named 'score' in .*detector\.tflite, .*; found 'out0', 'out1'; .*bench and profile take any",
        ),
        (scalar, r"one output named 'score'"),
        (nameless, r"the signature 'serving_default'.*found no signature; scoring takes one score per image"),
    ],
)
def test_scoring_says_why_not_and_what_does(foreign, build, cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        litert.runner(foreign(build))


def test_a_dynamic_size_is_the_one_in_the_file(foreign) -> None:
    path = foreign(dynamic)
    fixed = with_fixed_sizes(path)
    assert fixed is not None and len(fixed) == path.stat().st_size
    assert read(path).signatures[0].input_shapes == ((1, 8, 6, 3),)
    path.write_bytes(fixed)
    assert with_fixed_sizes(path) is None


def test_counts_that_a_damaged_file_claims_are_not_believed(foreign, tmp_path: Path) -> None:
    content = bytearray(foreign(detector).read_bytes())
    root = struct.unpack_from("<I", content)[0]
    vtable = root - struct.unpack_from("<i", content, root)[0]
    field = root + struct.unpack_from("<H", content, vtable + 4 + 2 * 2)[0]  # Model.subgraphs
    struct.pack_into("<I", content, field + struct.unpack_from("<I", content, field)[0], 1 << 30)
    path = tmp_path / "counts.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"counts\.tflite; found \d+ damaged bytes"):
        read(path)


@pytest.mark.skipif(not CASE.is_file(), reason="no ../shared/cases beside the checkout; `scalar` stands in")
def test_a_published_file_with_a_scalar(capsys) -> None:
    assert cli.main([str(CASE), *RUN, *BENCH]) == 0
    assert profile.main([str(CASE), *RUN]) == 0
    with pytest.raises(UserError, match="scoring takes one score per image"):
        litert.runner(CASE)
