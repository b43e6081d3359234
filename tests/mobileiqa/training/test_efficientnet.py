"""EfficientNet weights under two packages' names."""

from pathlib import Path

import pytest
import timm
import torch

from mobileiqa.errors import UserError
from mobileiqa.training.efficientnet import renamed
from mobileiqa.training.initial_weights import initialize
from mobileiqa.zoo import build

# timm's stages of EfficientNet-Lite0, and the same blocks in one row.
STAGES = (1, 2, 2, 3, 3, 4, 1)


def other_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's state dict as efficientnet-pytorch would name it; written from that package's layout."""
    first = {sum(STAGES[:stage]): stage for stage in range(len(STAGES))}
    numbers = {}
    for start, stage in first.items():
        numbers |= {f"blocks.{stage}.{i}.": start + i for i in range(STAGES[stage])}
    outer = {
        "conv_stem": "_conv_stem",
        "bn1": "_bn0",
        "conv_head": "_conv_head",
        "bn2": "_bn1",
        "classifier": "_fc",
    }
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    expanded = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
    found = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] != "blocks":
            found[".".join([outer[parts[0]], *parts[1:]])] = value
            continue
        table = plain if parts[1] == "0" else expanded
        number = numbers[".".join(parts[:3]) + "."]
        found[".".join([f"_blocks.{number}", table[parts[3]], *parts[4:]])] = value
    return found


@pytest.fixture(scope="module")
def lite() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return dict(timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict())


def test_every_tensor_gets_timms_name(lite: dict[str, torch.Tensor]) -> None:
    found = renamed(other_names(lite), lite)
    assert set(found) == set(lite)
    assert all(found[key] is lite[key] for key in lite)


def test_timms_own_names_stay(lite: dict[str, torch.Tensor]) -> None:
    assert renamed(lite, lite) is lite


def test_a_file_of_either_naming_starts_a_model(lite: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(other_names(lite), tmp_path / "lite0.pth")
    model = build("lar-iqa-lite")
    assert initialize(model, "lar-iqa-lite", [tmp_path / "lite0.pth"], False) == "backbone lite0.pth"
    assert all(torch.equal(value, lite[key]) for key, value in model.backbone.state_dict().items())


def test_another_efficientnet_is_refused(lite: dict[str, torch.Tensor], tmp_path: Path) -> None:
    more = {**other_names(lite), "_blocks.16._depthwise_conv.weight": torch.zeros(1)}
    torch.save(more, tmp_path / "lite1.pth")
    with pytest.raises(UserError, match=r"unexpected _blocks\.16\._depthwise_conv\.weight"):
        initialize(build("lar-iqa-lite"), "lar-iqa-lite", [tmp_path / "lite1.pth"], False)
