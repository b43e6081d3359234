"""LDA against loops: bins, exact GELU, both convolutions."""

import math

import numpy as np
import pytest
import torch

from mobileiqa.layers.mobile_iqa import CHANNELS, GRID, LDA, MAL, ScrambledAttention, SelfAttention


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def reference(x: np.ndarray, lda: LDA) -> np.ndarray:
    """(C, H, W) -> (out, grid, grid)."""
    state = {name: value.detach().numpy() for name, value in lda.state_dict().items()}
    (_, height, width), grid = x.shape, lda.grid
    mapped = np.einsum("oc,chw->ohw", state["expand.weight"][:, :, 0, 0], x)
    mapped = np.vectorize(gelu)(mapped + state["expand.bias"][:, None, None])
    pooled = np.empty((mapped.shape[0], grid, grid))
    for i in range(grid):
        for j in range(grid):
            rows = slice(math.floor(i * height / grid), math.ceil((i + 1) * height / grid))
            columns = slice(math.floor(j * width / grid), math.ceil((j + 1) * width / grid))
            pooled[:, i, j] = mapped[:, rows, columns].mean((1, 2))
    return (
        np.einsum("oc,chw->ohw", state["reduce.weight"][:, :, 0, 0], pooled)
        + state["reduce.bias"][:, None, None]
    )


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(44, 22, GRID), (27, 61, GRID), (7, 5, GRID), (27, 61, 4)]
)
def test_lda_equals_loops(height: int, width: int, grid: int):
    torch.manual_seed(0)
    lda = LDA(4, hidden=6, out_channels=3, grid=grid).double()
    x = np.random.default_rng(0).standard_normal((4, height, width)) * 3
    result = lda(torch.from_numpy(x)[None])[0].detach().numpy()
    assert np.abs(result - reference(x, lda)).max() < 1e-12


def test_the_tanh_form_of_gelu_would_be_noticed():
    x = torch.linspace(-3, 3, 100, dtype=torch.float64)
    difference = torch.nn.functional.gelu(x) - torch.nn.functional.gelu(x, approximate="tanh")
    assert difference.abs().max() > 1e-4


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def self_attention(x: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """(B, C, P): out[c, i] = gamma * sum_j softmax_j(q_i . k_j) v[c, j] + x[c, i]."""
    q, k, v = (
        np.einsum("oc,bcp->bop", state[f"{n}.weight"][:, :, 0, 0], x) + state[f"{n}.bias"][:, None]
        for n in "qkv"
    )
    a = softmax(np.einsum("bci,bcj->bij", q, k))
    return state["gamma"] * np.einsum("bij,bcj->bci", a, v) + x


def scrambled(x: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """(B, t, d): y = softmax(q k' / sqrt(d)) v, its transpose read back in y's shape, plus x."""
    q, k, v = (np.einsum("od,btd->bto", state[f"{n}.weight"], x) + state[f"{n}.bias"] for n in "qkv")
    y = np.einsum("bts,bsd->btd", softmax(np.einsum("btd,bsd->bts", q, k) / np.sqrt(x.shape[2])), v)
    _, tokens, dim = x.shape
    out = np.empty_like(x)
    for t in range(tokens):
        for d in range(dim):
            flat = t * dim + d  # position in the transposed (d, t) layout
            out[:, t, d] = y[:, flat % tokens, flat // tokens]
    return out + x


def mal(x: np.ndarray, state: dict[str, np.ndarray], n: int) -> np.ndarray:
    """(n, B, C, P) -> (B, C, P), the rearrangements index by index."""
    _, batch, channels, positions = x.shape
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}  # noqa: E731
    levels = [self_attention(x[i], part(f"self_attention.{i}.")) for i in range(n)]
    rows = np.concatenate(levels, 1)
    by_channel = scrambled(rows.transpose(0, 2, 1), part("channel.")).transpose(0, 2, 1)
    tokens = np.empty((batch, channels, n * positions))
    for w in range(channels):
        for c in range(n):
            tokens[:, w, c * positions : (c + 1) * positions] = rows[:, w * n + c]
    tokens = scrambled(tokens, part("feature."))
    by_feature = np.empty_like(rows)
    for w in range(channels):
        for c in range(n):
            by_feature[:, w * n + c] = tokens[:, w, c * positions : (c + 1) * positions]
    return ((by_feature + by_channel) / 2).reshape(batch, n, channels, positions).mean(1)


def test_self_attention_equals_its_formula():
    torch.manual_seed(0)
    layer = SelfAttention(16).double()
    layer.gamma.data.fill_(0.7)
    x = np.random.default_rng(0).standard_normal((2, 16, 9))
    result = layer(torch.from_numpy(x)).detach().numpy()
    assert np.abs(result - self_attention(x, arrays(layer))).max() < 1e-13


def test_the_gate_starts_closed():
    x = torch.randn(1, 16, 4)
    assert torch.equal(SelfAttention(16)(x), x)


@pytest.mark.parametrize(("tokens", "dim"), [(5, 8), (8, 5), (6, 6)])
def test_scrambled_attention_equals_its_formula(tokens: int, dim: int):
    torch.manual_seed(0)
    layer = ScrambledAttention(dim).double().eval()
    x = np.random.default_rng(0).standard_normal((2, tokens, dim))
    result = layer(torch.from_numpy(x)).detach().numpy()
    assert np.abs(result - scrambled(x, arrays(layer))).max() < 1e-13


def test_dropout_works_in_training_only():
    layer, x = ScrambledAttention(8), torch.randn(1, 5, 8)
    assert torch.equal(layer.eval()(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))


@pytest.mark.parametrize(("n", "batch"), [(3, 1), (5, 2)])
def test_mal_equals_its_formula(n: int, batch: int):
    torch.manual_seed(n)
    layer = MAL(n, 4).double().eval()
    for attention in layer.self_attention:
        attention.gamma.data.fill_(0.5)
    x = np.random.default_rng(n).standard_normal((n, batch, CHANNELS, 2, 2))
    result = layer(torch.from_numpy(x)).detach().numpy()
    expected = mal(x.reshape(n, batch, CHANNELS, 4), arrays(layer), n)
    assert result.shape == (batch, CHANNELS, 2, 2)
    assert np.abs(result.reshape(expected.shape) - expected).max() < 1e-12


def test_inference_of_a_large_map_holds_some_channels_at_a_time_and_gives_the_same():
    torch.manual_seed(0)
    lda, x, whole = LDA(3, hidden=96, out_channels=4, grid=5), torch.randn(1, 3, 400, 330), []
    lda.expand.register_forward_hook(lambda *_: whole.append(1))
    with torch.no_grad():
        expected = lda(x)
    with torch.inference_mode():
        assert (lda(x) - expected).abs().max() < 1e-6
    assert len(whole) == 1, "inference computed the whole map"
