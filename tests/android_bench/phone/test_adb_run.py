"""The whole path: real adb client, real adbd, ARM programs under qemu. Run with `-m slow`."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from android_bench import compare
from android_bench.cli import main
from android_bench.results.measurements import BenchConfig, Precision, ThermalState, from_json
from android_bench.runners import phones
from mobileiqa.errors import RunError, UserError
from tests.android_bench.phone.small_phone import PORT, SERIAL, wait_for

pytestmark = pytest.mark.slow
CONFIG = BenchConfig(runs=2, launches=1)


def test_measures_files_in_turns_on_the_big_core(phone, tiny, large, benchmark_model):
    heard = []
    config = replace(CONFIG, launches=2)
    small, big = phones.measure([tiny.path, large.path], config, benchmark_model, progress=heard.append)
    assert [text.removeprefix(f"{SERIAL}: ") for text in heard] == [
        "copying 2 file(s)",
        "launch 1/2 of tiny.tflite",
        "launch 1/2 of large.tflite",
        "launch 2/2 of tiny.tflite",
        "launch 2/2 of large.tflite",
    ]
    last = int(phone.run("nproc")) - 1  # the one with the highest clock
    for result in (small, big):
        assert [len(launch.run_ms) for launch in result.launches] == [2, 2]
        assert {launch.cpus for launch in result.launches} == {(last,)}
        assert [launch.delegate_kernels for launch in result.launches] == [1, 1]
        assert (result.device.kind, result.device.fp16_hardware) == ("phone", True)
    assert big.run_ms.min > 5 * small.run_ms.min  # 380 times the work, less qemu's own
    assert big.peak_memory_mb - small.peak_memory_mb > 10
    assert small.phone.before == ThermalState(81, 28.7, 33.4, "none")
    assert re.fullmatch("benchmark_model [0-9a-f]{12}", small.runtime)
    assert (small.device.cpu, small.phone.governor) == ("Small Phone, QEMU cortex-a76", "schedutil")


def test_each_signature_of_a_packaged_file_is_a_row_of_its_own(
    phone, camera, benchmark_model, old_benchmark_model
):
    heard = []
    wide, tall = phones.measure([camera], CONFIG, benchmark_model, progress=heard.append)
    assert [text.removeprefix(f"{SERIAL}: ") for text in heard] == [
        "copying 1 file(s)",
        "launch 1/1 of camera.tflite score_96x80",
        "launch 1/1 of camera.tflite score_80x96",
    ]
    assert (wide.signature, wide.input_shapes) == ("score_96x80", ((1, 80, 96, 3),))
    assert (tall.signature, tall.input_types) == ("score_80x96", ("uint8",))
    with pytest.raises(UserError, match="one that ignores --signature_to_run_for=score_96x80"):
        phones.measure([camera], CONFIG, old_benchmark_model)


def test_the_command_writes_what_compare_reads(phone, tiny, benchmark_model, tmp_path, capsys):
    out = tmp_path / "bench.json"
    command = [str(tiny.path), "--benchmark-model", str(benchmark_model), "--force-fp16", "--out", str(out)]
    assert main(command) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("Small Phone, QEMU cortex-a76, Android 14 (SDK 34): 1 thread(s) on CPU")
    assert output[0].endswith("1 + 2 runs x 5 launch(es), 28.7 C before, 28.7 C after")
    (result,) = from_json(json.loads(out.read_text()))
    assert result.config.precision is Precision.FP16
    assert result.run_ms.count == 10
    assert compare.main([str(out)]) == 0
    assert "fp16, forced" in capsys.readouterr().out


def test_several_phones_side_by_side(boot, tiny, benchmark_model):
    ports = (PORT, PORT + 2)
    with boot(ports=ports) as phone:
        with pytest.raises(UserError, match=r"one attached phone; found .*; name one with --serial"):
            phones.measure([tiny.path], CONFIG, benchmark_model)
        heard = []
        config = replace(CONFIG, launches=5)
        results = phones.measure(
            [tiny.path], config, benchmark_model, ["all"], side_by_side=True, progress=heard.append
        )
        assert [len(result.launches) for result in results] == [5, 5]
        first_five = {text.split(": ")[0] for text in heard[:5]}  # of two times six
        assert first_five == {f"127.0.0.1:{port}" for port in ports}
        with pytest.raises(UserError, match="a phone with serial nobody; found 127"):
            phones.measure([tiny.path], CONFIG, benchmark_model, ["nobody"])
        assert phone.becomes_clean()


def test_without_a_phone(can_boot, boot, tiny, benchmark_model, monkeypatch):
    with boot(ports=()), pytest.raises(UserError, match="a phone that adb sees; found none; connect one"):
        phones.measure([tiny.path], CONFIG, benchmark_model)
    monkeypatch.setenv("ADB", "/nowhere/adb")
    with pytest.raises(UserError, match=r"the adb program; found no program at .ADB, /nowhere/adb; install"):
        phones.measure([tiny.path], CONFIG, benchmark_model)


def test_a_phone_that_has_not_accepted_this_computer(phone, tiny, benchmark_model):
    with phone.locked(PORT + 4) as serial, pytest.raises(UserError, match="unauthorized; unlock the phone"):
        phones.measure([tiny.path], CONFIG, benchmark_model, [serial])


def test_unplugged_while_it_measures(boot, tiny, large, benchmark_model):
    with boot() as phone:

        def unplug(text):
            if "launch" in text:
                threading.Timer(0.3, phone.run, ["killall -9 adbd"]).start()

        with pytest.raises(RunError, match=r"the phone went away .offline.; it removes the files by itself"):
            phones.measure(
                [large.path], replace(CONFIG, runs=1, launches=50), benchmark_model, progress=unplug
            )
        assert phone.becomes_clean(), phone.left()


@pytest.mark.parametrize("moment", ["ls /data/local/tmp", "pidof benchmark_model || true"])
def test_a_killed_run_leaves_nothing(phone, large, benchmark_model, moment):
    command = [
        sys.executable,
        "-m",
        "android_bench",
        str(large.path),
        "--benchmark-model",
        str(benchmark_model),
    ]
    run = subprocess.Popen([*command, "--launches", "50"], env={**os.environ, "PYTHONPATH": "."})
    assert wait_for(lambda: phone.run(moment))
    run.kill()
    run.wait()
    assert phone.becomes_clean(), phone.left()


def test_a_full_phone(boot, tiny, large, benchmark_model):
    with boot(data="size=24k") as phone:
        with pytest.raises(RunError, match=r"no space left on the phone for .*tiny.tflite .\d+ kB are free"):
            phones.measure([tiny.path], CONFIG, benchmark_model)
        assert phone.becomes_clean()


def test_a_folder_that_runs_nothing(boot, tiny, benchmark_model):
    with boot(data="size=64m,noexec") as phone:
        with pytest.raises(RunError, match=r"runs no program from .* .mounted noexec, .*Permission denied"):
            phones.measure([tiny.path], CONFIG, benchmark_model)
        assert phone.becomes_clean()


def test_a_program_without_its_run_bit_is_given_one(phone, tiny, benchmark_model, tmp_path):
    program = shutil.copyfile(benchmark_model, tmp_path / "benchmark_model")
    program.chmod(0o644)
    assert phones.measure([tiny.path], CONFIG, program)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("echo 431 > /tmp/battery_tenths", "found a battery of 43.1 C; let it cool down"),
        ("echo 2 > /tmp/thermal_status", "found moderate throttling; let it cool down"),
    ],
)
def test_a_hot_phone(phone, tiny, benchmark_model, change, words):
    phone.run(change)
    with pytest.raises(UserError, match=words):
        phones.measure([tiny.path], CONFIG, benchmark_model)


def test_a_phone_that_becomes_hot(phone, tiny, benchmark_model):
    def heat(text):
        if "launch" in text:
            phone.run("echo 1 > /tmp/thermal_status")

    with pytest.raises(RunError, match=r"began to throttle .light. while it was measured"):
        phones.measure([tiny.path], CONFIG, benchmark_model, progress=heat)


def test_a_flag_that_the_build_does_not_know(phone, tiny, old_benchmark_model):
    assert phones.measure([tiny.path], CONFIG, old_benchmark_model)
    with pytest.raises(UserError, match="one that ignores --xnnpack_force_fp16=true; use a newer build"):
        phones.measure([tiny.path], replace(CONFIG, precision=Precision.FP16), old_benchmark_model)


def test_a_launch_that_takes_too_long(phone, large, benchmark_model):
    start = time.monotonic()
    with pytest.raises(RunError, match=r"a command on the phone took longer than 0.5 s, and was stopped"):
        phones.measure([large.path], CONFIG, benchmark_model, timeout_s=0.5)
    assert time.monotonic() - start < 300  # not the 600 s of the default


def test_a_file_that_the_runtime_refuses(phone, constant_left, benchmark_model):
    with pytest.raises(
        RunError,
        match=r"constant_left.tflite: benchmark_model failed .exit code 1.: .*failed to delegate BATCH_MATMUL",
    ):
        phones.measure([constant_left.path], replace(CONFIG, precision=Precision.FP16), benchmark_model)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BenchConfig(runs=10), "at most 2 runs per launch"),
        (BenchConfig(runs=1, threads=999), "at most the CPUs .* of 127"),
        (BenchConfig(runs=1, cpu_mask=1 << 99), "at most the CPUs .* of 127"),
    ],
)
def test_refuses_what_the_phone_cannot_do(phone, tiny, benchmark_model, config, words):
    with pytest.raises(UserError, match=words):
        phones.measure([tiny.path], config, benchmark_model)


def test_refuses_a_program_for_another_cpu(phone, tiny):
    with pytest.raises(
        UserError, match=r"a benchmark_model for arm64-v8a, which .* runs; found one for x86_64"
    ):
        phones.measure([tiny.path], CONFIG, Path(shutil.which("unshare")))


def test_nothing_listens_outside_the_phones_network(phone):
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", PORT))
    if hasattr(socket, "AF_VSOCK") and os.path.exists("/dev/vsock"):
        with socket.socket(socket.AF_VSOCK) as server:  # adbd would hold this port, on every network
            server.bind((socket.VMADDR_CID_ANY, PORT))
    inside = phone.run("netstat -ltn")
    assert f":{PORT} " in inside
