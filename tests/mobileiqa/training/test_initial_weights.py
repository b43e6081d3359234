"""Where a run starts from."""

from pathlib import Path

import pytest
import timm
import torch

from mobileiqa import checkpoint
from mobileiqa.errors import UserError
from mobileiqa.models.mobile_iqa import MobileIQA, Variant
from mobileiqa.training.initial_weights import initialize, renamed
from mobileiqa.zoo import MODELS, TRUNK, build, build_seeded


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    return checkpoint.save(
        folder / "single.safetensors", build_seeded("lar-iqa-single"), MODELS["lar-iqa-single"].spec
    )


def test_a_checkpoint_of_the_same_model_gives_everything(single: Path) -> None:
    model = build("lar-iqa-single")
    assert "single.safetensors" in initialize(model, "lar-iqa-single", [single], False)
    expected = build_seeded("lar-iqa-single").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_another_models_checkpoint_gives_its_backbone(single: Path) -> None:
    model = build("mobilenet-iqa")
    head = model.head.fc2.weight.clone()
    initialize(model, "mobilenet-iqa", [single], False)
    expected = build_seeded("lar-iqa-single").backbone.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.backbone.state_dict().items())
    assert torch.equal(model.head.fc2.weight, head)


def test_the_reference_gives_its_backbone_to_a_model_that_reads_maps() -> None:
    """Lite0's last norm, `bn2`, belongs to the classifier's convolution: maps do not pass it."""
    variant = Variant("efficientnet_lite0", (16, 24, 40, 112, 320), 1, False, grid=4)
    model = MobileIQA(variant)
    initialize(model, "teacher", [TRUNK], False)
    expected = checkpoint.load(TRUNK)[0].backbone.state_dict()
    state = model.backbone.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in state.items())
    assert "bn2.weight" in expected and "bn2.weight" not in state


def test_two_branches_are_merged(single: Path, tmp_path: Path) -> None:
    other = checkpoint.save(
        tmp_path / "other.safetensors", build_seeded("lar-iqa-single", 2), MODELS["lar-iqa-single"].spec
    )
    model = build("lar-iqa-mlp")
    initialize(model, "lar-iqa-mlp", [single, other], False)
    key = "conv_stem.weight"
    assert torch.equal(
        model.authentic.state_dict()[key], build_seeded("lar-iqa-single").backbone.state_dict()[key]
    )
    assert torch.equal(
        model.synthetic.state_dict()[key], build_seeded("lar-iqa-single", 2).backbone.state_dict()[key]
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_timm_backbone_file_gives_the_backbone(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    state = dict(build_seeded("lar-iqa-single").backbone.state_dict())
    path = tmp_path / f"timm{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    model = build("mobilenet-iqa")  # reads maps: the file's classifier is left out
    initialize(model, "mobilenet-iqa", [path], False)
    assert torch.equal(model.backbone.state_dict()["conv_stem.weight"], state["conv_stem.weight"])


def test_what_does_not_fit_is_refused_and_named(single: Path, tmp_path: Path) -> None:
    state = dict(build_seeded("lar-iqa-single").backbone.state_dict())
    del state["conv_stem.weight"]
    torch.save(state, tmp_path / "short.pth")
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    model = build("lar-iqa-single")
    for files, words in (
        ([tmp_path / "short.pth"], "missing conv_stem.weight"),
        ([tmp_path / "bad.pth"], "bad.pth"),
        ([tmp_path / "none.pth"], "nothing at"),
        ([single, single], "one --init file"),
    ):
        with pytest.raises(UserError, match=words):
            initialize(model, "lar-iqa-single", files, False)
    with pytest.raises(UserError, match="leave one out"):
        initialize(model, "lar-iqa-single", [single], True)


def test_pretrained_weights_that_cannot_be_fetched_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")
    with pytest.raises(UserError, match="--from-scratch"):
        initialize(build("lar-iqa-single"), "lar-iqa-single", [], False)


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
    result = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] != "blocks":
            result[".".join([outer[parts[0]], *parts[1:]])] = value
            continue
        table = plain if parts[1] == "0" else expanded
        number = numbers[".".join(parts[:3]) + "."]
        result[".".join([f"_blocks.{number}", table[parts[3]], *parts[4:]])] = value
    return result


@pytest.fixture(scope="module")
def lite() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return dict(timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict())


def test_every_tensor_gets_timms_name(lite: dict[str, torch.Tensor]) -> None:
    result = renamed(other_names(lite), lite)
    assert set(result) == set(lite)
    assert all(result[key] is lite[key] for key in lite)


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
