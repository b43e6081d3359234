"""MUSIQ: the golden outputs, a network written independently, exact dropping of padding, Google's weights."""

import functools
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from mobileiqa.checkpoint import load, save
from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.models import musiq
from mobileiqa.models.musiq import MUSIQ, PREFIXES
from mobileiqa.preprocess import prepare
from mobileiqa.tokens import multi_scale
from mobileiqa.zoo import MODELS, build_seeded, seed_weights

SIDES = (224, 384)


@pytest.fixture(scope="session")
def model(seeded_double: Callable[..., Any]) -> Callable[..., MUSIQ]:
    """model(votes, variant, seed): in float64, built once."""
    return functools.cache(
        lambda votes=1, variant="pyiqa", seed=1: seeded_double(MUSIQ(votes, variant), PREFIXES, seed)
    )


def tokens_of(pixels: np.ndarray, padded: bool = False) -> torch.Tensor:
    return torch.from_numpy(multi_scale(pixels, SIDES, padded=padded)[None])


def random_image(height: int, width: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (3, height, width))


def golden_case(golden: Any, height: int, votes: int) -> tuple[dict[str, Any], np.ndarray]:
    case = next(c for c in golden.cases("musiq") if c["height"] == height and c["num_class"] == votes)
    drawn = golden.image(case["image01"], height, case["width"], case["image_seed"])[0]
    return case, 2 * np.clip(0.5 + 0.2 * drawn, 0, 1) - 1


@pytest.mark.slow
@pytest.mark.parametrize(("height", "votes"), [(320, 1), (320, 10), (205, 1), (205, 10), (768, 1)])
def test_published_outputs(height: int, votes: int, golden, model, captured, assert_same):
    case, pixels = golden_case(golden, height, votes)
    tokens = tokens_of(pixels, padded=True)
    assert tokens.shape[1] == case["tokens"]
    names = {"conv_root": "conv_root", "block1": "block1", "embedding": "embedding", "encoder_cls": "encoder"}
    outputs = captured(model(votes), list(names.values()), tokens)
    assert outputs["score"].item() == pytest.approx(case["score"], rel=1e-9)
    if "patches" in case:
        assert_same(tokens[..., :3072], case["patches"])
        np.testing.assert_array_equal(tokens[0, :, 3072], case["spatial_index"])
        outputs["embedding"] = outputs["embedding"][None]
        for key, name in names.items():
            assert_same(outputs[name], case[key])
    google = model(votes, "google")
    with torch.inference_mode():
        assert google(tokens).item() == pytest.approx(case["score_biased_std_tanh_gelu"], rel=1e-9)


@pytest.mark.parametrize(("name", "file"), [("musiq", "musiq"), ("musiq-ava", "musiq_ava")])
def test_published_keys_shapes_and_types(name: str, file: str, published_keys, keys_of):
    assert keys_of(name) == published_keys(file)


@pytest.mark.parametrize("name", ["musiq", "musiq-ava", "musiq-google", "musiq-ava-google"])
def test_the_number_of_keys_and_values(name: str, keys_of):
    keys = keys_of(name)
    votes = 10 if "ava" in name else 1
    assert len(keys) == 248
    assert sum(int(np.prod(shape)) for shape, _ in keys.values()) == 27_125_825 + (votes - 1) * 385


