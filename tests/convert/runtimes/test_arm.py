"""A small model of each family on emulated ARM cores: the proof that a file marked for FP16 arithmetic loads and
runs where FP16 arithmetic exists. Emulation takes minutes for the full MobileNet-IQA; its operators are all in the
small one, which differs in its pooling grid alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from android_bench.emulate import missing, run_arm
from android_bench.runners.arm_runner import missing_runner
from android_bench.runners.instruction_counter import count
from calibration.sets import generated
from convert.flatbuffer import model as fb
from convert.int8.arguments import Int8Arguments
from convert.int8.quantize import quantize
from convert.int8.recipe import Recipe
from convert.load import LoadedModel, load_model
from convert.pipeline import Precision, Via, allow_fp16, convert
from mobileiqa.photos.generated_images import sample_images
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, build_seeded, seed_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason="no ARM root: run `make arm`"),
]
needs_runner = pytest.mark.skipif(bool(missing_runner()), reason=f"{missing_runner()}: run `make arm`")
SMALL = {"grid": 6, "head_pool": 2}  # of MobileIQA, instead of a grid of 22


def small(name: str) -> LoadedModel:
    """The model at an input size, grid and number of crops that emulation runs in seconds."""
    from mobileiqa.models.mobile_iqa import STUDENT, TEACHER, MobileIQA

    variants = {"mobilenet-iqa": STUDENT, "mobilevit-iqa": TEACHER}
    if name not in variants:
        return LoadedModel(build_seeded(name), _small_spec(MODELS[name].spec), None)
    model = MobileIQA(dataclasses.replace(variants[name], **SMALL)).eval()
    seed_weights(model, MODELS[name].prefixes())
    return LoadedModel(model, _small_spec(MODELS[name].spec), None)


def _small_spec(spec: ModelSpec) -> ModelSpec:
    def entry(i):
        return (
            dataclasses.replace(i, crops=1)
            if i.crops > 1
            else dataclasses.replace(i, height_px=64, width_px=96)
        )

    return dataclasses.replace(spec, inputs=tuple(entry(i) for i in spec.inputs))


# lar-iqa-mlp and mobilenet-iqa-small differ from one of these in their head or grid alone; the systems of
# docs/systems.md would take an emulated core many minutes each.
@pytest.mark.parametrize(
    "name",
    ["mobilenet-iqa", "mobilevit-iqa", "lar-iqa-kan", "lar-iqa-single", "lar-iqa-lite", "hyperiqa"],
)
def test_fp16_file_computes_in_fp16_on_cortex_a76(name: str, tmp_path: Path) -> None:
    source = small(name)
    path = tmp_path / "model.tflite"
    result = convert(source, Precision.FP16, Via.LITERT, path)
    assert result.fp16_arithmetic_allowed, result.obstacles
    heavy = name in ("mobilevit-iqa", "hyperiqa")  # one image, one core: they take minutes each
    batch = [prepare(image, source.spec) for _, image in sample_images(1 if heavy else 2)]
    host = np.array([litert.runner(path)(inputs) for inputs in batch])
    with_fp16 = np.array(run_arm(path, batch, "cortex-a76"))
    low, high = source.spec.score_range
    if not heavy:  # a core without FP16 arithmetic stays in float32
        without = np.array(run_arm(path, batch[:1], "cortex-a53"))
        np.testing.assert_allclose(without, host[:1], atol=1e-4 * (high - low))
    error = np.abs(with_fp16 - host) / (high - low)
    assert np.isfinite(error).all()
    assert error.max() > 1e-7, "bit-equal scores: this was not FP16 arithmetic"
    # Untrained weights amplify rounding (their scores leave the declared range): a phone's checkpoint is held to
    # 5e-3 by convert.parity; here a broken kernel, which is off by far more, must not pass.
    assert error.max() < 0.05 * max(1.0, float(np.abs(host).max()) / (high - low))


@needs_runner
def test_fp16_arithmetic_is_executed_on_cortex_a76_alone(tmp_path: Path) -> None:
    """By the instructions themselves: eight FP16 multiply-accumulates each, and none in FP32."""
    path = tmp_path / "model.tflite"
    assert convert(small("lar-iqa-single"), Precision.FP16, Via.LITERT, path).fp16_arithmetic_allowed
    with_fp16, without = (count(path, cpu).counts for cpu in ("cortex-a76", "cortex-a53"))
    assert with_fp16["fmla_8h"] > 1_000_000
    assert with_fp16["fmla_4s"] == without["fmla_8h"] == 0
    assert with_fp16["fmla_8h"] < 0.6 * without["fmla_4s"]  # half, and the edges of tiles
    assert with_fp16["instructions"] < 0.6 * without["instructions"]


@needs_runner
def test_int8_runs_on_dot_products(tmp_path: Path) -> None:
    """The reference model: most of FP32's multiply-accumulates become SDOT, sixteen each, where the core has it.

    The layers that stay in float compute in FP16 there, and the score stays the host's within what INT8 costs anyway.
    """
    source = load_model(None, "96x64,128x128")
    fp32, int8 = tmp_path / "fp32.tflite", tmp_path / "int8.tflite"
    convert(source, Precision.FP32, Via.LITERT, fp32)
    static = Int8Arguments(Recipe("static"), generated(4, 0, source.spec))
    assert convert(source, Precision.INT8, Via.LITERT, int8, static).fp16_arithmetic_allowed
    plain, dots, without = (
        count(path, cpu).counts
        for path, cpu in ((fp32, "cortex-a76"), (int8, "cortex-a76"), (int8, "cortex-a53"))
    )
    assert plain["fmla_8h"] == plain["sdot"] == without["sdot"] == without["fmla_8h"] == 0
    assert dots["fmla_8h"] > 0.4 * without["fmla_4s"] and dots["fmla_4s"] < 0.1 * without["fmla_4s"]
    assert 16 * dots["sdot"] > 0.6 * 4 * plain["fmla_4s"]  # depthwise and first convolutions have none
    assert without["smlal"] > 4 * dots["smlal"]
    assert dots["instructions"] < 0.75 * min(plain["instructions"], without["instructions"])
    inputs = prepare(next(image for _, image in sample_images(1)), source.spec)
    np.testing.assert_allclose(run_arm(int8, [inputs])[0], litert.runner(int8)(inputs), atol=1e-2)
    arm = tmp_path / "arm.tflite"
    model, _ = quantize(fp32.read_bytes(), Recipe(arm=True), static.calibration.prepared())
    allow_fp16(model, arm=True)
    fb.write(model, arm)
    fewest = count(arm, "cortex-a76").counts
    assert fewest["instructions"] < 0.96 * dots["instructions"]
    assert fewest["smlal"] == 0 and fewest["fmla_4s"] <= dots["fmla_4s"]
    np.testing.assert_allclose(run_arm(arm, [inputs])[0], litert.runner(arm)(inputs), atol=1e-2)
