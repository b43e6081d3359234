"""Packs, their batches, and a training run on them: what it changes, and that it can be taken up again."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mobileiqa import checkpoint
from mobileiqa.models.whole_photo import WholePhoto
from mobileiqa.reasons import REASONS
from mobileiqa.training import damage_pack, damage_training
from mobileiqa.training.damage import GROUP
from mobileiqa.training.damage_batches import CHUNK, Pack, Size, halves, turned, worsened
from mobileiqa.training.damage_training import Phase, Plan, Trainee
from mobileiqa.training.validation import Runtime
from mobileiqa.zoo import REFERENCE, build_seeded

PLAN = Plan(phases=(Phase(2, (Size(1, 32),), 1e-3, 0.1, batch=10), Phase(1, (Size(2, 48),), 1e-4, 0.1, batch=10)),
            validate_every=2)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pack as damage_pack writes it: three photos' groups of noise, and one of cards."""
    path, rng = tmp_path_factory.mktemp("pack"), np.random.default_rng(0)
    np.save(path / damage_pack.FRAGMENTS, rng.integers(0, 256, (4 * GROUP, 512, 512, 3), np.uint8))
    np.save(path / damage_pack.OVERVIEWS, rng.integers(0, 256, (4 * GROUP, 256, 256, 3), np.uint8))
    rows = [_row(number, photo, rng) for number, photo in enumerate(["a.png", "b.png", "", "c.png"])]
    (path / damage_pack.ROWS).write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"group": 4, "half'
    )
    return path


def _row(number: int, photo: str, rng: np.random.Generator) -> dict:
    return {
        "group": number,
        "photo": photo,
        "score": rng.uniform(0.1, 0.9, GROUP).round(3).tolist(),
        "reasons": [[int(rng.integers(11))] for _ in range(GROUP)],
        "cell": rng.integers(-1, 126, GROUP).tolist(),
        "orders": [[0, i] for i in range(1, GROUP)] if photo else [],
        "validates": photo == "a.png",
    }


def test_a_pack_is_read_up_to_its_last_whole_row_and_what_validates_is_not_trained_on(folder):
    pack = Pack(folder)
    assert [row["photo"] for row in pack.train] == ["b.png", "", "c.png"]
    assert [row["photo"] for row in pack.validation] == ["a.png"]


def test_a_pass_reads_every_copy_once_in_chunks_of_a_group(folder):
    chunks = Pack(folder).chunks(1, 0)
    seen = sorted(row["group"] * GROUP + int(place) for row, places in chunks for place in places)
    assert seen == [g * GROUP + i for g in (1, 2, 3) for i in range(GROUP)]
    assert all(len(places) == CHUNK for _, places in chunks)
    again, other = Pack(folder).chunks(1, 0), Pack(folder).chunks(1, 1)
    assert [p.tolist() for _, p in chunks] == [p.tolist() for _, p in again] != [p.tolist() for _, p in other]


def test_a_batch_has_labels_and_orders_of_its_copies(folder):
    pack = Pack(folder)
    row = pack.train[0]
    batch = pack.batch([(row, np.array([3, 0, 7]))], Size(2, 64), np.random.default_rng(0))
    assert batch.fragments.shape == (3, 3, 128, 128) and batch.overview.shape == (3, 3, 64, 64)
    assert batch.score.tolist() == pytest.approx([row["score"][i] for i in (3, 0, 7)])
    assert batch.reasons.shape == (3, len(REASONS)) and batch.reasons.argmax(1).tolist() == [
        row["reasons"][i][0] for i in (3, 0, 7)
    ]
    assert list(zip(batch.better.tolist(), batch.worse.tolist(), strict=True)) == [(1, 0), (1, 2)]
    assert batch.fragments.abs().max() <= 1


