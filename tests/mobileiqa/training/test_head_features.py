"""Features of pictures that the head is tuned on: of which photos, and on which device."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

from mobileiqa.models.whole_photo import WholePhoto
from mobileiqa.photos.loading import read_pixels
from mobileiqa.training import head_features
from mobileiqa.training.damage_pack import Photos
from mobileiqa.training.head_features import HALF, POSES, Counts


def test_photos_that_validate_are_not_tuned_on_and_set_the_bonus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, paths = np.random.default_rng(0), [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    photos = Photos((paths[0], paths[1]), (paths[2],), frozenset({"b.png", "c.png"}))
    read, groups = [], head_features._groups
    monkeypatch.setattr(
        head_features, "read_pixels", lambda path, _: read.append(path.name) or read_pixels(path, _)
    )
    monkeypatch.setattr(head_features, "_features", lambda *_: (torch.ones(POSES, HALF),) * 2)
    rows = groups(*photos.trained, {(1, 1): 0.5}, SimpleNamespace(train=[]), Counts(), rng)
    assert len(list(rows)) == 2 and set(read) == {"a.png"}  # under cells, and pristine
    read.clear()
    unseen = head_features.unseen_features(WholePhoto(), photos.unseen, 0)
    assert read == ["b.png", "c.png"] and unseen.shape == (2 * 5 * POSES, 2 * HALF)


def test_features_are_read_on_the_models_device_and_come_back() -> None:
    rng = np.random.default_rng(0)
    views = (np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32, 3), np.uint8))
    with FakeTensorMode(allow_non_fake_inputs=True):  # computes places, types and shapes: no GPU is needed
        with torch.device("cuda"):
            model = WholePhoto().eval()
        overviews, fragments = head_features._features(model, views, rng)
    assert overviews.shape == fragments.shape == (POSES, HALF)
    assert overviews.device.type == fragments.device.type == "cpu"
