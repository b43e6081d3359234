import copy
import csv
import json
import subprocess
import sys
from html import escape
from xml.etree import ElementTree

import pytest

from android_bench import compare
from android_bench.comparison.plot import series
from android_bench.comparison.regression_gate import lay_out
from android_bench.results.entries import read


def ask(capsys, *words):
    """Exit code, what was said on stdout, and its last line."""
    code = compare.main([str(word) for word in words])
    output = capsys.readouterr()
    if code == 2:
        assert output.out == "" and output.err.count("\n") == 1
        assert output.err.startswith("python -m android_bench.compare: expected ")
        return code, output.err, None
    assert output.err == ""
    return code, output.out, json.loads(output.out.splitlines()[-1])


def verdicts(brief):
    return [row["verdict"] for row in brief["rows"]]


def changed(result, **fields):
    """The same measurement with other values in its config or device."""
    parts = {name: {**result[name], **fields.pop(name, {})} for name in ("config", "device")}
    return {**result, **fields, **parts}


def test_lays_real_results_side_by_side(measured, write_bench, capsys):
    path = write_bench("bench.json", measured["results"])
    code, out, brief = ask(capsys, path)
    small, big = read(path)
    assert code == 0 and "passed" not in brief
    heads = "model size precision device source median mean p5 p95 init peak MB speed"
    assert " ".join(out.splitlines()[0].split()) == heads
    assert [row["median_ms"] for row in brief["rows"]] == [
        round(e.measured.run_ms.median, 4) for e in (small, big)
    ]
    assert brief["rows"][0]["speed"] is None
    assert brief["rows"][1]["speed"] == small.central_ms / big.central_ms < 0.1
    assert "reference" in out.splitlines()[1] and " to " in out.splitlines()[2]


def test_other_settings_are_never_set_against_each_other(steady, write_bench, by_hand, capsys):
    first = steady[0]
    results = [
        first,
        changed(first, config={"threads": 4}),
        changed(first, device={"cpu": "Cortex-X4"}),
        changed(first, config={"use_xnnpack": False}),
        changed(first, file_precision="fp32"),
        by_hand(),
    ]
    _, _, brief = ask(capsys, write_bench("bench.json", results))
    assert [row["speed"] is None for row in brief["rows"]] == [True, True, True, True, False, True]


def test_signatures_of_one_file_never_stand_for_each_other(steady, scaled, write_bench, capsys):
    """Both take as many pixels: only the signature tells which row is which, in the table and in the gate."""
    wide, tall = ({**steady[0], "signature": name, "input_types": ["uint8"]} for name in ("wide", "tall"))
    then = write_bench("then.json", [wide, scaled(tall, 2)])
    _, output, brief = ask(capsys, then)
    assert [row["name"] for row in brief["rows"]] == ["tiny uint8 wide", "tiny uint8 tall"]
    assert brief["rows"][1]["speed"] == pytest.approx(0.5, rel=0.01) and "reference" in output
    code, _, brief = ask(capsys, write_bench("now.json", [scaled(tall, 2), wide]), "--baseline", then)
    assert code == 0 and verdicts(brief) == ["same", "same"]
    code, _, brief = ask(capsys, write_bench("gone.json", [wide]), "--baseline", then)
    assert code == 1 and verdicts(brief) == ["same", "lost"]
    labels = [one.label.split(",")[0] for one in series(lay_out(read(then)))]
    assert labels == ["tiny uint8 wide", "tiny uint8 tall"]  # two curves of the picture


def test_rows_that_read_alike_are_told_apart(steady, write_bench, capsys):
    other = {**steady[0], "artifact_sha256": "ab" * 32}
    _, _, brief = ask(capsys, write_bench("a.json", steady[:1]), write_bench("b.json", [other]))
    names = [row["name"] for row in brief["rows"]]
    assert names == [f"tiny (a {steady[0]['artifact_sha256'][:6]})", "tiny (b ababab)"]


def test_gate_passes_what_it_measured_itself(measured, write_bench, capsys):
    path, again = (write_bench(name, measured["results"]) for name in ("a.json", "b.json"))
    code, out, brief = ask(capsys, path, "--baseline", again)
    assert (code, brief["passed"], verdicts(brief)) == (0, True, ["same", "same"])
    assert [row["speed"] for row in brief["rows"]] == [1.0, 1.0]
    assert "gate passed" in out


