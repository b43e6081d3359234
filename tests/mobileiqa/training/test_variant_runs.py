"""Variants, votes, losses that only rank, and colour spaces, trained by the command on small sets."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa.checkpoint import load
from mobileiqa.datasets.core import Sample
from mobileiqa.datasets.registry import read
from mobileiqa.evaluate import main as evaluate
from mobileiqa.preprocess import prepare
from mobileiqa.ratings.fitting import fit
from mobileiqa.ratings.models import quantile
from mobileiqa.score import main as score
from mobileiqa.scoring import patches
from mobileiqa.spec import ColorSpace
from mobileiqa.train import main
from mobileiqa.training.data_loader import Feed, batches, labels_of, view
from mobileiqa.training.distributed import Processes, local_device
from mobileiqa.training.objective import Batch, alone
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.recipe import ranks_only, recipe, with_overrides
from mobileiqa.training.validation import on_label_scale
from mobileiqa.zoo import MODELS, build_seeded, entry

QUICK = ("batch=8", "warmup_epochs=0", "lr=0.001", "epochs=1")


def trained(data: Path, out: Path, *more: str, settings: tuple[str, ...] = QUICK) -> dict[str, Any]:
    arguments = ["--data", "folder", str(data), "--size", "64x64", "--from-scratch", "--out", str(out)]
    assert main([*arguments, "--recipe", "lar-iqa-branch", "--set", *settings, *more]) == 0
    return json.loads((out / "best.safetensors.json").read_text())["spec"]


@pytest.fixture(scope="module")
def voted(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small labelled set with votes: the darker, the more of them are low; a few images have none to give."""
    folder = tmp_path_factory.mktemp("voted")
    rows = list(csv.DictReader((labelled / "labels.csv").open()))
    for row in rows:
        Image.open(labelled / row["image"]).save(folder / row["image"])
        mean = 1 + 4 * float(row["score"])
        row.update({f"c{k}": f"{np.exp(-((k - mean) ** 2)):.4f}" for k in range(1, 6)})
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_head_travels_with_the_checkpoint(labelled: Path, tmp_path: Path, capsys: Any) -> None:
    spec = trained(labelled, tmp_path / "run", "--head", "taylor2")
    assert spec["name"] == "lar-iqa-single+taylor2"
    assert "affine map" in capsys.readouterr().err
    model, _ = load(tmp_path / "run" / "best.safetensors")
    assert model.head.layers[0].order == 2
    # The same command with another head is another run.
    again = [
        "--data",
        "folder",
        str(labelled),
        "--size",
        "64x64",
        "--from-scratch",
        "--recipe",
        "lar-iqa-branch",
    ]
    assert main([*again, "--set", *QUICK, "--head", "rbf", "--out", str(tmp_path / "run")]) == 2


