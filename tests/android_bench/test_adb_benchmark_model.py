"""The parser on outputs of many builds: their words as users of those builds published them, figures changed."""

import struct
from pathlib import Path

import pytest

from android_bench.results.measurements import BenchConfig, Precision
from android_bench.runners import benchmark_model
from android_bench.runners.benchmark_model import Series
from mobileiqa.errors import RunError, UserError

RECORDED = Path(__file__).parent / "recorded"
TWO_RUNS = BenchConfig(runs=2)


def recorded(name):
    return (RECORDED / f"{name}.txt").read_text()


def test_reads_the_first_build_that_prints_percentiles():
    printed = benchmark_model.parse(recorded("2025_percentiles"))
    assert printed.init_ms == 45.883
    assert printed.warmup == Series(1, 273148, 273148)
    assert printed.runs == Series(10, 265389, 270926)
    assert printed.memory_mb == pytest.approx(33 * 2**20 / 1e6)
    assert printed.delegate_kernels == 1


def test_reads_older_builds():
    printed = benchmark_model.parse(recorded("2021_partly_delegated"))
    assert (printed.delegate_kernels, printed.init_ms) == (3, 49.512)
    launch = benchmark_model.launch(printed, TWO_RUNS, cpus=(7,))
    assert launch.run_ms == (1054.830, 1053.318)
    assert (launch.first_ms, launch.cpus) == (1041.760, (7,))
    assert launch.peak_memory_mb == pytest.approx(12.1914 * 1.048576)


def test_runs_that_are_all_the_same_are_printed_once():
    printed = benchmark_model.parse(recorded("2020_peak_memory"))
    assert benchmark_model.launch(printed, TWO_RUNS, (0,)).run_ms == (33.12, 33.12)
    assert printed.delegate_kernels == 1 and printed.memory_mb == pytest.approx(12.8672 * 1.048576)


def test_without_warm_up_the_first_run_is_the_first_inference():
    text = recorded("2025_percentiles").replace(
        "count=1 curr=273148 p5=273148 median=273148 p95=273148", "count=0"
    )
    text = text.replace("count=10 first=265389 curr=270926", "count=2 first=265389 curr=270926")
    launch = benchmark_model.launch(benchmark_model.parse(text), BenchConfig(runs=2, warmup_runs=0), (0,))
    assert launch.first_ms == launch.run_ms[0] == 265.389


@pytest.mark.parametrize(
    ("name", "edit", "config", "words"),
    [
        ("2019_no_memory", ("count=27", "count=2"), BenchConfig(runs=2, warmup_runs=13), "print its memory"),
        ("2025_percentiles", ("", ""), TWO_RUNS, r"1 \+ 2 runs were asked for, benchmark_model made 1 \+ 10"),
        ("2020_peak_memory", ("completely executed w/", "left to"), TWO_RUNS, "not say that it was applied"),
    ],
)
def test_refuses_a_process_that_did_something_else(name, edit, config, words):
    printed = benchmark_model.parse(recorded(name).replace(*edit))
    with pytest.raises(RunError, match=words):
        benchmark_model.launch(printed, config, (0,))


def test_a_flag_that_is_ignored_is_an_error():
    with pytest.raises(UserError, match="one that ignores --xnnpack_force_fp16=true; use a newer build"):
        benchmark_model.parse(recorded("unknown_flag"))


@pytest.mark.parametrize("text", ["", "count=1 curr=5", "INFO: count=1 curr=5\nINFO: count=2 odd=1\nInit: 5"])
def test_refuses_output_without_its_figures(text):
    with pytest.raises(RunError, match="printed"):
        benchmark_model.parse(text)
    with pytest.raises(RunError, match=r"0 of its 2 series: .*Failed to mmap model"):
        benchmark_model.parse(recorded("model_not_loaded"))


def test_the_flags_leave_no_run_to_a_clock():
    config = BenchConfig(runs=2, threads=2, precision=Precision.FP16)
    assert " ".join(benchmark_model.flags(config, "m.tflite")) == (
        "--graph=m.tflite --num_runs=2 --warmup_runs=1 --min_secs=0 --warmup_min_secs=0 --max_secs=3600 "
        "--num_threads=2 --use_xnnpack=true --xnnpack_force_fp16=true"
    )
    assert benchmark_model.flags(config, "m.tflite", "tall")[-1] == "--signature_to_run_for=tall"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BenchConfig(runs=10), "found 10; use --runs 2 --launches 5"),
        (BenchConfig(runs=3, launches=3), "use --runs 2 --launches 5"),
        (BenchConfig(runs=1, precision=Precision.FP16, use_xnnpack=False), "no XNNPACK"),
    ],
)
def test_refuses_what_it_cannot_tell(config, words):
    with pytest.raises(UserError, match=words):
        benchmark_model.check(config)


@pytest.mark.parametrize(("machine", "abi"), [(183, "arm64-v8a"), (62, "x86_64"), (9, "machine 9")])
def test_reads_what_a_program_is_compiled_for(tmp_path, machine, abi):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", machine))
    assert benchmark_model.instruction_set(program) == abi


def test_refuses_what_is_not_a_program(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexec ./benchmark_model\n")
    with pytest.raises(UserError, match=r"an Android program in .*script; found bytes b'#!/b'"):
        benchmark_model.instruction_set(script)
    with pytest.raises(UserError, match="no such file"):
        benchmark_model.instruction_set(tmp_path / "nowhere")
