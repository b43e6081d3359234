"""The map of where a photo loses quality."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mobileiqa import explain
from mobileiqa.photos.search import search_images
from mobileiqa.score import LoadedModel
from mobileiqa.spec import InputSpec, ModelSpec

SPEC = ModelSpec("detail", (InputSpec("image", 64, 64),), trained_on="noise", reasons=("blur", "none"))


def detail(inputs) -> dict[str, np.ndarray]:
    """A model that likes detail: 0..1 by the differences of neighbours."""
    share = min(1.0, float(np.abs(np.diff(inputs["image"])).mean()) * 2)
    return {"score": np.array([share]), "reasons": np.array([[1 - share, share]])}


@pytest.fixture
def scorer() -> LoadedModel:
    return LoadedModel(detail, SPEC, "test")


def half_blurred(photo) -> Image.Image:
    picture = photo(0, 640, 480)
    picture.paste(picture.crop((320, 0, 640, 480)).filter(ImageFilter.GaussianBlur(12)), (320, 0))
    return picture


def test_the_blurred_half_is_where_the_photo_loses(scorer: LoadedModel, photo) -> None:
    picture = half_blurred(photo)
    parts = explain.explain(picture, scorer)
    assert explain.grid_of(640, 480) == (8, 6) and len(parts) == 48
    scores = np.array([part.score for part in parts]).reshape(6, 8)
    assert (scores[:, 6:] < scores[:, :2]).all()
    shown = np.asarray(explain.draw(picture, parts, scorer)).astype(int)
    redder = shown[:, :, 0] - np.asarray(picture).astype(int)[:, :, 0]
    assert redder[:, 500:].mean() > redder[:, :140].mean()
    worst = min(parts, key=lambda part: part.score)
    assert worst.left >= 240 and explain.described(worst) == f"{worst.score:.2f} blur ({1 - worst.score:.2f})"


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (64, 64), (20, 30), (1, 1), (5000, 70), (333, 977)])
def test_parts_cover_the_photo_and_stay_inside(size: tuple[int, int]) -> None:
    covered = np.zeros(size[::-1], bool)
    for left, top, width, height in explain.part_boxes(*size):
        assert left >= 0 and top >= 0 and left + width <= size[0] and top + height <= size[1]
        covered[top : top + height, left : left + width] = True
    assert covered.all()


def test_the_command_draws_a_picture_that_no_search_scores(
    scorer: LoadedModel, photo, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(explain, "load_scorer", lambda *_: scorer)
    half_blurred(photo).save(tmp_path / "a.png")
    command = [str(tmp_path / "a.png"), "--out", str(tmp_path / "map.png")]
    assert explain.main(command) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(result["parts"]) == 48 and result["worst"]["left"] >= 240
    assert Image.open(tmp_path / "map.png").size == (640, 480)
    assert [path.name for path in search_images([tmp_path]).images] == ["a.png"]
    assert explain.main(command) == 2 and "--force" in capsys.readouterr().err
    assert explain.main([*command[:2], str(tmp_path / "map.jpg")]) == 2


def test_opinions_of_mobile_iqa_are_drawn_and_compared(photo, tmp_path: Path, capsys) -> None:
    photo(0, 600, 520).save(tmp_path / "a.png")
    out = tmp_path / "opinions.png"
    assert explain.main([str(tmp_path / "a.png"), "--model", "mobilenet-iqa-small", "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    similarities = np.array(result["cosine_similarity"])
    np.testing.assert_allclose(similarities.diagonal(), 1)
    assert similarities.shape == (3, 3) and (similarities == similarities.T).all()
    assert similarities[0, 1] < 0.999  # seeded weights differ, and so do their opinions
    pixels = np.asarray(Image.open(out)).reshape(512, 4, 512, 3)
    assert len({pixels[:, panel].tobytes() for panel in range(4)}) == 4


def test_equal_and_opposite_opinions() -> None:
    one = np.random.default_rng(0).normal(size=(256, 4, 4)).astype(np.float32)
    similarities = explain.cosine_similarities(np.stack([one, 2 * one, -one]))
    np.testing.assert_allclose(similarities, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-6)