def test_gate_fails_on_runs_that_take_longer(steady, write_bench, scaled, capsys, tmp_path):
    base, new = (
        write_bench("base.json", steady),
        write_bench("new.json", [scaled(steady[0], 1.08), steady[1]]),
    )
    xml = tmp_path / "gate.xml"
    code, out, brief = ask(capsys, new, "--baseline", base, "--junit", xml)
    assert (code, brief["passed"], verdicts(brief)) == (1, False, ["slower", "same"])
    assert (
        brief["rows"][0]["speed"] == pytest.approx(1 / 1.08, rel=1e-9) and brief["rows"][0]["p_slower"] < 1e-6
    )
    assert "gate FAILED" in out
    root = ElementTree.parse(xml).getroot()
    suite = root.find("testsuite")
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "2", "failures": "1", "errors": "0", "skipped": "0"
    }  # fmt: skip
    failure = suite[0].find("failure")
    assert suite[0].get("name").startswith(
        "tiny 48x32"
    ) and "1.080 times as long, 1.05 allowed" in failure.get("message")
    assert suite[1].find("failure") is None and "speed 1.00x" in suite[1].find("system-out").text


@pytest.mark.parametrize(
    ("factor", "options", "verdict"),
    [
        (1.04, [], "same"),  # real, and within what is allowed
        (1.04, ["--max-slowdown", "1.03"], "slower"),
        (1.04, ["--max-slowdown", "1"], "slower"),
        (1.3, ["--max-slowdown", "1.5"], "same"),
        (0.8, [], "faster"),
    ],
)
def test_the_threshold_decides_what_is_significant(
    steady, write_bench, scaled, capsys, factor, options, verdict
):
    base, new = write_bench("base.json", steady[:1]), write_bench("new.json", [scaled(steady[0], factor)])
    code, _, brief = ask(capsys, new, "--baseline", base, *options)
    assert (code, verdicts(brief)) == (int(verdict == "slower"), [verdict])
    assert (brief["rows"][0]["p_slower"] < 0.01) == (factor > 1)


def test_noise_beyond_the_threshold_is_not_significant(steady, write_bench, capsys):
    noisy = [json.loads(json.dumps(steady[0])) for _ in range(2)]
    noisy[0]["launches"][0]["run_ms"], noisy[0]["launches"][1]["run_ms"] = (
        [60, 70, 95, 99, 150, 180],
        [65, 80, 99, 101, 140, 150],
    )
    noisy[1]["launches"][0]["run_ms"], noisy[1]["launches"][1]["run_ms"] = (
        [62, 75, 90, 115, 151, 170],
        [66, 81, 111, 118, 141, 155],
    )
    code, _, brief = ask(
        capsys, write_bench("new.json", noisy[1:]), "--baseline", write_bench("base.json", noisy[:1])
    )
    row = brief["rows"][0]
    assert 1 / row["speed"] > 1.05 and row["p_slower"] > 0.2
    assert (code, row["verdict"]) == (0, "same")


def test_too_few_runs_to_know_are_no_pass(measured, write_bench, capsys, tmp_path):
    few = changed(measured["results"][0], config={"runs": 2})
    few["launches"] = [{**launch, "run_ms": launch["run_ms"][:2]} for launch in few["launches"]]
    path, again, xml = write_bench("a.json", [few]), write_bench("b.json", [few]), tmp_path / "gate.xml"
    code, out, brief = ask(capsys, path, "--baseline", again, "--junit", xml)
    assert (code, verdicts(brief)) == (1, ["not judged"])
    assert "4 runs beside 4 cannot reach p < 0.01" in out
    errors = [case.find("error").get("type") for case in ElementTree.parse(xml).iter("testcase")]
    assert errors == ["not judged", "nothing judged"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": {"threads": 4}}, "threads 1 then, 4 now"),
        ({"config": {"cpu_mask": 2}}, "CPU mask 0x0 then, 0x2 now"),
        ({"config": {"use_xnnpack": False}}, "XNNPACK on then, off now"),
        ({"config": {"warmup_runs": 3}}, "warm-up runs 1 then, 3 now"),
        ({"config": {"cooldown_s": 2.5}}, "cool-down s 0 then, 2.5 now"),
        ({"config": {"precision": "fp16"}}, "precision unknown then, fp16, forced now"),
        ({"file_precision": "int8"}, "precision unknown then, int8 now"),
        ({"device": {"cpu": "Cortex-X4"}}, "then, host Cortex-X4 now"),
        ({"device": {"kind": "adb"}}, "then, adb "),
    ],
)
def test_a_changed_config_is_not_compared_and_fails(steady, write_bench, capsys, change, words):
    base = write_bench("base.json", steady)
    new = write_bench("new.json", [changed(steady[0], **change), steady[1]])
    code, out, brief = ask(capsys, new, "--baseline", base)
    assert (code, verdicts(brief)) == (1, ["not compared", "same", "lost"])
    assert brief["rows"][0]["speed"] is None
    assert brief["rows"][2]["median_ms"] is None  # what was not measured has no figures
    assert out.count(words) == 2  # on the new row and on the lost one


