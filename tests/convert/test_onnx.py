"""ONNX export: the file's interface, its operators, its metadata and its scores."""

import copy
import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from convert.export.onnx_file import OPSET, export_onnx, load_spec
from convert.onnx import main, parity
from mobileiqa.errors import UserError
from mobileiqa.spec import InputSpec, ModelSpec


@pytest.fixture(scope="module")
def exported(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy, spec, _ = tiny
    return export_onnx(toy, spec, tmp_path_factory.mktemp("onnx") / "toy.onnx")


def test_the_interface_is_the_specs(tiny: Any, exported: Path):
    graph = onnx.load(str(exported)).graph
    shapes = {i.name: tuple(d.dim_value for d in i.type.tensor_type.shape.dim) for i in graph.input}
    assert shapes == {i.name: i.shape for i in tiny[1].inputs}
    assert [(o.name, o.type.tensor_type.shape.dim[0].dim_value) for o in graph.output] == [("score", 1)]
    assert {i.type.tensor_type.elem_type for i in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


def test_the_spec_travels_in_the_file(tiny: Any, exported: Path):
    assert load_spec(exported) == tiny[1]


def test_one_file_at_the_stated_opset(exported: Path):
    assert [(o.domain, o.version) for o in onnx.load(str(exported)).opset_import] == [("", OPSET)]
    assert [p.name for p in exported.parent.iterdir()] == [exported.name]


def test_no_paths_of_the_machine_are_left(exported: Path):
    content = exported.read_bytes()
    for trace in (b"stack_trace", b"site-packages", str(Path(__file__).resolve().parents[2]).encode()):
        assert trace not in content


def test_exact_gelu_stays_one_operator(tmp_path: Path):
    spec = ModelSpec("gelu", (InputSpec("image", 8, 8),))

    class Gelu(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.gelu(image).mean((1, 2, 3))

    path = export_onnx(Gelu().eval(), spec, tmp_path / "gelu.onnx")
    assert Counter(n.op_type for n in onnx.load(str(path)).graph.node) == {"Gelu": 1, "ReduceMean": 1}


def test_onnx_runtime_agrees_on_generated_images(tiny: Any, exported: Path):
    report = parity(tiny[0], tiny[1], exported)
    assert report.passed, report.reason
    assert report.n > 2 and report.max_abs < 1e-6


def test_parity_sees_other_weights(tiny: Any, exported: Path):
    toy, spec, _ = tiny
    other = type(toy)().eval()
    with torch.no_grad():
        other.first.weight.mul_(1.01)
    report = parity(other, spec, exported)
    assert not report.passed and "max_abs" in report.reason


@pytest.mark.parametrize("content", [b"", b"not protobuf \xff\xff\xff\xff", b"\x08\x0a"])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.onnx"):
        load_spec(path)


def test_an_interrupted_export_leaves_nothing(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise onnx.checker.ValidationError("broken")

    monkeypatch.setattr(onnx.checker, "check_model", fail)
    with pytest.raises(onnx.checker.ValidationError):
        export_onnx(tiny[0], tiny[1], tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_checks_and_says_untrained(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "lar.onnx"
    assert main(["--model", "lar-iqa-single", "--size", "64x96", "--out", str(out)]) == 0
    *_, last = capsys.readouterr().out.strip().splitlines()
    result = json.loads(last)
    assert result["untrained"] and result["parity"]["passed"]
    assert load_spec(out).inputs[0].shape == (1, 3, 96, 64)
    sidecar = json.loads((tmp_path / "lar.onnx.json").read_text())
    assert sidecar["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (sidecar["format"], sidecar["precision"], sidecar["checkpoint_sha256"]) == ("onnx", "fp32", None)
    assert main(["--model", "lar-iqa-single", "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err


def test_a_file_that_fails_its_check_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Weights a percent off, as an exporter's bug might leave them; a good file stands there already."""

    def export_other(module: torch.nn.Module, *arguments: Any) -> Path:
        other = copy.deepcopy(module)
        with torch.no_grad():
            next(p for p in other.parameters() if p.dim() == 4).mul_(1.01)
        return export_onnx(other, *arguments)

    monkeypatch.setattr("convert.onnx.export_onnx", export_other)
    out, rest = tmp_path / "lar.onnx", tmp_path / "lar.failed.onnx"
    out.write_bytes(b"good")
    arguments = ["--model", "lar-iqa-single", "--size", "64x96", "--out", str(out), "--force"]
    assert main(arguments) == 1
    streams = capsys.readouterr()
    result = json.loads(streams.out.strip().splitlines()[-1])
    assert (result["path"], result["parity"]["candidate"]) == (str(rest), str(rest))
    assert f"kept as {rest}" in streams.err and out.read_bytes() == b"good"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([rest.name, f"{rest.name}.json", out.name])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-model"], "mobilenet-iqa"),
        (["missing.pt"], "nothing at missing.pt"),
        (["--model", "lar-iqa-kan", "--size", "64x64"], "leave --size out"),
        (["--model", "lar-iqa-single", "--size", "64"], "WIDTHxHEIGHT"),
        (["--model", "lar-iqa-single", "--out", "a.tflite"], "ending in .onnx"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1


def test_help_is_quick_and_imports_no_torch():
    code = "import sys, convert.onnx as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    check = code + "print(sorted({'torch', 'onnx', 'onnxruntime', 'scipy'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert process.stdout.strip().splitlines()[-1] == "[]"
    assert "example:" in process.stdout
