"""The FR and NR transformer: the golden outputs, and a small network written independently."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from mobileiqa.checkpoint import load
from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.layers.swin import Block, SwinEncoder
from mobileiqa.models.fr_nr_transformer import PREFIXES, FRNRTransformer, Layout
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, seed_weights

SMALL = Layout(side_px=64, embed=8, depths=(2, 2, 2, 2), heads=(1, 2, 2, 4), window=2, width=12, hidden=6)


def images(side: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 1, 3, side, side, generator=generator, dtype=torch.float64)
    return first, second


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + torch.erf(x / np.sqrt(2))) / 2


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (q @ k.T / np.sqrt(q.shape[1])).softmax(1) @ v


def windows(x: torch.Tensor, cells: int) -> list[torch.Tensor]:
    """Index lists of the positions in each of cells x cells parts of a square map."""
    side = round(len(x) ** 0.5)
    places = torch.arange(len(x)).reshape(side, side)
    step = side // cells
    return [
        places[i : i + step, j : j + step].flatten()
        for i in range(0, side, step)
        for j in range(0, side, step)
    ]


class Independent:
    """The part behind the encoder, written independently: loops over places, on published weights."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state

    def score(self, maps: list[torch.Tensor], theirs: list[torch.Tensor], mode: int) -> torch.Tensor:
        """The score from the encoder's maps (C, S, S) of the image and of its reference."""
        levels = [self.level(x, i + 1) for i, x in enumerate(maps)]
        others = [self.level(x, i + 1) for i, x in enumerate(theirs)]
        cells = round(len(levels[3]) ** 0.5)
        tokens = []
        for i in range(1, 5):
            segment = self.state[f"seg_embd{i}.weight"]
            within = self.same(levels[i - 1] + segment[0], others[i - 1] + segment[mode], i)
            parts = [self.norm(within, f"{i}{i}")]
            for j in range(i + 1, 5):
                across = self.cross(levels[i - 1], levels[j - 1], cells, f"CSA{i}{j}")
                parts.append(self.norm(across, f"{i}{j}"))
            tokens.append(sum(parts) / len(parts))
        return self.pooled(torch.cat(tokens))

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def level(self, x: torch.Tensor, i: int) -> torch.Tensor:
        weight, bias = self.state[f"emb{i}.weight"], self.state[f"emb{i}.bias"]
        x = torch.einsum("oc,chw->ohw", weight[:, :, 0, 0], x) + bias[:, None, None]
        x = x.flatten(1)
        y = attend(*(self.linear(x, f"CA{i}.c_{part}") for part in "qkv"))
        y = y.T.reshape(x.shape)
        return (y * gelu(self.linear(x, f"CA{i}.scale.0")) + 2 * x).T

    def same(self, x: torch.Tensor, y: torch.Tensor, i: int) -> torch.Tensor:
        def part(values: torch.Tensor, name: str) -> torch.Tensor:
            return self.linear(values, f"CSA{i}{i}.{name}")

        x = gelu(part(x, "scale1.0")) * attend(part(y, "c_q1"), part(x, "c_k1"), part(x, "c_v1")) + x
        if i == 4:
            return x
        local = torch.empty_like(x)
        for place in windows(x, 2):
            local[place] = attend(part(y[place], "c_q2"), part(x[place], "c_k2"), part(x[place], "c_v2"))
        return gelu(part(x, "scale2.0")) * local + x

    def cross(self, low: torch.Tensor, high: torch.Tensor, cells: int, name: str) -> torch.Tensor:
        out = torch.empty_like(low)
        for below, above in zip(windows(low, cells), windows(high, cells), strict=True):
            q = self.linear(low[below], f"{name}.c_q")
            out[below] = attend(q, *(self.linear(high[above], f"{name}.c_{part}") for part in "kv"))
        return out * gelu(self.linear(low, f"{name}.scale.0")) + low

    def norm(self, x: torch.Tensor, pair: str) -> torch.Tensor:
        weight, bias = self.state[f"ln{pair}.weight"], self.state[f"ln{pair}.bias"]
        return functional.layer_norm(x, x.shape[1:], weight, bias, 1e-5)

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        score = self.linear(self.linear(tokens, "fc_score.0").clamp(min=0), "fc_score.3").clamp(min=0)
        weight = torch.sigmoid(self.linear(self.linear(tokens, "fc_weight.0").clamp(min=0), "fc_weight.3"))
        return (score * weight).sum() / weight.sum()


