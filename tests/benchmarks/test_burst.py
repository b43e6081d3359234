"""Generated bursts: what is in one, what is counted, and a whole small run."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import burst
from benchmarks.burst import AIM, KINDS, ONE_SIDED, Count, burst_of, main, page
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.score import load_scorer
from tests.convert.conftest import FlatbufferBuilder
from tests.convert.packaging.conftest import TINY, write_tiny


def test_a_burst_has_the_photo_and_each_damage_in_one_size() -> None:
    photo = np.asarray(photo_like(0, 300, 200))
    for damages in (*KINDS.values(), *ONE_SIDED.values()):
        photos = burst_of(photo, damages, np.random.default_rng(0))
        again = burst_of(photo, damages, np.random.default_rng(0))
        assert {name for name, _ in photos} == {str(i) for i in range(len(damages) + 1)}
        assert {image.size for _, image in photos} == {(252, 152)}
        assert [(n, i.tobytes()) for n, i in photos] == [(n, i.tobytes()) for n, i in again]


def test_the_page_has_both_figures_and_keeps_what_does_not_count_apart(tmp_path: Path) -> None:
    model = write_tiny(FlatbufferBuilder(), tmp_path / "tiny.tflite", TINY)
    text = page([Path("a")], [Count("blur", 10, 9, 4)], [Count("dark", 10, 3, 5)], load_scorer(str(model)))
    assert "| blur | 9 of 10 | 4 of 10 |" in text and text.index("do not count") < text.index(
        "| dark | 3 of 10"
    )


def test_the_exit_says_whether_the_aim_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo_like(0, 90, 60).save(tmp_path / "a.png")
    model = write_tiny(FlatbufferBuilder(), tmp_path / "tiny.tflite", TINY)
    for right, code in ((20, 0), (19, 0), (18, 1)):
        monkeypatch.setattr(burst, "count", lambda *arguments, right=right: Count("kind", 20, right, 10))
        arguments = [
            "--photos",
            str(tmp_path / "a.png"),
            "--model",
            str(model),
            "--markdown",
            str(tmp_path / "p.md"),
        ]
        assert main(arguments) == code
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["right"] == right / 20
        (tmp_path / "p.md").unlink()
    assert AIM == 0.95


@pytest.mark.slow
def test_bursts_of_a_generated_scene_keep_the_right_photo(tmp_path: Path) -> None:
    model = write_tiny(FlatbufferBuilder(), tmp_path / "tiny.tflite", TINY)
    rng, pixels = np.random.default_rng(0), np.full((560, 720, 3), 110, np.uint8)
    for _ in range(60):
        y, x = int(rng.integers(0, 500)), int(rng.integers(0, 400))
        pixels[y : y + int(rng.integers(4, 60)), x : x + int(rng.integers(4, 60))] = rng.integers(30, 225, 3)
    burst.Image.fromarray(pixels).save(tmp_path / "scene.png")
    scorer = load_scorer(str(model))
    for kind, damages in KINDS.items():
        assert burst.count([tmp_path / "scene.png"], kind, damages, scorer, 0).compared == 1, kind
