import json
import subprocess

import numpy as np
import pytest

from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig
from benchmarks import limit, measure
from benchmarks.conversion_paths import CHILD
from convert.runtimes.tool_environments import python_of
from mobileiqa.errors import RunError, UserError

ONE = BenchConfig(warmup_runs=0, runs=2)


def test_score_is_that_of_the_module_on_the_same_inputs(tiny):
    import torch

    module, spec, path = tiny
    generator = np.random.default_rng(ONE.seed)
    inputs = [torch.from_numpy(generator.standard_normal(i.shape, dtype=np.float32)) for i in spec.inputs]
    with torch.no_grad():
        assert measure.score(path, ONE) == pytest.approx(float(module(*inputs)), abs=1e-6)


def test_a_launch_has_the_runs_that_were_asked_for(tiny):
    launch, runtime = measure.launch(tiny[2], ONE, IfDisturbed.KEEP)  # other tests run beside this one
    assert len(launch.run_ms) == 2
    assert len(launch.cpus) == 1
    assert launch.peak_memory_mb > 0
    assert runtime.startswith("ai-edge-litert ")


def test_work_counts_the_convolutions_by_hand(tiny):
    first, second = 22 * 30 * 4 * 27, 38 * 38 * 2 * 27  # output positions x channels x (3 channels x 3 x 3)
    assert limit.work_of(tiny[2]) == limit.Work(macs=first + second, gelu_values=0)


def test_the_limit_adds_both_parts():
    rates = limit.Rates(gmacs_per_s=50, gelu_ns=0.25, gelu_streamed_ns=1.0)
    assert rates.limit_ms(limit.Work(macs=10**10, gelu_values=10**8)) == pytest.approx(200 + 25)


@pytest.fixture(scope="module")
def pte(tmp_path_factory):
    """The probe of cached GELUs as a .pte file."""
    try:
        python = python_of("executorch")
    except UserError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("pte") / "probe.pte"
    process = subprocess.run(
        [python, CHILD, "executorch", limit.GELU_CACHED, "-", path],
        check=True,
        capture_output=True,
        text=True,
    )
    return path, json.loads(process.stdout.splitlines()[-1])["score"]


@pytest.mark.slow
def test_a_pte_runs_on_one_thread_and_gives_the_modules_score(pte):
    path, expected = pte
    answer = measure._ask_pte(path, ONE)
    assert answer["pool_threads"] == 1
    assert answer["cpu_per_wall"] < 1.05
    assert answer["score"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_damaged_pte_is_a_run_error(pte):
    damaged = pte[0].with_name("damaged.pte")
    damaged.write_bytes(pte[0].read_bytes()[:100])
    with pytest.raises(RunError, match=r"damaged\.pte"):
        measure.launch(damaged, ONE)
