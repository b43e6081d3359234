import os
import sys

import numpy as np
import pytest

from android_bench import host
from android_bench.config import BenchConfig, Precision
from android_bench.errors import InputError, RunError
from android_bench.process import ask


def test_measures_every_run_on_one_cpu_in_turns(tiny, large):
    heard = []
    small, big = host.measure([tiny.path, large.path], BenchConfig(runs=4, launches=2), heard.append)
    assert heard == [
        "launch 1/2 of tiny.tflite",
        "launch 1/2 of large.tflite",
        "launch 2/2 of tiny.tflite",
        "launch 2/2 of large.tflite",
    ]
    for result in (small, big):
        assert [len(launch.run_ms) for launch in result.launches] == [4, 4]
        assert {launch.cpus for launch in result.launches} == {(max(os.sched_getaffinity(0)),)}
        assert [launch.delegate_kernels for launch in result.launches] == [1, 1]
        assert result.runtime.startswith("ai-edge-litert 2.")
    assert big.run_ms.min > 10 * small.run_ms.min  # 380 times the work


def test_peak_memory_is_the_models_own(tiny, large):
    small, big = host.measure([tiny.path, large.path], BenchConfig(runs=1))
    assert 0 < small.peak_memory_mb < 20  # the imported runtime, over 40 MB, is not in it
    assert 15 < big.peak_memory_mb - small.peak_memory_mb < 60  # 7 MB of input, 9 MB after one convolution
    assert big.launches[0].peak_rss_mb > big.launches[0].rss_after_import_mb > 20


def test_without_warm_up_the_first_inference_is_a_run(tiny):
    (result,) = host.measure([tiny.path], BenchConfig(runs=3, warmup_runs=0))
    assert result.launches[0].first_ms == result.launches[0].run_ms[0]


def test_without_xnnpack_nothing_is_delegated(tiny):
    (result,) = host.measure([tiny.path], BenchConfig(runs=1, use_xnnpack=False))
    assert result.launches[0].delegate_kernels == 0


def test_missing_runs_are_no_result(tiny, monkeypatch):
    def forgetful(python, request):
        return ask(python, {**request, "runs": request["runs"] - 1})

    monkeypatch.setattr(host, "ask", forgetful)
    with pytest.raises(RunError, match="3 runs were asked for, 2 reported"):
        host.measure([tiny.path], BenchConfig(runs=3))


def test_an_output_that_is_not_finite_is_no_result(not_finite):
    with pytest.raises(RunError, match=r"not_finite\.tflite: the output is not finite"):
        host.measure([not_finite], BenchConfig(runs=1))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BenchConfig(threads=4096), "at most .* threads"),
        (BenchConfig(cpu_mask=1 << 4096), "a CPU mask within the CPUs"),
        (BenchConfig(precision=Precision.FP16), "precision file on the host"),
    ],
)
def test_refuses_what_this_machine_cannot_do(tiny, config, words):
    with pytest.raises(InputError, match=words):
        host.measure([tiny.path], config)


def test_one_bad_file_stops_everything_before_it_starts(tiny, tmp_path):
    heard = []
    with pytest.raises(InputError, match="no such file"):
        host.measure([tiny.path, tmp_path / "missing.tflite"], BenchConfig(), heard.append)
    with pytest.raises(InputError, match="at least one"):
        host.measure([], BenchConfig())
    assert heard == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["false"], "gave no answer .exit code 1.; it printed nothing"),
        (["sh", "-c", "echo unlucky >&2; kill -SEGV $$"], "ended by SIGSEGV; unlucky"),
        (["echo"], "gave no answer .exit code 0."),
    ],
)
def test_a_crash_says_how_the_process_ended(command, words):
    with pytest.raises(RunError, match=words):
        ask(command, {"model": "a.tflite"})


def score(path, output, **request):
    request |= {"mode": "score", "model": str(path), "threads": 1, "output": str(output)}
    return ask([sys.executable], request)


def test_scores_given_inputs_as_pytorch_does(tiny, tmp_path):
    files = [str(tmp_path / f"{index}.npz") for index in range(3)]
    for file, item in zip(files, tiny.batch, strict=True):
        np.savez(file, **item)
    assert score(tiny.path, tmp_path / "out.npz", inputs=files)["count"] == 3
    with np.load(tmp_path / "out.npz") as got:
        for index, expected in enumerate(tiny.scores):
            np.testing.assert_allclose(got[str(index)], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"photo": np.zeros((1, 3, 32, 48), np.float32)},
            "inputs are .'image'., the arrays given are .'photo'.",
        ),
        ({"image": np.zeros((1, 3, 48, 32), np.float32)}, "the array given is float32 .1, 3, 48, 32."),
        ({"image": np.zeros((1, 3, 32, 48))}, "the array given is float64"),
    ],
)
def test_refuses_inputs_that_do_not_fit(tiny, tmp_path, arrays, words):
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(RunError, match=words):
        score(tiny.path, tmp_path / "out.npz", inputs=[str(tmp_path / "in.npz")])
