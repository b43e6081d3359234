"""The zoom comparison: unseen distortions, both readings, and a whole small one on generated pictures."""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import multi_scale
from benchmarks.experiment import Result, figures
from benchmarks.multi_scale import (
    BASELINE,
    Part,
    Plan,
    by_best_head,
    by_heads,
    data_of,
    main,
    model_of,
    recipe_of,
    spec_of,
)
from mobileiqa.datasets.core import Sample
from mobileiqa.models.msliqa import MultiScale, Zoom

TINY = Plan(
    zooms=("single", "both"), train_references=1, validation_references=1, test_references=1, test_images=16,
    backbone="mobilenetv3_small_050", epochs=1, batch=32, window_px=48,
)  # fmt: skip


@pytest.fixture(scope="module")
def inputs(
    photo: Callable[..., Image.Image], severity: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Pictures that train, others that test, and a severity table."""
    folder = tmp_path_factory.mktemp("inputs")
    for part, seeds in (("train", (0, 1)), ("val", (2, 3))):
        (folder / part).mkdir()
        for seed in seeds:
            photo(seed, 96, 80).save(folder / part / f"p{seed}.png")
    shutil.copy(severity, folder)
    return folder


def arguments(inputs: Path, out: Path) -> list[str]:
    return [
        "--pristine", str(inputs / "train"), "--test-pristine", str(inputs / "val"),
        "--severity", str(inputs / "severity.csv"), "--seeds", "1",
        "--cache", str(out / "cache"), "--out", str(out / "multi_scale.json"),
    ]  # fmt: skip


def test_references_and_half_of_the_distortions_of_the_test_are_unseen(inputs: Path, tmp_path: Path):
    given = Namespace(
        pristine=inputs / "train",
        test_pristine=inputs / "val",
        severity=inputs / "severity.csv",
        cache=tmp_path,
        encoder=None,
    )
    data = data_of(TINY, given)
    seen = [*data.train.samples, *data.validation.samples]
    assert {s.distortion for s in seen} == set(range(1, 26, 2))
    assert {s.distortion % 2 for s in data.test.samples} == {0, 1} and len(data.test.samples) == 16
    assert not {s.reference for s in seen} & {s.reference for s in data.test.samples}
    assert not {s.reference for s in data.train.samples} & {s.reference for s in data.validation.samples}


def part_of(seed: int, count: int) -> Part:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 48, 48, 3)).astype(np.uint8)
    samples = tuple(Sample(Path(f"{i}.png"), i / count, 0.0, "train") for i in range(count))
    return Part(samples, lambda i: pixels[i])


def test_the_head_that_validates_best_reads_the_test():
    torch.manual_seed(0)
    model, spec, zooms = MultiScale(3, TINY.backbone), spec_of(TINY), (Zoom(),) * 3
    validation, test = part_of(0, 12), part_of(1, 5)
    heads = by_heads(model, validation, spec, zooms)
    order = np.argsort(np.argsort(heads[:, 1]))  # labels that the second head ranks without a mistake
    samples = tuple(Sample(Path(f"{i}.png"), float(rank), 0.0, "validation") for i, rank in enumerate(order))
    data = multi_scale.Data(test, Part(samples, validation.pixels), test, Path(), "random weights")
    found = by_best_head(model, data, spec, zooms)
    assert np.array_equal(found, by_heads(model, test, spec, zooms)[:, 1])
    assert not np.array_equal(found, by_heads(model, test, spec, zooms)[:, 0])


def test_arms_differ_in_their_zooms_alone():
    one, other = (recipe_of(TINY, zoom, 1).to_json() for zoom in TINY.zooms)
    assert one.pop("name") != other.pop("name") and one == other


def test_an_encoder_file_is_loaded_and_its_first_stages_stay(tmp_path: Path):
    torch.manual_seed(1)
    state = MultiScale(1, "efficientnet_lite0").backbone.state_dict()
    torch.save(state, tmp_path / "encoder.pth")
    model = model_of(Plan(), "both", tmp_path / "encoder.pth")
    assert all(torch.equal(state[name], value) for name, value in model.backbone.state_dict().items())
    trained = {name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert "backbone.blocks.3.0.conv_pw" in trained and "heads.3.0" in trained
    assert not any(name.startswith(("backbone.blocks.2.", "backbone.conv_stem")) for name in trained)
    assert all(p.requires_grad for p in model_of(Plan(), "single", None).parameters())


def test_the_page_shows_gains_over_one_zoom_without_patches():
    rows = [
        Result(f"{zoom}, {how}", seed, 0.3 + 0.1 * (how == "patches"), 0.5, 0, 0, 0)
        for seed in (1, 2) for zoom in TINY.zooms for how in ("whole", "patches")
    ]  # fmt: skip
    rows += [replace(row, variant=f"{row.variant}, {half}", srcc=srcc) for row in rows
             for half, srcc in (("seen", 0.7), ("unseen", 0.2))]  # fmt: skip
    text = multi_scale.report(TINY, figures(rows, BASELINE), "random weights")
    assert (
        "| `single`: the whole image, resized to 224x224 "
        "| whole | 0.300 ± 0.000 | 0.500 ± 0.000 | – | 0.700 ± 0.000 | 0.200 ± 0.000 |" in text
    )
    assert text.count("| patches | 0.400 ± 0.000 | 0.500 ± 0.000 | 0.100 ± 0.000 |") == 2


@pytest.mark.slow
def test_a_whole_comparison_and_its_second_start(
    inputs: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    assert main(arguments(inputs, tmp_path), TINY) == 0
    found = json.loads((tmp_path / "multi_scale.json").read_text())
    variants = [row["variant"] for row in found["results"]]
    assert (
        variants[:3] == ["single, whole", "single, whole, seen", "single, whole, unseen"]
        and len(variants) == 12
    )
    assert len({row["mae"] for row in found["results"]}) == 12, "every way of reading gives other scores"
    assert str(tmp_path) not in (tmp_path / "multi_scale.json").read_text()
    capsys.readouterr()

    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(multi_scale, "finish", never)
    first = (tmp_path / "multi_scale.json").read_text()
    assert main([*arguments(inputs, tmp_path), "--force"], TINY) == 0
    assert (tmp_path / "multi_scale.json").read_text() == first
