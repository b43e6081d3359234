"""Objectives of single systems against their definitions, on small networks; tokens and originals in batches."""

import csv
import dataclasses
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa.datasets.registry import read
from mobileiqa.errors import UserError
from mobileiqa.models.fr_nr_transformer import FRNRTransformer, Layout
from mobileiqa.models.ms_scanet import MSSCANet
from mobileiqa.preprocess import prepare
from mobileiqa.training import initial_weights
from mobileiqa.training.data_loader import Feed, batches, labels_of, on_device
from mobileiqa.training.distributed import Processes
from mobileiqa.training.initial_weights import initialize
from mobileiqa.training.loop import _optimizer
from mobileiqa.training.loss_terms import Setup
from mobileiqa.training.objective import Batch, alone
from mobileiqa.training.objectives import build_task
from mobileiqa.training.recipe import learning_rate, recipe
from mobileiqa.training.run import Originals, Request, _feed
from mobileiqa.zoo import build, entry

CPU = torch.device("cpu")


def batch_of(*inputs: torch.Tensor) -> Batch:
    rest = (torch.zeros(len(inputs[0]), dtype=torch.int64),) * 4
    return Batch(inputs, torch.linspace(0.2, 0.8, len(inputs[0])), *rest)


def test_ms_scanet_brings_its_branches_mean_tokens_together() -> None:
    torch.manual_seed(0)
    model = MSSCANet(side_px=64, heads=2, width=8, squeezed=4, hidden=16, head=8).eval()
    batch = batch_of(torch.rand(3, 3, 64, 64))
    task = build_task(Setup(recipe("ms-scanet"), model, entry("ms-scanet").spec))
    with torch.no_grad():
        parts = task.loss(batch, alone)
        x, y, _ = model.forward_features(*batch.inputs)
        error = (model(*batch.inputs) - batch.score).abs().mean()
    apart = (x.mean(1) - y.mean(1)).square().mean()
    assert float(parts["loss"]) == pytest.approx(float(error + 0.5 * apart), rel=1e-5) and apart > 0


SMALL = Layout(side_px=64, embed=8, depths=(1, 1, 1, 1), heads=(1, 2, 2, 4), window=2, width=16, hidden=8)


def test_a_share_of_the_batches_has_the_originals_and_images_without_one_never() -> None:
    torch.manual_seed(0)
    model = FRNRTransformer(SMALL).eval()
    image, original = torch.rand(3, 3, 64, 64), torch.rand(3, 3, 64, 64)
    original[1] = image[1]  # has none
    batch, spec = batch_of(image, original), entry("fr-nr-transformer").spec
    with torch.no_grad():
        alone_scores, paired = model(image), model(image, original)
        expected = {
            0.0: alone_scores, 1.0: torch.stack([paired[0], alone_scores[1], paired[2]])
        }  # fmt: skip
        for share, scores in expected.items():
            changed = dataclasses.replace(recipe("fr-nr-transformer"), options=(("fr_share", share),))
            loss = build_task(Setup(changed, model, spec)).loss(batch, alone)["loss"]
            assert float(loss) == pytest.approx(float((scores - batch.score).square().mean()), rel=1e-4)
    assert not torch.allclose(alone_scores, paired)


@pytest.fixture
def pairs(photo: Callable[..., Image.Image], tmp_path: Path) -> Path:
    """Four images of two originals, which the images' pixels tell: 100 less."""
    rows = [("image", "score", "reference", "split")]
    for seed in range(2):
        pixels = np.maximum(np.asarray(photo(seed, 80, 72)), 100)
        Image.fromarray(pixels).save(tmp_path / f"r{seed}.png")
        for level in range(2):
            Image.fromarray(pixels - 100 + level).save(tmp_path / f"p{seed}{level}.png")
            rows.append((f"p{seed}{level}.png", level + 0.1 * seed, f"r{seed}.png", "train"))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def test_an_image_and_its_original_are_flipped_and_cropped_alike(pairs: Path) -> None:
    changed = dataclasses.replace(recipe("fr-nr-transformer"), batch=4, crop_px=32)
    spec = entry("fr-nr-transformer").spec
    feed = _feed([read("folder", pairs)], spec, Request(changed, ()))
    assert isinstance(feed.references, Originals)
    for _, (batch,) in batches(feed, 0, 3, Processes(), 0):
        image, original = (x.int() for x in batch.inputs)
        level = (100 - (original - image)).flatten(1)
        assert (level.min(1).values == level.max(1).values).all() and level.min() >= 0 and level.max() <= 1
        on_gpu = on_device(batch, spec, CPU)
        assert len(on_gpu.inputs) == 2 and on_gpu.inputs[1].dtype == torch.float32
    with pytest.raises(UserError, match="pristine originals"):
        without = dataclasses.replace(read("folder", pairs), reference_files={})
        _feed([without], spec, Request(changed, ()))


