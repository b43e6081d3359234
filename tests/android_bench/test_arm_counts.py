import dataclasses
import json
import re
import subprocess

import pytest

from android_bench import arm_counts, core_bounds
from android_bench.arm_counts import judge, main, read_counts, table, to_json
from android_bench.emulate import CPUS
from android_bench.runners.arm_runner import missing_runner
from android_bench.runners.instruction_counter import (
    KINDS,
    PARTS,
    Counted,
    between,
    count,
    emulator,
    write_cpuinfo,
)
from mobileiqa.errors import RunError, UserError

# Multiply-accumulates of the tiny network on 32x48: two 3x3 convolutions of stride 2, and a dot product of 32.
MACS = (16 * 24) * 16 * 27 + (8 * 12) * 32 * 144 + 32


def needs_runner(test):
    return pytest.mark.slow(pytest.mark.skipif(bool(missing_runner()), reason=missing_runner())(test))


def row(name="a.tflite", cpu="cortex-a76", force_fp16=False, **counts) -> Counted:
    counts = {**dict.fromkeys(KINDS, 0), "instructions": 1_000_000, **counts}
    return Counted(
        file=f"some/{name}", artifact_sha256="a" * 64, size_bytes=1, fp16_capable=False, file_precision="fp32",
        input_shapes=((1, 3, 8, 8),), cpu=cpu, force_fp16=force_fp16, runtime="r 1", emulator="qemu 7",
        counts=counts, spread=1e-6,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_int8(tiny, folder):
    """The tiny network in INT8 between a float32 input and a float32 score, by the real quantizer."""
    from ai_edge_quantizer import quantizer, recipe_manager

    recipe = recipe_manager.RecipeManager()
    for kind in ("CONV_2D", "MEAN", "FULLY_CONNECTED"):
        recipe.add_static_config(".*", kind, activation_num_bits=8, weight_num_bits=8)
    output = quantizer.Quantizer(str(tiny.path), recipe.get_quantization_recipe())
    result = output.calibrate({"serving_default": tiny.batch})
    path = folder / "tiny_int8.tflite"
    path.write_bytes(output.quantize(result).quantized_model)
    return path


@needs_runner
def test_fp32_counts_are_the_networks_own_arithmetic(tiny):
    counted = count(tiny.path, "cortex-a76")
    assert MACS <= 4 * counted.counts["fmla_4s"] < 1.05 * MACS
    assert (counted.counts["fmla_8h"], counted.counts["sdot"]) == (0, 0)
    kinds = {kind: number for kind, number in counted.counts.items() if kind != "instructions"}
    assert sum(kinds.values()) == counted.counts["instructions"] > counted.counts["fmla_4s"]
    assert kinds["loads"] > kinds["stores"] > 32 + 8 * 12 * 32 / 4  # a store each four values, at least


@needs_runner
def test_a_marked_file_counts_fp16_where_the_hardware_has_it(tiny, mark_fp16):
    marked = mark_fp16(tiny.path)
    counts = count(marked, "cortex-a76").counts
    assert MACS <= 8 * counts["fmla_8h"] < 1.05 * MACS
    assert counts["fmla_4s"] == 0
    without = count(marked, "cortex-a53").counts
    assert without["fmla_8h"] == 0
    assert MACS <= 4 * without["fmla_4s"] < 1.05 * MACS


@needs_runner
def test_forced_fp16_needs_the_hardware(tiny):
    counts = count(tiny.path, "cortex-a76", force_fp16=True).counts
    assert 8 * counts["fmla_8h"] >= MACS
    assert counts["fmla_4s"] == 0
    with pytest.raises(UserError, match="a CPU with FP16 arithmetic to force; found cortex-a53"):
        count(tiny.path, "cortex-a53", force_fp16=True)


@needs_runner
def test_int8_counts_dot_products_or_their_older_sibling(tiny_int8):
    new, old = count(tiny_int8, "cortex-a76").counts, count(tiny_int8, "cortex-a53").counts
    # The first convolution's 27 values a pixel are padded to 28, fours being what one lane of SDOT takes.
    assert MACS <= 16 * new["sdot"] < 1.15 * MACS
    assert old["sdot"] == 0
    assert MACS <= 8 * old["smlal"] <= 2.3 * MACS  # by 8 or by 4
    assert max(new["fmla_4s"], old["fmla_4s"]) < 100  # quantizing the image and the score
    assert new["smmla"] == old["smmla"] == new["fmla_8h"] == 0


@needs_runner
@pytest.mark.parametrize("cpu", PARTS)
def test_counts_repeat(tiny, cpu):
    first, second = count(tiny.path, cpu), count(tiny.path, cpu)
    assert first.counts == second.counts  # to the last instruction; what must hold is 1e-4
    assert first.spread == 0


@needs_runner
def test_a_file_that_phones_refuse_is_refused_in_the_runtimes_words(constant_left, mark_fp16):
    with pytest.raises(RunError, match="failed to delegate BATCH_MATMUL node"):
        count(mark_fp16(constant_left.path), "cortex-a76")


@needs_runner
def test_a_score_that_is_not_finite_is_no_count(not_finite):
    with pytest.raises(RunError, match="the output is not finite"):
        count(not_finite, "cortex-a76")


@needs_runner
def test_the_command_counts_and_fails_on_growth(tiny, large, mark_fp16, tmp_path, capsys):
    out, gate = tmp_path / "counts.json", tmp_path / "gate.json"
    marked = mark_fp16(tiny.path)
    assert main([str(marked), "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "Instruction counts are not latency" in output
    assert json.loads(output.splitlines()[-1])["counts"][0]["fmla_4s"] == 0
    assert main([str(marked), "--baseline", str(out)]) == 0
    assert "gate passed" in capsys.readouterr().out
    # The same file in FP32: what a lost FP16 mark looks like.
    lost_its_mark = tmp_path / "again" / marked.name
    lost_its_mark.parent.mkdir()
    lost_its_mark.write_bytes(tiny.path.read_bytes())
    assert main([str(lost_its_mark), "--baseline", str(out), "--out", str(gate)]) == 1
    output = capsys.readouterr().out
    assert re.search(r"lost kernels, .* \(now FMLA .4s; no FMLA .8h\)", output) and "gate FAILED" in output
    assert read_counts(gate)[0].counts["fmla_8h"] == 0


@needs_runner
def test_the_bounds_of_cores_are_shown_and_written(tiny, capsys):
    assert main([str(tiny.path), "--bound"]) == 0
    shown = capsys.readouterr().out
    assert "ms, at least" in shown and "not a time" in shown
    bounds = json.loads(shown.splitlines()[-1])["bounds"]
    assert [least["core"] for least in bounds] == [core.name for core in core_bounds.CORES]
    assert bounds[1]["cycles"] >= MACS / 4 / 2  # two pipelines of four multiply-accumulates
    assert main([str(tiny.path), "--bound", "--cpu", "cortex-a53"]) == 2
    assert "--cpu cortex-a76 with --bound" in capsys.readouterr().err


@needs_runner
def test_the_counting_emulator_knows_every_cpu_of_its_table(tmp_path):
    told = subprocess.run([*emulator(), "-cpu", "help"], capture_output=True, text=True, check=False)
    assert set(PARTS) <= set(told.stdout.split())
    assert set(PARTS) <= set(CPUS)


@needs_runner
def test_every_signature_of_a_packaged_file_is_counted(tiny, camera, tmp_path, capsys):
    out = tmp_path / "counts.json"
    assert main([str(tiny.path), str(camera), "--out", str(out)]) == 0
    assert "camera.tflite score_80x96  cortex-a76" in capsys.readouterr().out
    plain, wide, tall = read_counts(out)
    assert [row.signature for row in (plain, wide, tall)] == ["serving_default", "score_96x80", "score_80x96"]
    assert wide.input_types == ("uint8",) and tall.input_shapes == ((1, 96, 80, 3),)
    # Preprocessing comes on top, and resizing costs each size something else.
    assert plain.counts["instructions"] < wide.counts["instructions"] != tall.counts["instructions"]
    assert main([str(camera), "--signature", "score_80x96", "--baseline", str(out)]) == 1  # two rows are lost
    assert "camera.tflite score_80x96 on cortex-a76: same, 1.0000 times" in capsys.readouterr().out


@needs_runner
def test_a_signature_that_is_not_named_is_refused(joined):
    with pytest.raises(UserError, match="found whole and parted; name one of these with --signature"):
        count(joined, "cortex-a76")


def test_counts_lie_between_marks():
    def line(total, sdot):
        return json.dumps({**dict.fromkeys(KINDS, 0), "instructions": total, "sdot": sdot}) + "\n"

    runs = between(line(100, 7) + line(150, 9) + line(160, 9) + line(205, 11))
    assert [(run["instructions"], run["sdot"]) for run in runs] == [(50, 2), (45, 2)]
    for marks in ("", line(1, 1)):
        with pytest.raises(RunError, match=r"the counter saw . marks, two for each run"):
            between(marks)


def test_programs_see_the_emulated_core(tmp_path):
    write_cpuinfo(tmp_path, "cortex-a76")
    text = (tmp_path / "proc" / "cpuinfo").read_text()
    assert text.startswith("processor\t: 0\n") and "CPU part\t: 0xd0b\n" in text


def test_json_is_read_back_whole_and_checked(tmp_path):
    rows = [row(), row("b.tflite", "cortex-a53", sdot=3)]
    rows.append(dataclasses.replace(row("c.tflite"), signature="tall", input_types=("uint8",)))
    path = tmp_path / "counts.json"
    path.write_text(json.dumps(to_json(rows)))
    assert read_counts(path) == rows
    for edit, words in (
        (lambda data: data.update(schema=1), "counts of schema 2 in .*counts.json; found schema 1"),
        (lambda data: data["counts"][0]["counts"].pop("sdot"), r"expected some of each of .*sdot"),
        (lambda data: data["counts"][0]["counts"].update(sdot=-1), r"counts\[0\].counts.sdot: -1"),
        (
            lambda data: data["counts"][0].update(cpu="m1"),
            r"counts\[0\].cpu: 'm1', expected one of cortex-a53",
        ),
        (lambda data: data["counts"][1].update(spread=0.1), r"counts\[1\].spread: 0.1, expected 0..0.0001"),
        (lambda data: data["counts"][1].update(latency_ms=1), r"counts\[1\].latency_ms: no such field"),
        (lambda data: data["counts"][1].pop("runtime"), r"counts\[1\].runtime: missing"),
    ):
        data = json.loads(json.dumps(to_json(rows)))
        edit(data)
        path.write_text(json.dumps(data))
        with pytest.raises(UserError, match=words):
            read_counts(path)
    path.write_text("{")
    with pytest.raises(UserError, match="JSON in"):
        read_counts(path)


def test_the_gate():
    then = [row(), row("fast.tflite"), row("gone.tflite"), row(cpu="cortex-a53")]
    now = [
        row(instructions=1_020_000, sdot=5),
        row("fast.tflite", instructions=500_000),
        row("fresh.tflite"),
        row(cpu="cortex-a53", instructions=1_009_000),
    ]
    verdict = judge(now, then)
    assert [entry.verdict for entry in verdict] == ["more", "fewer", "new", "same", "lost"]
    assert verdict[0].remark == " (now SDOT)"
    assert judge([row()], [row(sdot=5, instructions=2_000_000)])[0].verdict == "lost kernels"
    assert judge([row()], [row(smlal=5)])[0].verdict == "same"  # SMLAL gives way to SDOT
    assert judge(now, then, 1.03)[0].verdict == "same"
    named = dataclasses.replace(then[0], signature="tall")
    assert [entry.verdict for entry in judge([named], then[:1])] == ["new", "lost"]
    usual = dataclasses.replace(
        then[0], signature="serving_default"
    )  # and a baseline from before it was kept
    assert [entry.verdict for entry in judge([usual], then[:1])] == ["same"]
    changed = dataclasses.replace(then[0], runtime="r 2")
    assert judge([changed], then[:1])[0].remark == " (runtime was r 1, is r 2)"
    forced = judge([row(force_fp16=True)], then[:1])
    assert [entry.verdict for entry in forced] == ["new", "lost"]
    with pytest.raises(
        UserError, match="one row for each file name, signature and CPU in the new counts; found two of"
    ):
        judge([row(), row()], then)


def test_the_table_is_in_millions():
    lines = table([row("long_name.tflite", fmla_8h=250_000)]).splitlines()
    assert lines[0].split("  ")[0] == "file" and "FMLA .8h" in lines[0]
    assert lines[1].split() == [
        "long_name.tflite",
        "cortex-a76",
        "1.00",
        "0.00",
        "0.25",
        "0.00",
        "0.00",
        "0.00",
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--cpu", "cortex-a55"],
            "one of the CPUs cortex-a53.*; found 'cortex-a55'; cortex-a55 only runs files",
        ),
        (["--cpu", "pentium"], "found 'pentium'; name one of these"),
        (["--max-growth", "1.1"], "--max-growth from 1 to 100 with --baseline"),
        (["--out", "."], "found a folder"),
    ],
)
def test_refuses_what_it_cannot_do(words, complaint, tmp_path, capsys):
    assert main([str(tmp_path / "no.tflite"), *words]) == 2
    output = capsys.readouterr().err
    assert re.search(complaint, output) and output.count("\n") == 1


def test_says_how_to_get_missing_programs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOBILEIQA_ARM", str(tmp_path))
    assert main([str(tmp_path / "no.tflite")]) == 2
    assert "no ARM root at" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text("{}")
    assert main([str(tmp_path / "no.tflite")]) == 2
    assert "which is an older one; run `make arm`" in capsys.readouterr().err


def test_forgets_no_kind():
    assert [*arm_counts.HEADS, *arm_counts.CLASSES] == list(KINDS)
