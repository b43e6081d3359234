"""MSLIQA (arXiv 2408.16879): one encoder trained at several zoom levels, one head for each, and patches at test time.

    image -> view of each zoom level -> shared MobileNetV3 -> that level's MLP head -> score

The single-scale baseline is a table of one zoom: images resized to 224x224, in training and in tests. At test time
the best head by validation reads the whole image, or up to 108 patches of it are averaged: 3 scales x 2 patch sizes x
3x3 patches, each upright and transposed. The paper does not say whether the zoom levels' resizing keeps the aspect
ratio; it does here: a zoom level is a scale.

The nine patches of a size lie on a uniform grid: corners, edge centres and centre of the scaled image. Where the scaled
image is too small for the patch, it is enlarged until its short side equals the patch (the paper does not say); padding
would show the model borders that are no part of the photo. A window that this makes the same as another counts once, so
that no part of a small image weighs more: a 512x384 image has 66 distinct patches, one of 772x772 or more all 108.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mobileiqa.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from mobileiqa.training import objective
from mobileiqa.training.objective import Batch, Gather, Task

BACKBONE = "mobilenetv3_large_100"
HIDDEN = 512


@dataclass(frozen=True)
class Zoom:
    """One zoom level: resize first, then crop; None leaves that step out."""

    resize: int | None = None  # short side in px, aspect ratio kept; both sides where `square`
    crop: int | None = None  # random square window, px
    square: bool = False

    def __post_init__(self) -> None:
        if any(size is not None and size < 1 for size in (self.resize, self.crop)):
            raise ValueError(f"expected positive sizes; found {self}")
        if self.square and (self.resize is None or self.crop is not None):
            raise ValueError(
                f"expected a size to resize to, and no crop, where a view is square; found {self}"
            )

    @property
    def size(self) -> int | None:
        """Short side of the view in px; None: as large as the image."""
        return self.crop or self.resize


MULTI_CROP = (Zoom(crop=224), Zoom(crop=256), Zoom(crop=299), Zoom(crop=384), Zoom())
MULTI_RESIZE = (Zoom(resize=224), Zoom(resize=256), Zoom(resize=299), Zoom(resize=384), Zoom(resize=512))
BOTH = (Zoom(crop=224), Zoom(crop=384), Zoom(resize=768, crop=384), Zoom(resize=512, crop=224))
SINGLE = (Zoom(resize=224, square=True),)  # the baseline

ZOOMS = {"multi-crop": MULTI_CROP, "multi-resize": MULTI_RESIZE, "both": BOTH, "single": SINGLE}


class MultiScale(nn.Module):
    """A timm encoder without its classifier, under one head per zoom level."""

    def __init__(self, heads: int, backbone: str = BACKBONE) -> None:
        super().__init__()
        import timm

        self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0)
        self.heads = nn.ModuleList(_head(self.backbone.head_hidden_size) for _ in range(heads))

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised images (N, 3, H, W) of any size -> pooled features (N, width)."""
        return self.backbone(image)

    def forward_head(self, features: torch.Tensor, head: int) -> torch.Tensor:
        """Features (N, width) -> scores (N,) by one head."""
        return self.heads[head](features).squeeze(1)

    def score(self, image: torch.Tensor, head: int) -> torch.Tensor:
        """Normalised images (N, 3, H, W) -> scores (N,) by one head."""
        return self.forward_head(self.forward_features(image), head)

    def forward(self, views: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """One batch (N, 3, H, W) per zoom level -> (N, heads), each view by its own head."""
        assert len(views) == len(self.heads), f"{len(views)} views for {len(self.heads)} heads"
        return torch.stack([self.score(view, head) for head, view in enumerate(views)], 1)


def _head(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


def views(
    images: torch.Tensor, zooms: tuple[Zoom, ...], rng: torch.Generator | None = None
) -> tuple[torch.Tensor, ...]:
    """The training view of each zoom level, from images (N, 3, H, W), floating point.

    Each image of each view has its own random window; without `rng` torch's global generator draws it.
    """
    return tuple(_view(images, zoom, rng) for zoom in zooms)


def _view(images: torch.Tensor, zoom: Zoom, rng: torch.Generator | None) -> torch.Tensor:
    if zoom.resize is not None:
        images = _resized(images, zoom.resize, zoom.square)
    return images if zoom.crop is None else _random_windows(images, zoom.crop, rng)


def _resized(images: torch.Tensor, short: int, square: bool) -> torch.Tensor:
    """Bilinear, antialiased; the short side, or both, become `short` px."""
    scale = short / min(images.shape[2:])
    size = [short if square else max(short, round(n * scale)) for n in images.shape[2:]]
    return nn.functional.interpolate(images, size, mode="bilinear", antialias=True)


def _random_windows(images: torch.Tensor, size: int, rng: torch.Generator | None) -> torch.Tensor:
    """A random size x size window of each image; a smaller image is mirrored beyond its far edges."""
    count, channels, *shape = images.shape
    rows, cols = (_positions(n, size, count, rng).to(images.device) for n in shape)
    image, channel = (torch.arange(n, device=images.device) for n in (count, channels))
    return images[
        image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], cols[:, None, None]
    ]


def _positions(length: int, size: int, count: int, rng: torch.Generator | None) -> torch.Tensor:
    """(count, size): where each pixel of a random window lies in 0..length-1."""
    start = torch.randint(max(length - size, 0) + 1, (count, 1), generator=rng)
    folded = (start + torch.arange(size)) % (2 * length)
    return torch.minimum(folded, 2 * length - 1 - folded)


def loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """scores (N, heads), target (N,) -> MSE + (1 - PLCC), summed over the heads."""
    terms = [objective.mse(score, target) + objective.plcc_loss(score, target) for score in scores.unbind(1)]
    return torch.stack(terms).sum()


def multi_scale_task(model: MultiScale, zooms: tuple[Zoom, ...], spec: ModelSpec) -> Task:
    """Each training image's view of every zoom level against its label, by that level's head; `loss` above.

    The views of a step follow torch's global seed, which the loop sets. In validation every head reads the
    whole image and their mean counts: which of them is best (`best_head`) is only known after training.
    Raises ValueError where the model does not have one head per zoom level.
    """
    if len(model.heads) != len(zooms):
        raise ValueError(f"expected {len(zooms)} heads, one per zoom level; found {len(model.heads)}")

    def of_views(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        scores = gather(model(views(batch.inputs[0], zooms)))
        return {"loss": loss(scores, gather(batch.score))}

    def mean(image: torch.Tensor) -> torch.Tensor:
        return whole(model, image, zooms).mean(1)

    return Task(model, of_views, mean, lambda: (model, spec))


def whole(model: MultiScale, image: torch.Tensor, zooms: tuple[Zoom, ...]) -> torch.Tensor:
    """Normalised images (N, 3, H, W) -> (N, heads): the whole image by every head.

    It is read as it is, but for the baseline's, which reads what it was trained on: the image as a square.
    """
    sizes = [zoom.resize if zoom.square else None for zoom in zooms]
    features = {
        size: model.forward_features(image if size is None else _resized(image, size, square=True))
        for size in set(sizes)
    }
    return torch.stack([model.forward_head(features[size], head) for head, size in enumerate(sizes)], 1)


def best_head(scores: NDArray[np.floating], mos: NDArray[np.floating]) -> int:
    """The head of the highest SRCC, for scores (N, heads) of whole validation images; the first of equals."""
    from mobileiqa import metrics

    return int(np.argmax([metrics.correlations(column, mos).srcc for column in scores.T]))


def head_for(zooms: tuple[Zoom, ...], size: int) -> int:
    """The head that was trained on views closest to `size` px; the first of equals.

    A head of whole images is taken only where there is no other.
    """
    return min(range(len(zooms)), key=lambda head: abs((zooms[head].size or float("inf")) - size))


SCALES = (0.5, 1.0, 2.0)
SIZES_PX = (224, 384)
GRID = 3
COUNT = len(SCALES) * len(SIZES_PX) * GRID * GRID * 2
BATCH = 18  # patches at once: one scale and size

Bytes = NDArray[np.uint8]
# Normalised float32 (n, 3, size, size) -> scores (n,).
Predict = Callable[[NDArray[np.float32]], NDArray[np.floating]]


class Augmented(NamedTuple):
    """The mean score of an image, and over how many distinct patches."""

    score: float
    patches: int


def patches(image: Image.Image) -> dict[int, Bytes]:
    """The distinct patches of a mode RGB image by size: uint8 (n, size, size, 3), n at most 54.

    By scale, each scale's upright ones before its transposed ones. Memory: about that of the image at twice its
    width and height.
    """
    if image.mode != "RGB":
        raise ValueError(
            f"expected a mode RGB image (mobileiqa.photos.loading.to_rgb makes one); found mode {image.mode}"
        )
    by_size: dict[int, list[Bytes]] = {size: [] for size in SIZES_PX}
    scaled = image
    for target, size, corners in _windows(image.size):
        if scaled.size != target:
            scaled = image if target == image.size else image.resize(target, Image.Resampling.BICUBIC)
        pixels = np.asarray(scaled)
        upright = np.stack([pixels[top : top + size, left : left + size] for top, left in corners])
        by_size[size] += [upright, upright.swapaxes(1, 2)]
    return {size: np.concatenate(parts) for size, parts in by_size.items()}


def count(original: tuple[int, int]) -> int:
    """How many distinct patches an image of this (width, height) has: at most COUNT."""
    return sum(2 * len(corners) for _, _, corners in _windows(original))


def _windows(original: tuple[int, int]) -> Iterator[tuple[tuple[int, int], int, list[tuple[int, int]]]]:
    """(size of the scaled image, patch size, its corners (top, left)), each distinct window once."""
    seen: set[tuple[tuple[int, int], int]] = set()
    for scale in SCALES:
        for size in SIZES_PX:
            target = scaled_size(original, scale, size)
            if (target, size) in seen:
                continue
            seen.add((target, size))
            lefts, tops = (sorted({i * (n - size) // (GRID - 1) for i in range(GRID)}) for n in target)
            yield target, size, [(top, left) for top in tops for left in lefts]


def scaled_size(original: tuple[int, int], scale: float, patch_px: int) -> tuple[int, int]:
    """(width, height) of the image at `scale`, or at the larger scale at which its short side is patch_px."""
    scale = max(scale, patch_px / min(original))
    width, height = (max(patch_px, round(n * scale)) for n in original)
    return width, height


def score(
    image: Image.Image,
    predictor: Callable[[int], Predict],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Augmented:
    """The mean score of a mode RGB image over its patches; predictor(size) reads the patches of that size."""
    scores = []
    for size, pixels in patches(image).items():
        predict = predictor(size)
        for start in range(0, len(pixels), BATCH):
            scores.append(predict(_normalized(pixels[start : start + BATCH], mean, std)))
    joined = np.concatenate(scores).astype(np.float64)
    assert joined.shape == (count(image.size),), f"{joined.shape} scores for {count(image.size)} patches"
    return Augmented(float(joined.mean()), len(joined))


def _normalized(
    pixels: Bytes, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """uint8 (n, h, w, 3) -> float32 (n, 3, h, w), (pixel / 255 - mean) / std, as mobileiqa.preprocess rounds it."""
    tables = ((np.arange(256)[:, None] / 255 - mean) / std).astype(np.float32)
    return np.stack([tables[pixels[..., channel], channel] for channel in range(3)], 1)


def heads_by_size(model: "MultiScale", zooms: "tuple[Zoom, ...]") -> Callable[[int], Predict]:
    """A predictor for `score`: patches of each size go to the head trained closest to it, in eval mode."""
    import torch

    device = next(model.parameters()).device

    def predictor(size: int) -> Predict:
        head = head_for(zooms, size)

        def predict(images: NDArray[np.float32]) -> NDArray[np.floating]:
            with torch.inference_mode():
                return model.eval().score(torch.from_numpy(images).to(device), head).float().cpu().numpy()

        return predict

    return predictor
