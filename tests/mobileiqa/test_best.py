"""The keeper of a burst: shifts are undone to the pixel, what is worse loses, what is not of the scene is said."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mobileiqa.best import align, common_part, detail_and_noise, main
from mobileiqa.photos.generated_images import photo_like
from tests.convert.conftest import FlatbufferBuilder
from tests.convert.packaging.conftest import TINY, write_tiny

MARGIN = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small file that scores, so that the test is quick: it weighs little beside detail."""
    return str(write_tiny(FlatbufferBuilder(), tmp_path_factory.mktemp("model") / "tiny.tflite", TINY))


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """Shapes with sharp edges on a calm ground, so that there are places without detail."""
    rng = np.random.default_rng(0)
    pixels = np.full((520, 680, 3), 110, np.uint8)
    for _ in range(60):
        y, x = int(rng.integers(0, 460)), int(rng.integers(0, 340))
        pixels[y : y + int(rng.integers(4, 60)), x : x + int(rng.integers(4, 60))] = rng.integers(30, 225, 3)
    return Image.fromarray(pixels)


@pytest.fixture
def burst(scene: Image.Image, tmp_path: Path) -> Callable[..., Path]:
    """burst({name: change}): a folder of the scene, each photo cut out elsewhere, with noise of its own."""

    def write(photos: dict[str, Callable[[Image.Image], Image.Image]]) -> Path:
        rng, folder = np.random.default_rng(1), tmp_path / "burst"
        folder.mkdir(exist_ok=True)
        for name, change in photos.items():
            left, top = (int(each) for each in rng.integers(0, 2 * MARGIN, 2))
            width, height = scene.width - 2 * MARGIN, scene.height - 2 * MARGIN
            part = np.asarray(change(scene).crop((left, top, left + width, top + height)))
            noisy = part + rng.normal(0, 1.5, part.shape)
            Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
        return folder

    return write


def same(photo: Image.Image) -> Image.Image:
    return photo


def soft(photo: Image.Image) -> Image.Image:
    return photo.filter(ImageFilter.GaussianBlur(0.7))


def shaken(photo: Image.Image) -> Image.Image:
    pixels = np.asarray(photo).astype(np.float32)
    return Image.fromarray(np.mean([np.roll(pixels, i, 1) for i in range(4)], axis=0).astype(np.uint8))


def grainy(photo: Image.Image) -> Image.Image:
    pixels = np.asarray(photo) + np.random.default_rng(5).normal(0, 5, (photo.height, photo.width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def exposed(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda photo: photo.point(lambda value: value * factor)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict, str]:
    code = main(list(arguments))
    output = capsys.readouterr()
    return code, json.loads(output.out.splitlines()[-1]) if code != 2 or output.out else {}, output.err


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"soft": soft, "softer": lambda p: soft(soft(p))}, {"softer"}),
        ({"shaken": shaken}, {"softer"}),
        ({"grainy": grainy}, {"noisier"}),
        ({"dark": exposed(0.8), "bright": exposed(1.2)}, {"darker", "brighter"}),
        (
            {"soft": soft, "grainy": grainy, "shaken": shaken, "dark": exposed(0.75)},
            {"softer", "noisier", "darker"},
        ),
    ],
)
def test_the_photo_that_was_not_made_worse_is_kept(
    worse: dict, words: set[str], burst: Callable[..., Path], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = burst({"b": same, **worse})
    code, result, _ = run(capsys, str(folder), "--model", model)
    assert code == 0 and Path(result["best"]).stem == "b", result
    assert {row["why"] for row in result["results"][1:]} == words and result["results"][0]["why"] == ""
    assert [row["rank"] for row in result["results"]] == list(range(1, len(worse) + 2)) and not result[
        "left_out"
    ]


@pytest.mark.parametrize(
    ("shift", "size"),
    [
        *(((x, y), (700, 520)) for x, y in ((0, 0), (7, -3), (-19, 24), (60, 41))),
        *(((x, y), (230, 180)) for x, y in ((0, 0), (7, -3), (-19, 24))),
    ],
)
def test_shifts_are_found_to_the_pixel(shift: tuple[int, int], size: tuple[int, int]) -> None:
    wide = np.asarray(photo_like(3, size[0] + 200, size[1] + 200).convert("L"))
    first = wide[100 : 100 + size[1], 100 : 100 + size[0]]
    second = wide[100 - shift[1] : 100 - shift[1] + size[1], 100 - shift[0] : 100 - shift[0] + size[0]]
    result, correlation = align(first, second)
    assert result == shift and correlation > 0.9


def test_the_common_part_is_what_all_show() -> None:
    assert common_part([(0, 0), (5, -3), (-2, 4)], (100, 80)) == (2, 3, 95, 76)


def test_detail_falls_with_blur_and_with_noise(scene: Image.Image) -> None:
    parts = [np.asarray(each.convert("L")) for each in (scene, soft(scene), grainy(scene))]
    (sharp, calm), (blurred, _), (buried, noise) = detail_and_noise(parts)
    assert sharp > blurred > 0 and sharp > buried and calm < 0.5 and 1.5 < noise < 4


def test_other_scenes_and_sizes_are_left_out_and_said(
    burst: Callable[..., Path], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = burst({"a": same, "b": soft, "c": same})
    with Image.open(folder / "a.png") as image:
        photo_like(9, *image.size).save(folder / "other.png")
    photo_like(9, 90, 70).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, result, errors = run(capsys, str(folder), "--model", model)
    assert code == 0 and len(result["results"]) == 3
    reasons = {Path(name).stem: reason for name, reason in result["left_out"].items()}
    assert reasons["other"] == "of another scene" and reasons["small"] == "of another size (90x70)"
    assert set(reasons) == {"other", "small", "broken"} and errors.count("left out: ") == 3
    assert main([*(str(folder / f"{name}.png") for name in ("a", "b", "small")), "--model", model]) == 2


def test_one_photo_is_no_burst(
    burst: Callable[..., Path], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = burst({"a": same})
    assert main([str(folder), "--model", model]) == 2
    photo_like(4, 640, 480).save(folder / "z.png")
    assert main([str(folder), "--model", model]) == 2
    assert capsys.readouterr().err.count("two or more photos of one scene") == 2


def test_the_order_of_names_does_not_matter(
    burst: Callable[..., Path], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = burst({"a": soft, "b": same, "c": grainy})
    _, result, _ = run(capsys, str(folder), "--model", model)
    names = [str(folder / f"{name}.png") for name in "cba"]
    _, other, _ = run(capsys, *names, "--model", model)
    assert [row["image"] for row in result["results"]] == [row["image"] for row in other["results"]]
