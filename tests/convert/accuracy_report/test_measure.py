"""The real quantizer's files under the gates: a good recipe passes, a wrong calibration set is found out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.accuracy import main
from convert.accuracy_report.measure import _agreeing, score
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY
from convert.int8.recipe import Recipe
from convert.output_file import embedded_metadata
from mobileiqa.evaluation.report import Model
from mobileiqa.preprocess import prepare
from mobileiqa.score import LoadedModel
from mobileiqa.spec import InputSpec, ModelSpec
from tests.convert.int8.networks import quantize_file

SIZE = 16
SPEC = ModelSpec(
    "small", (InputSpec("image", SIZE, SIZE, mean=(0.5,) * 3, std=(0.2,) * 3),), trained_on="nothing"
)


@pytest.fixture
def subject(small: Path) -> Path:
    """The small network as convert.tflite would leave it: with a signature, and with its spec inside."""
    model = fb.read(small)
    fb.name_signature(model, ["image"])
    fb.set_metadata(model, METADATA_ENTRY, json.dumps(embedded_metadata(SPEC, "fp32", None)).encode())
    fb.write(model, small)
    return small


@pytest.fixture
def contrasts(tmp_path: Path) -> Path:
    """Forty images of noise, each of more contrast than the one before."""
    folder = tmp_path / "contrasts"
    folder.mkdir()
    rng = np.random.default_rng(7)
    for i in range(40):
        pixels = 128 + rng.normal(0, 5 + 2.5 * i, (SIZE, SIZE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.mark.slow
def test_a_wrong_calibration_set_breaks_the_gates(
    subject: Path, contrasts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibrated on images that are nearly grey, every activation is clipped; the layers show where it begins."""
    images = [prepare(path, SPEC) for path in sorted(contrasts.iterdir())]
    grey = [{"image": inputs["image"] * np.float32(0.05)} for inputs in images]
    files = {name: tmp_path / f"{name}.tflite" for name in ("dynamic", "static", "wrong")}
    quantize_file(subject, Recipe("dynamic"), [], files["dynamic"])
    quantize_file(subject, Recipe(ranges="min-max", float_first=0), images, files["static"])
    quantize_file(subject, Recipe(ranges="min-max", float_first=0), grey, files["wrong"])
    out = tmp_path / "out"
    arguments = [str(subject), *map(str, files.values()), "--images", str(contrasts), "--out", str(out)]
    assert main(arguments) == 1
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["files"]
    assert [file["precision"] for file in result] == ["int8"] * 3
    assert [file["passed"] for file in result] == [True, True, False], result
    assert {"srcc", "pair_flips", "mean_shift"} >= set(result[2]["failed_gates"]) > {"mean_shift"}
    layers = [f["layers"] for f in json.loads((out / "accuracy.json").read_text())["files"]]
    assert all(not table["missing"] for table in layers)
    right, wrong = ([x["sqnr_db"] for x in table["layers"] if x["sqnr_db"]] for table in layers[1:])
    assert min(right) > 25 and max(wrong) < 5  # whatever equalization did to the channels


def test_reasons_are_compared_by_the_likeliest_one(tmp_path: Path) -> None:
    """Of two crops, the mean counts: .2 and .7 beside .6 and .2 is the first reason, in whichever file."""
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "a.png")
    Image.new("RGB", (SIZE, SIZE), "white").save(tmp_path / "b.png")

    def model(*reasons: list[list[float]]) -> Model:
        tables = iter(reasons)

        def outputs(_: object) -> dict[str, np.ndarray]:
            return {"score": np.array([0.5, 0.7]), "reasons": np.array(next(tables))}

        return Model("m", None, LoadedModel(outputs, SPEC, "litert"))

    two = [[0.2, 0.6], [0.7, 0.2]]
    models = [model(two, two), model([[0.9, 0.1]], [[0.1, 0.9]])]
    scores, likeliest = score(models, [tmp_path / "a.png", tmp_path / "b.png"], SPEC)
    assert scores == pytest.approx(np.full((2, 2), 0.6)) and likeliest.tolist() == [[0, 0], [0, 1]]
    assert _agreeing(likeliest) == [1.0, 0.5]
    assert _agreeing(np.full((2, 3), -1)) == [None, None]
