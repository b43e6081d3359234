"""Training pixels: from files, from pristine images, from packs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.distortions.kadid10k import distort
from mobileiqa.errors import UserError
from mobileiqa.spec import ColorManagement
from mobileiqa.training import pixel_sources
from mobileiqa.training.pixel_sources import crop, source, synthetic

SEVERITY = {(1, 2): 4.4, (1, 5): 1.3, (10, 3): 3.87}


@pytest.fixture
def pristine(photo: Callable[..., Image.Image], tmp_path: Path) -> Path:
    folder = tmp_path / "pristine"
    folder.mkdir()
    for seed in range(10):
        photo(seed, 72, 64).save(folder / f"p{seed}.png")
    return folder


def test_every_distortion_of_every_image_with_its_transferred_score(pristine: Path) -> None:
    samples = synthetic(pristine, SEVERITY, seed=1, share=0.2)
    assert len(samples.samples) == 30 and len(samples.of("validation")) == 6
    for sample in samples.samples:
        assert sample.raw_score == SEVERITY[sample.distortion, sample.level]
        assert sample.score == pytest.approx((sample.raw_score - 1) / 4)
    assert not {s.reference for s in samples.of("train")} & {s.reference for s in samples.of("validation")}
    assert samples.score_name == "transferred KADID score"


def test_excluded_images_are_in_no_split_and_the_rest_stays_where_it_was(pristine: Path) -> None:
    whole = synthetic(pristine, SEVERITY, seed=1, share=0.2)
    less = synthetic(pristine, SEVERITY, seed=1, share=0.2, exclude=["p3.png", "p7.png"])
    assert [s for s in whole.samples if s.reference not in ("p3", "p7")] == list(less.samples)
    with pytest.raises(UserError, match=r"leave out.*p99\.png.*--exclude"):
        synthetic(pristine, SEVERITY, seed=1, exclude=["p3.png", "p99.png"])


def test_pixels_are_distorted_when_read(pristine: Path) -> None:
    samples = synthetic(pristine, SEVERITY, seed=1)
    train = samples.of("train")
    read = source(samples, train, None, 0)
    for index in (0, 1, 2):
        clean = np.asarray(Image.open(train[index].path).convert("RGB"))
        expected = distort(clean, train[index].distortion, train[index].level)
        assert np.array_equal(read(index), expected) and not np.array_equal(expected, clean)


def test_whole_images_are_kept_as_they_are_read(pristine: Path, tmp_path: Path, monkeypatch: Any) -> None:
    samples = synthetic(pristine, SEVERITY, seed=1)
    train = samples.of("train")[:4]
    cached, plain = (source(samples, train, cache, 0) for cache in (tmp_path / "cache", None))
    assert not list((tmp_path / "cache").iterdir())
    assert all(np.array_equal(cached(i), plain(i)) for i in range(4))
    monkeypatch.setattr(pixel_sources, "load_image", lambda *_: pytest.fail("decoded again"))
    again = source(samples, train, tmp_path / "cache", 0)
    assert again(2).shape == (64, 72, 3) and len(list((tmp_path / "cache").glob("*.npy"))) == 4


def test_a_pack_holds_a_window_of_each_image_and_is_made_once(pristine: Path, tmp_path: Path) -> None:
    samples = synthetic(pristine, SEVERITY, seed=1)
    train = samples.of("train")[:4]
    packed, plain = source(samples, train, tmp_path / "cache", 48), source(samples, train, None, 0)
    for index in range(4):
        window, whole = np.asarray(packed(index)), plain(index)
        views = np.lib.stride_tricks.sliding_window_view(whole, (48, 48, 3))
        assert (views == window).all((-3, -2, -1)).any()
    (file,) = (tmp_path / "cache").iterdir()
    output = file.stat().st_mtime_ns
    source(samples, train, tmp_path / "cache", 48)
    assert file.stat().st_mtime_ns == output
    source(samples, train, tmp_path / "cache", 40)  # another window is another pack
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_changed_image_makes_a_new_pack(
    pristine: Path, tmp_path: Path, photo: Callable[..., Image.Image]
) -> None:
    samples = synthetic(pristine, SEVERITY, seed=1)
    source(samples, samples.of("train")[:3], tmp_path / "cache", 32)
    photo(99, 80, 80).save(samples.of("train")[0].path)
    source(samples, samples.of("train")[:3], tmp_path / "cache", 32)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_an_interrupted_pack_leaves_nothing(pristine: Path, tmp_path: Path) -> None:
    samples = synthetic(pristine, SEVERITY, seed=1)
    train = samples.of("train")
    train[-1].path.write_bytes(b"no image")
    with pytest.raises(UserError):
        source(samples, train, tmp_path / "cache", 32)
    assert not list((tmp_path / "cache").iterdir())


def test_files_of_another_set_are_read_as_they_are(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    photo(1, 64, 64).save(tmp_path / "a.png")
    sample = Sample(tmp_path / "a.png", 0.5, 3.0, "train", "a", 10, 5)
    result = Dataset("kadid-10k", (sample,), (1.0, 5.0), "DMOS", "")
    assert np.array_equal(source(result, (sample,), None, 0)(0), np.asarray(photo(1, 64, 64)))


def test_a_crop_of_a_small_image_is_mirrored() -> None:
    pixels = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)
    window = crop(pixels, 6, np.random.default_rng(0))
    assert window.shape == (6, 6, 3)
    assert np.array_equal(window[:4, :3], pixels)
    assert np.array_equal(window[4], window[3]) and np.array_equal(window[:, 3], window[:, 2])


def test_two_images_of_one_name_are_refused(pristine: Path) -> None:
    (pristine / "more").mkdir()
    Image.new("RGB", (64, 64)).save(pristine / "more" / "p1.png")
    with pytest.raises(UserError, match="different file names"):
        synthetic(pristine, SEVERITY, seed=1)


def test_a_pack_of_other_decoding_is_not_found(pristine: Path, tmp_path: Path, monkeypatch) -> None:
    dataset = synthetic(pristine, SEVERITY, seed=1)
    train = dataset.of("train")[:2]
    for count, (colors, code) in enumerate(
        [(ColorManagement.SRGB, "one"), (ColorManagement.AS_STORED, "one"), (ColorManagement.SRGB, "two")], 1
    ):
        monkeypatch.setattr(pixel_sources, "decoding_sha256", lambda code=code: code)
        source(dataset, train, tmp_path / "cache", 32, colors)
        assert len(list((tmp_path / "cache").iterdir())) == count
