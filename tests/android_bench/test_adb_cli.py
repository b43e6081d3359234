"""What the command says of phones before any phone is asked, and what their results look like in JSON."""

import dataclasses
import json
import struct

import pytest

from android_bench.cli import main
from android_bench.results.entries import read
from android_bench.results.measurements import (
    BenchConfig,
    BenchResult,
    Device,
    Launch,
    PhoneRecord,
    ThermalState,
    from_json,
    to_json,
)
from android_bench.runners.phone_info import Core, Phone
from mobileiqa.errors import UserError

WARM = ThermalState(battery_percent=81, battery_c=28.7, skin_c=None, thermal_status="none")
RESULT = BenchResult(
    file="a.tflite",
    artifact_sha256="0" * 64,
    size_bytes=1,
    fp16_capable=False,
    config=BenchConfig(runs=2, precision="fp16"),
    device=Device("phone", "Small Phone, QEMU cortex-a76", 8, "Android 14 (SDK 34), arm64-v8a", True),
    runtime="benchmark_model",
    launches=(Launch((7,), 5.0, 2.0, (1.0, 1.5), 0.0, 9.0, 1),),
    phone=PhoneRecord("QEMU", "Android 14 (SDK 34)", "schedutil", WARM, ThermalState(None, None, None, None)),
)


def test_a_phones_result_survives_its_file(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(to_json([RESULT])))
    (entry,) = read(path)
    assert entry.measured == RESULT == from_json(json.loads(path.read_text()))[0]
    assert (entry.device, entry.precision) == ("Small Phone, QEMU cortex-a76", "fp16, forced")


@pytest.mark.parametrize(("field", "value"), [("battery_percent", 101), ("battery_c", "warm")])
def test_an_impossible_condition_is_refused(tmp_path, field, value):
    data = to_json([RESULT])
    data["results"][0]["phone"]["after"][field] = value
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=rf"results\[0\].phone.after.{field}"):
        read(path)


def test_a_host_result_does_not_speak_of_a_phone():
    assert "phone" not in to_json([dataclasses.replace(RESULT, phone=None)])["results"][0]


@pytest.mark.parametrize(
    ("clocks", "count", "cores"),
    [
        ([18, 18, 18, 18, 24, 24, 24, 30], 1, (7,)),
        ([18, 18, 18, 18, 24, 24, 24, 30], 3, (5, 6, 7)),
        ([30, 18, 18], 1, (0,)),
        ([0, 0], 1, (1,)),
    ],
)
def test_the_big_cores_have_the_highest_clock(clocks, count, cores):
    there = tuple(Core(index, clock, "") for index, clock in enumerate(clocks))
    assert Phone("", "", "", ("arm64-v8a",), there, fp16_hardware=True).big_cores(count) == cores


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--serial", "all"], "expected one program for the phones; found none"),
        (["--runner", "ours", "--benchmark-model", "b"], "expected one program for the phones; found two"),
        (["--runner", "ours", "--no-xnnpack"], "expected XNNPACK, which our runner always uses"),
        (["--force-fp16"], "no options for phones on the host; found force_fp16"),
        (["--side-by-side"], "no options for phones on the host; found side_by_side"),
        (["--emulate", "cortex-a76", "--runner", "ours"], "--runtimes arm:CPU"),
        (["--benchmark-model", "/nowhere/benchmark_model"], "found no such file"),
        (["--benchmark-model", "/nowhere", "--runs", "10"], "use --runs 2 --launches 25"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(tmp_path, capsys, options, words):
    out = tmp_path / "bench.json"
    assert main(["a.tflite", *options, "--out", str(out)]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert words in output.err and not out.exists()


def test_a_missing_adb_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ADB", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    program, model = tmp_path / "benchmark_model", tmp_path / "a.tflite"
    program.write_bytes(b"\x7fELF" + bytes(14) + b"\xb7\x00")
    model.write_bytes(struct.pack("<I4sHHi", 12, b"TFL3", 4, 4, 4))  # a model with no field set
    assert main([str(model), "--benchmark-model", str(program)]) == 2
    assert "expected the adb program; found none on the path; install" in capsys.readouterr().err
