"""Approximations: what they take, that the rewritten form computes the same, and what they cost."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from convert.comparison.stages import check
from convert.delegation.partitions import runtime_delegation
from convert.parity import parity_images
from convert.rewrites.apply import apply_rewrites
from convert.rewrites.approximations import APPROXIMATIONS, approximated, checked
from convert.rewrites.sparse_pooling import SparseLDA, step
from convert.rewrites.strips import StripLDA
from convert.tflite import main
from mobileiqa.errors import UserError
from mobileiqa.layers.mobile_iqa import LDA
from mobileiqa.zoo import MODELS

NAME = "mobilenet-iqa-small"


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [(616, 88, 7), (954, 88, 10), (154, 88, 1), (175, 88, 1), (176, 88, 2), (3, 88, 1)],
)
def test_the_step_leaves_enough_pixels(size: int, least: int, expected: int) -> None:
    assert step(size, least) == expected
    assert expected == 1 or size // expected >= least > size // (expected + 1)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (67, 129), (33, 40), (131, 64)])
@pytest.mark.parametrize("least", [2, 4])
def test_strips_compute_what_sparse_pooling_says(height: int, width: int, least: int) -> None:
    torch.manual_seed(height)
    lda = SparseLDA(LDA(3, hidden=6, out_channels=5, grid=4), least).double()
    x = torch.randn(1, 3, height, width, dtype=torch.float64)
    n, m = step(height, 4 * least), step(width, 4 * least)
    assert n * m > 1
    with torch.no_grad():
        taken = x[:, :, : height // n * n, : width // m * m][:, :, ::n, ::m]
        expected = lda.reduce(
            torch.nn.functional.adaptive_avg_pool2d(torch.nn.functional.gelu(lda.expand(taken)), 4)
        )
        assert torch.equal(lda(x), expected)
        assert float((StripLDA(lda)(x) - expected).abs().max()) < 1e-12


def test_a_flat_image_does_not_notice_and_a_chequered_one_does() -> None:
    torch.manual_seed(0)
    exact = LDA(3, hidden=6, out_channels=5, grid=4).double()
    sparse = SparseLDA(exact, 4)
    flat = torch.full((1, 3, 64, 64), 0.7, dtype=torch.float64)
    chequered = flat.clone()
    chequered[:, :, ::2, ::2] = -0.7
    with torch.no_grad():
        assert float((sparse(flat) - exact(flat)).abs().max()) < 1e-14
        assert float((sparse(chequered) - exact(chequered)).abs().max()) > 0.01


def test_the_rewritten_model_is_the_approximated_one_and_not_the_published(seeded: Any) -> None:
    model = copy.deepcopy(seeded(NAME)).double()
    changed = approximated(model, ["sparse-pooling"])
    module, report = apply_rewrites(changed, MODELS[NAME].spec)
    assert report.max_abs_error < 1e-9
    x = torch.randn(1, 3, 160, 192, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        published, expected, actual = (float(m(x)) for m in (model, changed, module))
    assert abs(actual - expected) < 1e-11 and abs(actual - published) > 1e-6


def test_unknown_names_and_models_without_sites_are_refused(seeded: Any) -> None:
    assert checked(["sparse-pooling", "sparse-pooling"]) == ("sparse-pooling",)
    with pytest.raises(UserError, match="among sparse-pooling, sparser-pooling"):
        checked(["faster"])
    with pytest.raises(UserError, match="none of it in LarIQASingle"):
        approximated(seeded("lar-iqa-single"), ["sparse-pooling"])
    assert all(name == actual.name for name, actual in APPROXIMATIONS.items())


def test_parity_judges_the_approximation_apart_from_the_rewrites(seeded: Any) -> None:
    """The rewritten module is compared with what it was made from, that with the published one."""
    model, spec = seeded(NAME), MODELS[NAME].spec.resized(160, 128)
    changed = approximated(model, ["sparse-pooling"])
    module, _ = apply_rewrites(changed, spec)
    images = parity_images(None, 4)
    reports = {r.stage: r for r in check(model, spec, [], images, rewritten=module, approximate=changed)}
    assert set(reports) == {"approximation", "features", "rewrite"}
    assert reports["rewrite"].passed and reports["features"].passed
    assert reports["approximation"].max_abs > 10 * reports["rewrite"].max_abs
    without = {r.stage: r for r in check(model, spec, [], images, rewritten=module)}
    assert not without["rewrite"].passed and without["rewrite"].max_abs == pytest.approx(
        reports["approximation"].max_abs, abs=1e-5
    )


def test_exact_precisions_refuse_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", NAME, "--fp16", "--approximate", "sparse-pooling"]
    assert main([*arguments, "--out", str(tmp_path / "a.tflite")]) == 2
    assert "--approximate with --int8" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_approximated_file_says_so_and_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tflite"
    arguments = ["--model", NAME, "--int8", "weights", "--size", "256x256", "--out", str(path)]
    code = main([*arguments, "--approximate", "sparse-pooling"])
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert result["approximations"] == ["sparse-pooling"]
    assert any(line.startswith("approximation, not exact: sparse-pooling") for line in lines)
    stages = {report["stage"]: report for report in result["parity"]}
    assert {"approximation", "rewrite", "int8"} <= set(stages) and stages["rewrite"]["passed"]
    assert code == int(not (stages["approximation"]["passed"] and stages["int8"]["passed"]))
    written = Path(result["path"])
    sidecar = json.loads(written.with_name(f"{written.name}.json").read_text())
    assert sidecar["approximations"] == ["sparse-pooling"]
    delegation = runtime_delegation(written)
    assert (delegation["partitions"], delegation["nodes_delegated"]) == (1, delegation["nodes_total"])
