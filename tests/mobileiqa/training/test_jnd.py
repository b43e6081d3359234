"""The JND map's known values, and the noise made of it."""

import numpy as np
import pytest

from mobileiqa.training.jnd import jnd_map, jnd_mix, luminance_adaptation, texture_masking


def grey(values: np.ndarray) -> np.ndarray:
    """(H, W) -> uint8 (H, W, 3)."""
    return np.repeat(values.round().clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def flat(level: int, height: int = 40, width: int = 50) -> np.ndarray:
    return grey(np.full((height, width), float(level)))


def picture(seed: int = 0) -> np.ndarray:
    """Smooth shading, an edge and a noisy quarter."""
    y, x = np.mgrid[0:80, 0:96]
    shade = np.stack([40 + x, 200 - 1.5 * y, 90 + 0.5 * (x + y)], -1) + 70.0 * (x > 60)[..., None]
    shade[40:, :48] += np.random.default_rng(seed).normal(0, 25, (40, 48, 3))
    return shade.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("level", "threshold"),
    [(0, 20.0), (127, 3.0), (128, 3 + 3 / 128), (255, 6.0), (32, 17 * (1 - (32 / 127) ** 0.5) + 3)],
)
def test_flat_fields_have_chou_and_lis_thresholds(level: int, threshold: float):
    assert np.allclose(jnd_map(flat(level)), threshold, atol=1e-4)
    assert texture_masking(flat(level)[..., 0]).max() == 0


def test_the_surroundings_count_and_the_pixel_itself_does_not():
    luma = np.full((9, 9), 127, np.uint8)
    luma[4, 4] = 255
    result = luminance_adaptation(luma)
    assert result[4, 4] == pytest.approx(3, abs=1e-4)
    near, far = 3 + 3 / 128 * 128 * 2 / 32, 3 + 3 / 128 * 128 * 1 / 32
    assert result[4, 5] == pytest.approx(near, abs=1e-4) and result[4, 6] == pytest.approx(far, abs=1e-4)
    assert result[0, 0] == pytest.approx(3, abs=1e-4)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize(("slope", "diagonal", "gradient"), [(5, False, 2 * 5), (3, True, 3.25 * 3)])
def test_a_gentle_ramp_has_the_threshold_of_its_slope(slope: int, diagonal: bool, gradient: float, turn: int):
    """The straight filters' sides are 2 px apart; along the diagonal theirs see 52/16 of a step in x and y."""
    y, x = np.mgrid[0:40, 0:40]
    ramp = np.rot90(20.0 + slope * (x + diagonal * y), turn)
    level = ramp[5:-5, 5:-5]
    adaptation = np.where(level <= 127, 17 * (1 - np.sqrt(level / 127)) + 3, 3 / 128 * (level - 127) + 3)
    texture = 0.117 * gradient  # the smaller of the two everywhere
    assert np.allclose(jnd_map(grey(ramp))[5:-5, 5:-5], adaptation + 0.7 * texture, atol=1e-3)


def test_texture_hides_more_than_a_flat_field_and_more_than_a_clear_edge():
    noise = np.random.default_rng(0).normal(127, 30, (64, 64))
    steps = np.where(np.arange(64)[None] < 32, 97.0, 157.0) * np.ones((64, 1))
    assert np.median(jnd_map(grey(noise))) > 1.5 * np.median(jnd_map(flat(127)))
    gradient = 0.117 * 60  # of the step, where no edge is found
    on_edge = texture_masking(grey(steps)[..., 0])[10:-10, 31:33]
    assert on_edge.min() < 0.6 * gradient and on_edge.max() < 0.85 * gradient


def test_stronger_texture_hides_more():
    y, x = np.mgrid[0:64, 0:64]
    hidden = [
        texture_masking(grey(127 + a * np.sin(x / 3) * np.sin(y / 3))[..., 0]).mean() for a in (5, 10, 20)
    ]
    assert hidden[0] < 0.6 * hidden[1] < 0.6 * hidden[2]


def test_changes_never_exceed_the_map_and_use_it():
    rgb = picture()
    change = jnd_mix(rgb, np.random.default_rng(0)).astype(int) - rgb
    bound = jnd_map(rgb)
    assert (np.abs(change) <= bound[..., None]).all()
    inside = (rgb > 30).all(-1) & (rgb < 225).all(-1)
    assert inside.mean() > 0.5
    assert (np.abs(change)[inside] == np.floor(bound)[inside][:, None]).all()
    signs = np.sign(change[inside])[np.floor(bound)[inside] > 0]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs((signs[:, one] * signs[:, other]).mean()) < 0.1, "R, G and B have signs of their own"


def test_signs_are_even_and_independent():
    rgb = flat(90, 200, 200)
    sign = np.sign(jnd_mix(rgb, np.random.default_rng(3)).astype(int) - rgb)[..., 0]
    assert abs(sign.mean()) < 4 / 200  # four standard deviations of 40,000 fair coins
    assert abs((sign[:, 1:] * sign[:, :-1]).mean()) < 4 / 200


def test_black_and_white_are_clipped_not_wrapped():
    black, white = (jnd_mix(flat(level), np.random.default_rng(0)) for level in (0, 255))
    assert set(np.unique(black)) == {0, 20} and set(np.unique(white)) == {249, 255}


def test_the_generator_decides_and_the_input_is_kept():
    rgb = picture()
    before = rgb.copy()
    first, again, other = (jnd_mix(rgb, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (rgb == before).all() and first.dtype == np.uint8
    assert (first == again).all() and (first != other).any()


def test_tiny_images_work():
    assert jnd_mix(flat(127, 1, 1), np.random.default_rng(0)).shape == (1, 1, 3)
