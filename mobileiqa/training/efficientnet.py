"""EfficientNet weights as efficientnet-pytorch and its Lite packages name them, under timm's names.

    _blocks.1._expand_conv.weight   is timm's   blocks.1.0.conv_pw.weight

Both count blocks from the input, timm by stage and place in it; `_bn0` is the norm after the expansion, which
a stage's block without one does not have.
"""

from collections.abc import Iterable, Mapping

import torch

_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_MARKERS = ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight")


def renamed(state: Mapping[str, torch.Tensor], timm_keys: Iterable[str]) -> Mapping[str, torch.Tensor]:
    """`state` under timm's names where it is in the other naming, else as it is. Keys without one stay."""
    if not all(marker in state for marker in _MARKERS):
        return state
    places = dict.fromkeys(tuple(key.split(".")[1:3]) for key in timm_keys if key.startswith("blocks."))
    blocks = [".".join(place) for place in places]
    return {_name(key, state, blocks): value for key, value in state.items()}


def _name(key: str, state: Mapping[str, torch.Tensor], blocks: list[str]) -> str:
    head, _, rest = key.partition(".")
    if head in _OUTER:
        return f"{_OUTER[head]}.{rest}"
    number, _, rest = rest.partition(".")
    if head != "_blocks" or not number.isdigit() or int(number) >= len(blocks):
        return key
    table = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
    layer, _, tensor = rest.partition(".")
    return f"blocks.{blocks[int(number)]}.{table.get(layer, layer)}.{tensor}"
