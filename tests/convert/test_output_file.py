"""What a converted file says about itself, inside and beside it."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from convert.output_file import embedded_metadata, sidecar_path, staged, tool_versions, write_sidecar
from mobileiqa.errors import UserError
from mobileiqa.spec import from_json
from mobileiqa.zoo import MODELS

SPEC = MODELS["lar-iqa-single"].spec


def test_the_sidecar_describes_the_finished_file(tmp_path: Path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"weights")
    fields = {
        "precision": "fp16",
        "via": "litert",
        "spec": SPEC,
        "checkpoint_sha256": "ab" * 32,
        "calibration_sha256": None,
        "fp16_arithmetic_allowed": True,
        "rewrites": {"model": "x", "applied": []},
    }
    sidecar = write_sidecar(path, **fields)
    data = json.loads((tmp_path / "model.tflite.json").read_text())
    assert sidecar_path(path).name == "model.tflite.json"
    assert (data["path"], data["format"], data["size_bytes"]) == ("model.tflite", "tflite", 7)
    assert data["sha256"] == hashlib.sha256(b"weights").hexdigest() == sidecar.sha256
    assert from_json(data["spec"]) == SPEC
    assert {key: data[key] for key in fields if key != "spec"} == {
        k: v for k, v in fields.items() if k != "spec"
    }
    assert data["tool_versions"]["torch"] and data["command"]


def test_inside_is_enough_to_score_a_photo():
    content = json.loads(json.dumps(embedded_metadata(SPEC, "fp32", None)))
    assert from_json(content["spec"]) == SPEC
    assert content["untrained"] is True and content["checkpoint_sha256"] is None
    assert content["precision"] == "fp32" and content["version"]


def test_versions_name_python_and_the_tools_that_are_there():
    versions = tool_versions()
    assert versions["python"] == platform.python_version()
    assert {"torch", "numpy", "ai-edge-litert", "litert-torch"} <= versions.keys()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (["-m", "probe", "a b", "--fp16"], "python -m probe 'a b' --fp16"),
        (["-m", "bundle", "x"], "python -m bundle x"),
        (["probe.py", "x"], "probe.py x"),
    ],
)
def test_the_command_is_what_one_would_type(tmp_path: Path, how: list[str], expected: str):
    code = "from convert.output_file import command\nprint(command())\n"
    (tmp_path / "probe.py").write_text(code)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "__main__.py").write_text(code)
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run(
        [sys.executable, *how],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == expected


@pytest.mark.parametrize("name", ["x.tflite", "x.tflite.json", "x.failed.tflite", "x.failed.tflite.json"])
def test_nothing_but_ordinary_files_is_replaced(name: str, tmp_path: Path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="found a FIFO"), staged(tmp_path / "x.tflite"):
        raise AssertionError("it must not come this far")
    assert os.listdir(tmp_path) == [name]
