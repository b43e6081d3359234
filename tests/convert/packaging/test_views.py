"""A model of two views with reasons, by hand: views from one image in the graph, both outputs everywhere."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.comparison.compare import ParityStage
from convert.comparison.stages import compare_reasons
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY, read_graph
from convert.output_file import embedded_metadata
from convert.packaging import golden_vectors, packaged_file
from convert.packaging.packaged_file import embed_preprocessing
from convert.packaging.preprocessing import image_size
from convert.selftest import selftest
from convert.snippets.render import render
from mobileiqa import score
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from mobileiqa.spec import Fit, InputSpec, ModelSpec

REASONS = ("blur", "too dark", "none")
SPEC = ModelSpec(
    "two-views",
    (InputSpec("overview", 24, 32), InputSpec("fragments", 64, 96, fit=Fit.FRAGMENTS, patch_px=32)),
    trained_on="noise",
    reasons=REASONS,
)


CPP = """
#include <cstdio>
#include "two_scorer.hpp"
int main() {
  TwoScorer scorer("two.tflite");
  for (std::string name : TwoScorer::reasons()) {
    for (char &c : name) if (c == ' ') c = '-';
    std::printf("%s\\n", name.c_str());
  }
  for (float value : scorer.outputs(TwoScorer::draw("tiles", 90, 70).data(), 90, 70)) std::printf("%.7f\\n", value);
  std::printf("%zu\\n", scorer.selfTest().size());
}
"""


@pytest.fixture
def source(flatbuffer: Any, tmp_path: Path) -> Path:
    """As convert.tflite writes it: means of both views' absolute values, one linear layer, sigmoid."""
    b, rng, means = flatbuffer, np.random.default_rng(0), []
    for each in SPEC.inputs:
        view = b.op("ABS", [b.input(*each.shape)], [b.tensor(*each.shape)], "AbsOptions")
        means.append(b.op("MEAN", [view, b.constant([2, 3])], [b.tensor(1, 3)], "ReducerOptions"))
    both = b.op("CONCATENATION", means, [b.tensor(1, 6)], "ConcatenationOptions", axis=1)
    head = [both, b.constant(rng.normal(0, 1, (4, 6))), b.constant(np.full(4, 0.3))]
    linear = b.op("FULLY_CONNECTED", head, [b.tensor(1, 4)], "FullyConnectedOptions")
    values = b.op("LOGISTIC", [linear], [b.tensor(1, 4)])
    ends = [
        b.op("SLICE", [values, b.constant([0, at]), b.constant([1, n])], [b.tensor(1, n)], "SliceOptions")
        for at, n in ((0, 1), (1, 3))
    ]
    first = b.op("RESHAPE", [ends[0], b.constant([1])], [b.tensor(1)], "ReshapeOptions", newShape=[1])
    b.note(METADATA_ENTRY, json.dumps(embedded_metadata(SPEC, "fp32", "ab" * 32)).encode())
    path = tmp_path / "views.tflite"
    path.write_bytes(b.build(first, ends[1]))
    model = fb.read(path)
    fb.name_signature(model, [each.name for each in SPEC.inputs], SPEC.outputs)
    fb.write(model, path)
    return path


