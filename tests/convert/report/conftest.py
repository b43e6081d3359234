"""Files of a few operators, whose score is an image's mean brightness, with sidecars; and images to score."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY
from convert.output_file import sidecar_path, write_sidecar
from mobileiqa.spec import InputSpec, ModelSpec

N, SIZE = 36, 8
SPEC = ModelSpec(
    "brightness", (InputSpec("image", SIZE, SIZE, mean=(0, 0, 0), std=(1, 1, 1)),), trained_on="photos"
)
REWRITES = {
    "model": "brightness",
    "applied": [{"name": "fold", "equation": "a <b> c = b", "sites": 3, "refused": ["odd & even"]}],
    "max_abs_error": 1.5e-9,
}
Net = Callable[..., Path]


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """The folder that `net` writes into."""
    folder = tmp_path / "converted"
    folder.mkdir()
    return folder


@pytest.fixture
def net(flatbuffer: Any, converted: Path) -> Net:
    """net(name, step, gain, **description): image -> [8 bits of `step`] -> times `gain` -> mean, with a sidecar."""

    def make(
        name: str,
        step: float | None = None,
        gain: float = 1.0,
        approximations: tuple[str, ...] = (),
        model: str = SPEC.name,
        **description: Any,
    ) -> Path:
        b, spec = type(flatbuffer)(), replace(SPEC, name=model)
        shape = spec.inputs[0].shape
        source = image = b.input(*shape)
        if step is not None:
            eight = b.op("QUANTIZE", [image], [b.tensor(*shape, dtype="int8", scale=(step, -128))])
            source = b.op("DEQUANTIZE", [eight], [b.tensor(*shape)], version=2)
        scaled = b.op("MUL", [source, b.constant(np.float32(gain))], [b.tensor(*shape)], "MulOptions")
        score = b.op("MEAN", [scaled, b.constant([1, 2, 3])], [b.tensor(1)], "ReducerOptions")
        content = {"spec": spec.to_json(), "checkpoint_sha256": "c" * 64, **description}
        b.note(METADATA_ENTRY, json.dumps(content).encode())
        path = converted / name
        path.write_bytes(b.build(score))
        output = fb.read(path)
        fb.name_signature(output, ["image"])
        fb.write(output, path)
        write_sidecar(
            path, precision="fp32", via="litert", spec=spec, calibration_sha256=None, checkpoint_sha256="c" * 64,
            rewrites=REWRITES, fp16_arithmetic_allowed=False, approximations=approximations,
        )  # fmt: skip
        return path

    return make


@pytest.fixture
def edit() -> Callable[..., None]:
    """edit(path, **fields): changes fields of the file's sidecar."""

    def change(path: Path, **fields: Any) -> None:
        beside = sidecar_path(path)
        beside.write_text(json.dumps({**json.loads(beside.read_text()), **fields}))

    return change


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """N images, dark to bright, of six references, labelled by brightness and a little chance."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(5)
    rows = []
    for i in range(N):
        pixels = rng.uniform(0, 255, (SIZE, SIZE, 3)) * (0.2 + 0.8 * i / N)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
        rows.append((f"{i:02}.png", i / N + rng.normal(0, 0.01), "test", f"r{i % 6}"))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "score", "split", "reference"), *rows])
    return folder


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    from convert.accuracy_report import agreement

    monkeypatch.setattr(agreement, "RESAMPLES", 20)
