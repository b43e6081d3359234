"""What the user types: wrong input is one line and writes nothing, and files get their names."""

import os
import sys
from pathlib import Path

import pytest

from convert import tflite
from convert.tflite import Precision, _default, default_path, main
from mobileiqa.zoo import MODELS
from tests.convert.conversions import NAME, SPEC

# What the user gets wrong: one line, exit 2, nothing written.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{checkpoint}", "--out", "{folder}/there.tflite"], "--force"),
        (["{checkpoint}", "--out", "{folder}/x.onnx"], "an output ending in .tflite"),
        (["{checkpoint}", "--out", "{folder}/x"], "an output ending in .tflite"),
        (["{checkpoint}", "--size", "64"], "WIDTHxHEIGHT"),
        (["--model", "lar-iqa-kan", "--size", "64x64"], "leave --size out"),
        (["--model", "hyperiqa", "--size", "64x64"], "leave --size out"),
        (["{folder}/torn.safetensors"], "a whole safetensors file"),
        (["{folder}/torn.pt"], "a PyTorch state dict in torn.pt"),
        (["{folder}/there.tflite"], "mobileiqa.score --model"),
        (["{folder}/absent.pt"], "nothing at"),
        (["{folder}"], "a folder"),
        (["--model", "whole-photo", "--size", "64x64"], "or size every input: --size 256x256,512x512"),
        (
            ["--size", "64x64"],
            "as no model is named; name a model, such as --model mobilenet-iqa; or for the",
        ),
        (["--size", "64x64,65x64"], "as no model is named; name a model"),
        (["--size", "64"], "found '64'; correct --size"),
        (["mobilenet-iqb"], "one of mobilenet-iqa"),
        (["{checkpoint}", "--input-size", "90x70"], "--input-size with --input uint8"),
        (
            ["{checkpoint}", "--input", "uint8", "--input-size", "90x70,90x70"],
            "every size of --input-size once",
        ),
        (["{checkpoint}", "--input", "uint8", "--input-size", "90"], "WIDTHxHEIGHT"),
        (["{checkpoint}", "--images", "{folder}/none"], "none"),
        (["{checkpoint}", "--images", "{folder}"], "image"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    arguments: list[str], words: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "there.tflite").write_bytes(b"precious")
    (tmp_path / "torn.safetensors").write_bytes(checkpoint.read_bytes()[:1000])
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04")
    before = sorted(os.listdir(tmp_path))
    filled = [a.format(checkpoint=checkpoint, folder=tmp_path) for a in arguments]
    if "--out" not in filled:
        filled += ["--out", str(tmp_path / "new.tflite")]
    assert main(["--fp32", *filled]) == 2
    streams = capsys.readouterr()
    error = streams.err.strip()
    assert words in error and len(error.splitlines()) == 1 and streams.out == ""
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "there.tflite").read_bytes() == b"precious"


def test_checkpoint_and_model_exclude_each_other(checkpoint: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main([str(checkpoint), "--model", NAME])
    assert stop.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_default_names_carry_model_size_and_precision():
    assert str(default_path(SPEC, Precision.FP16)) == f"{NAME}_64x80_fp16.tflite"
    assert str(default_path(MODELS["lar-iqa-kan"].spec, Precision.FP32)) == "lar-iqa-kan_fp32.tflite"
    assert str(_default(SPEC, Precision.FP16, packaged=True)) == f"{NAME}_64x80_fp16_camera.tflite"


@pytest.mark.parametrize(
    ("loaded", "own", "policy"), [((), None, "passive"), ((), "active", "active"), (("torch",), None, None)]
)
def test_pytorchs_threads_sleep_while_they_wait(
    loaded: tuple[str, ...], own: str | None, policy: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "modules", dict.fromkeys(loaded))
    monkeypatch.setattr(os, "environ", {} if own is None else {"OMP_WAIT_POLICY": own})
    tflite._sleep_while_waiting()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
