"""The first blocks of a MobileNetV3 or an EfficientNet in bands of rows, so that their large maps never exist.

    y[a:b] = conv(x[a s - p : (b - 1) s - p + k])        (k kernel, s stride, p zero rows outside the image)

A convolution's output rows depend on a few input rows, so a block (expand, depthwise, project, residual) can be
computed band after band; neighbouring bands repeat a row or two of the expanded map. At 1907x1231 the expanded
map of the second block alone is 150 MB, and it is most of what the network holds at its peak.

Exported whole (`compact`): convert.flatbuffer.row_bands cuts the same bands in the converted file.
"""

import torch
from timm.layers import Conv2dSame
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import nn

from convert import row_ranges
from convert.rewrites.core import Rewrite, Sites
from convert.row_ranges import RowLayer, Rows

Block = InvertedResidual | DepthwiseSeparableConv
EQUATION = "conv(x)[a:b] = conv(x[a s - p : (b - 1) s - p + k]), band by band"


def padding(conv: nn.Conv2d, size: int, axis: int) -> tuple[int, int]:
    """Zeros before and after a map of `size` rows (axis 0) or columns (axis 1); Conv2dSame has them by size."""
    if not isinstance(conv, Conv2dSame):
        return conv.padding[axis], conv.padding[axis]
    return row_ranges.same_zeros(size, conv.kernel_size[axis], conv.stride[axis])


class Banded(nn.Module):
    """A chain of convolutions, each with its activation: (1, C, H, W) -> (1, C', H', W')."""

    compact = False  # see convert.rewrites.core.compact

    def __init__(self, convs: list[nn.Conv2d], acts: list[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.acts = nn.ModuleList(acts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same as the plain chain, in as many bands as row_ranges.bands says."""
        sizes = self.sizes(x.shape[2], x.shape[3])
        widest = max(
            4 * h * w * conv.out_channels for (h, w), conv in zip(sizes[1:], self.convs, strict=True)
        )
        bands = row_ranges.bands(widest, sizes[-1][0])
        if self.compact or len(bands) == 1:
            return self.whole(x)
        layers = self.layers([height for height, _ in sizes[:-1]])
        x = x.permute(0, 2, 3, 1)
        parts = [self.band(x, row_ranges.reads(layers, start, stop)) for start, stop in bands]
        return torch.cat(parts, 1).permute(0, 3, 1, 2)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """The plain chain."""
        for conv, act in zip(self.convs, self.acts, strict=True):
            x = act(conv(x))
        return x

    def band(self, x: torch.Tensor, reads: list[Rows]) -> torch.Tensor:
        """One band, (1, H, W, C): `reads[i]` are the rows that convolution i reads of the whole map.

        Slices and padding are channels-last, as in the converted file: left to itself the converter puts a
        transpose of the whole map before the slices.
        """
        x = x[:, reads[0].start : reads[0].stop]
        for conv, act, rows in zip(self.convs, self.acts, reads, strict=True):
            left, right = padding(conv, x.shape[2], 1)
            if left or right or rows.above or rows.below:
                x = nn.functional.pad(x, (0, 0, left, right, rows.above, rows.below))
            planes = x.permute(0, 3, 1, 2)
            y = nn.functional.conv2d(
                planes, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups
            )
            x = act(y).permute(0, 2, 3, 1)
        return x

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(height, width) of the input and of every convolution's output."""
        sizes = [(height, width)]
        for conv in self.convs:
            padded = [
                n + sum(padding(conv, n, axis)) - conv.kernel_size[axis] for axis, n in enumerate(sizes[-1])
            ]
            sizes.append((padded[0] // conv.stride[0] + 1, padded[1] // conv.stride[1] + 1))
        return sizes

    def layers(self, heights: list[int]) -> list[RowLayer]:
        """The convolutions, of inputs of `heights` rows."""
        return [
            RowLayer(height, conv.kernel_size[0], conv.stride[0], padding(conv, height, 0)[0])
            for conv, height in zip(self.convs, heights, strict=True)
        ]


def _obstacle(block: Block, convs: list[nn.Module], norms: list[nn.Module]) -> str | None:
    """Why the block cannot be a chain of convolutions, or None."""
    if block.conv_s2d is not None or not isinstance(block.aa, nn.Identity):
        return "it has a space-to-depth or antialiasing step"
    if any(type(conv) not in (nn.Conv2d, Conv2dSame) or conv.dilation != (1, 1) for conv in convs):
        return "its convolutions are not plain, or dilated"
    if any(isinstance(norm, nn.BatchNorm2d) for norm in norms):
        return "its batch norms are not folded"
    return None


def _stages(block: Block) -> tuple[list[str], list[str]]:
    """Names of the block's convolutions, in order, and of the norm (after folding: the activation) after each."""
    if isinstance(block, DepthwiseSeparableConv):
        return ["conv_dw", "conv_pw"], ["bn1", "bn2"]
    return ["conv_pw", "conv_dw", "conv_pwl"], ["bn1", "bn2", "bn3"]


def chain(block: Block) -> str | None:
    """Moves the block's convolutions into a Banded in place of the first one; returns why not, if not."""
    conv_names, norm_names = _stages(block)
    convs = [getattr(block, name) for name in conv_names]
    norms = [getattr(block, name) for name in norm_names]
    reason = _obstacle(block, convs, norms)
    if reason:
        return reason
    for name in (*conv_names[1:], *norm_names):
        setattr(block, name, nn.Identity())
    setattr(block, conv_names[0], Banded(convs, norms))
    return None


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Chains the convolutions of every timm block without squeeze-and-excitation."""
    sites = Sites()
    for path, block in model.named_modules():
        if not isinstance(block, Block) or not isinstance(block.se, nn.Identity):
            continue
        reason = chain(block)
        if reason:
            sites.refused.append(f"{path}: {reason}")
        else:
            sites.replaced += 1
    return model, sites


REWRITE = Rewrite("band_blocks", EQUATION, apply)
