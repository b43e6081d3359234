"""LAR-IQA (arXiv 2408.17057): two MobileNetV3 branches, on the resized image and on a full-resolution crop.

    authentic 384x384 -> MobileNetV3 -> 1000 logits -> reduce -> 512 \\
                                                                       concatenate -> head -> score
    synthetic 1280x1280 crop -> MobileNetV3 -> 1000 logits -> reduce -> 512 /

`LarIQA` is both published forms (KAN and MLP): they differ in the modules that are passed. `LarIQASingle` is
the single branch that pretraining uses. `LarIQALite` is this project's own: that branch on EfficientNet-Lite0,
which has no hard-swish and no squeeze-and-excite, and which is also read early, where blur and noise still show.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import nn

from mobileiqa.layers.kan import KANLinear
from mobileiqa.layers.kan_bases import build_kan

BACKBONE = "mobilenetv3_large_100"
LOGITS = 1000
WIDTH = 512
SINGLE_WIDTH = 128


def _classifier(backbone: str = BACKBONE) -> nn.Module:
    import timm

    return timm.create_model(backbone, pretrained=False, num_classes=LOGITS)


class MLPReduce(nn.Module):
    """(N, 1000) -> (N, 512): ReLU, Linear to 3100, ReLU, Linear, ReLU."""

    def __init__(self, hidden: int = 3100) -> None:
        super().__init__()
        self.up = nn.Linear(LOGITS, hidden)
        self.down = nn.Linear(hidden, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return torch.relu(self.down(torch.relu(self.up(torch.relu(x)))))


class LarIQA(nn.Module):
    """authentic (N, 3, 384, 384) and synthetic (N, 3, 1280, 1280), normalised -> scores (N,)."""

    def __init__(self, reduce: tuple[nn.Module, nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.authentic, self.synthetic = _classifier(), _classifier()
        self.authentic_reduce, self.synthetic_reduce = reduce
        self.head = head

    def forward_features(
        self, authentic: torch.Tensor, synthetic: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The two branches' logits, each (N, 1000)."""
        return self.authentic(authentic), self.synthetic(synthetic)

    def forward_head(self, features: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The two branches' logits -> scores (N,)."""
        both = torch.cat([self.authentic_reduce(features[0]), self.synthetic_reduce(features[1])], 1)
        return self.head(both).squeeze(1)

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(authentic, synthetic))


class LarIQASingle(nn.Module):
    """One branch under a KAN head: normalised images (N, 3, H, W) -> scores (N,)."""

    kind = BACKBONE  # timm's name
    width = LOGITS  # of the features

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _classifier(self.kind)
        self.reduce = KANLinear(self.width, SINGLE_WIDTH)
        self.head = KANLinear(SINGLE_WIDTH, 1)

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        """The branch's logits, (N, width)."""
        return self.backbone(image)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Features (N, width) -> scores (N,)."""
        return self.head(self.reduce(features)).squeeze(1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image))


class LarIQALite(LarIQASingle):
    """The same on EfficientNet-Lite0; beside the logits, its features are means over three early maps.

    A classifier's last maps know what is in a picture; how sharp or noisy it is shows at strides 4 to 16.
    """

    kind = "tf_efficientnet_lite0"
    EARLY = ((1, 24), (2, 40), (4, 112))  # stage, its channels
    EARLY_WIDTH = 64
    width = LOGITS + EARLY_WIDTH * len(EARLY)

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.ModuleList(nn.Conv2d(channels, self.EARLY_WIDTH, 1) for _, channels in self.EARLY)

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        """The logits, then the means of each early map after a 1x1 convolution and ReLU: (N, 1192)."""
        net = self.backbone
        x, maps = net.bn1(net.conv_stem(image)), []
        for block in net.blocks:
            x = block(x)
            maps.append(x)
        logits = net.forward_head(net.bn2(net.conv_head(x)))
        early = [
            torch.relu(conv(maps[stage])).mean((2, 3))
            for conv, (stage, _) in zip(self.early, self.EARLY, strict=True)
        ]
        return torch.cat([logits, *early], 1)


def set_head(model: nn.Module, basis: str, options: Mapping[str, float], outputs: int = 1) -> None:
    """Gives a LAR-IQA model, in place, a score head of another KAN basis: one layer, as the published one.

    What reduces the features stays. basis and options are those of layers/kan_bases.py.
    """
    width = 2 * WIDTH if isinstance(model, LarIQA) else SINGLE_WIDTH
    with warnings.catch_warnings():  # that a basis is affine is said where one asks for it
        warnings.simplefilter("ignore")
        model.head = build_kan(basis, (width, outputs), **options)


def kan() -> LarIQA:
    """The published KAN form."""
    return LarIQA((KANLinear(LOGITS, WIDTH), KANLinear(LOGITS, WIDTH)), KANLinear(2 * WIDTH, 1))


def mlp() -> LarIQA:
    """The published MLP form."""
    return LarIQA((MLPReduce(), MLPReduce()), nn.Linear(2 * WIDTH, 1))


_BRANCHES = {"authentic.": "authentic.", "synthetic.": "syntetic."}  # sic: the published keys say "syntetic"

# Own key prefix -> published key prefix.
KAN_PREFIXES = {
    **_BRANCHES,
    "authentic_reduce.": "aut_dw.layers.0.",
    "synthetic_reduce.": "syn_dw.layers.0.",
    "head.": "head.layers.0.",
}
MLP_PREFIXES = {
    **_BRANCHES,
    "authentic_reduce.up.": "aut_up.",
    "authentic_reduce.down.": "aut_dw.",
    "synthetic_reduce.up.": "syn_up.",
    "synthetic_reduce.down.": "syn_dw.",
    "head.": "head.",
}
SINGLE_PREFIXES = {"backbone.": "base.", "reduce.": "aut_dw.layers.0.", "head.": "head.layers.0."}
