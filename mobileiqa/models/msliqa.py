"""MSLIQA (arXiv 2408.16879): one encoder trained at several zoom levels, one head for each, and patches at test time.

    image -> view of each zoom level -> shared MobileNetV3 -> that level's MLP head -> score

The single-scale baseline is a table of one zoom: images resized to 224x224, in training and in tests. At test time
the best head by validation reads the whole image, or patches of it are averaged (mobileiqa.scoring.patches). The paper
does not say whether the zoom levels' resizing keeps the aspect ratio; it does here: a zoom level is a scale.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

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

    def by_views(self, views: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """One batch (N, 3, H, W) per zoom level -> (N, heads), each view by its own head."""
        assert len(views) == len(self.heads), f"{len(views)} views for {len(self.heads)} heads"
        return torch.stack([self.score(view, head) for head, view in enumerate(views)], 1)


class MSLIQA(MultiScale):
    """Normalised images (N, 3, H, W) of any size -> scores (N,), by the head that validation chose.

    `choice` is 1 for that head and 0 for the others: a stored weight, so that a checkpoint has its best head.
    """

    choice: torch.Tensor

    def __init__(self, zooms: tuple[Zoom, ...], backbone: str = BACKBONE) -> None:
        super().__init__(len(zooms), backbone)
        self.zooms = zooms
        self.register_buffer("choice", torch.eye(len(zooms))[0])

    def choose(self, head: int) -> None:
        """Scores by this head from now on."""
        with torch.no_grad():
            self.choice.copy_(torch.eye(len(self.zooms))[head])

    def forward_head(self, features: torch.Tensor, head: int | None = None) -> torch.Tensor:
        """Features (N, width) -> scores (N,), by one head or by the chosen one."""
        if head is not None:
            return super().forward_head(features, head)
        return (torch.cat([each(features) for each in self.heads], 1) * self.choice).sum(1)

    def score_patches(self, image: torch.Tensor) -> torch.Tensor:
        """Patches (N, 3, size, size) -> scores (N,), by the head that was trained closest to their size."""
        return self.score(image, head_for(self.zooms, image.shape[-1]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image))


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
