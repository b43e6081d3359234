"""What converted files say of themselves, and every way in which that can differ from the checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from convert.comparison.converted_file import at_size, read_converted_file, spec_difference
from convert.export.onnx_file import export_onnx
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS

SPEC = MODELS["lar-iqa-kan"].spec


def changed(**fields: Any) -> ModelSpec:
    first, *rest = SPEC.inputs
    return dataclasses.replace(SPEC, inputs=(dataclasses.replace(first, **fields), *rest))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (changed(mean=(0.5, 0.5, 0.5)), "authentic.mean is (0.5, 0.5, 0.5), expected (0.485"),
        (changed(std=(0.5, 0.5, 0.5)), "authentic.std"),
        (changed(resample="lanczos"), "authentic.resample is lanczos, expected bilinear"),
        (changed(color_space="lab"), "authentic.color_space is lab, expected rgb"),
        (changed(fit="center_crop"), "authentic.fit"),
        (changed(name="image"), "inputs is image, synthetic, expected authentic, synthetic"),
        (dataclasses.replace(SPEC, inputs=SPEC.inputs[:1]), "inputs is"),
        (dataclasses.replace(SPEC, inputs=SPEC.inputs[::-1]), "inputs is synthetic, authentic"),
        (dataclasses.replace(SPEC, score_range=(0.0, 100.0)), "score_range is (0.0, 100.0)"),
        (dataclasses.replace(SPEC, higher_is_better=False), "higher_is_better"),
        (dataclasses.replace(SPEC, name="lar-iqa-mlp"), "name is lar-iqa-mlp"),
        (dataclasses.replace(SPEC, takes_reference=True), "takes_reference is True, expected None"),
    ],
)
def test_every_other_preprocessing_is_a_difference(spec: ModelSpec, words: str):
    assert words in spec_difference(SPEC, spec)


def test_size_and_descriptions_are_not():
    other = dataclasses.replace(changed(height_px=100, width_px=50), origin="elsewhere", trained_on="a set")
    assert spec_difference(SPEC, other) == ""
    assert at_size(SPEC, other).inputs == other.inputs


def test_sizes_are_taken_from_the_same_inputs_only():
    assert at_size(SPEC, changed(name="image", height_px=5)) == SPEC


def test_files_are_read(tiny: Any, tmp_path: Path):
    toy, spec, tflite = tiny
    onnx_file = export_onnx(toy, spec, tmp_path / "toy.onnx")
    for path, tolerance in ((tflite, "fp32"), (onnx_file, "onnx")):
        candidate = read_converted_file(path)
        assert (candidate.spec, candidate.precision) == (spec, "fp32")
        assert candidate.tolerance("any") == tolerance


def with_precision(tiny: Any, path: Path, precision: str) -> Path:
    content = tiny[2].read_bytes()
    path.write_bytes(content.replace(b'"precision": "fp32"', b'"precision": "%s"' % precision.encode()))
    return path


def test_fp16_files_have_a_wider_tolerance_where_fp16_is_executed(tiny: Any, tmp_path: Path):
    candidate = read_converted_file(with_precision(tiny, tmp_path / "a.tflite", "fp16"))
    assert candidate.tolerance("litert") == "fp16"
    assert candidate.tolerance("arm:cortex-a76") == "fp16-arithmetic"


def test_an_unknown_precision_has_no_tolerance(tiny: Any, tmp_path: Path):
    with pytest.raises(UserError, match=r"fp32, fp16, int8.*'int4'"):
        read_converted_file(with_precision(tiny, tmp_path / "a.tflite", "int4"))


@pytest.mark.parametrize(
    ("name", "words"), [("a.tflite", "nothing at"), ("a.pt", "ending in .tflite or .onnx")]
)
def test_what_is_no_candidate_is_refused(name: str, words: str, tmp_path: Path):
    with pytest.raises(UserError, match=words):
        read_converted_file(tmp_path / name)
