"""Generated images: deterministic, of many kinds, photo sized."""

import numpy as np

from mobileiqa.photos.generated_images import PARITY_KINDS, PARITY_SIZES, sample_images


def test_equal_seeds_give_equal_images_and_others_do_not():
    first, again, other = sample_images(7, 3), sample_images(7, 3), sample_images(7, 4)
    assert [name for name, _ in first] == [name for name, _ in again]
    assert all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(first, again, strict=True))
    assert all(a.tobytes() != b.tobytes() for (_, a), (_, b) in zip(first, other, strict=True))


def test_kinds_and_sizes_vary():
    images = sample_images(len(PARITY_KINDS))
    assert len({name for name, _ in images}) == len(PARITY_KINDS)
    assert {image.size for _, image in images} == set(PARITY_SIZES)
    assert all(image.mode == "RGB" for _, image in images)


def test_none_is_flat_and_sharpness_differs():
    """Sharpness: second over first differences along rows; a step has 2, noise the square root of 3."""
    sharpness = {}
    for name, image in sample_images(len(PARITY_KINDS)):
        pixels = np.asarray(image, np.float64)
        assert pixels.std() > 10, name
        first, second = (np.abs(np.diff(pixels, order, axis=1)).mean() for order in (1, 2))
        sharpness[name.partition("-")[0]] = second / first
    assert sharpness["blurred"] < 0.5 < 1.4 < min(sharpness["noise"], sharpness["shapes"])
