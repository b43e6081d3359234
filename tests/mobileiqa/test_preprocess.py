from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision

from mobileiqa import preprocess
from mobileiqa.preprocess import prepare
from mobileiqa.spec import IMAGENET_MEAN, IMAGENET_STD, Fit, InputSpec, ModelSpec
from mobileiqa.zoo import MODELS

ULPS = 1e-6  # torch divides and subtracts in float32, one rounding each; values are below 3


def one(**fields) -> ModelSpec:
    return ModelSpec("test", (InputSpec("image", **fields),))


def values(image: Image.Image, **fields) -> np.ndarray:
    array = prepare(image, one(**fields))["image"]
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    return array


def reference(image: Image.Image, geometry: list, convert=None) -> np.ndarray:
    """torchvision's own pipeline, with OpenCV's colours between the geometry and the tensor."""
    colors = [transforms.Lambda(lambda im: convert(np.asarray(im)))] if convert else []
    steps = [*geometry, *colors, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    return transforms.Compose(steps)(image)[None].numpy()


def test_values_are_the_nearest_float32_to_the_exact_ones():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    array = values(ramp, height_px=16, width_px=16)
    exact = (np.arange(256) / 255 - np.array(IMAGENET_MEAN)[:, None]) / np.array(IMAGENET_STD)[:, None]
    np.testing.assert_array_equal(array.reshape(3, 256), exact.astype(np.float32))


def test_a_pixel_by_hand():
    array = values(
        Image.new("RGB", (1, 1), (255, 0, 51)),
        height_px=1,
        width_px=1,
        mean=(0.5, 0.5, 0.2),
        std=(0.5, 0.25, 1),
    )
    np.testing.assert_allclose(array.ravel(), [1.0, -2.0, 0.0], atol=1e-7)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(53, 37), (128, 96), (411, 300)])  # smaller, near, larger
def test_resize_is_torchvisions(photo, resample: str, size: tuple):
    image = photo(1, 130, 101)
    mode = {
        "bilinear": InterpolationMode.BILINEAR,
        "bicubic": InterpolationMode.BICUBIC,
        "lanczos": InterpolationMode.LANCZOS,
    }[resample]
    expected = reference(image, [transforms.Resize((size[1], size[0]), interpolation=mode, antialias=True)])
    array = values(image, width_px=size[0], height_px=size[1], resample=resample)
    np.testing.assert_allclose(array, expected, atol=ULPS, rtol=0)


@pytest.mark.parametrize("width", [1, 30, 31, 32, 33, 34, 35, 80])
@pytest.mark.parametrize("height", [1, 22, 23, 24, 25, 26, 27, 90])
def test_center_crop_is_torchvisions_even_where_it_pads(photo, width: int, height: int):
    image = photo(2, width, height)
    array = values(image, height_px=24, width_px=32, fit=Fit.CENTER_CROP)
    expected = reference(image, [transforms.CenterCrop((24, 32))])
    np.testing.assert_allclose(array, expected, atol=ULPS, rtol=0)


