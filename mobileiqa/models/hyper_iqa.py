"""HyperIQA (Su et al., CVPR 2020): a ResNet-50 whose semantic features make the weights of a target network.

    crop 224x224 -> ResNet-50 -> layer4 -> hyper features (112, 7, 7) -> weights and biases of 5 target layers
                             \\-> LDA taps of the four stages -> 224-vector -> target layers -> score

The score of a photo is the mean over 25 random crops, one batch of 25. Crops are 224x224: the taps' fully
connected layers fix the size.
"""

import itertools

import torch
from torch import nn

TARGET = (224, 112, 56, 28, 14)  # widths of the target network; a last layer 14 -> 1 follows
HYPER = 112  # channels of the hyper features
SIDE = 7  # their side


class LDATap(nn.Module):
    """(N, in, S, S) -> (N, out): optional 1x1 conv without bias, AvgPool 7, Linear."""

    def __init__(self, in_channels: int, reduced: int | None, cells: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, reduced, 1, bias=False) if reduced else nn.Identity()
        self.fc = nn.Linear((reduced or in_channels) * cells, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.fc(nn.functional.avg_pool2d(self.conv(x), SIDE).flatten(1))


class Backbone(nn.Module):
    """ResNet-50 (torchvision layout, no fc) -> (target vector (N, 224), layer4 (N, 2048, 7, 7))."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        resnet = resnet50(weights=None)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.stages = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])
        #                                  in  reduced cells out
        self.taps = nn.ModuleList(
            [
                LDATap(256, 16, 64, 16),
                LDATap(512, 32, 16, 16),
                LDATap(1024, 64, 4, 16),
                LDATap(2048, None, 1, 176),
            ]
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        x = self.stem(x)
        taps = []
        for stage, tap in zip(self.stages, self.taps, strict=True):
            x = stage(x)
            taps.append(tap(x))
        return torch.cat(taps, 1), x


class HyperIQA(nn.Module):
    """Normalised crops (N, 3, 224, 224) -> scores (N,), in the data set's own scale."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.hyper = nn.Sequential(
            nn.Conv2d(2048, 1024, 1),
            nn.ReLU(),
            nn.Conv2d(1024, 512, 1),
            nn.ReLU(),
            nn.Conv2d(512, HYPER, 1),
            nn.ReLU(),
        )
        pairs = list(itertools.pairwise(TARGET))
        self.weights = nn.ModuleList(nn.Conv2d(HYPER, i * o // SIDE**2, 3, padding=1) for i, o in pairs)
        self.biases = nn.ModuleList(nn.Linear(HYPER, o) for _, o in pairs)
        self.last_weight = nn.Linear(HYPER, TARGET[-1])
        self.last_bias = nn.Linear(HYPER, 1)

    def forward_features(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The target network's input (N, 224) and the hyper features (N, 112, 7, 7)."""
        vector, top = self.backbone(crops)
        return vector, self.hyper(top)

    def forward_head(self, features: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Runs the generated target network: scores (N,)."""
        vector, hyper = features
        pooled = hyper.mean((2, 3))
        x = vector.unsqueeze(2)
        for conv, fc, out in zip(self.weights, self.biases, TARGET[1:], strict=True):
            weight = conv(hyper).reshape(-1, out, x.shape[1])
            x = torch.sigmoid(weight @ x + fc(pooled).unsqueeze(2))
        score = self.last_weight(pooled).unsqueeze(1) @ x + self.last_bias(pooled).unsqueeze(2)
        return score.flatten()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(crops))


# Own key prefix -> published key prefix.
PREFIXES = {
    "backbone.stem.0.": "res.conv1.",
    "backbone.stem.1.": "res.bn1.",
    **{f"backbone.stages.{i}.": f"res.layer{i + 1}." for i in range(4)},
    **{f"backbone.taps.{i}.conv.": f"res.lda{i + 1}_pool.0." for i in range(3)},
    **{f"backbone.taps.{i}.fc.": f"res.lda{i + 1}_fc." for i in range(4)},
    "hyper.": "conv1.",
    **{f"weights.{i}.": f"fc{i + 1}w_conv." for i in range(4)},
    **{f"biases.{i}.": f"fc{i + 1}b_fc." for i in range(4)},
    "last_weight.": "fc5w_fc.",
    "last_bias.": "fc5b_fc.",
}