@pytest.fixture(scope="module")
def small(seeded_double) -> FRNRTransformer:
    return seeded_double(FRNRTransformer(SMALL), PREFIXES)


@pytest.fixture(scope="module")
def built() -> FRNRTransformer:
    """The published size: building it takes seconds."""
    model = FRNRTransformer()
    seed_weights(model, PREFIXES)
    return model


@pytest.fixture
def published(built: FRNRTransformer) -> FRNRTransformer:
    return copy.deepcopy(built).double().eval()


@pytest.mark.parametrize("seed", [1, 7])
def test_a_network_written_independently_agrees(seed: int, small: FRNRTransformer, seeded_double):
    model = small if seed == 1 else seeded_double(FRNRTransformer(SMALL), PREFIXES, seed)
    own = model.state_dict()
    names = to_published(own, PREFIXES).items()
    independent = Independent({published: own[key] for key, published in names})
    image, reference = images(64, seed)
    with torch.inference_mode():
        maps, theirs = ([x[0] for x in model.encoder(each)] for each in (image, reference))
        assert model(image).item() == pytest.approx(independent.score(maps, maps, 0).item(), rel=1e-9)
        assert model(image, reference).item() == pytest.approx(
            independent.score(maps, theirs, 1).item(), rel=1e-9
        )
        both = model(torch.cat([image, reference]), torch.cat([reference, image]))
    assert both.shape == (2,) and (both > 0).all() and abs(both[0] - both[1]) > 1e-6


def test_the_encoder_is_timms_swin(seeded_double):
    """But for its last stage's shift, see below. timm keeps no index, and has `downsample` one stage later."""
    import timm

    kinds = {"embed_dim": 12, "depths": (2, 2, 4, 1), "num_heads": (1, 2, 3, 4)}
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224", pretrained=False, num_classes=0, img_size=224, **kinds
    ).double().eval()  # fmt: skip
    ours = SwinEncoder(12, kinds["depths"], kinds["num_heads"], 7)
    seeded_double(ours, {"": ""})
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        name = key
        if "downsample" in key:
            stage = int(key.split(".")[1])
            name = key.replace(f"layers.{stage}.", f"layers.{stage + 1}.")
        if name in state:
            state[name].copy_(value)
        else:
            assert name.endswith("relative_position_index") or name.startswith("norm"), name
    image, _ = images(224)
    with torch.inference_mode():
        x = theirs.patch_embed(image)
        for i, stage in enumerate(theirs.layers):
            x = stage(x)
            weight, bias = ours.state_dict()[f"norm{i}.weight"], ours.state_dict()[f"norm{i}.bias"]
            expected = functional.layer_norm(x, x.shape[-1:], weight, bias)
            np.testing.assert_allclose(ours(image)[i].permute(0, 2, 3, 1), expected, rtol=0, atol=1e-11)