def independent(state: dict[str, torch.Tensor], tokens: torch.Tensor, google: bool) -> torch.Tensor:
    """The class token, from the published names, one operation after the other."""

    def conv(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        w = state[f"{name}.weight"]
        flat = w.reshape(len(w), -1)
        flat = (flat - flat.mean(1, keepdim=True)) / (
            flat.std(1, correction=0 if google else 1, keepdim=True) + 1e-5
        )
        padding = w.shape[2] // 2 if stride == 1 else 0
        return functional.conv2d(x, flat.reshape(w.shape), stride=stride, padding=padding)

    def groups(x: torch.Tensor, name: str, eps: float = 1e-4) -> torch.Tensor:
        n, c, h, w = x.shape
        g = x.reshape(n, 32, -1)
        g = (g - g.mean(2, keepdim=True)) / torch.sqrt(g.var(2, correction=0, keepdim=True) + eps)
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return g.reshape(n, c, h, w) * weight[:, None, None] + bias[:, None, None]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, correction=0, keepdim=True) + 1e-6)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = tokens[0, :, :3072].reshape(-1, 3, 32, 32)
    padded = x.new_zeros(len(x), 3, 37, 37)
    padded[:, :, 2:34, 2:34] = x
    x = groups(conv(padded, "conv_root", 2), "gn_root", 1e-6).clamp(min=0)
    padded = x.new_zeros(len(x), 64, 17, 17)
    padded[:, :, :16, :16] = x
    x = torch.stack([padded[:, :, i : i + 15 : 2, j : j + 15 : 2] for i in range(3) for j in range(3)]).amax(
        0
    )
    y = groups(conv(x, "block1.conv1"), "block1.gn1").clamp(min=0)
    y = groups(conv(y, "block1.conv2"), "block1.gn2").clamp(min=0)
    y = groups(conv(y, "block1.conv3"), "block1.gn3") + groups(conv(x, "block1.conv_proj"), "block1.gn_proj")
    x = linear(y.clamp(min=0).permute(0, 2, 3, 1).reshape(len(y), -1), "embedding")
    base = "transformer_encoder."
    x = x + state[f"{base}posembed_input.position_emb"][0][tokens[0, :, 3072].long()]
    x = x + state[f"{base}scaleembed_input.scale_emb"][tokens[0, :, 3073].long()]
    x = torch.cat([state[f"{base}cls"][0], x])
    for i in range(14):
        block = f"{base}transformer.encoderblock_{i}."
        y = layer(x, block + "norm1")
        q, k, v = (linear(y, f"{block}attention.{part}") for part in ("query", "key", "value"))
        heads = [slice(64 * h, 64 * h + 64) for h in range(6)]
        y = torch.cat([((q[:, h] @ k[:, h].T) / 8).softmax(-1) @ v[:, h] for h in heads], 1)
        x = x + linear(y, block + "attention.out")
        y = linear(layer(x, block + "norm2"), block + "mlp.fc1")
        inner = np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)
        y = y * (1 + torch.tanh(inner)) / 2 if google else y * (1 + torch.erf(y / np.sqrt(2))) / 2
        x = x + linear(y, block + "mlp.fc2")
    return layer(x[:1], base + "encoder_norm")


@pytest.mark.parametrize(
    ("variant", "seed"), [("pyiqa", 7), pytest.param("google", 1, marks=pytest.mark.slow)]
)
def test_a_network_written_independently_agrees(variant: str, seed: int, model):
    ours = model(1, variant, seed)
    own = ours.state_dict()
    state = {published: own[key] for key, published in to_published(own, PREFIXES).items()}
    tokens = tokens_of(random_image(20, 90))
    with torch.no_grad():
        features = ours.forward_features(tokens)
        expected = independent(state, tokens, variant == "google")
        score = expected @ state["head.weight"].T + state["head.bias"]
    np.testing.assert_allclose(features, expected, rtol=1e-9, atol=1e-11)
    assert ours.forward_head(features).item() == pytest.approx(score.item(), rel=1e-9)


def test_dropping_padded_tokens_does_not_move_the_score(model):
    """Masked keys weigh exp(-1000) = 0, so without them nothing changes but the order of sums."""
    pixels = random_image(20, 100)
    padded, plain = tokens_of(pixels, padded=True), tokens_of(pixels)
    assert padded.shape[1] > plain.shape[1] + 100
    padded[:, padded[0, :, -1] == 0, :3072] = 5.0  # whatever the empty patches hold
    with torch.inference_mode():
        first, second = model().forward_features(padded), model().forward_features(plain)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-12)


def test_patches_are_encoded_in_parts_as_they_are_at_once(model, monkeypatch):
    ours, patches = model(), torch.from_numpy(multi_scale(random_image(40, 60), (64,)))
    monkeypatch.setattr(ours.encoder, "forward", lambda x, *_: x)
    with torch.inference_mode():
        whole = ours.forward_features(patches[None])
        monkeypatch.setattr(musiq, "CHUNK", 3)
        np.testing.assert_allclose(ours.forward_features(patches[None]), whole, rtol=0, atol=1e-13)


