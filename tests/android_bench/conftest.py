"""Small real .tflite files, converted once a session, and edits of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@dataclass(frozen=True)
class Example:
    """A .tflite file, inputs for it, and the scores that PyTorch computed for them."""

    path: Path
    batch: list[dict[str, np.ndarray]]
    scores: list[np.ndarray]


def export(model, shape: tuple[int, ...], path: Path) -> Example:
    import litert_torch
    import torch

    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(shape, generator=generator) for _ in range(3)]
    litert_torch.convert(model.eval(), sample_kwargs={"image": images[0]}).export(str(path))
    with torch.no_grad():
        scores = [model(image).numpy() for image in images]
    return Example(path, [{"image": image.numpy()} for image in images], scores)


def tiny_net():
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
            self.head = nn.Linear(32, 1)
            nn.init.constant_(self.head.bias, 0.5)  # scores away from 0, where relative errors mean something

        def forward(self, image):
            features = torch.relu(self.body(torch.relu(self.stem(image)))).mean((2, 3))
            return self.head(features).squeeze(1)

    torch.manual_seed(0)
    return Tiny()


def constant_left_net():
    import torch
    from torch import nn

    class ConstantLeft(nn.Module):
        """A BATCH_MATMUL whose left side is constant: XNNPACK's FP16 kernels on ARM refuse it."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8 * 5 * 24, 1)
            self.register_buffer("rows", torch.rand(1, 1, 5, 16) / 16)

        def forward(self, image):
            return self.head((self.rows @ self.stem(image)).flatten(1)).squeeze(1)

    torch.manual_seed(0)
    return ConstantLeft()


def split_net():
    import torch
    from torch import nn

    class Split(nn.Module):
        """Two convolutions with a CUMSUM between them, which XNNPACK does not take."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)

        def forward(self, image):
            return self.body(torch.cumsum(self.stem(image), dim=3)).mean((1, 2, 3))

    torch.manual_seed(0)
    return Split()


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tflite")


@pytest.fixture(scope="session")
def tiny(folder) -> Example:
    return export(tiny_net(), (1, 3, 32, 48), folder / "tiny.tflite")


@pytest.fixture(scope="session")
def large(folder) -> Example:
    """The same network on an image whose activations take 17 MB."""
    return export(tiny_net(), (1, 3, 768, 768), folder / "large.tflite")


@pytest.fixture(scope="session")
def constant_left(folder) -> Example:
    return export(constant_left_net(), (1, 3, 32, 48), folder / "constant_left.tflite")


@pytest.fixture(scope="session")
def split(folder) -> Example:
    return export(split_net(), (1, 3, 128, 128), folder / "split.tflite")


@pytest.fixture(scope="session")
def camera(tiny, folder) -> Path:
    """The tiny network as an app takes it: uint8 RGB in, a signature for each of two sizes."""
    from convert.flatbuffer import model as fb
    from convert.packaging.preprocessing import image_sizes, take_uint8_images
    from mobileiqa.spec import InputSpec, ModelSpec

    spec, model = ModelSpec("tiny", (InputSpec("image", 32, 48),)), fb.read(tiny.path)
    fb.name_signature(model, ["image"])
    take_uint8_images(model, spec, image_sizes(spec, [(96, 80), (80, 96)]))
    path = folder / "camera.tflite"
    fb.write(model, path)
    return path


@pytest.fixture(scope="session")
def joined(tiny, split, folder) -> Path:
    """Two networks in one file: `whole`, which XNNPACK takes in one partition, and `parted`, in two."""
    from ai_edge_litert import schema_py_generated as schema

    other = schema.ModelT.InitFromPackedBuf(split.path.read_bytes(), 0)

    def join(model) -> None:
        (graph,) = other.subgraphs
        for tensor in graph.tensors:
            tensor.buffer += len(model.buffers)
        for operator in graph.operators:
            operator.opcodeIndex += len(model.operatorCodes)
        model.buffers += other.buffers
        model.operatorCodes += other.operatorCodes
        model.subgraphs.append(graph)
        model.signatureDefs += other.signatureDefs
        for index, name in enumerate((b"whole", b"parted")):
            model.signatureDefs[index].signatureKey = name
            model.signatureDefs[index].subgraphIndex = index

    return edited(tiny.path, folder / "joined.tflite", join)


@pytest.fixture
def unsigned(tiny, tmp_path) -> Path:
    """The tiny network in a file without a signature."""

    def edit(model) -> None:
        model.signatureDefs = []

    return edited(tiny.path, tmp_path / "unsigned.tflite", edit)


def edited(source: Path, target: Path, edit: Callable) -> Path:
    """A copy of a .tflite file after `edit(model)` on LiteRT's own object API of the schema."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(builder.Output())
    return target


