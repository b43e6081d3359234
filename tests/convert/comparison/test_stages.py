"""Parity at every stage: what is right passes, and each way of being wrong fails with its reason."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convert.comparison import stages
from convert.comparison.stages import check, first_failing_stage
from convert.export.onnx_file import export_onnx
from convert.runtimes import runners
from mobileiqa.errors import UserError
from mobileiqa.photos.generated_images import sample_images
from mobileiqa.spec import ModelSpec

Photo = Callable[[int, int, int], Image.Image]
Images = list[tuple[str, Image.Image]]


class Featured(nn.Module):
    """The toy model with the features that models of this project have."""

    def __init__(self, toy: nn.Module) -> None:
        super().__init__()
        self.toy = toy

    def forward_features(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.toy.first(authentic), self.toy.second(synthetic)

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return self.toy(authentic, synthetic)


@pytest.fixture(scope="module")
def model(tiny: Any) -> nn.Module:
    return Featured(tiny[0]).eval()


@pytest.fixture(scope="module")
def spec(tiny: Any) -> ModelSpec:
    return tiny[1]


@pytest.fixture(scope="module")
def images(photo: Photo) -> Images:
    """More than one chunk of them."""
    return [(f"photo {seed}", photo(seed, 60 + seed, 80)) for seed in range(stages.CHUNK + 2)]


@pytest.fixture(scope="module")
def onnx_file(model: nn.Module, spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(model, spec, tmp_path_factory.mktemp("stages") / "toy.onnx")


def exported(module: nn.Module, spec: ModelSpec, folder: Path) -> Path:
    return export_onnx(module, spec, folder / "candidate.onnx")


def test_every_edge_of_an_honest_pipeline_passes(model, spec, images, onnx_file, tiny):
    reports = check(model, spec, [tiny[2], onnx_file], images, rewritten=model)
    assert [(r.stage, r.runtime) for r in reports] == [
        *[("features", "torch")] * 2,
        ("rewrite", "torch"),
        ("onnx", "ort"),
        ("fp32", "litert"),
    ]
    assert all(r.passed for r in reports), [r.reason for r in reports]
    assert first_failing_stage(reports) is None
    assert all(r.n == len(images) for r in reports if r.stage != "features")
    assert reports[-1].max_abs < 1e-6 and reports[-1].srcc == pytest.approx(1)


class SwappedChannels(Featured):
    """A converter's classic mistake: blue first."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return self.toy(authentic.flip(1), synthetic.flip(1))


class Transposed(Featured):
    """Rows for columns, where the input is square."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return self.toy(authentic, synthetic.transpose(2, 3))


class Constant(Featured):
    """NaN, whatever comes in."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return self.toy(authentic, synthetic) * float("nan")


class TwoScores(Featured):
    """One score too many."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return self.toy(authentic, synthetic).repeat(2)


class ColumnOfScores(Featured):
    """(N, 1) instead of (N,)."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return self.toy(authentic, synthetic).unsqueeze(1)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (SwappedChannels, "max_abs"),
        (Transposed, "max_abs"),
        (Constant, "is not finite: nan"),
        (TwoScores, "output of shape (2,), expected (1,)"),
        (ColumnOfScores, "output of shape (1, 1), expected (1,)"),
    ],
)
def test_a_wrong_graph_fails(wrong: type[Featured], reason: str, model, spec, images, tmp_path: Path):
    path = exported(wrong(model.toy).eval(), spec, tmp_path)
    report = first_failing_stage(check(model, spec, [path], images, rewritten=model))
    assert report is not None and (report.stage, report.candidate) == ("onnx", str(path))
    assert reason in report.reason


