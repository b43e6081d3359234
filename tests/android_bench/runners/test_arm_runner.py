import json
import subprocess

import pytest

from android_bench.emulate import arm_root
from android_bench.results.measurements import BenchConfig, Precision
from android_bench.runners.arm_runner import folder, launch, missing_runner, options, parse, start
from mobileiqa.errors import RunError

CONFIG = BenchConfig(runs=2)
OPENED = {"event": "opened", "init_us": 4000, "fully_delegated": True, "threads": 1, "cpus": [7]}
WARMUP = {"event": "warmup", "us": 900}
RUNS = ({"event": "run", "us": 700}, {"event": "run", "us": 710})
CLOSED = {"event": "closed", "start_rss_kb": 20_000, "peak_rss_kb": 50_000, "output": [0.25]}


def printed(*lines) -> str:
    return "INFO: a word of the runtime\n" + "".join(f"{json.dumps(line)}\n" for line in lines)


def emulated(*words: str, cpu: str = "cortex-a76") -> subprocess.CompletedProcess:
    command = [str(arm_root() / "qemu-aarch64"), "-cpu", cpu, *start(str(folder())), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def needs_runner(test):
    return pytest.mark.slow(pytest.mark.skipif(bool(missing_runner()), reason=missing_runner())(test))


def test_a_whole_answer_becomes_a_launch():
    answer = parse(printed(OPENED, WARMUP, *RUNS, CLOSED))
    assert (answer.warmup_us, answer.run_us, answer.closed.output) == ((900,), (700, 710), (0.25,))
    measured = launch(answer, CONFIG, (7,))
    assert (measured.cpus, measured.init_ms, measured.first_ms, measured.run_ms) == (
        (7,),
        4.0,
        0.9,
        (0.7, 0.71),
    )
    assert measured.peak_memory_mb == pytest.approx(30.72)  # KiB to 10^6 bytes


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "the runner's answer is not whole: INFO: a word of the runtime"),
        ((OPENED, WARMUP, *RUNS), "not whole"),
        ((OPENED, *RUNS, WARMUP, CLOSED), "not whole"),
        ((OPENED, WARMUP, *RUNS, {**CLOSED, "output": []}), "shows no score"),
        ((OPENED, {"event": "run", "us": "fast"}, CLOSED), "a line that cannot be read"),
        ((OPENED, {"event": "unheard"}, CLOSED), "a line that cannot be read"),
        (({**OPENED, "more": 1}, CLOSED), "a line that cannot be read"),
    ],
)
def test_half_an_answer_is_refused(lines, words):
    with pytest.raises(RunError, match=words):
        parse(printed(*lines))


def test_a_failure_is_told_in_the_programs_words():
    with pytest.raises(RunError, match=r"failed .exit code 1.: ERROR: no such op \| ERROR: more"):
        parse("", "INFO: x\nERROR: no such op\nERROR: more\n", 1)


def test_an_older_program_is_known_by_what_it_refuses():
    for complaint in ("an unknown option: --signature=tall", "an input is not float32"):
        with pytest.raises(RunError, match="it is an older one, run `make arm`"):
            parse("", f"ERROR: {complaint}\n", 2)


def test_the_signature_is_named_where_there_are_several():
    assert "--signature=tall" in options(CONFIG, "a.tflite", "tall")
    assert not any(word.startswith("--signature") for word in options(CONFIG, "a.tflite"))


@pytest.mark.parametrize(
    ("opened", "cpus", "words"),
    [
        (OPENED, (6,), r"\(1, 2, 1, \(6,\)\) were asked for, the runner made \(1, 2, 1, \(7,\)\)"),
        ({**OPENED, "threads": 2}, (7,), "were asked for"),
        ({**OPENED, "fully_delegated": False}, (7,), "XNNPACK did not take the whole graph"),
    ],
)
def test_a_launch_is_what_was_asked_for(opened, cpus, words):
    with pytest.raises(RunError, match=words):
        launch(parse(printed(opened, WARMUP, *RUNS, CLOSED)), CONFIG, cpus)
    with pytest.raises(RunError, match="were asked for"):
        launch(parse(printed(OPENED, WARMUP, RUNS[0], CLOSED)), CONFIG, (7,))


@needs_runner
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a55", "cortex-a76"])
def test_it_runs_a_file_on_arm(tiny, cpu):
    completed = emulated(*options(BenchConfig(runs=3, warmup_runs=2), str(tiny.path)), cpu=cpu)
    result = parse(completed.stdout, completed.stderr, completed.returncode)
    assert (len(result.warmup_us), len(result.run_us)) == (2, 3)
    assert result.opened.fully_delegated and result.opened.init_us > 0 and min(result.run_us) > 0
    assert result.closed.peak_rss_kb > result.closed.start_rss_kb > 0
    forced = options(BenchConfig(runs=1, precision=Precision.FP16), str(tiny.path))
    completed = emulated(*forced, cpu=cpu)
    if cpu == "cortex-a53":
        assert (
            completed.returncode == 2
            and "ERROR: no FP16 arithmetic to force: on this CPU" in completed.stderr
        )
    else:
        score = parse(completed.stdout, completed.stderr, completed.returncode).closed.output
        assert 1e-6 < abs(score[0] / result.closed.output[0] - 1) < 5e-3  # FP16 arithmetic on the same input


@needs_runner
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "no --graph=FILE"),
        (["--graph=a", "--num_runs=0"], "not a number in range: 0"),
        (["--graph=a", "--num_runs=3x"], "not a number in range: 3x"),
        (["--graph=a", "--allow_fp16=true"], "an unknown option: --allow_fp16=true"),
    ],
)
def test_it_refuses_what_it_does_not_know(words, complaint):
    result = emulated(*words)
    assert result.returncode == 2 and f"ERROR: {complaint}" in result.stderr and not result.stdout


@needs_runner
def test_it_runs_the_signature_that_is_named(camera):
    outputs = []
    for signature in ("score_96x80", "score_80x96"):
        result = emulated(*options(CONFIG, str(camera), signature))
        outputs.append(parse(result.stdout, result.stderr, result.returncode).closed.output)
    assert outputs[0] != outputs[1]
    for words, complaint in (
        ((), "the file has several signatures"),
        (("--signature=tall",), "the file has no signature of that name"),
    ):
        result = emulated(f"--graph={camera}", *words)
        assert result.returncode == 1 and f"ERROR: {complaint}" in result.stderr


@needs_runner
def test_it_says_which_file_it_cannot_open(tmp_path):
    result = emulated(f"--graph={tmp_path}/none.tflite")
    assert result.returncode == 1 and "none.tflite" in result.stderr
    with pytest.raises(RunError, match="LiteRtCreateModelFromFile"):
        parse(result.stdout, result.stderr, result.returncode)
