"""The same inputs give the same scores in every runtime that is installed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.export.onnx_file import export_onnx
from convert.runtimes import runners
from convert.runtimes.runners import litert_runner, onnx_runner, reads, run_child, runtime, torch_runner
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare

Photo = Callable[[int, int, int], Image.Image]


@pytest.fixture(scope="module")
def onnx_file(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy, spec, _ = tiny
    return export_onnx(toy, spec, tmp_path_factory.mktemp("onnx") / "toy.onnx")


@pytest.fixture(scope="module")
def batch(tiny: Any, photo: Photo) -> list[dict[str, np.ndarray]]:
    return [prepare(photo(seed, 90, 70), tiny[1]) for seed in range(3)]


@pytest.fixture(scope="module")
def expected(tiny: Any, batch: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    run = torch_runner(tiny[0], tiny[1])
    return [run(inputs) for inputs in batch]


def installed(name: str) -> None:
    try:
        runtime(name)
    except UserError as error:
        pytest.skip(str(error))


def test_torch_takes_the_inputs_in_the_specs_order(tiny: Any, batch: list, expected: list[np.ndarray]):
    backwards = dict(reversed(batch[0].items()))
    assert torch_runner(tiny[0], tiny[1])(backwards) == expected[0]


@pytest.mark.parametrize("name", ["litert", "tensorflow", "legacy", "legacy-builtin"])
def test_tflite_runtimes_agree_with_torch(name: str, tiny: Any, batch: list, expected: list[np.ndarray]):
    installed(name)
    scores = runtime(name)(tiny[2], batch)
    assert [s.shape for s in scores] == [(1,)] * 3
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_onnx_runtime_agrees_with_torch(onnx_file: Path, batch: list, expected: list[np.ndarray]):
    np.testing.assert_allclose(runtime("ort")(onnx_file, batch), expected, atol=1e-6)


def test_single_runners_give_what_batches_give(tiny: Any, onnx_file: Path, batch: list, expected: list):
    np.testing.assert_allclose(litert_runner(tiny[2])(batch[1]), expected[1], atol=1e-6)
    np.testing.assert_allclose(onnx_runner(onnx_file)(batch[1]), expected[1], atol=1e-6)


def test_a_child_process_returns_scores_in_order(
    tiny: Any, batch: list, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The child script in this environment, under the name by which it finds the old runtime."""
    child = tmp_path / "child.py"
    text = runners.SCRIPT.read_text().replace("tflite_runtime.interpreter", "ai_edge_litert.interpreter")
    child.write_text(text)
    monkeypatch.setattr(runners, "SCRIPT", child)
    monkeypatch.setattr(runners, "python_of", lambda _: Path(sys.executable))
    scores = run_child("legacy", tiny[2], batch)
    np.testing.assert_allclose(scores, [litert_runner(tiny[2])(inputs) for inputs in batch], atol=1e-6)


def test_the_child_needs_numpy_alone():
    """Nothing of this project is importable where it runs."""
    process = subprocess.run(
        [sys.executable, "-I", runners.SCRIPT, "tflite_runtime", "xnnpack", "a.tflite", "."],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert "No module named 'tflite_runtime'" in process.stderr


def test_a_childs_failure_is_quoted(tiny: Any, batch: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runners, "python_of", lambda _: Path(sys.executable))
    with pytest.raises(UserError, match="No module named 'tflite_runtime'"):
        run_child("legacy", tiny[2], batch)


def test_onnx_failures_carry_the_runtimes_words(onnx_file: Path, batch: list, tmp_path: Path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(onnx_file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"load in ONNX Runtime.*failed"):
        onnx_runner(broken)
    run = onnx_runner(onnx_file)
    with pytest.raises(UserError, match=r"authentic"):
        run({"synthetic": batch[0]["synthetic"]})
    with pytest.raises(UserError, match="dimensions"):
        run({**batch[0], "authentic": batch[0]["authentic"][:, :, :-1]})


def test_unknown_runtimes_are_listed():
    with pytest.raises(UserError, match="ort, litert, tensorflow, legacy, legacy-builtin, gpu, arm:CPU"):
        runtime("tpu")


def test_a_runtime_that_is_not_installed_names_its_make_target(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    with pytest.raises(UserError, match="make onnx2tf"):
        runtime("tensorflow")
    with pytest.raises(UserError, match="make legacy-runtime"):
        runtime("legacy")


def test_runtimes_read_their_own_kind_of_file():
    assert reads("ort", Path("a.onnx")) and not reads("ort", Path("a.tflite"))
    assert reads("arm:cortex-a76", Path("a.tflite")) and not reads("litert", Path("a.onnx"))
