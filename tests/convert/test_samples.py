"""Generated images: deterministic, of many kinds, photo sized."""

import numpy as np

from convert.samples import KINDS, SIZES, sample_images


def test_equal_seeds_give_equal_images_and_others_do_not():
    first, again, other = sample_images(7, 3), sample_images(7, 3), sample_images(7, 4)
    assert [name for name, _ in first] == [name for name, _ in again]
    assert all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(first, again, strict=True))
    assert all(a.tobytes() != b.tobytes() for (_, a), (_, b) in zip(first, other, strict=True))


def test_kinds_and_sizes_vary():
    images = sample_images(len(KINDS))
    assert len({name for name, _ in images}) == len(KINDS)
    assert {image.size for _, image in images} == set(SIZES)
    assert all(image.mode == "RGB" for _, image in images)


def test_none_is_flat_and_sharpness_differs():
    detail = {}
    for name, image in sample_images(len(KINDS)):
        pixels = np.asarray(image, np.float64)
        assert pixels.std() > 10, name
        detail[name.partition("-")[0]] = np.abs(np.diff(pixels, axis=1)).mean()
    assert detail["blurred"] < detail["shapes"] < detail["waves"] < detail["noise"]
