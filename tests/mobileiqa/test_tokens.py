"""MUSIQ's tokens against PyTorch's own resize and unfold, and what `prepare` makes of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa.errors import UserError
from mobileiqa.preprocess import fit_pixels, prepare
from mobileiqa.spec import Fit, InputSpec, ModelSpec, Resample
from mobileiqa.tokens import cells, multi_scale, resized

SIDES = (224, 384)
HALF = (0.5, 0.5, 0.5)


def spec(**fields) -> ModelSpec:
    size = {"height_px": 8192, "width_px": 8192, "scales_px": SIDES, **fields}
    return ModelSpec("m", (InputSpec("tokens", fit=Fit.MULTI_SCALE, mean=HALF, std=HALF, **size),))


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (3, height, width))


def independent(pixels: np.ndarray, sides: tuple[int, ...], padded: bool) -> np.ndarray:
    """The same tokens by F.interpolate, F.pad, F.unfold and a nearest resize of the ten cells."""
    functional = torch.nn.functional
    native = torch.from_numpy(pixels)[None]
    height, width = pixels.shape[1:]
    rows = []
    for scale, side in enumerate((*sides, None)):
        x = native
        if side is not None:
            ratio = side / max(height, width)
            size = (round(height * ratio), round(width * ratio))
            x = functional.interpolate(native, size, mode="bicubic", align_corners=False, antialias=False)
        (h, w) = x.shape[2:]
        right, below = -w % 32, -h % 32
        x = functional.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
        patches = functional.unfold(x, 32, stride=32)[0].T
        ten = torch.arange(10, dtype=torch.float32)[None, None]
        down, across = (
            functional.interpolate(ten, n, mode="nearest")[0, 0] for n in (-(-h // 32), -(-w // 32))
        )
        place = (down[:, None] * 10 + across[None]).reshape(-1, 1).double()
        marks = torch.tensor([[float(scale), 1.0]], dtype=torch.float64).expand(len(place), 2)
        tokens = torch.cat([patches, place, marks], 1)
        if padded and side is not None:
            tokens = functional.pad(tokens, (0, 0, 0, (-(-side // 32)) ** 2 - len(tokens)))
        rows.append(tokens)
    return torch.cat(rows).numpy()


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize(("height", "width"), [(205, 317), (64, 64), (100, 31), (33, 700), (1, 40)])
def test_tokens_are_pytorchs(height: int, width: int, padded: bool):
    pixels = image(height, width)
    tokens = multi_scale(pixels, SIDES, padded=padded)
    np.testing.assert_allclose(tokens, independent(pixels, SIDES, padded), rtol=0, atol=1e-12)


def test_dropping_padding_drops_exactly_the_empty_tokens():
    pixels = image(205, 317)
    padded, plain = multi_scale(pixels, SIDES, padded=True), multi_scale(pixels, SIDES)
    assert len(padded) == 49 + 144 + 70 and padded[:, -1].sum() == len(plain) == 201
    np.testing.assert_array_equal(padded[padded[:, -1] == 1], plain)
    assert not padded[padded[:, -1] == 0].any()


@pytest.mark.parametrize("count", [1, 7, 10, 96, 205, 235, 266, 275, 305, 400])
def test_cells_are_those_of_a_nearest_resize_in_float32(count: int):
    ten = torch.arange(10, dtype=torch.float32)[None, None]
    expected = torch.nn.functional.interpolate(ten, count, mode="nearest")[0, 0].long()
    np.testing.assert_array_equal(cells(count), expected)
    exact = np.arange(count) * 10 // count
    assert np.array_equal(cells(count), exact) == (count not in (205, 235, 266, 275, 305))


def test_the_gaussian_has_its_radius_in_pixels_of_the_image_and_sums_to_one():
    flat = resized(np.full((3, 5, 9), 0.25), 3, 20, Resample.GAUSSIAN)
    np.testing.assert_allclose(flat, 0.25, atol=1e-15)
    row = np.zeros((3, 1, 9))
    row[:, 0, 4] = 1
    # One output in the middle of pixel 4: weights exp(-2 d^2) of d = 0 and 1; the radius 1.5 leaves d = 2 out.
    weight = 1 / (1 + 2 * np.exp(-2))
    assert resized(row, 1, 3, Resample.GAUSSIAN)[0, 0, 1] == pytest.approx(weight, rel=1e-14)
    # At the edge, pixels outside count for nothing.
    row = np.eye(9)[:1][None].repeat(3, 0)
    assert resized(row, 1, 9, Resample.GAUSSIAN)[0, 0, 0] == pytest.approx(1 / (1 + np.exp(-2)), rel=1e-14)


def test_prepare_makes_one_image_of_all_its_tokens(photo):
    pixels = photo(1, 96, 70)
    tokens = prepare(pixels, spec())["tokens"]
    assert (
        tokens.dtype == np.float32 and tokens.flags.c_contiguous and tokens.shape == (1, 42 + 108 + 9, 3075)
    )
    exact = np.asarray(pixels).transpose(2, 0, 1) / 255 * 2 - 1
    np.testing.assert_allclose(tokens[0], independent(exact, SIDES, False), rtol=0, atol=1e-6)


def test_a_larger_image_is_shrunk_into_the_input_with_its_ratio_kept(photo):
    pixels = photo(2, 200, 100)
    tokens = prepare(pixels, spec(height_px=64, width_px=64))["tokens"]
    small = pixels.resize((64, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(tokens, prepare(small, spec())["tokens"])
    assert tokens.shape[1] <= spec(height_px=64, width_px=64).inputs[0].shape[1]


def test_tokens_are_no_pixels(photo):
    with pytest.raises(UserError, match="an input of pixels"):
        fit_pixels(photo(1, 40, 40), spec().inputs[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scales_px": (384, 224)}, "ascending"),
        ({"scales_px": (224, 224)}, "ascending"),
        ({"scales_px": tuple(range(1, 10))}, "at most 8"),
        ({"scales_px": (0,)}, "1..8192"),
        ({"resample": "lanczos"}, "bicubic or gaussian"),
        ({"crops": 2, "height_px": 64}, "random_crops"),
    ],
)
def test_inputs_that_make_no_sense_are_refused(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        spec(**fields)


def test_what_goes_with_multi_scale_goes_only_with_it():
    with pytest.raises(ValueError, match="scales_px goes with multi_scale only"):
        InputSpec("image", 32, 32, scales_px=(224,))
    with pytest.raises(ValueError, match="resize needs bilinear or bicubic or lanczos, got gaussian"):
        InputSpec("image", 32, 32, resample=Resample.GAUSSIAN)
