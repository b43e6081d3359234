import numpy as np
import pytest

from mobileiqa.distortions.spatial import color_block, jitter, non_eccentricity_patch, pixelate


@pytest.fixture
def places():
    """Every pixel's colour says where it is: red its row, green its column."""
    y, x = np.mgrid[:256, :256]
    return np.stack([y, x, np.zeros_like(x)], axis=-1).astype(np.uint8)


SLOPE = 4  # bytes per pixel


def displacements(sigma: float) -> np.ndarray:
    """(pixels, 2): how far down and across jitter read a picture that rises evenly in both directions."""
    y, x = np.mgrid[:60, :60] * SLOPE
    ramp = np.stack([y, x, np.full_like(x, 128)], axis=-1).astype(np.uint8)
    moved = (jitter(ramp, sigma, np.random.default_rng(0)).astype(float) - ramp)[8:-8, 8:-8] / SLOPE
    assert not moved[..., 2].any()
    return moved[..., :2].reshape(-1, 2)


def test_small_jitter_adds_up_five_normal_displacements():
    moved = displacements(0.2)
    rounding = 1 / 12 / SLOPE**2
    assert moved.var(0).mean() - rounding == pytest.approx(5 * 0.2**2, rel=0.07)
    assert np.abs(moved.mean(0)).max() < 0.04
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.1


@pytest.mark.parametrize("sigma", [0.5, 1])
def test_large_jitter_loses_some_of_it_to_interpolation(sigma):
    assert 0.7 * np.sqrt(5) * sigma < displacements(sigma).std() < np.sqrt(5) * sigma


def test_one_patch_is_sixteen_pixels_square_and_moves_eight_at_most(places):
    moves = []
    for seed in range(200):
        out = non_eccentricity_patch(places, 1, np.random.default_rng(seed))
        changed = (out != places).any(-1)
        if not changed.any():
            moves.append((0, 0))  # the move may be none at all
            continue
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert (np.ptp(rows), np.ptp(columns)) == (15, 15)
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        move = (out.astype(int) - places)[box][..., :2]
        assert (move == move[0, 0]).all()
        moves.append(tuple(move[0, 0]))
    assert np.abs(moves).max() == 8
    assert len(set(moves)) > 100


@pytest.mark.parametrize("count", [20, 40, 60, 80, 100])
def test_patches_are_as_many_as_said(places, count):
    out = non_eccentricity_patch(places, count, np.random.default_rng(0))
    area = (out != places).any(-1).sum()
    share = 1 - (1 - 256 / 256**2) ** count  # of the picture, where patches fall independently
    assert area == pytest.approx(share * 256**2, rel=0.15)


@pytest.mark.parametrize("strength", [0.01, 0.05, 0.1, 0.2, 0.5])
def test_pixelate_leaves_so_many_rows_and_columns(places, rng, strength):
    out = pixelate(places, strength, rng)
    kept = int(np.ceil((0.95 - strength**0.6) * 256))
    assert len(np.unique(out[..., 0])) == len(np.unique(out[..., 1])) == kept
    assert np.abs(out.astype(int) - places).max() <= 1 / (0.95 - strength**0.6) + 1


def test_one_block_is_thirty_two_pixels_square_and_of_one_colour(places):
    corners, colors = [], []
    for seed in range(100):
        out = color_block(places, 1, np.random.default_rng(seed))
        changed = (out != places).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert (np.ptp(rows), np.ptp(columns)) == (31, 31)
        block = out[rows[0] : rows[0] + 32, columns[0] : columns[0] + 32]
        assert (block == block[0, 0]).all()
        corners.append((rows[0], columns[0]))
        colors.append(block[0, 0])
    assert np.ptp(corners, axis=0).min() > 180  # of 224
    assert np.ptp(colors, axis=0).min() > 220


@pytest.mark.parametrize("count", [2, 4, 6, 8, 10])
def test_blocks_are_as_many_as_said(photo, count):
    rgb = np.asarray(photo(0, 512, 384))
    areas = [(color_block(rgb, count, np.random.default_rng(s)) != rgb).any(-1).sum() for s in range(12)]
    assert max(areas) <= count * 32**2
    assert np.mean(areas) > 0.9 * count * 32**2
