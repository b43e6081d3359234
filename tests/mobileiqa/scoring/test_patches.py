"""The 108 patches: how many, from where, and what becomes of their scores."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa.models.msliqa import BOTH, MSLIQA
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import patches as tta
from mobileiqa.spec import InputSpec, ModelSpec


def coordinates(width: int, height: int) -> Image.Image:
    """R and G are a pixel's row and column modulo 256, B both of their multiples."""
    row, col = np.mgrid[0:height, 0:width]
    return Image.fromarray(
        np.stack([row % 256, col % 256, row // 256 * 16 + col // 256], -1).astype(np.uint8)
    )


def origin(patch: np.ndarray) -> tuple[int, int]:
    row, col, high = (int(v) for v in patch[0, 0])
    return high // 16 * 256 + row, high % 16 * 256 + col


def test_there_are_108_patches_in_two_sizes(photo):
    result = tta.patches(photo(0, 800, 790))
    assert {size: pixels.shape for size, pixels in result.items()} == {
        224: (54, 224, 224, 3),
        384: (54, 384, 384, 3),
    }
    assert tta.COUNT == 108


@pytest.mark.parametrize("size", [224, 384])
def test_at_native_scale_nine_windows_lie_on_a_uniform_grid(size: int):
    image = coordinates(1000, 801)
    upright = tta.patches(image)[size][18:27]  # the second scale
    tops, lefts = (0, (801 - size) // 2, 801 - size), (0, (1000 - size) // 2, 1000 - size)
    expected = [(top, left) for top in tops for left in lefts]
    assert [origin(p) for p in upright] == expected
    pixels = np.asarray(image)
    for patch, (top, left) in zip(upright, expected, strict=True):
        assert (patch == pixels[top : top + size, left : left + size]).all()


def test_the_other_scales_are_the_resized_image(photo):
    image = photo(1, 900, 800)
    result = tta.patches(image)[224]
    for index, size in ((0, (450, 400)), (36, (1800, 1600))):
        scaled = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        assert (result[index] == scaled[:224, :224]).all()
        assert (result[index + 8] == scaled[-224:, -224:]).all()


def test_every_patch_is_also_transposed(photo):
    for pixels in tta.patches(photo(2, 800, 790)).values():
        by_scale = pixels.reshape(3, 2, 9, *pixels.shape[1:])
        assert (by_scale[:, 1] == by_scale[:, 0].transpose(0, 1, 3, 2, 4)).all()
        assert (by_scale[:, 1] != by_scale[:, 0]).any()


@pytest.mark.parametrize("size", [(700, 500), (40, 90), (1, 1)])
def test_a_constant_image_gives_constant_patches(size: tuple[int, int]):
    for pixels in tta.patches(Image.new("RGB", size, (10, 200, 77))).values():
        assert (pixels == (10, 200, 77)).all()


@pytest.mark.parametrize(
    ("original", "scale", "patch", "scaled"),
    [
        ((1000, 800), 0.5, 224, (500, 400)),
        ((1000, 800), 2.0, 384, (2000, 1600)),
        ((1000, 600), 0.5, 384, (640, 384)),  # 300 rows would be too few
        ((100, 60), 2.0, 224, (373, 224)),
        ((60, 100), 1.0, 384, (384, 640)),
        ((448, 448), 0.5, 224, (224, 224)),
    ],
)
def test_a_scaled_image_is_never_smaller_than_the_patch(original, scale, patch, scaled):
    assert tta.scaled_size(original, scale, patch) == scaled


def test_in_a_small_image_windows_share_the_side_without_room(photo):
    image = photo(3, 100, 60)
    scaled = np.asarray(image.resize((373, 224), Image.Resampling.BICUBIC))
    upright = tta.patches(image)[224][:9]
    lefts = [0, 149 // 2, 149]
    assert all((p == scaled[:, left : left + 224]).all() for p, left in zip(upright[:3], lefts, strict=True))
    assert (upright[3] == scaled[:, :224].swapaxes(0, 1)).all(), "windows that are the same count once"


@pytest.mark.parametrize(
    ("size", "patches"),
    [
        ((512, 384), 66),
        ((384, 512), 66),
        ((1024, 768), 96),
        ((768, 768), 92),
        ((772, 772), 108),
        ((1, 1), 4),
    ],
)
def test_each_distinct_patch_counts_once_and_their_number_is_said(size: tuple[int, int], patches: int, photo):
    image = photo(6, *size)
    everything = tta.patches(image)
    assert sum(map(len, everything.values())) == tta.count(size) == patches
    if size != (1, 1):
        assert len({patch.tobytes() for pixels in everything.values() for patch in pixels}) == patches
    result = tta.score(image, lambda images: np.full(len(images), float(images.shape[-1])))
    assert result.patches == patches and 224 <= result.score <= 384


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="mode RGB"):
        tta.patches(Image.new("L", (300, 300)))


def test_the_score_is_the_mean_over_patches_each_by_its_sizes_predictor(photo):
    seen = []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape)
        return images.mean((1, 2, 3), dtype=np.float64) + images.shape[-1]

    image = photo(4, 800, 790)
    result = tta.score(image, predict, mean=(0, 0, 0), std=(1, 1, 1)).score
    expected = [patch.mean() / 255 + size for size, p in tta.patches(image).items() for patch in p]
    assert result == pytest.approx(np.mean(expected), rel=1e-7)
    assert sum(shape[0] for shape in seen) == 108 and {shape[2:] for shape in seen} == {
        (224, 224),
        (384, 384),
    }


def test_patches_are_normalised_as_every_input_is(photo):
    image = photo(5, 384, 384)
    batches = []
    tta.score(image, lambda images: batches.append(images) or np.zeros(len(images)))
    expected = prepare(image, ModelSpec("any", (InputSpec("image", 384, 384),)))["image"][0]
    native = next(b for b in batches if b.shape[2] == 384)
    assert native.dtype == np.float32 and (native[0] == expected).all()


def test_msliqa_reads_each_size_with_the_head_closest_to_it_and_the_whole_image_with_the_chosen_one():
    torch.manual_seed(0)
    model = MSLIQA(BOTH, "mobilenetv3_small_050").eval()
    for head, value in zip(model.heads, (1.0, 10.0, 100.0, 1000.0), strict=True):
        torch.nn.init.zeros_(head[2].weight)
        torch.nn.init.constant_(head[2].bias, value)
    images = {size: torch.zeros(2, 3, size, size) for size in (224, 384)}
    with torch.no_grad():
        assert model.score_patches(images[224]).tolist() == [1, 1]
        assert model.score_patches(images[384]).tolist() == [10, 10]
        assert model(images[224]).tolist() == [1, 1]
        model.choose(2)
        assert model(images[224]).tolist() == [100, 100]
    again = MSLIQA(BOTH, "mobilenetv3_small_050").eval()
    again.load_state_dict(model.state_dict())
    assert again.choice.tolist() == [0, 0, 1, 0], "the best head is in the checkpoint"