def test_a_new_model_passes_and_a_lost_one_fails(steady, write_bench, capsys, tmp_path):
    both, one, xml = (
        write_bench("both.json", steady),
        write_bench("one.json", steady[:1]),
        tmp_path / "gate.xml",
    )
    code, _, brief = ask(capsys, both, "--baseline", one, "--junit", xml)
    assert (code, verdicts(brief)) == (0, ["same", "new"])
    assert [case.find("skipped") is not None for case in ElementTree.parse(xml).iter("testcase")] == [
        False,
        True,
    ]
    code, out, brief = ask(capsys, one, "--baseline", both, "--junit", xml, "--force")
    assert (code, verdicts(brief)) == (1, ["same", "lost"])
    assert "in the baseline, not in the new results" in out
    assert [case.find("error") is not None for case in ElementTree.parse(xml).iter("testcase")] == [
        False,
        True,
    ]


def test_another_runtime_is_compared_and_named(steady, write_bench, capsys):
    new = write_bench("new.json", [{**steady[0], "runtime": "ai-edge-litert 9.9"}])
    code, out, _ = ask(capsys, new, "--baseline", write_bench("base.json", steady[:1]))
    assert code == 0 and "then, ai-edge-litert 9.9 now" in out


def test_figures_by_hand_have_no_significance_and_no_gate(write_bench, by_hand, steady, capsys):
    base = write_bench("base.json", [by_hand()])
    code, out, brief = ask(capsys, write_bench("new.json", [by_hand(mean_ms=3044)]), "--baseline", base)
    assert (code, verdicts(brief)) == (1, ["by hand"])  # a gate that judged nothing has not passed
    assert brief["rows"][0]["speed"] == 0.5 and brief["rows"][0]["p_slower"] is None
    assert "no samples, so no interval and no significance" in out and "0.500x (no interval)" in out
    base, new = (
        write_bench("base.json", [by_hand(), steady[0]]),
        write_bench("new.json", [by_hand(), steady[0]]),
    )
    code, _, brief = ask(capsys, new, "--baseline", base)
    assert (code, verdicts(brief)) == (0, ["by hand", "same"])


def test_csv_holds_every_figure_and_marks_by_hand(measured, write_bench, by_hand, capsys, tmp_path):
    path, out = (
        write_bench("bench.json", [*measured["results"], by_hand(model='comma, "quote"')]),
        tmp_path / "t.csv",
    )
    ask(capsys, path, "--csv", out)
    small, big, hand = csv.DictReader(out.read_text().splitlines())
    summary = measured["results"][1]["summary"]
    for name in ("median_ms", "mean_ms", "p5_ms", "p95_ms", "init_ms", "peak_memory_mb"):
        assert float(big[name]) == summary[name]
    assert float(big["speed_low"]) <= float(big["speed"]) <= float(big["speed_high"])
    assert (small["source"], small["runs"], small["launches"], small["threads"]) == (
        "measured",
        "12",
        "2",
        "1",
    )
    assert (hand["source"], hand["name"], float(hand["mean_ms"])) == ("by hand", 'comma, "quote"', 1522)
    assert [hand[name] for name in ("median_ms", "p5_ms", "speed_low", "launches", "p_slower")] == [""] * 5