@pytest.fixture
def unknown_operator(tiny, tmp_path) -> Path:
    """The tiny network with an operator that no runtime knows."""

    def edit(model) -> None:
        code = model.operatorCodes[0]
        code.builtinCode, code.deprecatedBuiltinCode, code.version = 32, 32, 1  # CUSTOM
        code.customCode = b"Unheard"

    return edited(tiny.path, tmp_path / "unknown.tflite", edit)


@pytest.fixture
def mark_fp16(tmp_path) -> Callable[[Path], Path]:
    """Copies a file and lets runtimes compute it in FP16."""

    def mark(source: Path) -> Path:
        from ai_edge_litert import schema_py_generated as schema

        def edit(model) -> None:
            content, entry = schema.BufferT(), schema.MetadataT()
            content.data = list(b"fp16accfp16")
            entry.name, entry.buffer = "reduced_precision_support", len(model.buffers)
            model.buffers.append(content)
            model.metadata.append(entry)

        return edited(source, tmp_path / f"{source.stem}_fp16.tflite", edit)

    return mark


@pytest.fixture
def not_finite(tiny, tmp_path) -> Path:
    """The tiny network with NaN in the bias of its head."""

    def edit(model) -> None:
        head = next(
            op
            for op in model.subgraphs[0].operators
            if len(op.inputs) == 3 and model.operatorCodes[op.opcodeIndex].builtinCode == 9
        )  # FULLY_CONNECTED
        bias = model.subgraphs[0].tensors[head.inputs[2]].buffer
        model.buffers[bias].data = np.frombuffer(np.float32(np.nan).tobytes(), dtype=np.uint8)

    return edited(tiny.path, tmp_path / "not_finite.tflite", edit)


@pytest.fixture(scope="session")
def measured(tiny, large) -> dict:
    """The JSON of a real run of the host runner: two sizes of one network, 2 launches of 6 runs, in turns."""
    import json

    from android_bench.results.interference import IfDisturbed
    from android_bench.results.measurements import BenchConfig, to_json
    from android_bench.runners import host

    config = BenchConfig(runs=6, launches=2)
    results = host.measure([tiny.path, large.path], config, if_disturbed=IfDisturbed.KEEP)
    return json.loads(json.dumps(to_json(results), allow_nan=False))


@pytest.fixture
def write_bench(tmp_path) -> Callable:
    """write_bench(name, results): a benchmark file of those results, their summaries computed again."""
    import copy
    import json

    from android_bench.results.measurements import BenchResult
    from mobileiqa import typed_json

    def write(name: str, results: list[dict]) -> Path:
        results = copy.deepcopy(results)
        for result in results:
            if "launches" in result:
                fields = {name: value for name, value in result.items() if name != "summary"}
                result["summary"] = typed_json.decode(BenchResult, fields, name).summary()
        path = tmp_path / name
        path.write_text(json.dumps({"schema": 1, "results": results}))
        return path

    return write


@pytest.fixture
def steady(measured) -> list[dict]:
    """The real results with quiet runs in the place of this machine's: 100 ms and 400 ms, 0.5 % of noise."""
    import copy

    generator, results = np.random.default_rng(0), copy.deepcopy(measured["results"])
    for result, typical in zip(results, (100.0, 400.0), strict=True):
        for launch in result["launches"]:
            launch["run_ms"] = (typical * generator.normal(1, 0.005, len(launch["run_ms"]))).tolist()
            launch["evidence"] = {
                "preemptions": 0,
                "pace_before_ms": 0.29,
                "pace_after_ms": 0.3,
                "workers": 0,
            }
    return results


BY_HAND = {
    "source": "by hand",
    "model": "mobilenet-iqa",
    "size": "317x205",
    "precision": "fp16",
    "device": "Xiaomi 10S",
    "mean_ms": 1522,
    "runs": 10,
    "note": "AI Benchmark, one CPU",
}


@pytest.fixture
def by_hand() -> Callable[..., dict]:
    """by_hand(**changes): a figure read off a phone's screen."""
    return lambda **changes: {**BY_HAND, **changes}


@pytest.fixture
def scaled() -> Callable[[dict, float], dict]:
    """scaled(result, factor): the same measurement with every run that many times as long."""
    import copy

    def scale(result: dict, factor: float) -> dict:
        result = copy.deepcopy(result)
        for launch in result["launches"]:
            launch["run_ms"] = [ms * factor for ms in launch["run_ms"]]
        return result

    return scale
