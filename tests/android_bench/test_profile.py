import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from android_bench.profile import Operator, _operators, main, profile
from android_bench.profiling.report import STRIP, WIDTH, svg
from android_bench.results.measurements import BenchConfig
from mobileiqa.errors import RunError

SVG = "{http://www.w3.org/2000/svg}"
CONFIG = BenchConfig(runs=3)


def interpreter_operators(path, delegated: bool) -> list[str]:
    """What LiteRT's other interface lists, without running anything."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if delegated else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return [op["op_name"] for op in interpreter._get_ops_details()]


def test_xnnpacks_operators_are_timed(tiny):
    result = profile(tiny.path, CONFIG)
    names = [operator.name for operator in result.operators]
    assert sum(name.startswith("Convolution (NHWC, F32)") for name in names) == 2
    assert sum(name.startswith("Fully Connected (NC, F32)") for name in names) == 1
    assert {operator.partition for operator in result.operators} == {0}
    assert (len(result.plain_ms), len(result.profiled_ms)) == (3, 3)
    assert all(len(operator.run_ms) == 3 for operator in result.operators)


@pytest.mark.slow
@pytest.mark.parametrize(("signature", "partitions"), [("whole", 1), ("parted", 2)])
def test_the_signature_that_is_named_is_profiled(joined, signature, partitions):
    result = profile(joined, CONFIG, signature)
    assert (result.partitions, result.name) == (partitions, f"joined.tflite {signature}")
    assert any(operator.name == "CUMSUM" for operator in result.operators) == (signature == "parted")


def test_a_packaged_file_is_profiled_by_its_signature(camera, capsys):
    assert main([str(camera), "--runs", "2", "--signature", "score_80x96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = "camera.tflite score_80x96, uint8 1x96x80x3; ai-edge-litert"
    assert any(line.startswith(head) for line in lines[-3:-1])  # a busy machine is said after it
    brief = json.loads(lines[-1])
    assert (brief["signature"], brief["partitions"], brief["not_delegated"]) == ("score_80x96", 1, 0)
    assert main([str(camera)]) == 2
    output = capsys.readouterr().err
    assert "found score_96x80 and score_80x96; name one of these with --signature" in output


def test_a_file_without_a_signature_is_profiled(unsigned):
    assert profile(unsigned, CONFIG).signature == ""


@pytest.mark.slow
def test_the_expensive_operators_are_those_with_the_work(large):
    result = profile(large.path, BenchConfig(runs=5))
    first = result.kinds()[0]
    assert first.name.startswith("Convolution") and first.count == 2  # all but 33 of its multiplications
    assert sum(kind.share for kind in result.kinds()) == pytest.approx(1)
    assert sum(kind.ms for kind in result.kinds()) == pytest.approx(result.operators_ms)
    parts = [sum(operator.run_ms[run] for operator in result.operators) for run in range(5)]
    accounted = [part / whole for part, whole in zip(parts, result.profiled_ms, strict=True)]
    assert all(share <= 1 for share in accounted)
    assert max(accounted) > 0.8  # in another run something else may have come between


@pytest.mark.slow
def test_without_xnnpack_the_operators_are_the_files(large):
    result = profile(large.path, BenchConfig(runs=2, use_xnnpack=False))
    assert [operator.name for operator in result.operators] == interpreter_operators(
        large.path, delegated=False
    )
    assert result.partitions == 0 and {operator.by for operator in result.operators} == {"LiteRT"}


@pytest.mark.slow
def test_partitions_and_what_is_between_them(split):
    result = profile(split.path, CONFIG)
    assert result.partitions == interpreter_operators(split.path, delegated=True).count("DELEGATE") == 2
    (between,) = [index for index, operator in enumerate(result.operators) if operator.partition is None]
    assert result.operators[between].name == "CUMSUM"
    assert {operator.partition for operator in result.operators[:between]} == {0}
    assert {operator.partition for operator in result.operators[between + 1 :]} == {1}
    assert result.summary()["not_delegated"] == 1 and 0 < result.summary()["delegated_share"] < 1


@pytest.mark.slow
def test_the_picture_shows_every_operator_and_what_was_not_delegated(split):
    result = profile(split.path, CONFIG)
    root = ElementTree.fromstring(svg(result))
    boxes = [group for group in root.iter(f"{SVG}g") if group[1].get("height") == str(STRIP - 20)]
    assert [group[0].text.split(" ")[0] for group in boxes] == [f"#{n}" for n in range(len(result.operators))]
    widths = [float(group[1].get("width")) for group in boxes]
    assert widths == pytest.approx(
        [(WIDTH - 28) * one.ms / result.operators_ms for one in result.operators], abs=0.01
    )
    hatched = [group[0].text for group in boxes if len(group) == 3]
    assert len(hatched) == 1 and " CUMSUM, LiteRT: " in hatched[0]
    assert any("not delegated" in (text.text or "") for text in root.iter(f"{SVG}text"))


@pytest.mark.slow
def test_whole_numbers_are_0_and_1(folder):
    import litert_torch
    import torch

    class Double(torch.nn.Module):
        def forward(self, count):
            return count.float() * 2

    path = folder / "integers.tflite"
    litert_torch.convert(Double(), (torch.zeros(1, 4, dtype=torch.int32),)).export(str(path))
    assert len(profile(path, CONFIG).operators) >= 1


def test_times_are_medians_over_the_runs():
    runs = [[["Add", 0, 5000], ["CUMSUM", None, 10]], [["Add", 0, 1000], ["CUMSUM", None, 30]]]
    assert _operators("a.tflite", [*runs, runs[1]]) == (
        Operator("Add", 0, (5.0, 1.0, 1.0)),
        Operator("CUMSUM", None, (0.01, 0.03, 0.03)),
    )
    assert _operators("a.tflite", [*runs, runs[1]])[0].ms == 1.0


@pytest.mark.parametrize(
    "runs",
    [
        [[]],
        [[["Add", 0, 5]], [["Add", 0, 5], ["Add", 0, 5]]],
        [[["Add", 0, 5]], [["Mul", 0, 5]]],
        [[["Add", 0, 5]], [["Add", None, 5]]],
    ],
)
def test_runs_that_list_other_operators_are_no_profile(runs):
    with pytest.raises(RunError, match="not the same ones in every run"):
        _operators("a.tflite", runs)


@pytest.mark.slow
@pytest.mark.parametrize("use_xnnpack", [True, False])
def test_a_delegate_that_was_not_applied_is_no_profile(tiny, monkeypatch, use_xnnpack):
    from android_bench import profile as module

    ask = module.ask

    def deaf(python, request, script):
        return ask(python, {**request, "use_xnnpack": not use_xnnpack}, script=script)

    monkeypatch.setattr(module, "ask", deaf)
    with pytest.raises(
        RunError, match="took no part of it" if use_xnnpack else "was to be left out and was not"
    ):
        profile(tiny.path, BenchConfig(runs=1, use_xnnpack=use_xnnpack))


def test_prints_tables_and_writes_json_and_a_picture(tiny, tmp_path, capsys):
    out, plot = tmp_path / "profile.json", tmp_path / "profile.svg"
    options = ["--runs", "2", "--top", "2", "--out", str(out), "--plot", str(plot)]
    assert main([str(tiny.path), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"kind of operator +kernels +count +ms +share +together", lines[0])
    brief, written = json.loads(lines[-1]), json.loads(out.read_text())["profile"]
    assert brief["written"] == [str(plot), str(out)]
    assert written["summary"].items() <= brief.items()
    assert brief["operators"] == len(written["operators"]) == sum(kind["count"] for kind in written["kinds"])
    assert all(len(operator["run_ms"]) == 2 for operator in written["operators"])
    assert ElementTree.fromstring(plot.read_text()).tag == f"{SVG}svg"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runs", "0"], "runs of at least 1"),
        (["--threads", "4096"], "at most"),
        (["--top", "-1"], "--top of at least 0"),
        (["--plot", "a.png"], "ends in .svg"),
        (["--plot", "a.svg", "--out", "a.svg"], "a file of its own"),
        (["--out", "exists.json"], "pass --force"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(tiny, tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exists.json").write_text("precious")
    assert main([str(tiny.path), *options]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and words in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["exists.json"]
    assert (tmp_path / "exists.json").read_text() == "precious"


@pytest.mark.slow
def test_a_missing_file_is_exit_2_and_one_that_does_not_load_exit_1(unknown_operator, tmp_path, capsys):
    assert main([str(tmp_path / "missing.tflite")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main([str(unknown_operator)]) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and "(Unheard) failed to prepare" in output.err


def test_help_is_light():
    code = "import sys, android_bench.profile; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"torch", "ai_edge_litert", "mobileiqa.spec", "convert", "PIL"}.isdisjoint(loaded.split())