def test_tokens_of_photos_of_two_sizes_make_a_batch_that_scores_as_each_alone(
    photo: Callable[..., Image.Image],
) -> None:
    spec, changed = entry("musiq").spec, dataclasses.replace(recipe("musiq"), batch=2, flip_h=False)
    pixels = [np.asarray(photo(0, 64, 96)), np.asarray(photo(1, 130, 70))]
    samples = [read_sample(i) for i in range(2)]
    feed = Feed(lambda i: pixels[i], labels_of(samples), spec, changed)
    ((_, (batch,)),) = list(batches(feed, 0, 1, Processes(), 0))
    tokens = on_device(batch, spec, CPU).inputs[0]
    order = [int(score) for score in batch.score]
    for row, index in zip(tokens, order, strict=True):
        expected = torch.from_numpy(prepare(Image.fromarray(pixels[index]), spec)["tokens"][0])
        assert torch.equal(row[: len(expected)], expected) and not row[len(expected) :].any()
    few = dataclasses.replace(changed, options=(("native_patches", 3.0),))
    ((_, (batch,)),) = list(batches(dataclasses.replace(feed, recipe=few), 0, 1, Processes(), 0))
    native = batch.inputs[0][..., -2] == 2
    assert (native & (batch.inputs[0][..., -1] == 1)).sum(1).tolist() == [3, 3]


def read_sample(index: int):
    from mobileiqa.datasets.core import Sample

    return Sample(Path(f"{index}.png"), float(index), 0.0, "train")


def test_scores_of_0_to_100_are_trained_on_labels_of_0_to_1() -> None:
    class Constant(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.full((len(image),), 30.0)

    task = build_task(Setup(recipe("koncept512"), Constant(), entry("koncept512").spec))
    batch = batch_of(torch.rand(3, 3, 8, 8))
    assert float(task.loss(batch, alone)["loss"]) == pytest.approx(float((0.3 - batch.score).square().mean()))
    assert task.score(*batch.inputs).tolist() == pytest.approx([0.3] * 3)


def test_published_rates() -> None:
    koncept = recipe("koncept512")
    rates = [learning_rate(koncept, epoch * 9, 9) for epoch in (0, 39, 40, 59, 60, 69)]
    assert rates == pytest.approx([1e-4, 1e-4, 2e-5, 2e-5, 1e-5, 1e-5])
    model = FRNRTransformer(SMALL)
    rest, encoder = _optimizer(model, recipe("fr-nr-transformer")).param_groups
    assert encoder["share"] == 0.1 and "share" not in rest
    assert len(encoder["params"]) == len(list(model.encoder.parameters()))


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
def test_a_closed_network_is_not_asked_again_and_again(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on the port, of the hub or of the proxy to it: one refusal, and then the cache."""
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "ENDPOINT", "https://huggingface.co" if proxy else "https://127.0.0.1:9")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, proxy if name.lower() == "https_proxy" else "")
    initial_weights.stay_offline_where_closed()
    assert hub.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as hub

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # 501: it knows no method
        Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        initial_weights.stay_offline_where_closed()
    assert not hub.HF_HUB_OFFLINE


def test_a_system_without_a_backbone_of_its_own_says_how_to_start() -> None:
    with pytest.raises(UserError, match="--from-scratch for ms-scanet"):
        initialize(MSSCANet(side_px=64, heads=2, width=8), "ms-scanet", (), from_scratch=False)
    with torch.device("meta"):
        assert initial_weights._kind(build("koncept512")) == "inception_resnet_v2"
