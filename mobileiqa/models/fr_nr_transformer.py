"""One transformer for full-reference (FR) and no-reference (NR) quality: YOTO's (Yun and Lin, arXiv 2310.09560).

    image, reference (3, 224, 224)    each through the same encoder and channel attention; NR: reference = image
    Swin-T                            96x56x56, 192x28x28, 384x14x14, 768x7x7
    embed      1x1 conv               768 channels each
    channel    attention of channels  3136, 784, 196, 49 tokens of 768
    segment    + one of two vectors   to the reference's tokens [1 in FR, 0 in NR], to the image's [0]
    same       same-level attention   of the image's tokens, asked by the reference's: 4 maps
    cross      cross-level attention  of the image's levels 12 13 14 23 24 34: 6 maps
    norms      LN each; mean by the first level
    head       4165 tokens -> score s >= 0 and weight w; sum s w / sum w

Zeng and Kwong (arXiv 2112.00485) described such a unified model first, without code: of theirs, the backbone, the
tokens, depth, heads, how the two images meet, the head, loss and schedule are unknown here. YOTO's public code is the
nearest; all dimensions below are YOTO's, none of them is Zeng and Kwong's. Its quirks are kept, each at its line.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mobileiqa.layers.swin import SwinEncoder

PAIRS = ("12", "13", "14", "23", "24", "34")
QUADRANTS = 2
DROPOUT = 0.1


@dataclass(frozen=True)
class Layout:
    """The sizes of one network; the defaults are the published ones."""

    side_px: int = 224
    embed: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = 7
    width: int = 768
    hidden: int = 384

    @property
    def sides(self) -> tuple[int, ...]:
        """Positions on a side of each level."""
        return tuple(self.side_px >> (i + 2) for i in range(4))

    @property
    def grid(self) -> int:
        """Patches on a side in the cross-level attention: one position each at the last level."""
        return self.sides[-1]


PUBLISHED = Layout()


def gate(width: int) -> nn.Sequential:
    """(..., width) -> (..., 1): Linear, GELU (erf)."""
    return nn.Sequential(nn.Linear(width, 1), nn.GELU())


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(width)) v, one head."""
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v


def to_patches(x: torch.Tensor, grid: int) -> torch.Tensor:
    """(N, S * S, C) -> (N, grid * grid, positions of a patch, C), both row by row."""
    n, positions, channels = x.shape
    side = round(positions**0.5) // grid
    return x.reshape(n, grid, side, grid, side, channels).transpose(2, 3).reshape(n, grid**2, -1, channels)


def from_patches(x: torch.Tensor, grid: int) -> torch.Tensor:
    """What `to_patches` took apart: (N, S * S, C)."""
    n, _, positions, channels = x.shape
    side = round(positions**0.5)
    return x.reshape(n, grid, grid, side, side, channels).transpose(2, 3).reshape(n, -1, channels)


class ChannelAttention(nn.Module):
    """(N, C, positions) -> (N, positions, C): attention whose tokens are the channels."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.c_q, self.c_k, self.c_v = (nn.Linear(positions, positions) for _ in range(3))
        self.scale = gate(positions)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        y = attend(self.c_q(x), self.c_k(x), self.c_v(x))
        y = y.transpose(1, 2).reshape(x.shape)  # published so: it scrambles the elements
        return (self.dropout(y) * self.scale(x) + x + x).transpose(1, 2)  # published so: x is added twice


class SameLevel(nn.Module):
    """Tokens x of the image and y of the reference, (N, positions, C) -> x's, attended whole, then by quadrants."""

    def __init__(self, width: int, local: bool) -> None:
        super().__init__()
        self.c_q1, self.c_k1, self.c_v1 = (nn.Linear(width, width) for _ in range(3))
        self.local = local
        if local:
            self.c_q2, self.c_k2, self.c_v2 = (nn.Linear(width, width) for _ in range(3))
        self.scale1 = gate(width)
        self.scale2 = gate(width)  # the last level has one, too, and never uses it

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = self.scale1(x) * attend(self.c_q1(y), self.c_k1(x), self.c_v1(x)) + x
        if not self.local:
            return x
        theirs, ours = to_patches(y, QUADRANTS), to_patches(x, QUADRANTS)
        local = attend(self.c_q2(theirs), self.c_k2(ours), self.c_v2(ours))
        return self.scale2(x) * from_patches(local, QUADRANTS) + x


