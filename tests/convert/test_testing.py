"""assert_parity: the tiny real .tflite file against its own module, against another's weights, and what it says."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from convert.testing import assert_parity
from mobileiqa.errors import UserError

SAME = 1e-4  # the tolerance of FP32


@pytest.fixture(scope="module")
def pictures(photo: Any) -> list[Image.Image]:
    """Photos whose scores differ."""
    return [photo(seed, 90, 70) for seed in range(6)]


def other(module: torch.nn.Module) -> torch.nn.Module:
    """The same architecture with another model's weights."""
    changed = copy.deepcopy(module)
    with torch.no_grad():
        changed.first.weight.copy_(torch.from_numpy(np.random.default_rng(9).normal(0, 0.3, (4, 3, 3, 3))))
    return changed


def test_the_models_own_file_passes(tiny: Any, pictures: list[Image.Image], photos: Path) -> None:
    module, spec, path = tiny
    report = assert_parity((module, spec), path, pictures)
    assert report.passed and report.n == 6 and 0 <= report.max_abs <= SAME and report.stage == "fp32"
    assert assert_parity(module, str(path), str(photos)).n == 4  # a module alone: prepared as the file says
    assert assert_parity(module, path, sorted(photos.iterdir()), tolerance=1e-5).tolerance.max_abs == 1e-5


def test_a_folder_with_photos_that_cannot_be_read_is_no_proof(
    tiny: Any, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes((photos / "photo0.png").read_bytes())
    (tmp_path / "raw.dng").write_bytes(b"II*\0")
    with pytest.raises(UserError, match="1 left out: 1 DNG"):
        assert_parity(tiny[:2], tiny[2], tmp_path)


def test_another_models_weights_fail_with_a_table(tiny: Any, pictures: list[Image.Image]) -> None:
    module, spec, path = tiny
    with pytest.raises(AssertionError) as raised:
        assert_parity((other(module), spec), path, pictures)
    first, *lines = str(raised.value).splitlines()
    assert first.startswith(f"{path} does not score as its model: max_abs 0.") and first.endswith("> 0.0001")
    assert lines[1].split()[:3] == ["stage", "file", "runtime"] and "FAIL: max_abs" in lines[2]
    assert lines[4].split() == ["image", "model", "file", "file", "-", "model"]
    rows = [line.rsplit(maxsplit=3) for line in lines[5:]]
    assert len(rows) == 5 and all(row[0].startswith("image ") for row in rows)
    shifts = [abs(float(row[3])) for row in rows]
    assert shifts == sorted(shifts, reverse=True) and shifts[0] > SAME
    for _, model, file, shift in rows:
        assert float(file) - float(model) == pytest.approx(float(shift), abs=2e-5)


def test_a_given_tolerance_judges_instead(tiny: Any, pictures: list[Image.Image]) -> None:
    module, spec, path = tiny
    moved = copy.deepcopy(module)
    with torch.no_grad():
        moved.first.bias.add_(0.002)
    result = assert_parity((moved, spec), path, pictures, tolerance=0.01)
    assert SAME < result.max_abs < 0.01 and result.tolerance.reason == "given by the test"
    with pytest.raises(AssertionError, match=r"max_abs .* > 0\.0001"):
        assert_parity((moved, spec), path, pictures)
    with pytest.raises(AssertionError, match=r"vary by .* only: any file would pass"):
        assert_parity((moved, spec), path, pictures, tolerance=0.9)


def test_other_preprocessing_fails(tiny: Any, pictures: list[Image.Image]) -> None:
    module, spec, path = tiny
    first = dataclasses.replace(spec.inputs[0], mean=(0.5, 0.5, 0.5))
    with pytest.raises(AssertionError, match=r"wrong spec: authentic\.mean is"):
        assert_parity((module, dataclasses.replace(spec, inputs=(first, spec.inputs[1]))), path, pictures)


def test_images_that_prove_nothing_fail(tiny: Any, pictures: list[Image.Image]) -> None:
    module, spec, path = tiny
    for images, reason in (([], "zero images"), (pictures[:1] * 3, "any candidate would pass")):
        with pytest.raises(AssertionError, match=reason):
            assert_parity((module, spec), path, images)


def test_a_file_that_does_not_run_fails(
    tiny: Any, pictures: list[Image.Image], tmp_path: Path, with_metadata: Any
) -> None:
    """Its metadata can be read; the signature that it is run by is gone."""
    module, spec, path = tiny
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    model.signatureDefs, model.metadata = [], []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = json.dumps({"spec": spec.to_json(), "precision": "fp32"}).encode()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(with_metadata(bytes(builder.Output()), "mobileiqa", content))
    with pytest.raises(AssertionError, match="signature"):
        assert_parity((module, spec), broken, pictures)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tflite_path": "missing.tflite"}, "nothing at missing.tflite"),
        ({"model_or_checkpoint": "missing.safetensors"}, r"missing\.safetensors"),
        ({"images": "missing/"}, "missing"),
        ({"images": ["missing.png"]}, r"missing\.png"),
        ({"tolerance": 0.0}, "a tolerance above 0"),
        ({"tolerance": float("nan")}, "a tolerance above 0"),
        ({"runtime": "tpu"}, "'tpu'"),
    ],
)
def test_wrong_arguments_are_errors_not_failures(
    arguments: dict, words: str, tiny: Any, pictures: list[Image.Image]
) -> None:
    module, spec, path = tiny
    inputs = {"model_or_checkpoint": (module, spec), "tflite_path": path, "images": pictures[:2], **arguments}
    with pytest.raises(UserError, match=words):
        assert_parity(**inputs)
