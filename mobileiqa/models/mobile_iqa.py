"""MobileIQA: MobileNet-IQA (student) and MobileViT-IQA (teacher), arXiv 2409.01212.

    image -> backbone, 5 levels -> LDA per level -> 3 MALs -> opinions -> fusion MAL -> head -> score

Both are this one class; what differs is data (`Variant`). The backbones are timm's.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from mobileiqa.layers.mobile_iqa import CHANNELS, GRID, LDA, MAL, inference_layout

LEVELS = 5
OPINIONS = 3
HEAD_KERNEL = 3


@dataclass(frozen=True)
class Variant:
    """What differs between student and teacher. ValueError for a grid on which the head's convolution has no room."""

    backbone: str
    channels: tuple[int, ...]  # of the five levels
    head_pool: int  # average pooling in the head
    bounded: bool  # ends in a sigmoid
    grid: int = GRID  # bins per side of LDA's pooling; the weights' shapes depend on it
    opinions: int = OPINIONS  # MALs; 0: the mean of the levels goes to the head, without fusion

    def __post_init__(self) -> None:
        if self.grid // self.head_pool < HEAD_KERNEL:
            raise ValueError(
                f"expected a grid of at least {HEAD_KERNEL} x head_pool ({self.head_pool}); found {self.grid}"
            )


#                    backbone                 channels of the five levels    pool  sigmoid
STUDENT = Variant("mobilenetv3_large_100", (16, 24, 40, 112, 960), 2, True)
SMALL = replace(STUDENT, grid=8)  # 64 positions in place of 484: two CPU cores can train it
TEACHER = Variant("mobilevitv2_200", (128, 256, 512, 768, 1024), 4, False)


class Features(NamedTuple):
    """What distillation reads: levels (5, B, 256, grid, grid) and opinions (3, B, 256, grid, grid).

    With fewer MALs there are as many opinions; without any, their place has the levels' mean.
    """

    levels: torch.Tensor
    opinions: torch.Tensor


class Head(nn.Module):
    """(B, 256, grid, grid) -> (B,)."""

    def __init__(self, pool: int, bounded: bool) -> None:
        super().__init__()
        self.pool, self.bounded = pool, bounded
        self.conv1 = nn.Conv2d(CHANNELS, 128, 1)
        self.conv2 = nn.Conv2d(128, 128, HEAD_KERNEL)
        self.fc1 = nn.Linear(128, 64)
        self.dropout = nn.Dropout(0.1)
        self.fc2 = nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = nn.functional.avg_pool2d(torch.relu(self.conv1(x)), self.pool)
        x = torch.relu(self.conv2(x)).mean((2, 3))
        score = self.fc2(self.dropout(torch.relu(self.fc1(x)))).squeeze(1)
        return torch.sigmoid(score) if self.bounded else score


class MobileIQA(nn.Module):
    """Normalised images (B, 3, H, W) of any size -> scores (B,)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        import timm

        self.variant = variant
        self.backbone = timm.create_model(
            variant.backbone, pretrained=False, features_only=True, out_indices=tuple(range(LEVELS))
        )
        self.lda = nn.ModuleList(LDA(channels, grid=variant.grid) for channels in variant.channels)
        positions = variant.grid**2
        self.mal = nn.ModuleList(MAL(LEVELS, positions) for _ in range(variant.opinions))
        self.fusion = MAL(variant.opinions, positions) if variant.opinions else None
        self.head = Head(variant.head_pool, variant.bounded)

    def forward_features(self, image: torch.Tensor) -> Features:
        """Normalised images (B, 3, H, W) -> Features."""
        maps = self.backbone(inference_layout(image))
        levels = torch.stack([lda(x) for lda, x in zip(self.lda, maps, strict=True)])
        if not self.mal:
            return Features(levels, levels.mean(0, keepdim=True))
        return Features(levels, torch.stack([mal(levels) for mal in self.mal]))

    def forward_head(self, features: Features) -> torch.Tensor:
        """Features -> scores (B,)."""
        return self.head(features.opinions[0] if self.fusion is None else self.fusion(features.opinions))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image))


def published_prefixes(variant: Variant) -> dict[str, str]:
    """Own key prefix -> published key prefix; every key starts with exactly one of them."""
    teacher = variant == TEACHER
    level = "LGF" if teacher else "LDA"
    pairs = {"backbone.": "global_vit." if teacher else "local_cnn."}
    for i in range(LEVELS):
        pairs |= {f"lda.{i}.expand.": f"{level}{i + 1}.cnn1.", f"lda.{i}.reduce.": f"{level}{i + 1}.cnn2."}
    mals = [(f"mal.{i}.", f"MALs.{i}.", LEVELS) for i in range(OPINIONS)]
    for own, published, n_inputs in [*mals, ("fusion.", "fusion_mal.", OPINIONS)]:
        for i in range(n_inputs):
            pairs |= {
                f"{own}self_attention.{i}.{c}.": f"{published}attention_module.{i}.{c}Conv." for c in "qkv"
            }
            pairs[f"{own}self_attention.{i}.gamma"] = f"{published}attention_module.{i}.gamma"
        for branch in ("channel", "feature"):
            pairs |= {f"{own}{branch}.{c}.": f"{published}{branch}_attention.c_{c}." for c in "qkv"}
    return pairs | {
        "head.conv1.": "cnn.0.",
        "head.conv2.": "cnn.3.",
        "head.fc1.": "fc_score.0.",
        "head.fc2.": "fc_score.3.",
    }
