import copy
import json

import numpy as np
import pytest

from convert.delegation.xnnpack_rules import RULES
from convert.flatbuffer import model as fb
from convert.inspect import main

METADATA = {
    "spec": {
        "name": "mobilenet-iqa",
        "score_range": [0.0, 1.0],
        "inputs": [{"name": "image", "height_px": 8, "width_px": 8}],
    },
    "precision": "fp16",
    "untrained": True,
    "version": "0.1.0",
    "checkpoint_sha256": "ab",
}


@pytest.fixture
def inspected(save, capsys):
    def run(content, *flags):
        code = main([str(save(content)), *flags])
        lines = capsys.readouterr().out.splitlines()
        return code, json.loads(lines[-1]), lines[:-1]

    return run


def test_everything_about_a_small_net(small_net, inspected):
    b = small_net.builder
    b.note("mobileiqa", json.dumps(METADATA).encode())
    b.note("reduced_precision_support", b"fp16accfp16")
    content = b.build(small_net.score)
    code, actual, lines = inspected(content, "--check")
    assert code == 0
    assert (actual["model"], actual["precision"], actual["untrained"]) == ("mobilenet-iqa", "fp16", True)
    assert actual["fp16_capable"] is True
    assert actual["inputs"] == [{"name": "in0", "shape": [1, 8, 8, 4], "dtype": "float32", "bytes": 1024}]
    assert (actual["file_bytes"], actual["parameters"], actual["macs"]) == (len(content), 185, 11520)
    assert (actual["operators"], actual["delegated"], actual["partitions"]) == (3, 3, [3])
    assert actual["ops"]["GELU"] == {"count": 1, "delegated": 1, "macs": 0, "values": 320}
    assert list(actual["ops"]) == ["CONV_2D", "GELU", "MEAN"]
    assert (actual["peak_activation_bytes"], actual["peak_at"]) == (2560, {"op": "GELU", "index": 1})
    assert [t["name"] for t in actual["peak_tensors"]] == ["t3", "t4"]
    assert actual["check"] == {
        "agrees": True,
        "differences": [],
        "runtime": {"nodes_total": 3, "nodes_delegated": 3, "partitions": 1},
    }
    text = "\n".join(lines)
    for part in (
        "untrained: for latency and parity only",
        "FP16 arithmetic allowed",
        "11.52 k MACs",
        "1 partition of 3 operators",
        "2.56 kB at GELU #1",
        "the runtime delegates as forecast",
    ):
        assert part in text


def twice(content, save, named=True):
    """The file with its subgraph a second time, and a signature for it if `named`."""
    path = save(content)
    model = fb.read(path)
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    if named:
        model.signatureDefs.append(copy.deepcopy(model.signatureDefs[0]))
        model.signatureDefs[1].signatureKey, model.signatureDefs[1].subgraphIndex = b"again", 1
    fb.write(model, path)
    return path.read_bytes()


def test_a_signature_without_inputs_and_a_dequantize_without_outputs_are_shown(small_net, save, inspected):
    b = small_net.builder
    b.op("DEQUANTIZE", [b.constant([1.0], dtype="float16")], [b.tensor(1)], "DequantizeOptions")
    path = save(twice(b.build(small_net.score), save))
    model = fb.read(path)
    model.subgraphs[0].operators[-1].outputs = []
    model.subgraphs[1].inputs = []
    fb.write(model, path)
    code, actual, lines = inspected(path.read_bytes())
    assert code == 0 and len(actual["signatures"]) == 2
    assert any(line.startswith("again ") and " - " in line for line in lines)


def test_each_signature_has_its_row(small_net, save, inspected):
    code, actual, lines = inspected(twice(small_net.builder.build(small_net.score), save), "--check")
    assert code == 0 and actual["warnings"] == [] and actual["check"]["agrees"]
    first, again = actual["signatures"]
    assert (first["signature"], again["signature"]) == ("serving_default", "again")
    assert first["macs"] == again["macs"] == actual["macs"] and again["partitions"] == [3]
    assert any(line.startswith("again ") and "1x8x8x4 float32" in line for line in lines)


