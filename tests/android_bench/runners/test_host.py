import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from android_bench import child
from android_bench.process import ask
from android_bench.results import interference
from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig, Precision
from android_bench.runners import host
from mobileiqa.errors import RunError, UserError

# Other tests run beside these: what they test must not depend on a quiet machine.
measure = partial(host.measure, if_disturbed=IfDisturbed.KEEP)


def test_measures_every_run_on_one_cpu_in_turns(tiny, large):
    heard = []
    small, big = measure([tiny.path, large.path], BenchConfig(runs=4, launches=2), heard.append)
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
    small, big = measure([tiny.path, large.path], BenchConfig(runs=1))
    assert 0 < small.peak_memory_mb < 20  # the imported runtime, over 40 MB, is not in it
    assert 15 < big.peak_memory_mb - small.peak_memory_mb < 60  # 7 MB of input, 9 MB after one convolution
    assert big.launches[0].peak_rss_mb > big.launches[0].rss_after_import_mb > 20


def test_without_warm_up_the_first_inference_is_a_run(tiny):
    (result,) = measure([tiny.path], BenchConfig(runs=3, warmup_runs=0))
    assert result.launches[0].first_ms == result.launches[0].run_ms[0]


def test_without_xnnpack_nothing_is_delegated(tiny):
    (result,) = measure([tiny.path], BenchConfig(runs=1, use_xnnpack=False))
    assert result.launches[0].delegate_kernels == 0


def test_missing_runs_are_no_result(tiny, monkeypatch):
    def forgetful(python, request):
        return ask(python, {**request, "runs": request["runs"] - 1})

    monkeypatch.setattr(host, "ask", forgetful)
    with pytest.raises(RunError, match="3 runs were asked for, 2 reported"):
        measure([tiny.path], BenchConfig(runs=3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_xnnpack": False}, "XNNPACK was asked for and took no part of the graph; .*--no-xnnpack"),
        ({"threads": 2}, r"1 thread\(s\) were asked for, the runtime ran with 2"),
        ({"cpus": sorted(os.sched_getaffinity(0))[:1]}, "it was to run on the CPUs .* and ran on"),
    ],
)
def test_a_flag_that_was_not_applied_is_no_result(tiny, monkeypatch, changes, words):
    if "cpus" in changes and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: there is no other one to run on")
    monkeypatch.setattr(host, "ask", lambda python, request: ask(python, {**request, **changes}))
    with pytest.raises(RunError, match=words):
        measure([tiny.path], BenchConfig(runs=1))


@pytest.mark.slow
def test_xnnpack_that_was_to_be_left_out_is_no_result(tiny, monkeypatch):
    monkeypatch.setattr(host, "ask", lambda python, request: ask(python, {**request, "use_xnnpack": True}))
    with pytest.raises(RunError, match="XNNPACK was to be left out and took 1 partition"):
        measure([tiny.path], BenchConfig(runs=1, use_xnnpack=False))


@contextmanager
def busy(cpu: int) -> Iterator[None]:
    """Another process that computes on `cpu` all the time."""
    code = f"import os\nos.sched_setaffinity(0, [{cpu}])\nprint('ready', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


@pytest.fixture
def cpu() -> int:
    return host.choose_cpus(BenchConfig())[0]


@pytest.mark.slow
def test_another_process_on_the_cpu_is_noticed_and_nothing_is_reported(large, cpu):
    heard = []
    with (
        busy(cpu),
        pytest.raises(
            RunError, match=r"another process ran there.*--if-disturbed repeat.*without --strict"
        ) as caught,
    ):
        host.measure([large.path], BenchConfig(launches=2), heard.append)
    assert "large.tflite: launch 1/2 was disturbed, so nothing is reported: it waited" in str(caught.value)
    assert heard == ["launch 1/2 of large.tflite"]  # a second launch would have been for nothing


@pytest.mark.slow
def test_a_disturbed_round_is_measured_again_and_then_given_up(tiny, large, cpu):
    heard = []
    with busy(cpu), pytest.raises(RunError, match="disturbed, 4 times in a row"):
        host.measure([tiny.path, large.path], BenchConfig(), heard.append, IfDisturbed.REPEAT)
    assert heard[:3] == [
        f"launch 1/1 of {text}" for text in ("tiny.tflite", "large.tflite", "tiny.tflite, again")
    ]
    assert len(heard) == 8


@pytest.mark.slow
def test_the_evidence_of_a_kept_launch_says_how_much_was_lost(large, cpu):
    config = BenchConfig(runs=20)
    with busy(cpu):
        (result,) = measure([large.path], config)
    evidence, measured_ms = result.launches[0].evidence, sum(result.launches[0].run_ms)
    # A fair scheduler gives each of two equal processes half, and less where others want the CPU too.
    assert evidence.wait_ms > 0.25 * measured_ms
    assert evidence.preemptions >= 3
    assert any("another process" in words for words in interference.of_result(result))


