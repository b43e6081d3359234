"""The end of a conversion: which file gets the name, what its sidecar and the reports say."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from convert.comparison.compare import ParityReport, ParityStage, compare
from convert.output_file import failed_path, sidecar_path, staged
from convert.packaging import preprocessing
from convert.packaging.publish import publish
from convert.pipeline import Converted, Precision, Via
from convert.selftest import selftest
from mobileiqa.scoring import litert
from tests.convert.packaging.conftest import TINY

SIZES = [(150, 110), (110, 150)]


@pytest.fixture
def images(photo) -> list[tuple[str, Any]]:
    return [(f"photo {seed}", photo(seed, 150, 110)) for seed in range(3)]


@pytest.fixture
def finish(tiny: Path, tmp_path: Path, images):
    """finish(error, camera): what `deliver` returns for a float file whose scores are `error` off."""
    (tmp_path / "out").mkdir()

    def run(error: float, camera: list[tuple[int, int]] | None) -> tuple[Path, list[ParityReport], Any]:
        path = tmp_path / "out" / "x.tflite"
        with staged(path) as unproven:
            shutil.copy(tiny, unproven)
            result = Converted(
                unproven, Precision.FP32, Via.LITERT, SimpleNamespace(spec=TINY, checkpoint_sha256=None), None,
                SimpleNamespace(to_json=dict), False, (), None, 0.0,
                None,
            )  # fmt: skip
            scores = [np.array([s]) for s in (0.1, 0.5, 0.9)]
            stage = ParityStage("fp32", "published module", str(unproven), "litert")
            reports = [compare(stage, scores, [s + error for s in scores], ["a", "b", "c"])]
            return publish(result, reports, path, images, camera)

    return run


def left(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def test_a_float_file_takes_its_name(finish) -> None:
    path, reports, embedded = finish(0.0, None)
    assert (left(path), embedded) == (["x.tflite", "x.tflite.json"], None)
    assert [r.candidate for r in reports] == [str(path)]
    sidecar = json.loads(sidecar_path(path).read_text())
    assert sidecar["delivery"] is None


def test_a_packaged_file_takes_the_float_files_place(finish) -> None:
    path, reports, embedded = finish(0.0, SIZES)
    assert left(path) == ["x.tflite", "x.tflite.json"]
    names = [f"{path} (float inputs)", f"{path}, 150x110", f"{path}, 110x150"]
    assert [r.candidate for r in reports] == names and all(r.passed for r in reports)
    assert [r.stage for r in reports] == ["fp32", "packaging", "packaging"]
    assert all(0 < r.max_abs <= r.tolerance.max_abs for r in reports[1:])
    assert litert.preprocessing_of(path) == embedded
    assert json.loads(sidecar_path(path).read_text())["delivery"] == json.loads(
        json.dumps(embedded.to_json())
    )
    assert all(check.passed for check in selftest(path))


def test_a_packaged_file_that_scores_otherwise_is_kept_apart(finish, monkeypatch) -> None:
    original = preprocessing.take_uint8_image

    def draw(model: Any, spec: Any, width: int, height: int) -> None:
        wrong = dataclasses.replace(spec.inputs[0], mean=(0.6, 0.5, 0.4))
        original(model, dataclasses.replace(spec, inputs=(wrong,)), width, height)

    monkeypatch.setattr(preprocessing, "take_uint8_image", draw)
    path, reports, _ = finish(0.0, SIZES)
    assert path.name == "x.failed.tflite" and left(path) == [path.name, f"{path.name}.json"]
    assert [r.passed for r in reports] == [True, False, False]
    assert all(str(path) in r.candidate and "> 0.001 for" in r.reason for r in reports[1:])


def test_a_float_file_that_failed_is_not_packaged(finish, tiny: Path) -> None:
    path, reports, embedded = finish(0.01, SIZES)
    assert (path.name, embedded, len(reports)) == ("x.failed.tflite", None, 1)
    assert path == failed_path(path.with_name("x.tflite")) and path.read_bytes() == tiny.read_bytes()
