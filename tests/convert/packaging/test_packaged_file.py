"""`python -m convert.package` from end to end: the file, what it says of itself, its gate, and scoring with it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.delegation.partitions import check, forecast
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY, read_graph, read_graphs
from convert.output_file import failed_path, sidecar_path
from convert.package import main
from convert.packaging import preprocessing
from convert.packaging.packaged_file import embed_preprocessing, judge
from convert.selftest import selftest
from mobileiqa import score
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from tests.convert.packaging.conftest import TINY, write_tiny


@pytest.fixture
def pictures(photo, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(4):
        photo(seed, 130, 90 + seed).save(folder / f"{seed}.png")
    return folder


def test_a_packaged_file_scores_photos_as_its_source(
    tiny: Path, pictures: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "camera.tflite"
    assert main([str(tiny), "--input-size", "150x110", "--images", str(pictures), "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["input"], result["images"], result["passed"]) == ("150x110", 4, True)
    assert 0 < result["max_abs"] <= 1e-3, "a resized photo differs by a grey level somewhere"
    output = litert.read_metadata(out)
    size = {"signature": "serving_default", "width_px": 150, "height_px": 110}
    expected = {"input": "image", "fitted": False, "source_sha256": sha256(tiny), "sizes": [size]}
    assert output["delivery"] == expected
    assert litert.load_spec(out) == TINY and output["tool_versions"]["ai-edge-litert"]
    photo = Image.open(pictures / "0.png").resize((150, 110))
    expected = litert.runner(tiny)(prepare(photo, TINY))
    np.testing.assert_allclose(litert.runner(out)(litert.inputs_of(out)(photo)), expected, atol=1e-3)
    sidecar = json.loads(sidecar_path(out).read_text())
    assert sidecar["sha256"] == sha256(out) and sidecar["precision"] == "fp32"
    assert sidecar["delivery"] == output["delivery"]


def test_what_was_approximated_is_said_again(flatbuffer, tmp_path: Path) -> None:
    source, out = write_tiny(flatbuffer, tmp_path / "sparse.tflite", TINY), tmp_path / "camera.tflite"
    sidecar_path(source).write_text(json.dumps({"via": "litert", "approximations": ["sparse-pooling"]}))
    assert main([str(source), "--out", str(out)]) == 0
    sidecar = json.loads(sidecar_path(out).read_text())
    assert sidecar["approximations"] == ["sparse-pooling"]


def test_the_models_own_size_is_fitted_by_the_app(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.tflite"
    assert main([str(tiny), "--images", str(pictures), "--out", str(out)]) == 0
    inputs = litert.inputs_of(out)(pictures / "1.png")
    assert inputs["image"].dtype == np.uint8 and inputs["image"].shape == (1, 48, 64, 3)
    expected = litert.runner(tiny)(prepare(pictures / "1.png", TINY))
    np.testing.assert_allclose(litert.runner(out)(inputs), expected, atol=1e-6)


def test_weights_stay_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "camera.tflite"
    assert main([str(tiny), "--input-size", "150x110", "--out", str(out)]) == 0
    packaged = {t.stored.tobytes() for t in read_graph(out).tensors if t.stored is not None}
    weights = [t for t in read_graph(tiny).tensors if t.stored is not None and t.dtype == "float32"]
    assert len(weights) == 4 and all(t.stored.tobytes() in packaged for t in weights)


def test_the_fp16_mark_survives(flatbuffer, tmp_path: Path) -> None:
    source, out = write_tiny(flatbuffer, tmp_path / "half.tflite", TINY, fp16=True), tmp_path / "out.tflite"
    assert main([str(source), "--input-size", "150x110", "--out", str(out)]) == 0
    assert read_graph(out).reduced_precision == "fp16accfp16"


def test_a_photo_of_another_size_is_refused(tiny: Path, tmp_path: Path, photo) -> None:
    out = tmp_path / "camera.tflite"
    assert main([str(tiny), "--input-size", "150x110", "--out", str(out)]) == 0
    with pytest.raises(UserError, match=r"a photo of 150x110.*found 110x150"):
        litert.inputs_of(out)(photo(0, 110, 150))


@pytest.mark.parametrize("fp16", [False, True])
def test_two_sizes_in_one_file(flatbuffer, tmp_path: Path, photo, fp16: bool) -> None:
    """Each by its own signature, weights once, and XNNPACK takes each subgraph as it takes one alone."""
    source = write_tiny(flatbuffer, tmp_path / "source.tflite", TINY, fp16)
    one, two = tmp_path / "one.tflite", tmp_path / "two.tflite"
    assert main([str(source), "--input-size", "150x110", "--out", str(one)]) == 0
    assert main([str(source), "--input-size", "150x110,110x150", "--out", str(two)]) == 0
    run, inputs_of = litert.runner(two), litert.inputs_of(two)
    for width, height in ((110, 150), (150, 110)):
        picture = photo(width, width, height)
        expected = litert.runner(source)(prepare(picture, TINY))
        np.testing.assert_allclose(run(inputs_of(picture)), expected, atol=1e-3)
    graphs = read_graphs(two)
    assert [graph.signatures[0].key for graph in graphs] == ["score_150x110", "score_110x150"]
    for graph in graphs:
        result = check(graph)
        assert result["agrees"] and result["runtime"]["partitions"] == (2 if fp16 else 1)
        kinds = {graph.operators[i].name for i in forecast(graph).refusals}
        assert kinds == ({"CAST"} if fp16 else set())
    with pytest.raises(UserError, match=r"a photo of 150x110 or 110x150.*found 64x48"):
        inputs_of(photo(0, 64, 48))


def test_score_takes_the_signature_that_fits_the_photo(tiny: Path, tmp_path: Path, photo, capsys) -> None:
    out, wide, tall, small = (
        tmp_path / "two.tflite",
        *(tmp_path / f"{n}.png" for n in ("wide", "tall", "small")),
    )
    embed_preprocessing(tiny, out, [(150, 110), (110, 150)])
    for path, size in ((wide, (150, 110)), (tall, (110, 150)), (small, (64, 48))):
        photo(1, *size).save(path)
    assert score.main([str(wide), str(tall), "--model", str(out), "--format", "json"]) == 0
    results = [row["score"] for row in json.loads(capsys.readouterr().out)["results"]]
    expected = [float(litert.runner(tiny)(prepare(path, TINY))[0]) for path in (wide, tall)]
    np.testing.assert_allclose(results, expected, atol=1e-3)
    assert score.main([str(small), "--model", str(out)]) == 2
    error = capsys.readouterr().err
    assert "a photo of 150x110 or 110x150" in error and "found 64x48" in error and error.count("\n") == 1


def test_two_sizes_store_weights_once(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.tflite"
    embed_preprocessing(tiny, out, [(150, 110), (110, 150)])
    content = out.read_bytes()
    weights = [bytes(t.stored) for t in read_graph(tiny).tensors if t.constant and t.elements >= 8]
    assert len(weights) == 3 and [content.count(stored) for stored in weights] == [1, 1, 1]
    normalization = [t for g in read_graphs(out) for t in g.tensors if t.name == "normalization"]
    assert len(normalization) == 4 and len({t.buffer for t in normalization}) == 2


def test_a_size_that_moves_the_score_fails_the_file(
    flatbuffer, pictures: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """A bug that only the second size has: another normalization."""
    original = preprocessing.take_uint8_image

    def other_mean(model, spec, width: int, height: int) -> None:
        wrong = dataclasses.replace(spec.inputs[0], mean=(0.6, 0.5, 0.4))
        original(model, spec if width > height else dataclasses.replace(spec, inputs=(wrong,)), width, height)

    monkeypatch.setattr(preprocessing, "take_uint8_image", other_mean)
    source, out = write_tiny(flatbuffer, tmp_path / "source.tflite", TINY), tmp_path / "out.tflite"
    arguments = ["--input-size", "150x110,110x150", "--images", str(pictures), "--out", str(out)]
    assert main([str(source), *arguments]) == 1
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [size["passed"] for size in result["sizes"]] == [True, False]
    assert not result["passed"] and result["reason"] == result["sizes"][1]["reason"]
    assert not out.exists() and failed_path(out).is_file()


def test_a_score_that_moves_fails(flatbuffer, pictures: Path, tmp_path: Path, capsys) -> None:
    """A score range a thousand times narrower makes single grey levels matter."""
    spec = dataclasses.replace(TINY, score_range=(0.0, 1e-4))
    source, out = write_tiny(flatbuffer, tmp_path / "fine.tflite", spec), tmp_path / "out.tflite"
    assert main([str(source), "--input-size", "150x110", "--images", str(pictures), "--out", str(out)]) == 1
    assert not out.exists() and failed_path(out).is_file()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not result["passed"] and "> 0.001 for" in result["reason"]


@pytest.mark.parametrize(
    ("expected", "scores", "reason"),
    [
        ([], [], "zero images"),
        ([0.1, 0.9], [0.1, np.nan], "not finite for b"),
        ([0.5, 0.5], [0.5, 0.5], "vary by 0 only"),
        ([0.1, 0.9], [0.1, 0.902], "2.00e-03 > 0.001 for b"),
        ([0.1, 0.9], [0.1005, 0.9], ""),
    ],
)
def test_the_gate(expected: list[float], scores: list[float], reason: str) -> None:
    result = judge(["a", "b"][: len(expected)], np.c_[expected], np.c_[scores], 1e-3)
    assert result.passed == (reason == "") and reason in result.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "out.onnx"], "ending in .tflite"),
        (["--out", "out.tflite", "--input-size", "8"], "WIDTHxHEIGHT"),
        (["--out", "out.tflite", "--input-size", "90x70,90x70"], "every size of --input-size once"),
        (["--out", "there.tflite"], "one that exists"),
    ],
)
def test_wrong_input_is_one_line(
    tiny: Path, arguments, message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.tflite").touch()
    assert main([str(tiny), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '"text"',
        '{"rewrites": 3}',
        '{"approximations": "x"}',
        '{"via": 3}',
        '{"rewrites": {}, "a": NaN}',
    ],
)
def test_a_sidecar_of_another_kind_is_one_line(tiny: Path, tmp_path: Path, content: str, capsys) -> None:
    sidecar_path(tiny).write_text(content)
    assert main([str(tiny), "--out", str(tmp_path / "out" / "camera.tflite")]) == 2
    error = capsys.readouterr().err
    assert sidecar_path(tiny).name in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("graphs", "name"), [(1, b"picture"), (1, b""), (2, b"image")])
def test_only_one_graph_with_the_specs_inputs_is_packaged(
    tiny: Path, tmp_path: Path, graphs, name, capsys
) -> None:
    model = fb.read(tiny)
    model.subgraphs *= graphs
    model.signatureDefs[0].inputs[0].name = name
    fb.write(model, tiny)
    assert main([str(tiny), "--out", str(tmp_path / "camera.tflite")]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO")]
    assert len(error) == 1 and "expected" in error[0]


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_a_graph_that_names_no_end_is_one_line(tiny: Path, tmp_path: Path, field: str, capsys) -> None:
    """Its signature names both, and LiteRT runs it by that."""
    model = fb.read(tiny)
    setattr(model.subgraphs[0], field, [])
    fb.write(model, tiny)
    assert main([str(tiny), "--out", str(tmp_path / "camera.tflite")]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO")]
    assert len(error) == 1 and "expected" in error[0]


def test_a_file_that_does_not_say_its_version_is_packaged(tiny: Path, tmp_path: Path) -> None:
    model, content = fb.read(tiny), litert.read_metadata(tiny)
    del content["version"]
    fb.set_metadata(model, METADATA_ENTRY, json.dumps(content).encode())
    fb.write(model, tiny)
    assert main([str(tiny), "--out", str(tmp_path / "own.tflite")]) == 0


def test_a_packaged_file_is_not_packaged_again(tiny: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "own.tflite"
    assert main([str(tiny), "--out", str(out)]) == 0
    assert main([str(out), "--out", str(tmp_path / "again.tflite")]) == 2
    assert "takes uint8 already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_12_megapixel_photo_in_mobilenet_iqa(real_photos: list[Path], tmp_path: Path) -> None:
    """A whole network behind a real resize: the score of the prepared photo within 1e-3, all in one partition."""
    from convert.delegation.partitions import runtime_delegation
    from convert.load import load_model
    from convert.tflite import Precision, Via, convert

    source, out = tmp_path / "float.tflite", tmp_path / "camera.tflite"
    result = convert(load_model("mobilenet-iqa", "317x205"), Precision.FP32, Via.LITERT, source)
    photo = next(path for path in real_photos if path.stem == "samsung_s7_edge")
    embed_preprocessing(source, out, [(4032, 3024)])
    expected = litert.runner(source)(prepare(photo, result.source.spec))
    np.testing.assert_allclose(litert.runner(out)(litert.inputs_of(out)(photo)), expected, atol=1e-3)
    delegation = runtime_delegation(out)
    assert (delegation["partitions"], delegation["nodes_delegated"]) == (1, delegation["nodes_total"])
    assert all(check.passed for check in selftest(out))