@pytest.mark.slow
def test_a_quiet_launch_is_reported(tiny):
    """A quiet stretch of 2 ms is found within a few tries even on a machine with other work to do."""
    config = BenchConfig(runs=100)
    for _ in range(3):
        try:
            (result,) = host.measure([tiny.path], config, if_disturbed=IfDisturbed.REPEAT)
        except RunError as error:
            output = str(error)
            continue
        assert interference.of_result(result) == []
        assert result.launches[0].evidence.wait_ms <= 0.03 * sum(result.launches[0].run_ms)
        return
    pytest.skip(f"this machine was busy 12 times in a row: {output}")


def test_an_output_that_is_not_finite_is_no_result(not_finite):
    with pytest.raises(RunError, match=r"not_finite\.tflite: the output is not finite"):
        measure([not_finite], BenchConfig(runs=1))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BenchConfig(threads=4096), "at most .* threads"),
        (BenchConfig(cpu_mask=1 << 4096), "a CPU mask within the CPUs"),
        (BenchConfig(precision=Precision.FP16), "precision file on the host"),
    ],
)
def test_refuses_what_this_machine_cannot_do(tiny, config, words):
    with pytest.raises(UserError, match=words):
        measure([tiny.path], config)


def test_one_bad_file_stops_everything_before_it_starts(tiny, tmp_path):
    heard = []
    with pytest.raises(UserError, match="no such file"):
        host.measure([tiny.path, tmp_path / "missing.tflite"], BenchConfig(), heard.append)
    with pytest.raises(UserError, match="at least one"):
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


def test_every_signature_is_measured_in_turn(tiny, camera):
    heard = []
    results = measure([tiny.path, camera], BenchConfig(runs=2), heard.append)
    assert heard == [
        "launch 1/1 of tiny.tflite",
        "launch 1/1 of camera.tflite score_96x80",
        "launch 1/1 of camera.tflite score_80x96",
    ]
    output = [(result.signature, result.input_types, result.input_shapes) for result in results]
    assert output == [
        ("serving_default", ("float32",), ((1, 3, 32, 48),)),
        ("score_96x80", ("uint8",), ((1, 80, 96, 3),)),
        ("score_80x96", ("uint8",), ((1, 96, 80, 3),)),
    ]
    assert {result.artifact_sha256 for result in results[1:]} != {results[0].artifact_sha256}
    assert results[1].name == f"{camera} score_96x80"


@pytest.mark.slow
@pytest.mark.parametrize(("use_xnnpack", "expected"), [(True, [1, 2]), (False, [0, 0])])
def test_partitions_are_those_of_the_signature_that_ran(joined, use_xnnpack, expected):
    results = measure([joined], BenchConfig(runs=1, use_xnnpack=use_xnnpack))
    assert [result.launches[0].delegate_kernels for result in results] == expected


def test_a_signature_that_did_not_run_is_no_result(camera, monkeypatch):
    other = {"score_96x80": "score_80x96"}

    def astray(python, request):
        return ask(python, {**request, "signature": other[request["signature"]]})

    monkeypatch.setattr(host, "ask", astray)
    with pytest.raises(
        RunError, match=r"score_96x80: .* takes uint8 1x80x96x3, what ran took .*\(1, 96, 80, 3\)"
    ):
        measure([camera], BenchConfig(runs=1), signature="score_96x80")


def test_a_file_without_a_signature_is_measured(unsigned):
    (result,) = measure([unsigned], BenchConfig(runs=1))
    assert (result.signature, result.input_types, result.launches[0].delegate_kernels) == (
        "",
        ("float32",),
        1,
    )


def test_random_pixels_span_the_whole_range_and_repeat(camera):
    opened = child.load({"model": str(camera), "threads": 1, "signature": "score_80x96"})
    (image,) = opened.inputs.values()
    drawn = []
    for seed in (0, 0, 1):
        child.fill_random(opened, np.random.default_rng(seed))
        drawn.append(opened.view(image).copy())
    counts = np.bincount(drawn[0].reshape(-1), minlength=256)
    assert drawn[0].shape == (1, 96, 80, 3) and counts.min() > 0.5 * counts.mean()
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).mean() > 0.9


def test_each_signature_scores_pixels_as_the_runtimes_own_runner_does(camera, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(camera), num_threads=1)
    for signature, shape in (("score_96x80", (1, 80, 96, 3)), ("score_80x96", (1, 96, 80, 3))):
        pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
        np.savez(tmp_path / "in.npz", image=pixels)
        out = tmp_path / f"{signature}.npz"
        score(camera, out, signature=signature, inputs=[str(tmp_path / "in.npz")])
        expected = interpreter.get_signature_runner(signature)(image=pixels)["score"]
        with np.load(out) as got:
            np.testing.assert_array_equal(got["0"], expected)


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("", "asked for was ''"),
        ("tall", r"signatures are \['score_96x80', 'score_80x96'\], asked for was 'tall'"),
    ],
)
def test_a_signature_that_the_runtime_does_not_find_is_refused(camera, tmp_path, signature, words):
    with pytest.raises(RunError, match=words):
        score(camera, tmp_path / "out.npz", signature=signature, seed=0)


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
