"""The whole photo in two views of one EfficientNet-Lite0: all of it resized, and native fragments of all of it.

    overview 256x256  -> trunk -> means over the last map and three early ones \\              / score
    fragments 512x512 -> trunk -> means over the last map and three early ones / concatenate, hidden -- reasons

The overview sees exposure, colour and where damage is; the fragments (UIQA's, FAST-VQA's) see the pixels as the
camera wrote them, everywhere. Means over positions let both views have any size. This project's own; nothing in it
is an operator that a phone's delegate lacks: convolutions, ReLU, means, linear layers, sigmoid.
"""

import torch
from torch import nn

from mobileiqa.reasons import REASONS

LAST = 1280  # channels of its last map
EARLY = ((1, 24), (2, 40), (4, 112))  # stage (strides 4, 8 and 16), its channels
LAST_WIDTH, EARLY_WIDTH, HIDDEN = 192, 64, 256
VIEWS = ("overview", "fragments")
WIDTH = len(VIEWS) * (LAST_WIDTH + len(EARLY) * EARLY_WIDTH)  # of the features


class WholePhoto(nn.Module):
    """overview (N, 3, H, W) and fragments (N, 3, H', W'), normalised -> scores (N,), 0..1, higher is better."""

    kind = "tf_efficientnet_lite0"  # timm's name

    def __init__(self) -> None:
        import timm

        super().__init__()
        self.backbone = timm.create_model(self.kind, pretrained=False, num_classes=0)
        self.early = nn.ModuleList(nn.Conv2d(channels, EARLY_WIDTH, 1) for _, channels in EARLY)
        self.last = nn.ModuleDict({view: nn.Conv2d(LAST, LAST_WIDTH, 1) for view in VIEWS})
        self.hidden = nn.Linear(WIDTH, HIDDEN)
        self.score = nn.Linear(HIDDEN, 1)
        self.reasons = nn.Linear(HIDDEN, len(REASONS))

    def maps(self, view: torch.Tensor) -> list[torch.Tensor]:
        """The trunk's maps of one view: of each stage in EARLY, then the last one."""
        net, stages = self.backbone, dict(EARLY)
        x, maps = net.bn1(net.conv_stem(view)), []
        for stage, block in enumerate(net.blocks):
            x = block(x)
            if stage in stages:
                maps.append(x)
        return [*maps, net.bn2(net.conv_head(x))]

    def view_features(self, name: str, maps: list[torch.Tensor]) -> torch.Tensor:
        """Means over positions of a view's maps after a 1x1 convolution and ReLU, the last map first: (N, 384)."""
        convolutions = [self.last[name], *self.early]
        pairs = zip(convolutions, [maps[-1], *maps[:-1]], strict=True)
        return torch.cat([torch.relu(conv(features)).mean((2, 3)) for conv, features in pairs], 1)

    def forward_features(self, overview: torch.Tensor, fragments: torch.Tensor) -> torch.Tensor:
        """Both views' features, (N, 768)."""
        views = zip(VIEWS, (overview, fragments), strict=True)
        return torch.cat([self.view_features(name, self.maps(view)) for name, view in views], 1)

    def forward_hidden(self, features: torch.Tensor) -> torch.Tensor:
        """Features (N, 768) -> what score and reasons are read from, (N, 256)."""
        return torch.relu(self.hidden(features))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Features (N, 768) -> scores (N,)."""
        return torch.sigmoid(self.score(self.forward_hidden(features))).squeeze(1)

    def forward_reasons(
        self, overview: torch.Tensor, fragments: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (N,), and a probability of each of spec.reasons, (N, 11); more than one may apply."""
        hidden = self.forward_hidden(self.forward_features(overview, fragments))
        return torch.sigmoid(self.score(hidden)).squeeze(1), torch.sigmoid(self.reasons(hidden))

    def forward(self, overview: torch.Tensor, fragments: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(overview, fragments))