def test_the_second_signature_is_checked_too(small_net, save, inspected, monkeypatch):
    """The gate's failing case: a rule that refuses what the runtime takes, in either subgraph."""
    monkeypatch.setitem(RULES, "GELU", (lambda here: "wrong",))
    code, actual, lines = inspected(twice(small_net.builder.build(small_net.score), save), "--check")
    difference = "GELU #1: the runtime delegates it, the forecast does not (wrong)"
    assert code == 1 and {difference, f"again: {difference}"} <= set(actual["check"]["differences"])
    assert "check: FAILED" in lines


def test_a_subgraph_that_no_signature_names_is_said(small_net, save, inspected):
    _, actual, _ = inspected(twice(small_net.builder.build(small_net.score), save, named=False))
    assert actual["warnings"] == ["2 subgraphs: only those with a signature are counted"]
    assert "signatures" not in actual


def test_json_alone_is_one_line(small_net, inspected):
    code, actual, lines = inspected(small_net.builder.build(small_net.score), "--json")
    assert (code, lines) == (0, [])
    assert (actual["model"], actual["fp16_capable"], "check" in actual) == (None, False, False)


def test_refusals_are_grouped_by_reason(flatbuffer, inspected):
    b = flatbuffer
    x = b.input(1, 4)
    for _ in range(3):
        x = b.op("CUMSUM", [x, b.constant(1)], [b.tensor(1, 4)], "CumsumOptions")
    code, actual, lines = inspected(b.build(b.op("RELU", [x], [b.tensor(1, 4)])), "--check")
    assert code == 0
    assert actual["refusals"] == [
        {"op": "CUMSUM", "reason": "XNNPACK has no such operator", "count": 3, "first": 0}
    ]
    assert "  not delegated: 3 x CUMSUM (first #0): XNNPACK has no such operator" in lines


def test_flex_and_custom_operators_are_loud_and_fail_the_check(flatbuffer, inspected):
    x = flatbuffer.input(4)
    y = flatbuffer.op("FlexErf", [x], [flatbuffer.tensor(4)])
    code, actual, lines = inspected(
        flatbuffer.build(flatbuffer.op("MyOp", [y], [flatbuffer.tensor(4)])), "--check"
    )
    assert code == 1
    assert lines[0].startswith("!! FLEX OPERATORS FlexErf")
    assert lines[1].startswith("!! CUSTOM OPERATORS MyOp")
    assert actual["check"]["agrees"] is False and "FlexErf" in actual["check"]["differences"][0]
    assert "check: FAILED" in lines


def test_a_difference_is_exit_code_1(small_net, inspected, monkeypatch):
    """The gate's failing case: a rule that refuses what the runtime takes."""
    monkeypatch.setitem(RULES, "GELU", (lambda here: "wrong",))
    code, actual, lines = inspected(small_net.builder.build(small_net.score), "--check")
    assert code == 1
    assert (
        "GELU #1: the runtime delegates it, the forecast does not (wrong)" in actual["check"]["differences"]
    )
    assert any("GELU #1" in line for line in lines)


@pytest.mark.parametrize("marked", [True, False])
def test_a_constant_left_side_is_a_hazard_where_fp16_is_allowed(flatbuffer, inspected, marked):
    b = flatbuffer
    if marked:
        b.note("reduced_precision_support", b"fp16accfp16")
    left, right = b.constant(np.ones((6, 8))), b.input(8, 5)
    y = b.op("BATCH_MATMUL", [left, right], [b.tensor(6, 5)], "BatchMatMulOptions")
    _, actual, _ = inspected(b.build(y))
    assert ["BATCH_MATMUL #0 has a constant left side" in w for w in actual["warnings"]] == [True] * marked


def test_dynamic_inputs_are_said(flatbuffer, inspected):
    x = flatbuffer.input(1, 4)
    flatbuffer.tensors[x].shapeSignature = [-1, 4]
    _, actual, _ = inspected(flatbuffer.build(flatbuffer.op("RELU", [x], [flatbuffer.tensor(1, 4)])))
    assert "dynamic input shape" in actual["warnings"][0]


def test_a_bad_file_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 not a model")
    assert main([str(tmp_path / "photo.jpg")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "photo.jpg" in err
    assert main([str(tmp_path / "absent.tflite"), "--json"]) == 2
