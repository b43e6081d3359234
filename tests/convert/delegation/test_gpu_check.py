"""Files on LiteRT's GPU accelerator, over whatever Vulkan the machine has: what it leaves, what it computes wrong."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from convert.delegation.gpu_check import check, first_wrong_operator, relative_error
from convert.inspect import main
from convert.runtimes import gpu
from convert.runtimes.gpu import run_gpu, vulkan_driver
from convert.runtimes.gpu_child import wait_for_software_gpu
from convert.runtimes.runners import runtime
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare


@pytest.fixture(scope="module", autouse=True)
def driver() -> None:
    try:
        vulkan_driver()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def normalised(flatbuffer: Any, save: Any) -> Callable[[str], Path]:
    """normalised("DIV" | "MUL"): a division by three constants, or its reciprocal, before PAD and CONV_2D."""

    def build(kind: str) -> Path:
        b = flatbuffer
        divisor = np.array([0.58, -0.57, 0.55])
        scaled = b.op(
            kind,
            [b.input(1, 16, 16, 3), b.constant(divisor if kind == "DIV" else 1 / divisor)],
            [b.tensor(1, 16, 16, 3)],
            f"{kind.capitalize()}Options",
        )
        pads = b.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]]))
        padded = b.op("PAD", [scaled, pads], [b.tensor(1, 18, 18, 3)], "PadOptions")
        weights = b.constant(np.random.default_rng(0).normal(size=(4, 3, 3, 3)))
        conv = {"padding": 1, "strideW": 1, "strideH": 1}
        filters = [padded, weights, b.constant(np.zeros(4))]
        mapped = b.op("CONV_2D", filters, [b.tensor(1, 16, 16, 4)], "Conv2DOptions", **conv)
        return save(b.build(b.op("LOGISTIC", [mapped], [b.tensor(1, 16, 16, 4)])))

    return build


def test_a_file_that_is_right_on_the_gpu(normalised: Callable[[str], Path]) -> None:
    (signature,) = check(normalised("MUL"))
    assert signature.passed and signature.on_cpu == 0 and signature.error < 1e-5 and signature.wrong is None


def test_the_first_wrong_operator_is_named(normalised: Callable[[str], Path], capsys) -> None:
    """The accelerator takes all of it, and what the convolution makes is wrong; the DIV alone is right."""
    path = normalised("DIV")
    (signature,) = check(path)
    assert not signature.passed and signature.on_cpu == 0
    assert signature.wrong is not None and (signature.wrong.index, signature.wrong.kind) == (2, "CONV_2D")
    assert main([str(path), "--gpu"]) == 1
    *lines, result = capsys.readouterr().out.splitlines()
    assert json.loads(result)["gpu"][0]["wrong"]["kind"] == "CONV_2D"
    assert "first wrong: CONV_2D #2" in lines[-2] and lines[-2].endswith("FAILED")
    assert lines[-1] == "not noted: no model.tflite.json"


def test_where_every_part_is_right_no_operator_is_named(normalised: Callable[[str], Path]) -> None:
    values = np.random.default_rng(1).normal(size=(1, 16, 16, 3)).astype(np.float32)
    assert first_wrong_operator(normalised("MUL"), "serving_default", {"in0": values}) is None


def test_operators_that_are_left_to_the_cpu_are_named_with_the_reason(flatbuffer: Any, save: Any) -> None:
    b = flatbuffer
    x = b.input(2, 4, 4, 3)
    rows = b.op("GATHER_ND", [x, b.constant(np.array([[1, 2, 3]]))], [b.tensor(1, 3)], "GatherNdOptions")
    path = save(b.build(b.op("LOGISTIC", [rows], [b.tensor(1, 3)])))
    (signature,) = check(path)
    assert not signature.passed and signature.on_cpu >= 1
    assert signature.unsupported == ("GATHER_ND: Operation is not supported.",)
    values = np.zeros((2, 4, 4, 3), np.float32)
    np.testing.assert_allclose(run_gpu(path, [{"in0": values}]).outputs[0]["out0"], 0.5, atol=1e-6)


def test_a_software_gpu_that_is_still_at_work_is_waited_for() -> None:
    """A busy machine: LiteRT itself gives up after some seconds and fails."""
    work = threading.Thread(
        target=hashlib.pbkdf2_hmac, args=("sha256", b"a", b"b", 1_000_000)
    )  # without the GIL
    work.start()
    wait_for_software_gpu()
    assert not work.is_alive()


def test_the_gpu_is_a_runtime_of_parity(tiny: Any, photo: Any) -> None:
    batch = [prepare(photo(seed, 90, 70), tiny[1]) for seed in range(3)]
    scores = runtime("gpu")(tiny[2], batch)
    np.testing.assert_allclose(scores, runtime("litert")(tiny[2], batch), atol=1e-5)


def test_a_file_that_no_runtime_takes_is_one_line(flatbuffer: Any, save: Any) -> None:
    b = flatbuffer
    path = save(b.build(b.op("NO_SUCH_OPERATOR", [b.input(1, 4)], [b.tensor(1, 4)])))
    with pytest.raises(UserError, match="NO_SUCH_OPERATOR") as error:
        run_gpu(path, [{"in0": np.zeros((1, 4), np.float32)}])
    assert "\n" not in str(error.value)


def test_a_gpu_that_is_too_late_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A busy machine's software GPU: LiteRT's own words would be that a node failed to invoke."""

    def late(command: list, seconds: float, folder: Path, variables: dict) -> SimpleNamespace:
        (folder / "report.json").write_text('{"error": "Failed to invoke"}')
        return SimpleNamespace(
            stderr="E0000 x.cc:546] DEADLINE_EXCEEDED: ERROR: [y.cc:613]\nERROR: Node 7 failed"
        )

    monkeypatch.setattr(gpu, "run_process", late)
    with pytest.raises(UserError, match="found DEADLINE_EXCEEDED: the GPU took longer than LiteRT waits"):
        run_gpu(tmp_path / "file.tflite", [])


def test_a_driver_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOBILEIQA_VULKAN", str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="MOBILEIQA_VULKAN"):
        vulkan_driver()


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [([1.0, 2.0], [1.0, 1.6], 0.25), ([np.nan], [0.0], np.inf), ([1.0], [1.0, 1.0], np.inf)],
)
def test_relative_error(actual: list[float], expected: list[float], error: float) -> None:
    assert relative_error(np.array(actual), np.array(expected)) == pytest.approx(error)
