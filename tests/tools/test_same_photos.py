"""Training photos that a test set shows, too, in the disguises that a copy has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tools.same_photos import main

Photo = Callable[..., Image.Image]


@pytest.fixture
def folders(tmp_path: Path, photo: Photo) -> tuple[Path, Path]:
    train, test = tmp_path / "train", tmp_path / "test"
    train.mkdir()
    test.mkdir()
    for seed in range(4):
        photo(seed, 256, 192).save(train / f"t{seed}.png")
    photo(9, 256, 192).save(test / "t0.png")  # equal names prove nothing
    return train, test


def small(image: Image.Image) -> Image.Image:
    return image.resize((170, 128), Image.Resampling.LANCZOS)


@pytest.mark.parametrize(
    ("name", "change", "options"),
    [
        ("copy.png", lambda image: image, {}),
        ("copy.jpg", lambda image: image, {"quality": 50}),
        ("copy.png", small, {}),
        ("copy.jpg", small, {"quality": 80}),
        ("copy.webp", lambda image: image, {"lossless": True}),
    ],
)
def test_a_copy_is_named(
    name: str, change: Callable, options: dict, folders: tuple[Path, Path], photo: Photo, capsys: Any
) -> None:
    train, test = folders
    change(photo(2, 256, 192)).save(test / name, **options)
    assert main([str(train), "--held-out", str(test)]) == 0
    output = capsys.readouterr()
    assert output.out.split() == ["t2.png"] and "left out: t2.png" in output.err
    assert name in output.err


def test_nothing_in_common_prints_nothing(folders: tuple[Path, Path], capsys: Any) -> None:
    train, test = folders
    assert main([str(train), "--held-out", str(test)]) == 0
    assert capsys.readouterr().out == ""


def test_a_folder_that_is_not_there_is_one_line(folders: tuple[Path, Path], capsys: Any) -> None:
    assert main([str(folders[0]), "--held-out", str(folders[1] / "no")]) == 2
    assert len(capsys.readouterr().err.splitlines()[-1:]) == 1


def test_the_reference_leaves_out_the_copy_in_the_test_set(capsys: Any) -> None:
    pristine = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pristine"
    if not pristine.is_dir():
        pytest.skip("no ../shared/data/pristine beside the checkout; test_a_copy_is_named stands in")
    folders = [str(pristine / name) for name in ("train", "large_train")]
    assert main([*folders, "--held-out", str(pristine / "val"), str(pristine / "large_val")]) == 0
    assert capsys.readouterr().out.split() == ["3316926_opo25u.png"]
