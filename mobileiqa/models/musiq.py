"""MUSIQ (Ke et al., ICCV 2021): a transformer over patches of a photo at several scales, of any size and shape.

    tokens (T, 3075)      patches of 32x32 with place, scale and mask (mobileiqa.tokens)
    conv_root  7x7, 2     16x16x64    weights standardised, GroupNorm, ReLU     each patch by itself
    max pool   3x3, 2      8x8x64
    block1     bottleneck  8x8x256    64, 64, 256 and a 1x1 shortcut
    embedding  Linear      384        of 8*8*256 values, channels last
    + place (100) + scale (3), behind a class token
    14 blocks  LN, 6 heads of 64, add; LN, 1152, GELU, add
    LN, class token -> head: Linear 1 (0..100), or for AVA softmax over 10 votes, score = their mean

There are two variants, with the same tensors. "pyiqa" is IQA-PyTorch's port, whose .pth files most people use.
"google" is the code that the weights were trained with (google-research/musiq, Apache-2.0): biased deviation in the
weights' standardisation, GELU by tanh, and scales resized with a Gaussian. Their scores differ in the fourth digit.
"""

from enum import StrEnum

import torch
from torch import nn

from mobileiqa.spec import PATCH_PX, PATCH_VALUES

WIDTH = 384
HEADS = 6
HIDDEN = 1152
DEPTH = 14
PLACES = 100
SCALES = 3
ROOT = 64
EXPANDED = 256
CELLS = 8  # on a side of a patch's last map
CHUNK = 1024  # patches that are encoded at once: each is by itself, so only memory knows
MASKED = -1000.0  # the score of a masked pair: its weight is 0 exactly
STANDARD_EPS = 1e-5


class Variant(StrEnum):
    """Whose arithmetic."""

    PYIQA = "pyiqa"
    GOOGLE = "google"


class StandardConv(nn.Conv2d):
    """A convolution without bias whose weights are standardised for each output channel."""

    def __init__(self, channels: int, out: int, kernel: int, variant: Variant, **options: int) -> None:
        super().__init__(channels, out, kernel, bias=False, **options)
        self.unbiased = variant is Variant.PYIQA

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        std, mean = torch.std_mean(self.weight, (1, 2, 3), correction=int(self.unbiased), keepdim=True)
        weight = (self.weight - mean) / (std + STANDARD_EPS)
        return nn.functional.conv2d(x, weight, None, self.stride, self.padding)


def group_norm(channels: int, eps: float = 1e-4) -> nn.GroupNorm:
    """32 groups."""
    return nn.GroupNorm(32, channels, eps=eps)


class Bottleneck(nn.Module):
    """(T, 64, 8, 8) -> (T, 256, 8, 8)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv1, self.gn1 = StandardConv(ROOT, ROOT, 1, variant), group_norm(ROOT)
        self.conv2, self.gn2 = StandardConv(ROOT, ROOT, 3, variant, padding=1), group_norm(ROOT)
        self.conv3, self.gn3 = StandardConv(ROOT, EXPANDED, 1, variant), group_norm(EXPANDED)
        self.conv_proj, self.gn_proj = StandardConv(ROOT, EXPANDED, 1, variant), group_norm(EXPANDED)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        shortcut = self.gn_proj(self.conv_proj(x))
        x = self.gn1(self.conv1(x)).relu()
        x = self.gn2(self.conv2(x)).relu()
        return (shortcut + self.gn3(self.conv3(x))).relu()


class Attention(nn.Module):
    """Multi-head self-attention over all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """padding: (N, 1, 1, T), True where a token is empty, or None."""
        q, k, v = (
            layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        if padding is None:
            y = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(padding, MASKED)
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.approximate = "tanh" if variant is Variant.GOOGLE else "none"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.fc2(nn.functional.gelu(self.fc1(x), approximate=self.approximate))


class Block(nn.Module):
    """LN, attention, add; LN, MLP, add."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attention, self.mlp = Attention(), MLP(variant)

    def forward(self, x: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """See the class."""
        x = x + self.attention(self.norm1(x), padding)
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """(N, T, 384), places and scales (N, T), -> the class token (N, 384)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position_emb = nn.Parameter(0.02 * torch.randn(1, PLACES, WIDTH))
        self.scale_emb = nn.Parameter(0.02 * torch.randn(SCALES, WIDTH))
        self.blocks = nn.ModuleList(Block(variant) for _ in range(DEPTH))
        self.encoder_norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(
        self, x: torch.Tensor, place: torch.Tensor, scale: torch.Tensor, padding: torch.Tensor | None
    ) -> torch.Tensor:
        """See the class."""
        x = x + self.position_emb[0, place] + self.scale_emb[scale]
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x, padding)
        return self.encoder_norm(x[:, 0])


class MUSIQ(nn.Module):
    """Tokens (N, T, 3075) of mobileiqa.tokens, T as the photo has it -> scores (N,)."""

    def __init__(self, votes: int = 1, variant: Variant | str = Variant.PYIQA) -> None:
        super().__init__()
        variant = Variant(variant)
        self.conv_root = StandardConv(3, ROOT, 7, variant, stride=2)
        self.gn_root = group_norm(ROOT, 1e-6)
        self.block1 = Bottleneck(variant)
        self.embedding = nn.Linear(CELLS * CELLS * EXPANDED, WIDTH)
        self.encoder = Encoder(variant)
        head = nn.Linear(WIDTH, votes)
        self.head = head if votes == 1 else nn.Sequential(head, nn.Softmax(-1))

    def embed(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches (T, 3, 32, 32) -> (T, 384), each by itself. Padding is TensorFlow's: the odd pixel behind."""
        x = self.conv_root(nn.functional.pad(patches, (2, 3, 2, 3)))
        x = nn.functional.pad(self.gn_root(x).relu(), (0, 1, 0, 1))
        x = self.block1(nn.functional.max_pool2d(x, 3, 2))
        return self.embedding(x.permute(0, 2, 3, 1).flatten(1))

    def forward_features(self, tokens: torch.Tensor) -> torch.Tensor:
        """The class token after the last LN: (N, 384)."""
        patches = tokens[..., :PATCH_VALUES].reshape(-1, 3, PATCH_PX, PATCH_PX)
        x = torch.cat([self.embed(part) for part in patches.split(CHUNK)]).unflatten(0, tokens.shape[:2])
        place, scale = tokens[..., PATCH_VALUES].long(), tokens[..., PATCH_VALUES + 1].long()
        return self.encoder(x, place, scale, _padding(tokens[..., PATCH_VALUES + 2]))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Scores (N,); with votes, the mean vote, 1 being the first."""
        output = self.head(features)
        if output.shape[1] > 1:
            output = output * torch.arange(1, output.shape[1] + 1, device=output.device)
        return output.sum(1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(tokens))


def _padding(mask: torch.Tensor) -> torch.Tensor | None:
    """(N, 1, 1, 1 + T), True for empty tokens, never for the class token; None where there are none."""
    if mask.device.type == "meta" or bool(mask.all()):
        return None
    return nn.functional.pad(mask == 0, (1, 0))[:, None, None]


# Own key prefix -> published key prefix.
PREFIXES = {
    **{name: name for name in ("conv_root.", "gn_root.", "block1.", "embedding.", "head.")},
    "encoder.": "transformer_encoder.",
    "encoder.position_emb": "transformer_encoder.posembed_input.position_emb",
    "encoder.scale_emb": "transformer_encoder.scaleembed_input.scale_emb",
    "encoder.blocks.": "transformer_encoder.transformer.encoderblock_",
}