@pytest.mark.slow
def test_votes_are_learnt_and_kept_in_the_checkpoint(voted: Path, tmp_path: Path) -> None:
    settings = ("batch=8", "warmup_epochs=0", "lr=0.002", "epochs=4")
    arguments = [
        "--recipe",
        "lar-iqa-mlp",
        "--size",
        "64x64,64x64",
        "--data",
        "folder",
        str(voted),
        "--votes",
    ]
    assert main([*arguments, "--from-scratch", "--out", str(tmp_path / "r"), "--set", *settings]) == 0
    with (tmp_path / "r" / "training.csv").open() as file:
        losses = [float(row["votes"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]
    model, spec = load(tmp_path / "r" / "best.safetensors")
    assert spec.name == "lar-iqa-mlp+votes"
    inputs = prepare(voted / "p5_1.png", spec)
    with torch.no_grad():
        votes = model.forward_votes(*(torch.from_numpy(inputs[each.name]) for each in spec.inputs))
    assert votes.shape == (1, 5) and float(votes.sum()) == pytest.approx(1, abs=1e-6)


def test_the_loss_of_votes_is_their_cross_entropy_and_the_rest_has_labels() -> None:
    name, changed = "lar-iqa-single+votes", dataclasses.replace(recipe("lar-iqa-kan"), losses=(("mse", 1.0),))
    task = build_task(Setup(changed, build_seeded(name).train(), entry(name).spec))
    votes = torch.tensor([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0.0]])
    votes = votes / votes.sum(1, keepdim=True).clamp(min=1)
    image, label = torch.randn(4, 3, 64, 64), torch.rand(4)
    zeros = torch.zeros(4, dtype=torch.int64)
    torch.manual_seed(5)
    parts = task.loss(Batch((image,), label, zeros, zeros, zeros, zeros, votes), alone)
    torch.manual_seed(5)
    logits = build_seeded(name).train()(image)
    logs = torch.log_softmax(logits, 1)
    entropy = -(votes[[0, 2]] * logs[[0, 2]]).sum(1).mean()
    mean = (torch.softmax(logits, 1) * torch.arange(5)).sum(1) / 4
    error = (mean - label)[[1, 3]].square().mean()
    assert float(parts["votes"]) == pytest.approx(float(entropy), rel=1e-5)
    assert float(parts["loss"]) == pytest.approx(float(entropy + error) / 2, rel=1e-5)


def test_votes_without_a_set_that_has_them_are_refused(labelled: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = [
        "--recipe",
        "lar-iqa-branch",
        "--data",
        "folder",
        str(labelled),
        "--size",
        "64x64",
        "--votes",
    ]
    assert main([*arguments, "--from-scratch", "--out", str(tmp_path / "r"), "--set", *QUICK]) == 2
    assert "leave --votes out" in capsys.readouterr().err.splitlines()[-1]


def test_koniqs_votes_are_read_as_shares(tmp_path: Path, labelled: Path) -> None:
    (tmp_path / "512x384").mkdir()
    text = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set\n"
    for i, side in enumerate(("training", "validation", "test")):
        Image.open(labelled / "p0_1.png").save(tmp_path / "512x384" / f"{i}.jpg")
        text += f"{i}.jpg,0.1,0.1,0.2,0.5,0.1,100,{60 + i},1,{side}\n"
    path = tmp_path / "koniq10k_distributions_sets.csv"
    path.write_text(text)
    (first, *_) = read("koniq-10k", tmp_path).samples
    assert first.votes == pytest.approx((0.1, 0.1, 0.2, 0.5, 0.1)) and first.raw_score == 60
    path.write_text(text.replace("0.1,0.1,0.2,0.5,0.1,100,61", "0,0,0,0,0,100,61"))
    with pytest.raises(ValueError, match="line 3"):
        read("koniq-10k", tmp_path)


def test_losses_and_options_from_the_command_line() -> None:
    changed = with_overrides(recipe("mobileiqa-distill"), ["alpha=1.5", "losses=norm-in-norm,rank:0.5"])
    assert changed.option("alpha") == 1.5 and changed.losses == (("norm-in-norm", 1.0), ("rank", 0.5))
    assert ranks_only(changed) and not ranks_only(recipe("mobileiqa-distill"))
    for wrong in (
        "losses=",
        "losses=mse:x",
        "losses=mse,mse",
        "losses=mse:0",
        "losses=ssim",
        "alpha=-1",
        "beta=1",
    ):
        with pytest.raises(ValueError, match=r"--set"):
            with_overrides(recipe("mobileiqa-distill"), [wrong])


def test_a_loss_that_only_ranks_gets_a_linear_map_to_the_labels(labelled: Path, tmp_path: Path) -> None:
    """What evaluate reads by the stored range is the least-squares line of the training images."""
    spec = trained(labelled, tmp_path / "r", settings=(*QUICK[:3], "epochs=4", "losses=norm-in-norm"))
    low, high = spec["score_range"]
    assert (low, high) != (0.0, 1.0)
    model, own = load(tmp_path / "r" / "best.safetensors")
    samples = read("folder", labelled).of("train")
    inputs = torch.cat([torch.from_numpy(prepare(s.path, own)["image"]) for s in samples])
    with torch.no_grad():
        scores = model(inputs).double().numpy()
    slope, offset = np.polyfit(scores, [s.score for s in samples], 1)
    assert (1 / (high - low), -low / (high - low)) == pytest.approx((slope, offset), rel=1e-3, abs=1e-4)


def test_scores_that_fall_with_the_labels_have_no_map(capsys: Any) -> None:
    spec = MODELS["lar-iqa-single"].spec
    assert on_label_scale(spec, np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == spec
    assert on_label_scale(spec, np.ones(3), np.array([3.0, 2, 1])) == spec
    assert "do not rise" in capsys.readouterr().err
    assert on_label_scale(
        spec, np.array([10.0, 20, 30]), np.array([0.0, 0.5, 1])
    ).score_range == pytest.approx((10, 30))


@pytest.mark.slow
def test_colour_spaces_are_drawn_for_each_image_and_the_first_is_the_checkpoints(
    labelled: Path, tmp_path: Path, capsys: Any
) -> None:
    spec = trained(labelled, tmp_path / "r", "--color-space", "lab", "rgb")
    assert [i["color_space"] for i in spec["inputs"]] == ["lab"]
    checkpoint = str(tmp_path / "r" / "best.safetensors")
    figures = []
    for space in ((), ("--color-space", "lab"), ("--color-space", "hsv")):
        assert evaluate([checkpoint, "--data", "folder", str(labelled), "--json", *space]) == 0
        figures.append(json.loads(capsys.readouterr().out.splitlines()[-1])["models"])
    assert figures[0] == figures[1] != figures[2]


def test_a_drawn_colour_space_is_that_of_all_inputs() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 70, 70, 3), np.uint8)
    changed = dataclasses.replace(recipe("lar-iqa-kan"), color_spaces=("rgb", "hsv"), batch=20)
    samples = [Sample(Path(f"{i}.png"), 0.0, 0.0, "train") for i in range(20)]
    feed = Feed(
        lambda i: pixels[i], labels_of(samples), entry("lar-iqa-kan").spec.sized("64x64,64x64"), changed
    )
    ((_, (batch,)),) = list(batches(feed, 0, 1, Processes(), 0))
    (order,) = [[int(i) for i in np.random.default_rng([changed.seed, 0]).permutation(20)]]
    spaces = set()
    for row, index in enumerate(order):
        fits = []
        for space in ("rgb", "hsv"):
            specs = [dataclasses.replace(s, color_space=ColorSpace(space)) for s in feed.inputs]
            views = [view(pixels[index], s, changed, np.random.default_rng(0)) for s in specs]
            same = [
                np.array_equal(b[row].permute(1, 2, 0), v) for b, v in zip(batch.inputs, views, strict=True)
            ]
            fits += [space] if all(same) else []
        spaces |= set(fits)
        assert len(fits) == 1
    assert spaces == {"rgb", "hsv"}


def test_under_torchrun_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert local_device("cuda") == torch.device("cuda", 3)
    assert local_device("cuda:1") == torch.device("cuda", 1) and local_device("cpu") == torch.device("cpu")


def test_distillation_of_other_opinions_is_refused() -> None:
    small = build_seeded("mobilenet-iqa-small+mal1")
    setup = Setup(recipe("mobileiqa-distill"), small, MODELS["mobilenet-iqa"].spec)
    with pytest.raises(ValueError, match="same MALs"):
        build_task(dataclasses.replace(setup, teacher=build_seeded("mobilenet-iqa-small+mal2")))
    task: Callable[..., Any] = build_task(
        dataclasses.replace(setup, teacher=build_seeded("mobilenet-iqa-small+mal1"))
    )
    assert len(task.called) == 2 and task.teacher is not None


@pytest.mark.slow
def test_msliqa_trains_a_head_for_each_zoom_and_keeps_the_best(
    labelled: Path, tmp_path: Path, capsys: Any
) -> None:
    run, checkpoint = tmp_path / "r", str(tmp_path / "r" / "best.safetensors")
    arguments = [
        "--recipe",
        "msliqa-both",
        "--data",
        "folder",
        str(labelled),
        "--size",
        "64x64",
        "--from-scratch",
    ]
    assert main([*arguments, "--out", str(run), "--set", "batch=8", "epochs=1", "lr=0.001"]) == 0
    with (run / "validation.csv").open() as file:
        (row,) = csv.DictReader(file)
    model, spec = load(checkpoint)
    assert spec.name == "msliqa-both" and len(model.heads) == 4
    assert int(model.choice.argmax()) == int(float(row["head"])) and float(model.choice.sum()) == 1
    capsys.readouterr()
    scores = {}
    for flags in ((), ("--tta",)):
        assert score([str(labelled / "p5_1.png"), "--model", checkpoint, "--format", "json", *flags]) == 0
        summary = json.loads(capsys.readouterr().out)
        scores[flags] = summary["results"][0]["score"]
        assert ("mean over patches" in summary["note"]) == bool(flags)
    predict = lambda images: model.score_patches(torch.from_numpy(images)).numpy()  # noqa: E731
    with torch.no_grad():
        expected = patches.score(
            Image.open(labelled / "p5_1.png").convert("RGB"), predict, *_moments(spec)
        ).score
    assert scores[("--tta",)] == pytest.approx(expected, rel=1e-6) and scores[()] != scores[("--tta",)]


def _moments(spec: Any) -> tuple[Any, Any]:
    return spec.inputs[0].mean, spec.inputs[0].std


def test_a_quantile_of_predicted_votes_is_the_ratings_models(
    labelled: Path, tmp_path: Path, capsys: Any
) -> None:
    photo = str(labelled / "p5_1.png")
    assert score([photo, "--model", "lar-iqa-single+votes", "--quantile", "0.1", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    law = fit("logit-logistic", np.array(row["votes"]) * 100)
    assert row["at_least"] == pytest.approx(float(quantile("logit-logistic", law.parameters, 0.1)), rel=1e-6)
    assert row["score"] == pytest.approx(float(np.dot(row["votes"], np.arange(5)) / 4), rel=1e-6)
    assert score([photo, "--model", "lar-iqa-single+votes", "--quantile", "0.1"]) == 0
    table = capsys.readouterr().out
    assert "90% of the viewers see at least this" in table and f"{row['at_least']:.3f}" in table
    assert score([photo, "--model", "lar-iqa-single+votes", "--quantile", "0.1", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "image,score,at_least,error,note,settings"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--model", "lar-iqa-single", "--quantile", "0.1"), "a model of votes"),
        (("--model", "lar-iqa-single+votes", "--quantile", "1"), "between 0 and 1"),
        (("--model", "lar-iqa-kan", "--tta"), "leave --tta out"),
        (("--tta",), "leave --tta out"),
        (("--color-space", "hsv"), "leave --color-space out"),
        (("--model", "lar-iqa-single", "--device", "tpu"), "correct --device"),
        (("--device", "cuda"), "leave --device out"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    labelled: Path, more: tuple[str, ...], words: str, capsys: Any
) -> None:
    assert score([str(labelled / "p5_1.png"), *more]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