def test_votes_become_their_mean():
    with torch.device("meta"):
        model = MUSIQ(10)
    model.head.to_empty(device="cpu")
    seed_weights(model.head, {"": "head."})
    features = torch.rand(2, 384, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        share = (features @ model.head[0].weight.T + model.head[0].bias).softmax(1)
        np.testing.assert_allclose(share.sum(1), 1, rtol=1e-6)
        expected = sum(k * share[:, k - 1] for k in range(1, 11))
        np.testing.assert_allclose(model.forward_head(features), expected, rtol=1e-6)


# Checkpoints.


def flax_arrays(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Published PyTorch names and tensors as Google's code names and shapes them."""
    arrays = {}
    for key, tensor in state.items():
        value = tensor.numpy()
        parts = key.replace("head.0.", "head.").replace("transformer_encoder.", "Transformer.").split(".")
        parts = [part for part in parts if part != "transformer"]
        module, tensor_name = parts[-2], parts[-1]
        if "attention" in parts:
            parts[parts.index("attention")] = "MultiHeadDotProductAttention_1"
        renamed = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2", "mlp": "MlpBlock_3", "fc1": "Dense_0",
                   "fc2": "Dense_1", "position_emb": "pos_embedding", "scale_emb": "scale_embedding"}  # fmt: skip
        parts = [renamed.get(part, part) for part in parts]
        if parts[0] == "block1":
            parts.insert(1, "unit1")
        if tensor_name == "scale_emb":
            value = value[None]
        elif tensor_name == "weight" and value.ndim == 1:
            parts[-1] = "scale"
            value = value.reshape(1, 1, 1, -1) if module.startswith("gn") else value
        elif tensor_name == "weight":
            parts[-1] = "kernel"
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
            if module in ("query", "key", "value"):
                value = value.reshape(384, 6, 64)
            elif module == "out":
                value = value.reshape(6, 64, 384)
        elif tensor_name == "bias" and module in ("query", "key", "value"):
            value = value.reshape(6, 64)
        arrays["opt/target/" + "/".join(parts)] = value
    return arrays


@pytest.fixture(scope="module")
def published_state() -> Callable[[str], dict[str, torch.Tensor]]:
    @functools.cache
    def state(name: str) -> dict[str, torch.Tensor]:
        own = build_seeded(name).state_dict()
        return {published: own[key] for key, published in to_published(own, PREFIXES).items()}

    return state


def test_names_of_googles_arrays():
    assert {"opt/target/Transformer/encoderblock_3/MlpBlock_3/Dense_1/bias", "opt/target/gn_root/scale"} <= set(
        flax_arrays({"transformer_encoder.transformer.encoderblock_3.mlp.fc2.bias": torch.ones(2),
                     "gn_root.weight": torch.ones(64)})
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "google"), [("musiq", "musiq-google"), ("musiq-ava", "musiq-ava-google")])
def test_published_checkpoints_and_their_scores(
    name: str, google: str, tmp_path: Path, published_state, photo: Callable[..., Any]
):
    state = published_state(name)
    torch.save(state, tmp_path / "musiq.pth")
    np.savez(tmp_path / "ckpt.npz", **flax_arrays(state), **{"opt/state/step": np.array(3)})
    inputs = {}
    for path, expected in ((tmp_path / "musiq.pth", name), (tmp_path / "ckpt.npz", google)):
        model, spec = load(path)
        assert spec.name == expected and not spec.untrained and spec.inputs == MODELS[expected].spec.inputs
        for key, value in model.state_dict().items():
            assert torch.equal(value, state[to_published([key], PREFIXES)[key]]), key
        inputs[expected] = prepare(photo(1, 90, 60), spec)["tokens"]
        with torch.inference_mode():
            assert model(torch.from_numpy(inputs[expected])).shape == (1,)
    assert inputs[name].shape == inputs[google].shape
    assert 0 < np.abs(inputs[name] - inputs[google]).max() < 1  # bicubic against Gaussian
    again, spec = load(save(tmp_path / "own.safetensors", model, spec))
    assert spec.name == google and torch.equal(again.conv_root.weight, model.conv_root.weight)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        load(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_files_that_are_not_googles_are_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "ckpt.npz"
    np.savez(path, a=np.ones(3))
    assert "missing" in refusal(path)
    np.savez(path, **{"opt/target/head/kernel": np.ones((2, 2, 2, 2, 2))})
    assert "head/kernel of shape (2, 2, 2, 2, 2)" in refusal(path)
    np.savez(
        path, **{"opt/target/b/LayerNorm_1/scale": np.ones(2), "opt/target/b/LayerNorm_2/scale": np.ones(2)}
    )
    assert "LayerNorm_2" in refusal(path)
    np.savez(path, **{"opt/target/cls": np.array([{}], dtype=object)})
    assert "pickle" in refusal(path)
    np.savez(path, **{"opt/target/cls": np.array(["text"])})
    assert "not of floats" in refusal(path)
    for odd in (np.ones(3, np.complex64), np.ones(3, np.int64)):
        np.savez(path, **{"opt/target/cls": odd})
        assert f"an entry of {odd.dtype}, not of floats" in refusal(path)
    for entries in (["opt/target/cls.npy"], ["opt/target/cls"], ["opt/target/cls.npy"] * 2):
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings(action="ignore"):
            for entry in entries:
                archive.writestr(entry, b"bytes")
        assert ("two arrays" if len(entries) == 2 else "an entry of bytes") in refusal(path)
    np.save(tmp_path / "array.npy", np.ones(3))
    for content in (b"", b"no zip", (tmp_path / "array.npy").read_bytes()):
        path.write_bytes(content)
        assert "ckpt.npz" in refusal(path)


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path):
    path = tmp_path / "ckpt.npz"
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (1 << 60,)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("opt/target/cls.npy", buffer.getvalue())
    assert "ckpt.npz" in refusal(path)