def test_the_whole_grid_is_the_photo_in_one_of_eight_poses(folder):
    pack = Pack(folder)
    batch = pack.batch([(pack.train[0], np.array([4]))], Size(8, 256), np.random.default_rng(5))
    stored = np.asarray(pack.fragments[GROUP + 4])
    values = ((batch.fragments[0].permute(1, 2, 0) + 1) * 127.5).round().numpy().astype(np.uint8)
    assert sum(np.array_equal(values, turned(stored, pose)) for pose in range(8)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_what_belongs_together_is_in_one_batch(seed: int):
    orders = [[1, 2], [3, 6], [7, 2], [8, 9], *([0, i] for i in range(1, GROUP))]
    parts = halves(orders, np.random.default_rng(seed)).tolist()
    assert sorted(place for part in parts for place in part) == list(range(GROUP))
    for pair in ((3, 6), (7, 2), (8, 9)):
        assert any(set(pair) <= set(part) for part in parts)
    assert sorted(halves([], np.random.default_rng(seed)).ravel().tolist()) == list(range(GROUP))


def test_threes_are_a_copy_in_two_poses_and_damaged_once_more(folder):
    pack = Pack(folder)
    row = pack.train[0]
    batch = pack.batch_of_threes([(row, np.array([3, 0]))], Size(2, 256), np.random.default_rng(0))
    assert batch.twins.tolist() == [[0, 1], [3, 4]]
    assert (
        batch.score[:2].tolist() == pytest.approx([row["score"][3]] * 2)
        and (batch.score[2::3] <= batch.score[::3]).all()
    )
    pairs = set(zip(batch.better.tolist(), batch.worse.tolist(), strict=True))
    assert pairs == {(0, 2), (3, 5), (3, 0)}
    assert batch.cell[2::3].tolist() == [-1, -1]
    for view in (batch.fragments, batch.overview):
        assert not torch.equal(view[0], view[1])
        assert torch.equal(view[0].flatten(1).sort(1).values, view[1].flatten(1).sort(1).values)


@pytest.mark.parametrize("seed", range(8))
def test_worsened_views_say_what_was_done(seed: int):
    grey = np.full((128, 128, 3), 120, np.uint8)
    texture = (grey + np.random.default_rng(1).integers(-40, 40, grey.shape)).astype(np.uint8)
    (fragments, overview), at_most, reason = worsened((texture, texture), np.random.default_rng(seed))
    assert fragments.dtype == np.uint8 and not np.array_equal(fragments, texture) and 0 < at_most < 0.9
    change = fragments.astype(float) - texture
    name = REASONS[reason]
    assert name in ("noise", "compression", "too dark", "too bright")
    if name in ("too dark", "too bright"):
        assert (change.mean() < -10) == (name == "too dark") and np.array_equal(fragments, overview)
    elif name == "compression":
        assert abs(change.mean()) < 2 and np.array_equal(overview, texture)
    else:
        assert (
            abs(change.mean()) < 2 and np.abs(overview.astype(float) - texture).mean() < np.abs(change).mean()
        )


def test_poses_are_the_eight_symmetries_of_a_square():
    square = np.arange(12).reshape(2, 2, 3)
    assert len({turned(square, pose).tobytes() for pose in range(8)}) == 8


@pytest.mark.slow
def test_training_moves_what_it_should_and_goes_on_where_it_stopped(folder, tmp_path, monkeypatch):
    def run(out, plan):
        torch.manual_seed(0)
        return damage_training.train(build_seeded("whole-photo"), folder, out, plan).state_dict()

    before, whole = build_seeded("whole-photo").state_dict(), run(tmp_path / "whole", PLAN)
    same = {key for key in before if torch.equal(before[key], whole[key])}
    frozen = ("backbone.conv_stem", "backbone.bn1.", "backbone.blocks.0.", "backbone.blocks.1.")
    assert {key for key in before if key.startswith(frozen) or "running" in key} <= same
    assert not any(
        key in same for key in ("score.weight", "reasons.weight", "last.overview.weight", "early.0.weight")
    )
    assert "backbone.blocks.2.0.conv_pw.weight" not in same
    with monkeypatch.context() as patch:
        patch.setattr(damage_training, "_steps", _killed_after(damage_training._steps, 2))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", PLAN)
    again = run(tmp_path / "cut", PLAN)
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    assert (tmp_path / "cut" / "curve.csv").read_text().startswith("step,seconds,lr,loss")


def test_a_batch_and_the_model_meet_on_the_device(folder):
    pack, size = Pack(folder), Size(1, 64)
    batch = pack.batch([(pack.train[0], np.arange(3))], size, np.random.default_rng(0))
    with FakeTensorMode(allow_non_fake_inputs=True):  # computes places, types and shapes: no GPU is needed
        with torch.device("cuda"):
            trainee = Trainee(WholePhoto(), Runtime(torch.device("cuda")))
        with pytest.raises(RuntimeError, match="same device"):
            trainee(batch)
        there = batch.to(torch.device("cuda"))
        assert {getattr(there, each.name).device.type for each in dataclasses.fields(there)} == {"cuda"}
        assert {(part.device.type, len(part)) for part in trainee(there)} == {("cuda", 3)}


def test_half_precision_has_nearly_the_same_gradient(folder):
    pack, gradients = Pack(folder), []
    rows = [(pack.train[0], np.arange(CHUNK)), (pack.train[2], np.arange(CHUNK))]
    batch = pack.batch(rows, Size(2, 96), np.random.default_rng(0))
    for dtype in (None, torch.bfloat16):
        torch.manual_seed(0)
        trained, _ = checkpoint.load(REFERENCE)  # of weights by chance, rounding is a larger part
        trainee = Trainee(trained, Runtime(torch.device("cpu"), dtype)).eval()
        damage_training.losses(trainee, batch, PLAN)["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in trainee.parameters() if p.grad is not None]))
    assert not torch.equal(*gradients)
    assert torch.cosine_similarity(*gradients, 0) > 0.98


def _killed_after(steps, count):
    def cut(*args):
        for number, item in enumerate(steps(*args)):
            if number == count:
                raise KeyboardInterrupt
            yield item

    return cut


def test_losses_see_orders_reasons_and_unknown_cells(folder):
    trainee = Trainee(build_seeded("whole-photo")).eval()
    pack = Pack(folder)
    batch = pack.batch([(pack.train[0], np.arange(CHUNK))], Size(1, 32), np.random.default_rng(0))
    parts = damage_training.losses(trainee, batch, PLAN)
    assert all(value.isfinite() for value in parts.values()) and parts["order"] >= 0
    expected = sum(getattr(PLAN, name) * value for name, value in parts.items() if name != "loss")
    assert parts["loss"].item() == pytest.approx(expected.item())
    nothing = dataclasses.replace(
        batch, cell=torch.full_like(batch.cell, -1), better=batch.better[:0], worse=batch.worse[:0]
    )
    parts = damage_training.losses(trainee, nothing, PLAN)
    assert parts["cells"] == 0 and parts["order"] == 0


@pytest.mark.slow
def test_packing_writes_views_of_cards(tmp_path):
    jobs = damage_pack.photo_order([], [], (5, 8), 2, seed=1)
    damage_pack.pack(jobs, (), {}, tmp_path, seed=1, workers=1)
    pack = Pack(tmp_path)
    assert len(pack.train) == 2 and pack.fragments.shape == (20, 512, 512, 3)
    fragment, overview = pack.fragments[0], pack.overviews[0]
    assert np.abs(fragment.mean((0, 1)) - overview.mean((0, 1))).max() < 3