def test_the_last_stage_is_shifted_though_one_window_holds_it(seeded_double):
    """Each pair of positions by itself: after the shift by 3 of 7, rows and columns 0..2 and 3..6 are apart."""
    block = seeded_double(Block(8, 7, 2, 3, 0.0), {"": ""})
    x = torch.randn(1, 7, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    attention, table = block.attn, block.attn.relative_position_bias_table
    with torch.inference_mode():
        tokens = block.norm1(x).reshape(49, 8)
        q, k, v = attention.qkv(tokens).chunk(3, 1)
        mixed = torch.zeros(49, 8, dtype=torch.float64)
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            scores = torch.empty(49, 49, dtype=torch.float64)
            for i, j in np.ndindex(49, 49):
                (r, c), (s, d) = (((p // 7 - 3) % 7, (p % 7 - 3) % 7) for p in (i, j))
                apart = (r >= 4) != (s >= 4) or (c >= 4) != (d >= 4)
                bias = table[(r - s + 6) * 13 + c - d + 6, head] - 100 * apart
                scores[i, j] = q[i, part] @ k[j, part] / 2 + bias
            mixed[:, part] = scores.softmax(1) @ v[:, part]
        y = x + attention.proj(mixed).reshape(x.shape)
        np.testing.assert_allclose(block(x), y + block.mlp(block.norm2(y)), rtol=0, atol=1e-12)


def test_without_a_reference_the_image_is_its_own(small: FRNRTransformer):
    """NR and FR of an image with itself differ by the segment vector alone."""
    image, _ = images(64)
    with torch.inference_mode():
        alone, pair = small(image), small(image, image)
        assert abs(alone - pair) > 1e-9
        rest = [each.weight.clone() for each in small.segment]
        for each in small.segment:
            each.weight[1] = each.weight[0]
        np.testing.assert_allclose(small(image, image), alone, rtol=1e-12)
        for each, weight in zip(small.segment, rest, strict=True):
            each.weight.copy_(weight)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_published_outputs(index: int, golden, published: FRNRTransformer, captured, assert_same):
    case = golden.cases("yoto")[index]
    image, reference = (
        torch.from_numpy(golden.image(case[key], 224, 224, case[f"{key}_seed"]))
        for key in ("distorted", "reference")
    )
    outputs = captured(published, ["encoder", *(f"channel.{i}" for i in range(4))], image)
    assert outputs["score"].item() == pytest.approx(case["NR"], rel=1e-9)
    for array, stored in zip(outputs["encoder"], case["encoder"], strict=True):
        assert_same(array, stored)
    for i, stored in enumerate(case["common"]):
        assert_same(outputs[f"channel.{i}"], stored)
    with torch.inference_mode():
        assert published(image, reference).item() == pytest.approx(case["FR"], rel=1e-9)


@pytest.mark.slow
def test_the_public_scripts_compare_with_the_vector_of_no_reference(golden, published: FRNRTransformer):
    case = golden.cases("yoto")[0]
    image, reference = (
        torch.from_numpy(golden.image(case[key], 224, 224, case[f"{key}_seed"]))
        for key in ("distorted", "reference")
    )
    with torch.inference_mode():
        for each in published.segment:
            each.weight[1] = each.weight[0]
        mixed = published(image, reference).item()
    assert mixed == pytest.approx(case["FR_inputs_with_NR_embedding"], rel=1e-9)


def test_published_keys_shapes_and_types(published_keys, keys_of):
    assert keys_of("fr-nr-transformer") == published_keys("yoto")


def test_the_number_of_keys_and_values(keys_of):
    keys = keys_of("fr-nr-transformer")
    floats = [shape for shape, dtype in keys.values() if dtype == "float32"]
    assert len(keys) == 367 and sum(int(np.prod(shape)) for shape in floats) == 83_772_981


@pytest.mark.slow
def test_published_checkpoints_are_recognised_and_a_changed_index_is_refused(
    tmp_path: Path, built: FRNRTransformer
):
    own = built.state_dict()
    state = {published: own[key] for key, published in to_published(own, PREFIXES).items()}
    torch.save(state, tmp_path / "yoto.pth")
    model, spec = load(tmp_path / "yoto.pth")
    assert spec.name == "fr-nr-transformer" and not spec.untrained
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())
    key = "encoder.layers.1.blocks.0.attn.relative_position_index"
    state[key] = state[key] + 1000
    torch.save(state, tmp_path / "yoto.pth")
    with pytest.raises(UserError, match="relative_position_index"):
        load(tmp_path / "yoto.pth")


# A reference image.


@pytest.fixture
def full_reference() -> ModelSpec:
    return MODELS["fr-nr-transformer"].spec.with_reference()


def test_prepare_takes_the_reference_where_the_model_asks_for_it(full_reference: ModelSpec, photo: Any):
    image, original = photo(1, 90, 60), photo(2, 90, 60)
    inputs = prepare(image, full_reference, original)
    assert list(inputs) == ["image", "reference"]
    plain = MODELS["fr-nr-transformer"].spec
    np.testing.assert_array_equal(inputs["image"], prepare(image, plain)["image"])
    np.testing.assert_array_equal(inputs["reference"], prepare(original, plain)["image"])


def test_a_missing_a_needless_or_another_reference_is_refused(full_reference: ModelSpec, photo: Any):
    image, plain = photo(1, 90, 60), MODELS["fr-nr-transformer"].spec
    for spec, reference, message in (
        (full_reference, None, "a reference image"),
        (plain, image, "no reference image"),
        (full_reference, photo(1, 60, 90), "90x60.*60x90"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(image, spec, reference)


def test_other_models_know_no_reference():
    with pytest.raises(UserError, match="ms-scanet"):
        MODELS["ms-scanet"].spec.with_reference()


def test_the_index_stays_as_built():
    model = FRNRTransformer(SMALL)
    before = model.encoder.layers[0].blocks[0].attn.relative_position_index.clone()
    seed_weights(model, PREFIXES)
    assert torch.equal(before, model.encoder.layers[0].blocks[0].attn.relative_position_index)
    assert before.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