def test_a_tflite_file_with_swapped_channels_fails(model, spec, images, tmp_path: Path, with_metadata):
    import litert_torch

    class Named(SwappedChannels):
        def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"score": super().forward(authentic, synthetic)}

    path = tmp_path / "swapped.tflite"
    zeros = {i.name: torch.zeros(i.shape) for i in spec.inputs}
    litert_torch.convert(Named(model.toy).eval(), sample_kwargs=zeros).export(str(path))
    content = {"spec": spec.to_json(), "precision": "fp32"}
    path.write_bytes(with_metadata(path.read_bytes(), "mobileiqa", json.dumps(content).encode()))
    for pictures in (images, sample_images(4)):
        report = first_failing_stage(check(model, spec, [path], pictures, rewritten=model))
        assert report is not None and report.runtime == "litert" and "max_abs" in report.reason


def perturbed(model: nn.Module) -> nn.Module:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.toy.first.weight[0, 0, 0, 0] += 0.05
    return other


def test_perturbed_weights_fail_where_they_entered(model, spec, images, onnx_file, tmp_path: Path):
    other = perturbed(model)
    path = exported(other, spec, tmp_path)
    assert first_failing_stage(
        check(model, spec, [path, onnx_file], images, rewritten=model)
    ).candidate == str(path)
    reports = check(model, spec, [path], images, rewritten=other)
    assert first_failing_stage(reports).candidate == f"{stages.REWRITTEN}, feature 0"
    assert [r.passed for r in reports] == [False, True, False, False]


@pytest.mark.parametrize(
    ("width", "trained", "scores", "unit"),
    [
        (100, "", [7.0, 12.0], 100),  # hyperiqa
        (100, "", [0.5, 0.565], 13),  # koncept512: a hundred would pass any candidate
        (1, "", [-2.0, 3.0], 5),  # lar-iqa-single
        (1, "", [0.4, 0.5], 1),
        (1, "", [0.5, 0.5], 1),
        (1, "", [0.5, np.nan], 1),
        (1, "", [], 1),
        (100, "photos", [0.5, 0.565], 100),
    ],
)
def test_seeded_scores_are_compared_in_a_unit_that_they_spread_over(
    width: int, trained: str, scores: list[float], unit: float, spec: ModelSpec
):
    spec = dataclasses.replace(spec, score_range=(0.0, float(width)), trained_on=trained)
    assert stages.score_unit(spec, [np.array([score]) for score in scores]) == pytest.approx(unit)


