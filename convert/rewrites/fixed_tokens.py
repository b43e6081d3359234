"""MUSIQ for photos of one size: the image goes in, and the graph makes the tokens.

    tokens of a photo (H, W)  =  cut(pad(A_h X A_w^T)) for each scale, and cut(pad(X)) of the photo itself

A photo's size says how many tokens each scale has, and where they lie: resizing without antialiasing is two constant
matrices, the vectors of place and scale are one constant, and no token is empty, so nothing is masked. The weights of
the convolutions are standardised once. After the last attention only the class token is read, so the last block asks
for no other.

`PhotoModel` is the published arithmetic, on tokens that mobileiqa.tokens makes; `FixedTokens` is what is exported.
"""

import dataclasses

import torch
from torch import nn

from convert.rewrites.core import Rewrite, Sites, linear
from mobileiqa import tokens
from mobileiqa.models.musiq import HEADS, MUSIQ, STANDARD_EPS, Block, StandardConv
from mobileiqa.spec import PATCH_PX, Fit, InputSpec, ModelSpec, Resample

EQUATION = "tokens of a photo of one size = cut(pad(A_h X A_w^T)); places, scales and weights are constants"


class PhotoModel(nn.Module):
    """One normalised image (1, 3, H, W) -> scores (1,), by the tokens that `prepare` makes of a photo of that size."""

    def __init__(self, model: MUSIQ, tokens_input: InputSpec) -> None:
        super().__init__()
        self.model = model
        self.scales_px, self.resample = tokens_input.scales_px, tokens_input.resample

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        """The class token after the last LN: (1, 384)."""
        photo = tokens.multi_scale(image[0].numpy(), self.scales_px, self.resample)
        return self.model.forward_features(torch.from_numpy(photo)[None])

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Scores (1,)."""
        return self.model.forward_head(features)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image))


def photo_spec(spec: ModelSpec, width_px: int, height_px: int) -> ModelSpec:
    """The spec of a `PhotoModel`: a photo is resized to this size first, whatever its own (Pillow's bicubic)."""
    (own,) = spec.inputs
    image = InputSpec(
        "image", height_px, width_px, Fit.RESIZE, Resample.BICUBIC, own.color_space, own.mean, own.std,
        fixed_size=True,
    )  # fmt: skip
    return dataclasses.replace(spec, inputs=(image,))


class Scale(nn.Module):
    """One scale of a photo: (1, 3, H, W) -> its patches (rows * columns, 32, 32, 3)."""

    def __init__(self, photo: tuple[int, int], size: tuple[int, int], resample: Resample) -> None:
        super().__init__()
        self.resize = photo != size
        if self.resize:
            self.down, self.across = (
                linear(_matrix(side, out, resample), None) for side, out in zip(photo, size, strict=True)
            )
        (top, bottom), (left, right) = (tokens.margins(side) for side in size)
        self.margins = (0, 0, left, right, top, bottom)
        self.rows, self.columns = (-(-side // PATCH_PX) for side in size)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Matrices are 2-D and at the right of each product, for XNNPACK."""
        x = image[0]
        if self.resize:
            x = self.across(x.reshape(-1, x.shape[2])).reshape(3, x.shape[1], -1).mT
            x = self.down(x.reshape(-1, x.shape[2])).reshape(3, x.shape[1], -1).mT
        x = nn.functional.pad(x.permute(1, 2, 0)[None], self.margins)  # 4-D: GPUs shift the rows of a 3-D one
        x = x.reshape(self.rows, PATCH_PX, self.columns, PATCH_PX * 3).transpose(1, 2)
        return x.reshape(-1, PATCH_PX, PATCH_PX, 3)


def _matrix(side: int, out: int, resample: Resample) -> torch.Tensor:
    """(out, side) float64."""
    index, weights = tokens.resize_weights(side, out, resample)
    matrix = torch.zeros(out, side, dtype=torch.float64)
    return matrix.scatter_add_(1, torch.from_numpy(index), torch.from_numpy(weights))


class FixedBlock(nn.Module):
    """A block of the encoder for the tokens (T, 384) of one photo; `queries`: how many of them are read behind it."""

    def __init__(self, source: Block, queries: int | None = None) -> None:
        super().__init__()
        self.queries = queries
        self.norm1, self.norm2, self.mlp = source.norm1, source.norm2, source.mlp
        attention = source.attention
        self.key, self.value, self.out = attention.key, attention.value, attention.out
        scale = (attention.query.out_features // HEADS) ** -0.5
        self.query = linear(attention.query.weight * scale, attention.query.bias * scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        y = self.norm1(x)
        x = x[: self.queries]
        q, k, v = (
            layer(z).reshape(z.shape[0], HEADS, -1).transpose(0, 1)
            for layer, z in ((self.query, y[: self.queries]), (self.key, y), (self.value, y))
        )
        attended = ((q @ k.mT).softmax(-1) @ v).transpose(0, 1)
        x = x + self.out(attended.reshape(x.shape[0], -1))
        return x + self.mlp(self.norm2(x))


class FixedTokens(nn.Module):
    """Equal to a PhotoModel for images (1, 3, height, width): scores (1,)."""

    token_code: torch.Tensor
    class_token: torch.Tensor

    def __init__(self, source: PhotoModel, height: int, width: int) -> None:
        super().__init__()
        sizes = [tokens.scaled_size(height, width, longest) for longest in sorted(source.scales_px)]
        scales = [Scale((height, width), size, source.resample) for size in [*sizes, (height, width)]]
        self.scales = nn.ModuleList(scales)
        self.model = source.model
        for name, module in list(self.model.named_modules()):
            if isinstance(module, StandardConv):
                parent, _, attribute = name.rpartition(".")
                setattr(self.model.get_submodule(parent), attribute, standardised(module))
        encoder = self.model.encoder
        codes = [
            encoder.position_emb[0, torch.from_numpy(tokens.places(each.rows, each.columns))]
            + encoder.scale_emb[number]
            for number, each in enumerate(scales)
        ]
        self.register_buffer("token_code", torch.cat(codes).detach().clone())
        self.register_buffer("class_token", encoder.cls[0].detach().clone())
        last = len(encoder.blocks) - 1
        self.blocks = nn.ModuleList(
            FixedBlock(block, 1 if i == last else None) for i, block in enumerate(encoder.blocks)
        )
        self.norm = encoder.encoder_norm
        del self.model.encoder
        self.to(self.token_code.dtype)

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        """The class token after the last LN: (1, 384)."""
        patches = torch.cat([scale(image) for scale in self.scales])
        x = self.model.embed(patches.permute(0, 3, 1, 2)) + self.token_code
        x = torch.cat([self.class_token, x])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Scores (1,)."""
        return self.model.forward_head(features)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image))


def standardised(source: StandardConv) -> nn.Conv2d:
    """The plain convolution with the weights that `source` computes whenever it runs."""
    std, mean = torch.std_mean(source.weight, (1, 2, 3), correction=int(source.unbiased), keepdim=True)
    out, channels, *kernel = source.weight.shape
    conv = nn.Conv2d(channels, out, kernel, source.stride, source.padding, bias=False)
    conv.weight = nn.Parameter(((source.weight - mean) / (std + STANDARD_EPS)).detach(), requires_grad=False)
    return conv


def rewrite(size: tuple[int, int]) -> Rewrite:
    """The rewrite for images of `size`, (height, width)."""

    def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
        if not isinstance(model, PhotoModel):
            return model, Sites()
        return FixedTokens(model, *size), Sites(1)

    return Rewrite("tokens_of_one_size", EQUATION, apply)
