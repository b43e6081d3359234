import copy
import json

import pytest

from android_bench.comparison.regression_gate import lay_out
from android_bench.results.entries import image_size, read, read_all
from mobileiqa.errors import UserError

OPTIONAL = (
    "input_shapes",
    "input_types",
    "signature",
    "file_precision",
    "repeated",
    "evidence",
    "wait_ms",
    "init_wait_ms",
    "steal_ms",
)
NULLABLE = ("wait_ms", "init_wait_ms", "steal_ms")  # null is what a kernel without the counter says


def leaves(value, path=()):
    """The path of every field that is no object and no array, first elements standing for their arrays."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*path, 0))
    else:
        yield path


def holder(data, path):
    for step in path[:-1]:
        data = data[step]
    return data


def words(path):
    """results[0].launches[0].run_ms[0], as an error writes it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def refused(tmp_path, data):
    path = tmp_path / "edited.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_reads_what_the_host_runner_measured(measured, write_bench, tiny):
    small, big = read(write_bench("bench.json", measured["results"]))
    assert (small.model, small.size, small.pixels) == ("tiny", "48x32", 48 * 32)
    assert (big.model, big.size, big.pixels) == ("large", "768x768", 768 * 768)
    assert small.measured.artifact_sha256 == measured["results"][0]["artifact_sha256"]
    assert [list(runs) for runs in small.launches_ms] == [
        x["run_ms"] for x in measured["results"][0]["launches"]
    ]
    assert dict(small.setting)["threads"] == "1" and not small.by_hand


def test_what_ran_of_a_file_is_in_the_models_name(steady, write_bench):
    def named(**fields):
        (entry,) = read(write_bench("bench.json", [{**steady[0], **fields}]))
        return entry.model

    camera = {"file": "a/lar_512x512_int8_camera.tflite", "input_types": ["uint8"]}
    assert named(**camera, signature="serving_default") == "lar uint8"
    assert named(**camera, signature="score_640x480") == "lar uint8 score_640x480"
    assert named(signature="") == named(input_types=[]) == "tiny"
    assert named(input_types=["float32", "uint8", "uint8"]) == "tiny uint8"


def test_every_field_is_checked_by_name(measured, tmp_path):
    paths = list(leaves(measured["results"][:1], ("results",)))
    assert len(paths) == 50
    for path in paths:
        for wrong in (None, [1], {}, float("nan")):
            if wrong is None and path[-1] in NULLABLE:
                continue
            data = copy.deepcopy(measured)
            holder(data, path)[path[-1]] = wrong
            output = refused(tmp_path, data)
            assert "NaN" in output if wrong != wrong else words(path) in output, (path, wrong)


def test_every_field_must_be_there(measured, tmp_path):
    for path in leaves(measured["results"][:1], ("results",)):
        name = next(step for step in reversed(path) if isinstance(step, str))
        where = path[: len(path) - path[::-1].index(name)]
        data = copy.deepcopy(measured)
        del holder(data, where)[name]
        if name not in OPTIONAL:
            assert f"{words(where)}: missing" in refused(tmp_path, data)


def test_no_other_field_may_be_there(measured, tmp_path):
    result = ("results", 0)
    for where in (result, *((*result, n) for n in ("config", "device", "summary")), (*result, "launches", 0)):
        data = copy.deepcopy(measured)
        holder(data, (*where, ""))["surplus"] = 1
        assert f"{words(where)}.surplus: no such field" in refused(tmp_path, data)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r["launches"][1]["run_ms"].pop(), "6 runs were asked for, 5 reported"),
        (lambda r: r["launches"].pop(), "2 launches were asked for, 1 reported"),
        (lambda r: r["launches"][0]["run_ms"].__setitem__(0, -1.0), "results[0].launches[0].run_ms[0]"),
        (lambda r: r["launches"][0]["run_ms"].__setitem__(0, 10**400), "results[0].launches[0].run_ms[0]"),
        (lambda r: r["launches"][0].__setitem__("init_ms", True), "results[0].launches[0].init_ms"),
        (lambda r: r["config"].__setitem__("threads", 1.5), "results[0].config.threads"),
        (lambda r: r["config"].__setitem__("precision", "fp8"), "results[0].config.precision"),
        (
            lambda r: r["config"].update(threads=2, cpu_mask=4),
            "results[0].config: 0x4, expected a CPU mask with at least 2 CPUs",
        ),
        (
            lambda r: r["summary"].__setitem__("median_ms", 0.1),
            "results[0].summary.median_ms what the runs give",
        ),
        (lambda r: r.__setitem__("artifact_sha256", "12"), "results[0].artifact_sha256"),
        (lambda r: r.__setitem__("file", "a\x00.tflite"), "results[0].file"),
    ],
)
def test_refuses_measurements_that_cannot_be(measured, tmp_path, edit, words):
    data = copy.deepcopy(measured)
    edit(data["results"][0])
    assert words in refused(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "JSON in"),
        ("[" * 100_000, "JSON in"),
        ("[]", "found list"),
        ({"schema": 2, "results": []}, "found schema 2"),
        ({"schema": True, "results": []}, "found schema True"),
        ({"schema": 1, "results": []}, "non-empty array"),
        ({"schema": 1, "results": [3]}, "an object at results[0]"),
        ({"schema": 1, "results": [{}], "more": 1}, "non-empty array"),
        ({"schema": 1, "emulated": "cortex-a76", "outputs": []}, "non-empty array"),
    ],
)
def test_refuses_other_files(tmp_path, data, words):
    assert words in refused(tmp_path, data)


