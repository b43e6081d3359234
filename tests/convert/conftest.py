"""A few lines of .tflite by hand: one operator, or a few, with exactly the tensors that a test is about."""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mobileiqa.checkpoint import save as save_checkpoint
from tests.convert.conversions import NAME, SPEC, Run, as_a_user

Scale = tuple[Any, Any] | tuple[Any, Any, int]  # scales, zero points and, per channel, the axis


class FlatbufferBuilder:
    """Collects tensors and operators of one subgraph; tensors are named t0, t1... and returned as indices."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: list[Any] = []
        self.inputs: list[int] = []
        self.metadata: list[Any] = []

    def input(self, *shape: int, dtype: str = "float32", scale: Scale | None = None) -> int:
        """A graph input."""
        self.inputs.append(self.tensor(*shape, dtype=dtype, scale=scale))
        return self.inputs[-1]

    def constant(self, values: Any, dtype: str | None = None, scale: Scale | None = None) -> int:
        """A tensor whose values are in the file; float32 and int32 unless `dtype` says otherwise."""
        array = np.asarray(values)
        array = array.astype(dtype or ("float32" if array.dtype.kind == "f" else "int32"))
        index = self.tensor(*array.shape, dtype=array.dtype.name, scale=scale)
        self.tensors[index].buffer = self._buffer(array.tobytes())
        return index

    def tensor(self, *shape: int, dtype: str = "float32", scale: Scale | None = None) -> int:
        """A tensor that an operator writes."""
        tensor = schema.TensorT(
            shape=list(shape),
            type=getattr(schema.TensorType, dtype.upper()),
            name=f"t{len(self.tensors)}".encode(),
            hasRank=True,
        )
        tensor.buffer = self._buffer(b"")
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT(
                scale=np.atleast_1d(np.float32(scale[0])),
                zeroPoint=np.atleast_1d(np.int64(scale[1])),
                quantizedDimension=scale[2] if len(scale) > 2 else 0,
            )
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        version: int = 1,
        **fields: Any,
    ) -> int:
        """An operator (an unknown name is a custom one) with its options; its first output."""
        builtin = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
        custom = None if hasattr(schema.BuiltinOperator, name) else name.encode()
        self.codes.append(
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(builtin, 127),
                customCode=custom,
                version=version,
                builtinCode=builtin,
            )
        )
        operator = schema.OperatorT(
            opcodeIndex=len(self.codes) - 1, inputs=list(inputs), outputs=list(outputs)
        )
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, options + "T")(**fields)
        self.operators.append(operator)
        return outputs[0]

    def note(self, name: str, content: bytes) -> None:
        """A metadata entry."""
        self.metadata.append(schema.MetadataT(name=name.encode(), buffer=self._buffer(content)))

    def build(self, *outputs: int) -> bytes:
        """The file's bytes."""
        named = [schema.TensorMapT(name=f"in{n}".encode(), tensorIndex=i) for n, i in enumerate(self.inputs)]
        scores = [schema.TensorMapT(name=f"out{n}".encode(), tensorIndex=i) for n, i in enumerate(outputs)]
        main = schema.SubGraphT(
            tensors=self.tensors,
            operators=self.operators,
            inputs=self.inputs,
            outputs=list(outputs),
            name=b"main",
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=self.codes,
            subgraphs=[main],
            buffers=self.buffers,
            metadata=self.metadata,
            description=b"by hand",
            signatureDefs=[schema.SignatureDefT(named, scores, b"serving_default", 0)],
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _buffer(self, content: bytes) -> int:
        data = np.frombuffer(content, np.uint8) if content else None
        self.buffers.append(schema.BufferT(data=data))
        return len(self.buffers) - 1


@pytest.fixture
def flatbuffer() -> FlatbufferBuilder:
    return FlatbufferBuilder()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def small_net(flatbuffer: FlatbufferBuilder) -> SimpleNamespace:
    """conv 3x3 (4 -> 5), GELU, mean over rows and columns: the builder and the tensors' indices."""
    b = flatbuffer
    image = b.input(1, 8, 8, 4)
    weights, bias = b.constant(np.ones((5, 3, 3, 4))), b.constant(np.zeros(5))
    mapped = b.op(
        "CONV_2D",
        [image, weights, bias],
        [b.tensor(1, 8, 8, 5)],
        "Conv2DOptions",
        padding=0,
        strideW=1,
        strideH=1,
    )
    bent = b.op("GELU", [mapped], [b.tensor(1, 8, 8, 5)], "GeluOptions")
    axes = b.constant([1, 2])
    score = b.op("MEAN", [bent, axes], [b.tensor(1, 5)], "ReducerOptions")
    return SimpleNamespace(
        builder=b, image=image, weights=weights, bias=bias, mapped=mapped, bent=bent, axes=axes, score=score
    )


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Path]:
    """exported(module, *inputs): what litert-torch itself makes of a module, before any edit of ours."""

    def export(module: Any, *inputs: Any) -> Path:
        import litert_torch

        from convert.export.tflite_file import _quiet

        path = tmp_path / "exported.tflite"
        with _quiet():
            litert_torch.convert(module.eval(), inputs).export(str(path))
        return path

    return export


@pytest.fixture
def operators() -> Callable[[Path], Counter[str]]:
    """operators(path): how many of each operator a .tflite file has."""

    def count(path: Path) -> Counter[str]:
        from convert.flatbuffer.reader import read_graph

        return Counter(operator.name for operator in read_graph(path).operators)

    return count


@pytest.fixture(scope="session", params=[3, 5])
def mal(seeded: Callable[[str], Any], request: pytest.FixtureRequest) -> Any:
    """The seeded fusion MAL (three inputs) and the first MAL of the levels (five), float64. Copy to change."""
    model = seeded("mobilenet-iqa")
    return copy.deepcopy(model.fusion if request.param == 3 else model.mal[0]).double()


@pytest.fixture(scope="session")
def matrices() -> Callable[[int], list[Any]]:
    """matrices(n): n inputs (484, 256) of a MAL, float64, of the scale that the LDAs give."""
    import torch

    def make(n: int) -> list[Any]:
        generator = torch.Generator().manual_seed(0)
        return [0.7 * torch.randn(484, 256, generator=generator, dtype=torch.float64) for _ in range(n)]

    return make


@pytest.fixture(scope="session")
def checkpoint(seeded: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in our own format, at 64x80."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.safetensors", seeded(NAME), SPEC)


@pytest.fixture(scope="session")
def fp32(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The small model, converted in a process of its own; tests read it and leave it as it is."""
    return as_a_user(tmp_path_factory.mktemp("fp32"), str(checkpoint), "--fp32")


@pytest.fixture
def exported_before(fp32: Run, monkeypatch) -> None:
    """The converter's part is done already: its result is the FP32 file, which may be edited once more."""
    exported = fp32.path.read_bytes()
    monkeypatch.setattr("convert.export.tflite_file.export_tflite", lambda module, spec: exported)
