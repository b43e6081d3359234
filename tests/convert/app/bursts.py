"""A burst for the app libraries, and what `mobileiqa best` makes of it: the same order, shifts and measures there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mobileiqa.best import Ranked, rank
from mobileiqa.loaded_model import LoadedModel
from mobileiqa.photos.generated_images import photo_like

SIZE, MARGIN = (820, 560), 18


def burst_photos() -> dict[str, Image.Image]:
    """Cuts of one scene: as it is, softer, noisier, darker, shaken, with half of it clipped; another scene and size."""
    rng = np.random.default_rng(2)
    scene = np.full((SIZE[1] + 2 * MARGIN, SIZE[0] + 2 * MARGIN, 3), 110, np.uint8)
    scene[:, SIZE[0] // 2 :] = 60
    for _ in range(60):
        y, x = int(rng.integers(0, SIZE[1])), int(rng.integers(0, 300))
        scene[y : y + int(rng.integers(4, 60)), x : x + int(rng.integers(4, 60))] = rng.integers(30, 225, 3)
    whole = Image.fromarray(scene)
    shaken = np.mean([np.roll(scene.astype(np.float32), i, 1) for i in range(4)], axis=0)
    versions = {
        "soft": whole.filter(ImageFilter.GaussianBlur(0.7)),
        "sharp": whole,
        "grainy": Image.fromarray((scene + rng.normal(0, 5, scene.shape)).clip(0, 255).astype(np.uint8)),
        "dark": whole.point(lambda value: value * 0.75),
        "clipped": whole.point(lambda value: min(value * 2.4, 255)),
        "shaken": Image.fromarray(shaken.astype(np.uint8)),
    }
    photos = {}
    for name, version in versions.items():
        left, top = (int(each) for each in rng.integers(0, 2 * MARGIN, 2))
        part = np.asarray(version.crop((left, top, left + SIZE[0], top + SIZE[1])))
        noisy = part + rng.normal(0, 1.5, part.shape)
        photos[name] = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
    return {**photos, "other": photo_like(9, *SIZE), "small": photo_like(9, 90, 70)}


def expected(photos: Mapping[str, Image.Image], scorer: LoadedModel) -> tuple[list[Ranked], dict[str, str]]:
    """Python's ranking; the sharp one is kept, so that a test with it can fail."""
    rows, left_out = rank(list(photos.items()), scorer)
    assert rows[0].image == "sharp" and set(left_out) == {"other", "small"}
    return rows, left_out


def rows_of(lines: Sequence[str]) -> list[dict[str, Any]]:
    """What a program prints of each photo: INDEX MARGIN RIGHT DOWN DETAIL NOISE STOPS SCORE WHY."""
    rows = []
    for line in lines:
        index, margin, right, down, *figures, why = line.split(" ", 8)
        row = {"index": index, "margin": float(margin), "shift": (int(right), int(down)), "why": why}
        rows.append(
            {**row, **dict(zip(("detail", "noise", "stops", "score"), map(float, figures), strict=True))}
        )
    return rows


def check_ranking(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    ranked: Sequence[Ranked],
    score: float,
    figures: float = 1e-4,
) -> None:
    """Rows of an app, the best first, are Python's: order, shifts, words; score and figures within these."""
    assert [names[int(row["index"])] for row in rows] == [each.image for each in ranked]
    for row, python in zip(rows, ranked, strict=True):
        assert tuple(row["shift"]) == python.shift and row["why"] == python.why, (row, python)
        assert row["score"] == pytest.approx(python.measure.score, abs=score)
        for name in ("detail", "noise", "stops"):
            assert row[name] == pytest.approx(getattr(python.measure, name), abs=figures), (name, row)
        assert row["margin"] == pytest.approx(python.margin, abs=2 * figures + 4 * score)
