import subprocess

import numpy as np
import pytest

from android_bench.emulate import CPUS, arm_command, arm_root, missing, run_arm
from mobileiqa.errors import RunError, UserError


def needs_arm(test):
    return pytest.mark.slow(pytest.mark.skipif(bool(missing()), reason=f"{missing()}: run `make arm`")(test))


def test_says_how_to_get_a_missing_root(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEIQA_ARM", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"no ARM root at .*nowhere; run `make arm`"):
        run_arm(tiny.path, tiny.batch)
    with pytest.raises(UserError, match="make arm"):
        run_arm(tiny.path, tiny.batch)


@pytest.mark.parametrize("cpu", ["pentium", "max", ""])
def test_knows_its_cpus(tiny, cpu):
    with pytest.raises(UserError, match="one of the CPUs cortex-a53, "):
        run_arm(tiny.path, tiny.batch, cpu)


def test_refuses_an_empty_batch(tiny):
    with pytest.raises(UserError, match="an empty batch"):
        run_arm(tiny.path, [])


@needs_arm
def test_qemu_knows_every_cpu_of_the_table():
    qemu = arm_command(arm_root(), "cortex-a76")[0][0]
    told = subprocess.run([qemu, "-cpu", "help"], capture_output=True, text=True, check=False)
    assert set(CPUS) <= set(told.stdout.split())


@needs_arm
def test_fp32_on_arm_is_what_pytorch_computes(tiny):
    for got, expected in zip(run_arm(tiny.path, tiny.batch), tiny.scores, strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_array_equal(run_arm(tiny.path, [tiny.batch[2]])[0], got)


@needs_arm
@pytest.mark.parametrize("cpu", CPUS)
def test_a_marked_file_computes_in_fp16_where_the_hardware_can(tiny, mark_fp16, cpu):
    got = np.concatenate(run_arm(mark_fp16(tiny.path), tiny.batch, cpu)).astype(np.float64)
    expected = np.concatenate(tiny.scores)
    error = np.abs(got / expected - 1).max()
    if CPUS[cpu]:
        assert 1e-6 < error < 5e-3
        np.testing.assert_array_equal(got, got.astype(np.float16))  # FP16 to the last operator
    else:
        assert error < 1e-5


@needs_arm
def test_a_file_that_phones_refuse_is_refused_in_the_runtimes_words(constant_left, mark_fp16):
    marked = mark_fp16(constant_left.path)
    without_fp16 = run_arm(marked, constant_left.batch, "cortex-a53")
    np.testing.assert_allclose(without_fp16, constant_left.scores, rtol=1e-5)
    with pytest.raises(RunError, match="failed to delegate BATCH_MATMUL node"):
        run_arm(marked, constant_left.batch, "cortex-a76")


@needs_arm
def test_camera_pixels_score_on_arm_as_here(camera):
    from ai_edge_litert.interpreter import Interpreter

    here = Interpreter(str(camera), num_threads=1)
    for signature, shape in (("score_96x80", (1, 80, 96, 3)), ("score_80x96", (1, 96, 80, 3))):
        pixels = {"image": np.random.default_rng(0).integers(0, 256, shape, np.uint8)}
        (got,) = run_arm(camera, [pixels], signature=signature)
        expected = here.get_signature_runner(signature)(**pixels)["score"]
        np.testing.assert_allclose(got, expected, rtol=1e-4)
    with pytest.raises(UserError, match="name one of these with --signature"):
        run_arm(camera, [pixels])
