"""Variants of the reference's training: what each goes without, and (slow) all of it on a pack of noise."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import reference_ablation as ablation
from benchmarks import whole_photo
from benchmarks.reference_ablation import VARIANTS, LesserPack, OneView, main, plan_of, unread
from mobileiqa import checkpoint
from mobileiqa.models.whole_photo import WholePhoto
from mobileiqa.training import damage_pack, damage_training
from mobileiqa.training.damage import GROUP
from mobileiqa.training.damage_batches import Pack, Size
from mobileiqa.training.damage_training import Phase, Plan
from mobileiqa.zoo import MODELS, build_seeded

PHOTOS = ("a.png", "b.png", "", "c.png", "d.png")  # the first is held out; "": cards
TINY = {
    "phases": (
        Phase(1, (Size(1, 32),), 1e-3, 0.1, batch=10),
        Phase(1, (Size(1, 32),), 1e-3, 0.1, batch=5, threes=True),
    )
}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of noise, labelled as damage_pack does: places 6 to 9 have no cell."""
    path, rng = tmp_path_factory.mktemp("pack"), np.random.default_rng(0)
    for name, side in ((damage_pack.FRAGMENTS, 512), (damage_pack.OVERVIEWS, 256)):
        np.save(path / name, rng.integers(0, 256, (len(PHOTOS) * GROUP, side, side, 3), np.uint8))
    rows = [
        {
            "group": number,
            "photo": photo,
            "score": rng.uniform(0.1, 0.9, GROUP).round(3).tolist(),
            "reasons": [[int(rng.integers(11))] for _ in range(GROUP)],
            "cell": [125, 0, 1, 7, 9, 30, *[-1] * 4] if photo else [-1] * GROUP,
            "orders": [[3, 6], [7, 2], [8, 9], *([0, i] for i in range(1, GROUP))] if photo else [],
            "validates": number == 0,
        }
        for number, photo in enumerate(PHOTOS)
    ]
    (path / damage_pack.ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_each_variant_differs_from_everything_in_one_thing():
    whole, plan = asdict(VARIANTS["everything"]), asdict(Plan())
    for name, variant in VARIANTS.items():
        changes = [key for key, value in asdict(variant).items() if key != "about" and value != whole[key]]
        assert len(changes) == (name != "everything")
        assert variant.plan.keys() <= plan.keys() and all(plan[k] != v for k, v in variant.plan.items())


@pytest.mark.parametrize("steps", [2, 3, 120, 1000])
def test_the_plan_has_so_many_steps_and_warms_up_within_each_phase(steps: int):
    plan = plan_of(steps)
    assert sum(phase.steps for phase in plan.phases) == steps and plan.phases[-1].threes
    assert all(1 <= phase.warmup <= max(1, phase.steps // 4) for phase in plan.phases)


def test_only_what_nobody_rated_loses_its_label(pack: Path):
    whole, human = Pack(pack), LesserPack(VARIANTS["full-reference"], set(), pack)
    assert human.validation == whole.validation
    for before, after in zip(whole.train, human.train, strict=True):
        unlabelled = [6, 7, 8, 9] if before["photo"] else []
        assert np.flatnonzero(np.isnan(after["score"])).tolist() == unlabelled
        same = [i for i in range(GROUP) if i not in unlabelled]
        assert [after["score"][i] for i in same] == [before["score"][i] for i in same]
        assert {**after, "score": 0} == {**before, "score": 0}


def test_copies_without_a_label_pull_at_no_score_and_are_still_in_order(pack: Path):
    row = LesserPack(VARIANTS["full-reference"], set(), pack).train[0]
    for name in ("batch", "batch_of_threes"):
        batch = getattr(Pack(pack), name)(
            [(row, np.array([0, 1, 3, 6, 9]))], Size(1, 32), np.random.default_rng(0)
        )
        assert batch.score.isnan().sum() == 2 * len(batch.score) // 5
        score = torch.full_like(batch.score, 0.5, requires_grad=True)
        answers = score, torch.zeros_like(batch.reasons), torch.zeros(len(batch.cell), 126)
        parts = damage_training.losses(lambda _, answers=answers: answers, batch, Plan(order=0.0, twins=0.0))
        assert all(value.isfinite() for value in parts.values()) and parts["order"] > 0
        (slope,) = torch.autograd.grad(parts["loss"], score)
        assert ((slope == 0) == batch.score.isnan()).all()


def test_rows_of_large_photos_go_and_the_curve_stays(pack: Path):
    small = LesserPack(VARIANTS["large"], {"a.png", "c.png"}, pack)
    assert [row["photo"] for row in small.train] == ["b.png", "", "d.png"]
    assert [row["photo"] for row in small.validation] == ["a.png"]


@pytest.mark.parametrize(("name", "other"), [("overview", 1), ("fragments", 0)])
def test_one_view_is_read_and_its_checkpoint_is_an_ordinary_one(name: str, other: int):
    plain = build_seeded("whole-photo")
    views = VARIANTS[name].views
    one = OneView(views)
    one.load_state_dict(plain.state_dict())
    one.eval().hidden.weight.data[:, unread(views)] = 0
    plain.load_state_dict(one.state_dict())
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(2, 3, 64, 64, generator=generator) for _ in range(2)]
    with torch.inference_mode():
        scores = one(*inputs)
        inputs[other] = -inputs[other]
        assert torch.equal(one(*inputs), scores) and torch.allclose(plain(*inputs), scores, atol=1e-6)
        inputs[1 - other] = -inputs[1 - other]
        assert not torch.allclose(one(*inputs), scores, atol=1e-4)


@pytest.mark.slow
def test_the_command_trains_measures_and_does_not_train_twice(
    pack: Path,
    photo: Callable[..., Image.Image],
    severity: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    for folder, names in (("photos", PHOTOS[:3]), ("val", ("e.png",))):
        (tmp_path / folder).mkdir()
        for seed, name in enumerate(filter(None, names)):
            photo(seed, 96, 80).save(tmp_path / folder / name)
    trunk = checkpoint.save(
        tmp_path / "trunk.safetensors", build_seeded("lar-iqa-lite"), MODELS["lar-iqa-lite"].spec
    )
    monkeypatch.setattr(whole_photo, "scorer", _means)
    monkeypatch.setattr(
        ablation.train_reference, "sorted_by_size", lambda _: ([], [tmp_path / "photos/b.png"])
    )
    out = tmp_path / "reference_ablation.json"
    arguments = [
        str(pack), "--init", str(trunk), "--pristine", str(tmp_path / "photos"), "--held-out", str(tmp_path / "val"),
        "--severity", str(severity), "--workers", "1", "--only", "everything", "overview", "full-reference",
        "--cache", str(tmp_path / "cache"), "--out", str(out),
    ]  # fmt: skip
    assert main([*arguments[:-1], str(tmp_path / "x.json"), "--steps", "1"]) == 2
    assert main(arguments, TINY) == 0
    result = json.loads(out.read_text())
    assert list(result["results"]) == ["everything", "overview", "full-reference"]
    assert result["results"]["overview"]["SRCC"]["cases"] == 125 and str(tmp_path) not in out.read_text()
    page = (tmp_path / "REFERENCE_ABLATION.md").read_text()
    assert "| reads the overview only |" in page and "1 steps of" in page
    models = [
        checkpoint.load(path)[0].state_dict() for path in sorted(tmp_path.glob("cache/*/*/model.safetensors"))
    ]
    assert len(models) == 3 and not torch.equal(models[0]["score.weight"], models[1]["score.weight"])
    monkeypatch.setattr(damage_training, "train", None)
    assert main([*arguments, "--force"], TINY) == 0
    assert json.loads(out.read_text()) == result


def _means(path: str) -> Any:
    """A scorer in the checkpoint's place, which must be there."""
    assert isinstance(checkpoint.load(path)[0], WholePhoto)
    return lambda pixels: (float(pixels.mean()) / 255, ())