def test_refuses_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"JSON in .*binary\.json"):
        read(path)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"a readable JSON file at .*missing\.json"):
        read_all([tmp_path / "missing.json"])


def test_a_result_from_before_sizes_were_kept_has_an_unknown_one(measured, write_bench):
    old = {k: v for k, v in measured["results"][0].items() if k not in OPTIONAL}
    old["launches"] = [{k: v for k, v in run.items() if k not in OPTIONAL} for run in old["launches"]]
    (entry,) = read(write_bench("old.json", [old]))
    assert (entry.size, entry.pixels, entry.precision) == ("unknown", None, "unknown")
    assert entry.measured.launches[0].evidence is None and entry.measured.repeated == 0


def test_reads_figures_entered_by_hand(write_bench, by_hand):
    whole, crops = read(write_bench("hand.json", [by_hand(), by_hand(size="25x224x224", mean_ms=2.5)]))
    assert (whole.by_hand, whole.mean_ms, whole.runs, whole.pixels) == (True, 1522, 10, 317 * 205)
    assert (crops.pixels, crops.launches_ms, crops.measured) == (25 * 224 * 224, (), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "phone"},
        {"size": "317"},
        {"size": "0x224"},
        {"mean_ms": 0},
        {"mean_ms": "1522"},
        {"runs": 0},
        {"device": " "},
        {"model": "two\nlines"},
        {"median_ms": 3},
    ],
)
def test_refuses_bad_figures_by_hand(tmp_path, by_hand, changes):
    data = {"schema": 1, "results": [by_hand(), by_hand(**changes)]}
    assert f"results[1].{next(iter(changes))}" in refused(tmp_path, data)


@pytest.mark.parametrize("name", ["model", "size", "precision", "device", "mean_ms", "runs"])
def test_figures_by_hand_need_every_field_but_the_note(tmp_path, by_hand, name):
    value = {key: item for key, item in by_hand().items() if key != name}
    assert f"results[0].{name}: missing" in refused(tmp_path, {"schema": 1, "results": [value]})


def test_model_and_precision_come_from_our_file_names_and_metadata(measured, write_bench):
    base = measured["results"][0]
    fp16 = {
        **base,
        "file": "x/mobilenet-iqa_317x205_fp16.tflite",
        "fp16_capable": True,
        "file_precision": "fp16",
        "device": {**base["device"], "fp16_hardware": False},  # whatever this processor has
    }
    arm = {**fp16, "device": {**base["device"], "fp16_hardware": True}}
    int8 = {**base, "file": "lar_int8_iqa_int8.tflite", "file_precision": "int8"}
    entries = read(write_bench("bench.json", [fp16, arm, int8]))
    assert [entry.model for entry in entries] == ["mobilenet-iqa", "mobilenet-iqa", "lar_int8_iqa"]
    assert [entry.precision for entry in entries] == ["fp16 file, fp32 run", "fp16", "int8"]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(1, 3, 205, 317)], (205 * 317, "317x205")),
        ([(1, 205, 317, 3)], (205 * 317, "317x205")),
        ([(25, 3, 224, 224)], (25 * 224 * 224, "25x224x224")),
        ([(1, 3, 384, 384), (1, 3, 1280, 1280)], (384**2 + 1280**2, "1280x1280")),
        ([(1, 100)], (None, "unknown")),
        ([], (None, "unknown")),
    ],
)
def test_image_size(shapes, expected):
    assert image_size(shapes) == expected


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda r: r["launches"][0].__setitem__("cpus", []),
            "results[0].launches[0].cpus: 0 values, expected at least 1",
        ),
        (
            lambda r: r["launches"][0].__setitem__("cpus", None),
            "results[0].launches[0].cpus: null, expected a list",
        ),
        (lambda r: r["launches"][0].__setitem__("cpus", [-1]), "results[0].launches[0].cpus[0]"),
        (
            lambda r: r["launches"][0].__setitem__("run_ms", []),
            "results[0].launches[0].run_ms: 0 values, expected at least 1",
        ),
        (lambda r: r.__setitem__("launches", []), "results[0].launches: 0 values, expected at least 1"),
        (lambda r: r["launches"][0]["run_ms"].__setitem__(0, 5e-324), "expected 1e-06..1e+09"),
        (lambda r: r["launches"][0].__setitem__("init_ms", 1e300), "expected 1e-06..1e+09"),
        (lambda r: r["launches"][0].__setitem__("cpus", [1] * 9000 + [{}]), "cpus[9000]"),
    ],
)
def test_empty_and_extreme_measurements_are_one_line(measured, tmp_path, edit, words):
    data = copy.deepcopy(measured)
    edit(data["results"][0])
    message = refused(tmp_path, data)
    assert words in message and len(message) < 500


def test_figures_by_hand_at_the_ends_are_compared(by_hand, write_bench, tmp_path):
    ends = [by_hand(mean_ms=1e9), by_hand(mean_ms=1e-6)]
    assert [row.speed for row in lay_out(read(write_bench("hand.json", ends)))] == [None, 1e15]
    with pytest.raises(UserError, match=r"expected 1e-06\.\.1e\+09"):
        read(write_bench("hand.json", [by_hand(mean_ms=5e-324)]))


def test_a_long_wrong_schema_is_shortened(tmp_path):
    assert len(refused(tmp_path, {"schema": [1] * 5000, "results": []})) < 400


def test_a_mask_of_many_cpus_is_read(steady, write_bench):
    steady[0]["config"]["cpu_mask"] = 1 << 300 | 1
    (entry,) = read(write_bench("many.json", steady[:1]))
    assert dict(entry.setting)["CPU mask"] == f"{1 << 300 | 1:#x}"