def test_score_gives_reasons_and_the_share_that_was_read(source: Path, photo, tmp_path: Path, capsys) -> None:
    photo(0, 320, 100).save(tmp_path / "a.png")
    assert score.main([str(tmp_path / "a.png"), "--model", str(source), "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (row,) = result["results"]
    assert set(row["reasons"]) == set(REASONS) and row["full_size_share"] == pytest.approx(96 * 64 / 32000)
    assert list(row["reasons"].values()) == sorted(row["reasons"].values(), reverse=True)
    assert result["reads"].startswith("the whole photo at 32x24 and 6 patches of 32x32 from all of it")
    outputs = litert.outputs_runner(source)(prepare(tmp_path / "a.png", SPEC))
    assert row["score"] == float(outputs["score"][0])
    assert [row["reasons"][name] for name in REASONS] == outputs["reasons"][0].tolist()


@pytest.mark.parametrize("size", [(320, 240), (96, 64), (97, 65), (70, 40), (33, 32), (401, 33)])
def test_the_graph_makes_the_views_of_python(
    source: Path, size: tuple[int, int], photo, tmp_path: Path
) -> None:
    out = tmp_path / "packaged.tflite"
    embed_preprocessing(source, out, [size])
    expect, run = packaged_file.outputs_of(source, SPEC), litert.outputs_runner(out)
    scores = []
    for seed in range(3):
        picture = photo(seed, *size)
        outputs = packaged_file.flat(run(litert.inputs_of(out)(picture)))
        np.testing.assert_allclose(outputs, expect(np.asarray(picture)), atol=1e-4)
        scores.append(outputs[0])
    assert np.ptp(scores) > 1e-3
    assert all(check.passed for check in selftest(out))


def test_fragments_are_cut_exactly(photo, shown) -> None:
    picture, spec = photo(3, 400, 300), SPEC.inputs[1]
    expected = np.abs(prepare(picture, ModelSpec("m", (spec,)))["fragments"])
    np.testing.assert_allclose(shown(picture, spec), expected, atol=1e-6)


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    spec = ModelSpec("m", (InputSpec("fragments", 64, 64, fit=Fit.FRAGMENTS, patch_px=64),))
    with pytest.raises(UserError, match="64 pixels or more each way"):
        image_size(spec, (400, 63))


def test_the_self_test_compares_reasons(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "packaged.tflite"
    embed_preprocessing(source, out, [(90, 70)])
    model, content = fb.read(out), litert.read_metadata(out)
    vectors = json.loads(read_graph(out).metadata[golden_vectors.ENTRY])
    vectors["sizes"][0]["reasons"]["tiles"][1] += 0.01
    fb.set_metadata(model, golden_vectors.ENTRY, json.dumps(vectors).encode())
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    packaged_file._write(model, out, content)
    assert {check.name for check in selftest(out) if not check.passed} == {"golden tiles"}


def test_the_standard_metadata_names_the_reasons(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "packaged.tflite"
    embed_preprocessing(source, out, [(90, 70)])
    assert b"in this order: blur, too dark, none." in out.read_bytes()


def test_reasons_are_a_stage_of_parity() -> None:
    stage, names = ParityStage("fp16", "published module", "x.tflite", "litert"), ["a", "b"]
    expected = [np.array([[0.1, 0.9]]), np.array([[0.8, 0.2]])]
    report = compare_reasons(stage, expected, [each + 1e-3 for each in expected], names)
    assert report.passed and report.candidate == "x.tflite, reasons"
    report = compare_reasons(stage, expected, [each + 3e-3 for each in expected], names)
    assert not report.passed and "max_abs 0.003 > 0.002" in report.reason
    int8 = dataclasses.replace(stage, kind="int8")
    report = compare_reasons(int8, expected, [expected[0], expected[0]], names)
    assert report.agreement == 0.5 and "the likeliest reasons agree in 50% < 90%" in report.reason
    assert not compare_reasons(stage, expected, [None, None], names).passed


def test_the_snippets_give_reasons(source: Path, photo, tmp_path: Path) -> None:
    """Python's is run, the others are filled in: their own tests compile them."""
    out = tmp_path / "two.tflite"
    embed_preprocessing(source, out, [(90, 70)])
    texts = render(out)
    assert all('"too dark"' in text for name, text in texts.items() if not name.endswith(".hpp"))
    facts: dict[str, Any] = {}
    exec(compile(texts["two_scorer.py"], "two_scorer.py", "exec"), facts)
    scorer, picture = facts["TwoScorer"](out), photo(0, 90, 70)
    outputs = packaged_file.flat(litert.outputs_runner(out)(litert.inputs_of(out)(picture)))
    assert facts["REASONS"] == list(REASONS) and scorer.self_test() == []
    np.testing.assert_array_equal(scorer.outputs(picture), outputs)
    assert scorer.score(picture) == outputs[0]


@pytest.mark.slow
def test_the_cpp_snippet_gives_them_in_that_order(source: Path, photo, tmp_path: Path) -> None:
    import ai_edge_litert

    compiler, library = shutil.which("c++"), Path(ai_edge_litert.__file__).parent
    if compiler is None:
        pytest.skip("no C++ compiler here")
    out = tmp_path / "two.tflite"
    embed_preprocessing(source, out, [(90, 70)])
    for name, text in render(out).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.cpp").write_text(CPP)
    sources = [tmp_path / "main.cpp", tmp_path / "two_scorer.cpp", library / "libLiteRt.so"]
    options = [
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-Wl,-rpath,{library}",
        "-Wl,--allow-shlib-undefined",
    ]
    subprocess.run([compiler, *options, *sources, "-o", tmp_path / "program"], check=True)
    process = subprocess.run([tmp_path / "program"], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = packaged_file.flat(
        litert.outputs_runner(out)({"image": golden_vectors.draw("tiles", 90, 70)[None]})
    )
    *words, wrong = process.stdout.split()
    assert words[: len(REASONS)] == ["blur", "too-dark", "none"] and wrong == "0"
    np.testing.assert_allclose([float(word) for word in words[len(REASONS) :]], expected, atol=1e-5)