def test_center_crop_pads_with_black_before_normalization():
    array = values(
        Image.new("RGB", (1, 1), "white"),
        height_px=2,
        width_px=4,
        fit=Fit.CENTER_CROP,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    np.testing.assert_array_equal(array[0, 0], [[0, 1, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("space", ["hsv", "lab", "yuv"])
@pytest.mark.parametrize("fit", ["resize", "center_crop"])
def test_color_spaces_are_opencvs(photo, space: str, fit: str):
    image = photo(3, 90, 20)
    geometry = {"resize": vision.resize, "center_crop": vision.center_crop}[fit]
    code = getattr(cv2, f"COLOR_RGB2{space.upper()}")
    converted = Image.fromarray(cv2.cvtColor(np.asarray(image), code))
    expected = reference(converted, [lambda im: geometry(im, (31, 47))])
    array = values(image, height_px=31, width_px=47, fit=fit, resample="bilinear", color_space=space)
    np.testing.assert_allclose(array, expected, atol=ULPS, rtol=0)


def test_random_crops_are_windows_of_the_resized_image_and_always_the_same(photo):
    image = photo(4, 300, 200)
    size = {"height_px": 20, "width_px": 24, "crops": 12, "resize_px": (40, 60)}
    fields = {**size, "fit": Fit.RANDOM_CROPS, "resample": "bilinear"}
    array = values(image, **fields)
    whole = reference(image, [transforms.Resize((40, 60))])[0]
    windows = np.lib.stride_tricks.sliding_window_view(whole, (3, 20, 24))[0]
    corners = []
    for crop in array:
        distance = np.abs(windows - crop).max(axis=(2, 3, 4))
        assert distance.min() <= ULPS
        corners.append(np.unravel_index(distance.argmin(), distance.shape))
    assert len(set(corners)) > 8
    np.testing.assert_array_equal(array, values(image, **fields))
    ramp = Image.fromarray(np.mgrid[0:40, 0:60][1].astype(np.uint8)).convert("RGB")
    lefts = values(ramp, **fields, mean=(0, 0, 0), std=(1, 1, 1))[:, 0, 0, 0] * 255
    np.testing.assert_array_equal(lefts.round(), [left for _, left in corners])


def test_a_crop_of_the_whole_resized_image_is_possible(photo):
    array = values(
        photo(5, 50, 50), height_px=20, width_px=30, fit=Fit.RANDOM_CROPS, crops=2, resize_px=(20, 30)
    )
    np.testing.assert_array_equal(array[0], array[1])


def test_any_mode_in_memory_is_prepared_as_its_file_is(tmp_path: Path, photo):
    base = photo(6, 40, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    transparent = base.copy()
    transparent.putalpha(base.convert("L"))
    deep = Image.fromarray((np.asarray(base.convert("L"), np.uint16) << 8) + 99)
    cases = [
        (base.convert("L"), {}),
        (base.quantize(8), {}),
        (transparent, {}),
        (deep, {}),
        (base, {"exif": exif}),
    ]
    for image, options in cases:
        path = tmp_path / "image.png"
        image.save(path, **options)
        spec = one(height_px=16, width_px=16)
        with Image.open(path) as opened:
            np.testing.assert_array_equal(prepare(opened, spec)["image"], prepare(path, spec)["image"])
        if not options:
            np.testing.assert_array_equal(prepare(image, spec)["image"], prepare(str(path), spec)["image"])


@pytest.mark.parametrize("name", MODELS)
def test_the_inputs_of_every_model(photos: Path, name: str):
    spec = MODELS[name].spec
    arrays = prepare(photos / "photo0.png", spec)
    if spec.inputs[0].fit is Fit.MULTI_SCALE:  # as many tokens as the photo has
        assert arrays["tokens"].ndim == 3 and arrays["tokens"].shape[1] <= spec.inputs[0].shape[1]
        return
    assert {key: array.shape for key, array in arrays.items()} == {i.name: i.shape for i in spec.inputs}


def test_lar_iqa_on_real_photos(real_photos: list[Path]):
    spec = MODELS["lar-iqa-kan"].spec
    for path in real_photos[:2] + real_photos[-1:]:
        with Image.open(path) as opened:
            image = vision.pil_to_tensor(opened.convert("RGB"))
        image = vision.to_pil_image(image)
        arrays = prepare(path, spec)
        expected = {
            "authentic": reference(image, [transforms.Resize((384, 384))]),
            "synthetic": reference(image, [transforms.CenterCrop(1280)]),
        }
        for key, array in arrays.items():
            assert torch.allclose(
                torch.from_numpy(array), torch.from_numpy(expected[key]), atol=ULPS, rtol=0
            ), path


@pytest.mark.parametrize(
    ("spec", "size", "share", "words"),
    [
        (InputSpec("i", 64, 64, fit=Fit.CENTER_CROP), (128, 32), 0.5, "its centre, 64x64, at full size"),
        (InputSpec("i", 64, 64), (65, 64), 0, "the whole photo at 64x64"),
        (InputSpec("i", 64, 64), (64, 20), 1, "the whole photo at 64x64"),
        (InputSpec("i", 64, 96, fit=Fit.FRAGMENTS, patch_px=32), (320, 100), 96 * 64 / 32000, "6 patches of 32x32"),
        (InputSpec("i", 64, 64, fit=Fit.FRAGMENTS, patch_px=32), (40, 20), 1, "4 patches of 32x32"),
        (
            InputSpec("i", 64, 64, fit=Fit.RANDOM_CROPS, resize_px=(90, 80), crops=2),
            (500, 500), 0, "2 crops of 64x64 of the photo at 80x90",
        ),
    ],
)  # fmt: skip
def test_what_is_read_of_a_photo_is_known(spec: InputSpec, size: tuple[int, int], share: float, words: str):
    model = ModelSpec("m", (spec,))
    assert preprocess.full_size_share(model, *size) == pytest.approx(share)
    assert preprocess.what_is_read(model).startswith(words)
