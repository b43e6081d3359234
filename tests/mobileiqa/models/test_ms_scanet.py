"""MS-SCANet: the golden outputs, and a network written independently, small and whole."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from mobileiqa.checkpoint import load
from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.models.ms_scanet import PREFIXES, MSSCANet
from mobileiqa.preprocess import prepare
from mobileiqa.zoo import MODELS, build_seeded

# The stored outputs contain the float32 position code of the processor they were computed on; others round it
# otherwise, and scores by up to 4e-7.
FLOAT32 = 2e-6
SMALL = {"side_px": 96, "heads": 4, "width": 16, "squeezed": 3, "hidden": 24, "head": 8}


def sinusoids(positions: int, width: int) -> np.ndarray:
    """The published table, (positions, width) float64, of float32 values: math's functions, each step rounded."""
    table = np.empty((positions, width))
    for column in range(0, width, 2):
        rate = np.float32(math.exp(np.float32(column) * np.float32(-math.log(10000.0) / width)))
        angles = [float(np.float32(place) * rate) for place in range(positions)]
        table[:, column] = np.float32([math.sin(a) for a in angles])
        table[:, column + 1] = np.float32([math.cos(a) for a in angles])
    return table


def independent(state: dict[str, torch.Tensor], image: torch.Tensor, heads: int) -> dict[str, torch.Tensor]:
    """One image's outputs from the published names: python loops over heads, AdaptiveAvgPool2d as published."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return x @ weight.reshape(len(weight), -1).T + state[f"{name}.bias"]

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def erf_gelu(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + torch.erf(x / np.sqrt(2))) / 2

    def mlp(x: torch.Tensor, name: str) -> torch.Tensor:
        return linear(erf_gelu(linear(x, f"{name}.fc1")), f"{name}.fc2")

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        parts = zip(*(x.chunk(heads, 1) for x in (q, k, v)), strict=True)
        return torch.cat([(a @ b.T / np.sqrt(a.shape[1])).softmax(1) @ c for a, b, c in parts], 1)

    def embed(branch: int) -> torch.Tensor:
        weight, bias = (state[f"patch_embed{branch}.proj.{part}"] for part in ("weight", "bias"))
        x = functional.conv2d(image, weight, bias, stride=weight.shape[2]).flatten(2)[0].T
        return x + torch.from_numpy(sinusoids(*x.shape)) * 2

    def branch(x: torch.Tensor, number: int) -> torch.Tensor:
        first, second = (f"branch{number}_blocks.{i}" for i in range(2))
        x = layer(x, f"{first}.norm")
        gate = linear(linear(x, f"{first}.channel_attention.squeeze"), f"{first}.channel_attention.excite")
        x = mlp(layer(x / (1 + torch.exp(-gate)), f"{first}.norm2"), f"{first}.mlp")
        q, k, v = linear(layer(x, f"{second}.norm"), f"{second}.window_attention.qkv").chunk(3, 1)
        x = linear(attend(q, k, v), f"{second}.window_attention.proj")
        return mlp(layer(x, f"{second}.norm2"), f"{second}.mlp")

    x, y = embed(1), embed(2)
    side = round(len(y) ** 0.5)
    coarse = y.T.reshape(1, -1, side, side)
    pooled = functional.adaptive_avg_pool2d(coarse, 2 * side)
    x, y = branch(x, 1), branch(pooled[0].flatten(1).T, 2)
    (qx, kx, vx), (qy, ky, vy) = (
        linear(z, f"cross_branch_attn.qkv_{n}").chunk(3, 1) for z, n in ((x, "x"), (y, "y"))
    )
    x = x + linear(attend(qx, ky, vy), "cross_branch_attn.proj_x")
    y = y + linear(attend(qy, kx, vx), "cross_branch_attn.proj_y")
    flat = layer(torch.cat([x, y], 1), "norm").reshape(1, -1)
    return {"x1": x[None], "x2": y[None], "x2_before_pool": coarse, "x2_pooled": pooled,
            "score": mlp(flat, "prediction_head")[0]}  # fmt: skip


def pooled(model: MSSCANet, coarse: torch.Tensor) -> torch.Tensor:
    """The published map (N, width, 2s, 2s) of branch 2's s x s cells."""
    return model.repeat(coarse.flatten(2).mT).mT.unflatten(2, (2 * model.side, 2 * model.side))


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("heads", [4, 8])
def test_a_network_written_independently_agrees(seed: int, heads: int, seeded_double):
    model = seeded_double(MSSCANet(**{**SMALL, "heads": heads}), PREFIXES, seed)
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.inference_mode():
        x, y, coarse = model.forward_features(image)
        expected = independent(model.state_dict(), image, heads)
        both = model(torch.cat([image, image.flip(3)]))
    ours = {"x1": x, "x2": y, "x2_before_pool": coarse, "x2_pooled": pooled(model, coarse), "score": both[:1]}
    for key, value in expected.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-9, atol=1e-12, err_msg=key)
    assert both.shape == (2,) and abs(both[0] - both[1]) > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("heads", "side"), [(16, 224), (8, 224), (16, 384)])
def test_published_outputs(heads: int, side: int, golden, seeded_double, assert_same):
    model = seeded_double(MSSCANet(side, heads), PREFIXES)
    cases = [c for c in golden.cases("ms_scanet") if (c["num_heads"], c["height"]) == (heads, side)]
    assert cases
    for case in cases:
        image = torch.from_numpy(golden.image(case["image"], side, side, case["image_seed"]))
        with torch.inference_mode():
            features = model.forward_features(image)
            score = model.forward_head(features)
        assert score.item() == pytest.approx(case["score"], rel=FLOAT32)
        arrays = (*features, pooled(model, features[2]))
        for key, array in zip(("x1", "x2", "x2_before_pool", "x2_pooled"), arrays, strict=True):
            assert_same(array, case[key], FLOAT32)


def test_published_keys_shapes_and_types(published_keys, keys_of):
    assert keys_of("ms-scanet") == published_keys("ms_scanet")


def test_the_number_of_keys_and_values(keys_of):
    keys = keys_of("ms-scanet")
    assert len(keys) == 66 and sum(int(np.prod(shape)) for shape, _ in keys.values()) == 55_541_793


def test_pixels_are_not_normalised(photo: Any):
    image = prepare(photo(1, 224, 224), MODELS["ms-scanet"].spec)["image"]
    assert image.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(image[0], np.asarray(photo(1, 224, 224)).transpose(2, 0, 1) / 255, atol=1e-7)


def test_the_size_is_fixed():
    spec = MODELS["ms-scanet"].spec
    assert not spec.size_is_free and spec.sized("224x224") == spec
    with pytest.raises(UserError, match="the size 224x224 for ms-scanet"):
        spec.sized("256x256")


@pytest.mark.slow
def test_published_checkpoints_are_recognised_with_their_wrappers(tmp_path: Path):
    own = build_seeded("ms-scanet").state_dict()
    state = {f"module.{published}": own[key] for key, published in to_published(own, PREFIXES).items()}
    torch.save({"state_dict": state, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "best.pth")
    model, spec = load(tmp_path / "best.pth")
    assert spec.name == "ms-scanet" and not spec.untrained
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match=r"missing norm\.bias"):
        del state["module.norm.bias"]
        torch.save(state, tmp_path / "best.pth")
        load(tmp_path / "best.pth")