def test_a_baseline_that_says_two_things_is_refused(steady, write_bench, capsys):
    twice = write_bench("twice.json", [steady[0], steady[0]])
    code, err, _ = ask(capsys, twice, "--baseline", twice)
    assert code == 2 and "one result per model, size, device and config in the baseline" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--junit", "x.xml"], "--baseline with --junit"),
        (["--max-slowdown", "1.1"], "--baseline with --junit"),
        (["--baseline", "BENCH", "--max-slowdown", "0.9"], "from 1 to 100"),
        (["--baseline", "BENCH", "--max-slowdown", "nan"], "from 1 to 100"),
        (["--plot", "x.jpg"], "ends in .png"),
        (["--csv", "x", "--html", "x"], "a file of its own"),
        (["--csv", "BENCH", "--force"], "a file of its own"),
        (["--html", "."], "found a folder"),
        (["--baseline", "missing.json"], "a readable JSON file"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(
    steady, write_bench, capsys, monkeypatch, tmp_path, options, words
):
    monkeypatch.chdir(tmp_path)
    path = write_bench("bench.json", steady)
    content = path.read_bytes()
    code, err, _ = ask(capsys, path, *[path if word == "BENCH" else word for word in options])
    assert code == 2 and words in err
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"] and path.read_bytes() == content


def test_outputs_are_not_overwritten_unless_told_to(steady, write_bench, capsys, tmp_path):
    path, out = write_bench("bench.json", steady), tmp_path / "report.csv"
    out.write_text("precious")
    assert ask(capsys, path, "--csv", out)[0] == 2 and out.read_text() == "precious"
    assert ask(capsys, path, "--csv", out, "--force")[0] == 0 and out.read_text().startswith("name,")


def test_help_is_light():
    code = "import sys, android_bench.compare; print(*sys.modules)"
    heavy = {"torch", "matplotlib", "scipy", "ai_edge_litert", "mobileiqa.spec", "PIL"}
    assert heavy.isdisjoint(run("-c", code).split())
    assert "example:\n  python -m android_bench.compare " in run("-m", "android_bench.compare", "--help")


def run(*words):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "name", ["m$x^$y", "a_{b", "\\frac", "$", "_hidden", "<script>alert(1)</script>", "\"x\" & 'y' ]]>"]
)
def test_a_models_name_is_text_in_every_output(name, steady, write_bench, tmp_path, capsys):
    path = write_bench("bench.json", [{**result, "file": f"models/{name}.tflite"} for result in steady])
    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("png", "html", "csv", "xml")}
    options = [
        "--plot",
        outputs["png"],
        "--html",
        outputs["html"],
        "--csv",
        outputs["csv"],
        "--junit",
        outputs["xml"],
    ]
    code, out, brief = ask(capsys, path, "--baseline", path, *options)
    assert code == 0 and outputs["png"].read_bytes()[1:4] == b"PNG"
    model = name.rpartition("/")[2]
    assert all(model in row["name"] for row in brief["rows"]) and model in out
    page = outputs["html"].read_text()
    assert "<script" not in page and (escape(model) in page)
    cases = ElementTree.parse(outputs["xml"]).getroot().findall("testsuite/testcase")
    assert all(model in case.get("name") for case in cases)


@pytest.mark.parametrize(
    "name", ["a\nb.json", "\x1b[2J.json", "\u202ex.json", "<b>.json", "=1+1.json", "$x^$.json"]
)
def test_a_results_file_name_is_text_in_every_output(name, steady, write_bench, tmp_path, capsys):
    path = write_bench(name, [steady[0], copy.deepcopy(steady[0])])
    outputs = [tmp_path / f"out.{kind}" for kind in ("png", "html", "csv", "xml")]
    words = dict(zip(("--plot", "--html", "--csv", "--junit"), outputs, strict=True))
    base = write_bench("base.json", [steady[0]])
    code, out, _ = ask(capsys, path, "--baseline", base, *(word for pair in words.items() for word in pair))
    assert code == 0 and all(line.isprintable() for line in out.splitlines())
    ElementTree.parse(outputs[3])
    assert all(line.isprintable() or not line for line in outputs[1].read_text().splitlines())