class CrossLevel(nn.Module):
    """Tokens of a lower and a higher level -> the lower's, each patch attended to the same place above."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.c_q, self.c_k, self.c_v = (nn.Linear(width, width) for _ in range(3))
        self.scale = gate(width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """See the class."""
        below, above = to_patches(low, self.grid), to_patches(high, self.grid)
        y = from_patches(attend(self.c_q(below), self.c_k(above), self.c_v(above)), self.grid)
        return self.dropout(y) * self.scale(low) + low


class FRNRTransformer(nn.Module):
    """Normalised images, (N, 3, 224, 224), alone or with their references -> scores (N,), 0 or more.

    With a reference the mode is FR. The public scripts call FR with the NR vector by mistake; here FR means vector 1.
    """

    def __init__(self, layout: Layout = PUBLISHED) -> None:
        super().__init__()
        self.layout = layout
        width, hidden = layout.width, layout.hidden
        self.encoder = SwinEncoder(layout.embed, layout.depths, layout.heads, layout.window)
        self.embed = nn.ModuleList(nn.Conv2d(layout.embed << i, width, 1) for i in range(4))
        self.channel = nn.ModuleList(ChannelAttention(side**2) for side in layout.sides)
        self.segment = nn.ModuleList(nn.Embedding(2, width) for _ in range(4))
        self.same = nn.ModuleList(SameLevel(width, local=i < 3) for i in range(4))
        self.cross = nn.ModuleDict({pair: CrossLevel(width, layout.grid) for pair in PAIRS})
        self.norms = nn.ModuleDict({key: nn.LayerNorm(width) for key in ("11", "22", "33", "44", *PAIRS)})
        self.score = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, 1), nn.ReLU()
        )
        self.weight = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, 1), nn.Sigmoid()
        )

    def levels(self, image: torch.Tensor) -> list[torch.Tensor]:
        """One image's four levels, each (N, positions, width), after the channel attention."""
        maps = self.encoder(image)
        return [
            channel(embed(x).flatten(2))
            for x, embed, channel in zip(maps, self.embed, self.channel, strict=True)
        ]

    def forward_features(
        self, image: torch.Tensor, reference: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """The four fused levels, (N, positions, width): the mean of the maps that begin at each."""
        ours = self.levels(image)
        theirs = ours if reference is None else self.levels(reference)
        mode = 0 if reference is None else 1
        outputs = []
        for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            segment = self.segment[i].weight
            key = f"{i + 1}{i + 1}"
            maps = [self.norms[key](self.same[i](x + segment[0], y + segment[mode]))]
            for j in range(i + 1, 4):  # without the segment vectors
                pair = f"{i + 1}{j + 1}"
                maps.append(self.norms[pair](self.cross[pair](x, ours[j])))
            outputs.append(torch.stack(maps).mean(0))
        return tuple(outputs)

    def forward_head(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Scores (N,): the tokens' scores, weighted. A ReLU keeps them at 0 or more."""
        tokens = torch.cat(features, 1)
        score, weight = self.score(tokens), self.weight(tokens)
        return ((score * weight).sum(1) / weight.sum(1)).flatten()

    def forward(self, image: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image, reference))


# Own key prefix -> published key prefix.
PREFIXES = {
    "encoder.": "encoder.",
    **{f"embed.{i}.": f"emb{i + 1}." for i in range(4)},
    **{f"channel.{i}.": f"CA{i + 1}." for i in range(4)},
    **{f"segment.{i}.": f"seg_embd{i + 1}." for i in range(4)},
    **{f"same.{i}.": f"CSA{i + 1}{i + 1}." for i in range(4)},
    **{f"cross.{pair}.": f"CSA{pair}." for pair in PAIRS},
    "norms.": "ln",
    "score.": "fc_score.",
    "weight.": "fc_weight.",
}
