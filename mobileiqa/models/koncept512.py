"""KonCept512 (Hosu et al., KonIQ-10k, TIP 2020): InceptionResNetV2 without its top, under four fully connected layers.

    image (3, H, W)                 384x512    x / 127.5 - 1
    conv2d_1a .. conv2d_4a          92x124     stem, unpadded but for conv2d_2b
    maxpool_5a, mixed_5b            45x61       320 channels
    repeat    Block35 x 10, .17     45x61       320
    mixed_6a, Block17 x 20, .10     22x30      1088
    mixed_7a, Block8  x  9, .20     10x14      2080
    block8    scale 1, no ReLU      10x14      2080
    conv2d_7b                       10x14      1536
    pool                            1x1        1536
    Linear, ReLU, BN, dropout  x 3             2048 .25, 1024 .25, 256 .5
    Linear                                        1  on the labels' own scale, 0..100

The body is timm's inception_resnet_v2, whose tensors are those of the public PyTorch port but for their names.
There are two poolings. The paper's Keras model averages the whole map. The port (subpic/koniq in PyTorch,
ZhengyuZhao/koniq-PyTorch) kept AvgPool2d(8) from 299x299 days, which reads only the top-left 8x8 of the 10x14
positions; its weights were trained so, and are only right with it. At 299x299 both are the same.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.text import printable
from mobileiqa.typed_json import shortened

BODY = (
    "conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a", "maxpool_5a", "mixed_5b",
    "repeat", "mixed_6a", "repeat_1", "mixed_7a", "repeat_2", "block8", "conv2d_7b",
)  # fmt: skip
WINDOW = 8  # positions on a side that the port's pooling reads
CHANNELS = 1536
#       width  dropout
HEAD = ((2048, 0.25), (1024, 0.25), (256, 0.5))
HEAD_EPS = 1e-5  # the port's; Keras has 1e-3, which loading adds to the variances
KERAS_EPS = 1e-3
HDF5 = b"\x89HDF\r\n\x1a\n"


class Pool(StrEnum):
    """Which positions of the last map are averaged."""

    GLOBAL = "global"  # all: the paper, and the Keras weights
    TOP_LEFT = "top-left-8x8"  # as the PyTorch port and its weights do


class KonCept512(nn.Module):
    """Normalised images (N, 3, H, W), 4:3 in the paper, at least 299x299 for top-left-8x8 -> scores (N,)."""

    def __init__(self, pool: Pool | str = Pool.GLOBAL) -> None:
        super().__init__()
        import timm

        self.pool = Pool(pool)
        inception = timm.create_model("inception_resnet_v2", pretrained=False)
        self.body = nn.Sequential()
        for name in BODY:
            self.body.add_module(name, getattr(inception, name))
        layers: list[nn.Module] = []
        width = CHANNELS
        for out, dropout in HEAD:  # ReLU comes before the norm
            layers += [
                nn.Linear(width, out),
                nn.ReLU(),
                nn.BatchNorm1d(out, eps=HEAD_EPS),
                nn.Dropout(dropout),
            ]
            width = out
        self.head = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        """The pooled features (N, 1536)."""
        maps = self.body(image)
        if self.pool is Pool.TOP_LEFT:
            maps = maps[:, :, :WINDOW, :WINDOW]
        return maps.mean((2, 3))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Scores (N,), on the labels' own scale."""
        return self.head(features).squeeze(1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image))


# Own key prefix -> the port's. Pools have no keys.
PREFIXES = {
    **{f"body.{name}.": f"base.{i}." for i, name in enumerate(BODY) if not name.startswith("maxpool")},
    "head.": "fc.",
}


def from_keras(path: Path) -> dict[str, torch.Tensor]:
    """The port's names and tensors from a Keras weights file (koncep512-trained-model.h5), read as arrays. Needs h5py.

    Raises UserError where h5py is missing, and for a file that holds other layers.
    """
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            raise UserError(
                f"an HDF5 file of weights in {path.name}", "another kind of file", "correct the path"
            )
    try:
        import h5py
    except ImportError as error:
        raise UserError("h5py for a Keras file", "no such package", "pip install h5py") from error
    arrays: dict[str, NDArray[np.float32]] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item, np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = shortened(str(error).partition("\n")[0])
        raise UserError(f"a whole HDF5 file of weights in {path.name}", reason, "copy it again") from error
    return keras_state(arrays, path.name)