def test_features_differ_where_scores_do_not(model, spec, images):
    """Two errors that cancel in the score, as they would under nearly constant untrained weights."""

    class Cancelled(Featured):
        def forward_features(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            first, second = super().forward_features(*inputs)
            return first + 0.01, second

    reports = check(model, spec, [], images, rewritten=Cancelled(model.toy).eval())
    assert [(r.stage, r.passed) for r in reports] == [
        ("features", False),
        ("features", True),
        ("rewrite", True),
    ]


def test_another_number_of_features_fails(model, spec, images):
    class One(Featured):
        def forward_features(self, *inputs: torch.Tensor) -> torch.Tensor:
            return super().forward_features(*inputs)[0]

    report, rewrite = check(model, spec, [], images[:2], rewritten=One(model.toy).eval())
    assert (report.passed, report.reason) == (False, "another number of features")
    assert rewrite.passed


class Staged(Featured):
    """A forward that passes through forward_features, as published modules' do, and counts its runs."""

    runs = 0
    shift = 0.0

    def forward_features(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.runs += 1
        return tuple(feature + self.shift for feature in super().forward_features(*inputs))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        first, second = (feature.relu_() for feature in self.forward_features(*inputs))  # in place
        return torch.sigmoid(first.mean((1, 2, 3)) - second.mean((1, 2, 3)))


def test_the_published_module_runs_once_an_image(model, spec, images):
    published = Staged(model.toy).eval()
    reports = check(published, spec, [], images, rewritten=model)
    assert [(r.stage, r.passed, r.n) for r in reports] == [
        *[("features", True, stages.FEATURE_IMAGES)] * 2,
        ("rewrite", True, len(images)),
    ]
    assert published.runs == len(images)
    assert "forward_features" not in vars(published)


def test_features_that_pass_by_are_compared(model, spec, images):
    """The failing case of the test above."""
    published = Staged(model.toy).eval()
    other = Staged(model.toy).eval()
    other.shift = 1e-3
    failed = [r.stage for r in check(published, spec, [], images, rewritten=other) if not r.passed]
    assert failed[:2] == ["features", "features"]


def test_a_rewritten_module_that_breaks_down_is_a_report(model, spec, images):
    class Broken(Featured):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("sizes do not\nmatch")

    reports = check(model, spec, [], images, rewritten=Broken(model.toy).eval())
    assert [(r.stage, r.passed, r.reason) for r in reports] == [
        ("features", False, "sizes do not match"),
        ("rewrite", False, "sizes do not match"),
    ]


@pytest.mark.parametrize(
    "field", [{"mean": (0.5, 0.5, 0.5)}, {"resample": "lanczos"}, {"color_space": "hsv"}]
)
def test_wrong_preprocessing_fails(field: dict[str, Any], model, spec, images, tmp_path: Path):
    first, second = spec.inputs
    wrong = dataclasses.replace(spec, inputs=(dataclasses.replace(first, **field), second))
    report = first_failing_stage(
        check(model, spec, [exported(model, wrong, tmp_path)], images, rewritten=model)
    )
    assert report is not None and "wrong spec: authentic." in report.reason
    assert report.n == len(images)


def test_a_candidate_of_another_size_is_compared_at_its_size(
    model, spec, images, tmp_path: Path, monkeypatch
):
    first, second = spec.inputs
    larger = dataclasses.replace(spec, inputs=(dataclasses.replace(first, width_px=50), second))
    monkeypatch.setattr(stages, "_rewritten", lambda module, _: module)
    reports = check(model, spec, [exported(model, larger, tmp_path)], images)
    assert first_failing_stage(reports) is None and reports[-1].stage == "onnx"


def test_zero_images_fail_on_every_edge(model, spec, onnx_file):
    reports = check(model, spec, [onnx_file], [], rewritten=model)
    assert [(r.passed, r.reason) for r in reports] == [(False, "zero images")] * 3


def test_a_runtime_that_breaks_down_is_a_report(model, spec, images, onnx_file, tiny, monkeypatch):
    def after_the_first_chunk(path: Path, batch: runners.Batch) -> list[np.ndarray]:
        if len(batch) < stages.CHUNK:
            raise RuntimeError("out of\nmemory")
        return [np.float32([0.5])] * len(batch)

    monkeypatch.setitem(runners.RUNTIMES, "litert", after_the_first_chunk)
    reports = check(model, spec, [onnx_file, tiny[2]], images, rewritten=model)
    assert [r.reason for r in reports if not r.passed] == ["out of memory"]
    assert first_failing_stage(reports).runtime == "litert"


def test_a_runtime_that_drops_an_image_fails(model, spec, images, tiny, monkeypatch):
    monkeypatch.setitem(
        runners.RUNTIMES, "litert", lambda path, batch: [np.float32([0.5])] * (len(batch) - 1)
    )
    report = first_failing_stage(check(model, spec, [tiny[2]], images, rewritten=model))
    assert report.reason.startswith(f"{len(images) - 2} outputs for {len(images)} images")


def test_a_candidate_that_no_runtime_reads_is_not_skipped(model, spec, images, onnx_file):
    with pytest.raises(UserError, match=r"a runtime that reads toy\.onnx; found litert"):
        check(model, spec, [onnx_file], images, ["litert"], rewritten=model)


def test_an_unknown_runtime_stops_before_any_work(model, spec, images, onnx_file):
    with pytest.raises(UserError, match="tpu"):
        check(model, spec, [onnx_file], images, ["ort", "tpu"], rewritten=model)