def keras_state(arrays: Mapping[str, NDArray[np.float32]], source: str) -> dict[str, torch.Tensor]:
    """The port's names and tensors from Keras's arrays, whose names end in LAYER/TENSOR:0.

    Body layers are paired in their order of creation, which is timm's order, by keras.applications' names (a test does
    so with Keras's own network; the published file was not at hand). The body's norms have no gamma: 1. Kernels
    (H, W, in, out) become (out, in, H, W), and Dense ones are transposed. Raises UserError for another set of layers.
    """
    layers: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, array in arrays.items():
        if name.startswith("optimizer_weights/"):
            continue
        layer, _, tensor = name.rpartition("/")
        layers.setdefault(layer.rpartition("/")[2], {})[tensor.partition(":")[0]] = array
    with torch.device("meta"):
        modules = dict(KonCept512().named_modules())
    state: dict[str, torch.Tensor] = {}
    table = _keras_names(modules, list(layers))
    if others := sorted(set(layers) - set(table.values())):
        listed = shortened(printable(", ".join(others[:3])), 200)
        raise UserError(
            f"the layers of KonCept512 alone in {source}",
            f"{len(others)} others ({listed})",
            "check that this is the right file",
        )
    for own, layer in table.items():
        if layer not in layers:
            raise UserError(f"the layer {layer} of KonCept512 in {source}", f"{len(layers)} layers without it",
                            "check that this is the right file")  # fmt: skip
        try:
            tensors = _tensors(modules[own], layers[layer], in_head=own.startswith("head."))
        except (KeyError, ValueError) as error:
            raise UserError(f"the tensors of layer {layer} in {source}", f"{', '.join(layers[layer])} ({error})",
                            "check that this is the right file") from error  # fmt: skip
        state.update(
            {f"{own}.{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in tensors.items()}
        )
        if isinstance(modules[own], nn.BatchNorm1d | nn.BatchNorm2d):
            state[f"{own}.num_batches_tracked"] = torch.tensor(0)
    return {published: state[own] for own, published in to_published(state, PREFIXES).items()}


def _keras_names(modules: Mapping[str, nn.Module], layers: list[str]) -> dict[str, str]:
    """own module name -> Keras layer."""
    plain = [
        name for name, module in modules.items() if isinstance(module, nn.Conv2d) and module.bias is None
    ]
    norms = [name for name, module in modules.items() if isinstance(module, nn.BatchNorm2d)]
    plain, norms = plain[:-1], norms[:-1]  # the last, conv_7b, has a name
    table = {
        **dict(zip(plain, _numbered(layers, "conv2d", len(plain)), strict=True)),
        **dict(zip(norms, _numbered(layers, "batch_normalization", len(norms)), strict=True)),
        "body.conv2d_7b.conv": "conv_7b",
        "body.conv2d_7b.bn": "conv_7b_bn",
    }
    for stage, kind, count in (
        ("repeat", "block35", 10),
        ("repeat_1", "block17", 20),
        ("repeat_2", "block8", 9),
    ):
        table |= {f"body.{stage}.{i}.conv2d": f"{kind}_{i + 1}_conv" for i in range(count)}
    table["body.block8.conv2d"] = "block8_10_conv"
    for i in range(len(HEAD)):
        table |= {f"head.{4 * i}": f"fc_fc{i}", f"head.{4 * i + 2}": f"fc_bn{i}"}
    return {**table, f"head.{4 * len(HEAD)}": "fc_out"}


def _numbered(layers: list[str], stem: str, count: int) -> list[str]:
    """The layers `stem` and `stem_K` by K; where there are too few, names that no file has."""
    numbers = {
        name: name.removeprefix(stem).removeprefix("_") or "0" for name in layers if name.startswith(stem)
    }
    ordered = sorted((n for n, k in numbers.items() if k.isdigit()), key=lambda name: int(numbers[name]))
    return ordered if len(ordered) == count else [f"{stem} number {i} of {count}" for i in range(count)]


def _tensors(
    module: nn.Module, layer: Mapping[str, NDArray[np.float32]], in_head: bool
) -> dict[str, NDArray[np.float32]]:
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        extra = np.float32(KERAS_EPS - HEAD_EPS if in_head else 0)  # the body's norms have Keras's eps
        gamma = layer["gamma"] if in_head else np.ones_like(layer["beta"])
        return {"weight": gamma, "bias": layer["beta"], "running_mean": layer["moving_mean"],
                "running_var": layer["moving_variance"] + extra}  # fmt: skip
    kernel = layer["kernel"]
    weight = kernel.transpose(3, 2, 0, 1) if isinstance(module, nn.Conv2d) else kernel.T
    biased = getattr(module, "bias", None) is not None
    return {"weight": weight, **({"bias": layer["bias"]} if biased else {})}
