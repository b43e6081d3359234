"""Visual prompts: the published arithmetic, and training in front of a tiny random LLaVA."""

import csv
import importlib.util
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa.errors import UserError
from mobileiqa.models.visual_prompts import VisualPrompt, score_of
from mobileiqa.prompts import FILE, main
from mobileiqa.spec import IMAGENET_MEAN, IMAGENET_STD

CASES = [
    (kind, size, mode)
    for kind in ("padding", "fixed_patch centre", "fixed_patch top-left")
    for size in (10, 30) for mode in ("add", "mul")
] + [("replace_pad", 10, ""), ("replace_pad", 30, ""), ("full", 0, "add"), ("full", 0, "mul")]  # fmt: skip
NAMES = {
    "padding": "padding", "fixed_patch centre": "patch", "fixed_patch top-left": "patch-top-left",
    "replace_pad": "padding", "full": "full",
}  # fmt: skip


def of_case(kind: str, size: int, mode: str) -> VisualPrompt:
    prompt = VisualPrompt(NAMES[kind], size or 30, 448, "replace" if kind == "replace_pad" else mode).double()
    with torch.no_grad():
        for key, value in prompt.named_parameters():
            rng = np.random.default_rng([1, zlib.crc32(key.encode())])
            value.copy_(torch.from_numpy(1.2 * rng.standard_normal(tuple(value.shape))))
    return prompt


@pytest.mark.parametrize(("kind", "size", "mode"), CASES)
def test_prompted_pixels_and_gradients_are_the_public_codes(
    kind: str, size: int, mode: str, golden: ModuleType
):
    stored = golden.cases("visual_prompts")[" ".join(str(x) for x in (kind, size, mode) if x)]
    prompt = of_case(kind, size, mode)
    assert sum(p.numel() for p in prompt.parameters()) == stored["parameters"]
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    for case in stored["cases"]:
        image = np.clip(0.5 + 0.2 * golden.image(case["image01"], 448, 448, case["image_seed"]), 0, 1)
        prompted = prompt(torch.from_numpy(image))
        normalized = (prompted - mean) / std
        for tensor, expected in ((prompted, case["prompted"]), (normalized, case["normalised"])):
            values = tensor.detach().flatten().numpy()
            at = np.linspace(0, values.size - 1, 8).astype(int)
            assert np.allclose(values[at], expected["samples_at_linspace8"], rtol=1e-9, atol=1e-12)
            assert values.mean() == pytest.approx(expected["mean"], rel=1e-9)
        for place, value in case["prompted_channel0_at"].items():
            row, column = map(int, place.split(","))
            assert float(prompted[0, 0, row, column].detach()) == pytest.approx(value, rel=1e-9)
        prompt.zero_grad()
        normalized.square().mean().backward()
        for key, expected in case["gradient_of_mean_square_of_normalised"].items():
            gradient = dict(prompt.named_parameters())[key].grad.flatten().numpy()
            at = np.linspace(0, gradient.size - 1, 8).astype(int)
            assert np.allclose(gradient[at], expected["samples_at_linspace8"], rtol=1e-7, atol=1e-15)
            assert int((gradient != 0).sum()) == expected["nonzero"]


@pytest.mark.parametrize("kind", ["padding", "patch", "patch-top-left", "full"])
def test_a_prompt_adds_where_it_is_and_nowhere_else(kind: str):
    prompt = VisualPrompt(kind, 4, 20)
    with torch.no_grad():
        for value in prompt.parameters():
            value.fill_(0.2)
    image = torch.full((2, 3, 20, 20), 0.5)
    changed = (prompt(image) - image)[0, 0] > 0
    expected = torch.zeros(20, 20, dtype=torch.bool)
    if kind == "padding":
        expected[:] = True
        expected[4:-4, 4:-4] = False
    elif kind == "full":
        expected[:] = True
    else:
        first = 8 if kind == "patch" else 0
        expected[first : first + 4, first : first + 4] = True
    assert torch.equal(changed, expected)
    assert float((prompt(image) - image).max()) == pytest.approx(np.tanh(0.2), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "size", "mode"), [("ring", 5, "add"), ("padding", 10, "add"), ("full", 5, "replace")]
)
def test_a_prompt_that_cannot_be_is_refused(kind: str, size: int, mode: str):
    with pytest.raises(UserError, match="correct"):
        VisualPrompt(kind, size, 20, mode)


def test_the_score_is_the_share_of_the_good_words_and_half_precision_does_not_overflow():
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0, 3.0], [60.0, 1.0, 2.0, 59.0, 0.0]])
    weights = logits.exp()
    expected = weights[:, [0, 1]].sum(1) / weights[:, [0, 1, 2, 3]].sum(1)
    assert torch.allclose(score_of(logits, [0, 1], [2, 3]), expected)
    assert torch.isfinite(score_of(logits.half(), [0, 1], [2, 3])).all()


VOCABULARY = "<unk> <s> </s> <image> USER: ASSISTANT: Rate the technical quality of image. good fine poor bad"


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA of 40 thousand parameters and its tokenizer, saved as transformers saves one."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("no transformers: pip install transformers==5.23.0")
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("llava")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=32, patch_size=8, projection_dim=16, **sizes),
        text_config=transformers.LlamaConfig(vocab_size=64, num_key_value_heads=2, **sizes),
        image_token_index=3, vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    words = {word: i for i, word in enumerate(VOCABULARY.split())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def kadid_like(photo: Callable[..., Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve originals, each at three levels."""
    folder = tmp_path_factory.mktemp("set")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "score", "reference"))
        for seed in range(12):
            for level in range(3):
                name = f"p{seed}_{level}.png"
                pixels = np.asarray(photo(seed, 44, 36)) * (1 - 0.3 * level)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
                writer.writerow((name, 1 - 0.3 * level + 0.01 * seed, f"r{seed}"))
    return folder


@pytest.mark.slow
def test_only_the_prompt_learns_in_front_of_a_frozen_model(
    llava: Path, kadid_like: Path, tmp_path: Path, capsys: Any
):
    from mobileiqa.training.prompt_tuning import load_scorer

    arguments = [
        "--model",
        str(llava),
        "--data",
        "folder",
        str(kadid_like),
        "--prompt",
        "padding",
        "--prompt-size",
        "4",
    ]
    run = [*arguments, "--lr", "5", "--out", str(tmp_path / "run"), "--epochs"]
    assert main([*run, "2"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["parameters"] == 3 * 2 * 4 * (32 + 32 - 8) and first["split_by"] == "reference"
    assert main([*run, "3"]) == 0, "goes on with the third epoch"
    captured = capsys.readouterr()
    assert "epoch 3" in captured.err and "epoch 2:" not in captured.err
    from safetensors.torch import load_file

    state = load_file(tmp_path / "run" / FILE)
    assert set(state) == {"pad_up", "pad_down", "pad_left", "pad_right"}
    torch.manual_seed(42)
    prompt = VisualPrompt("padding", 4, 32)
    moved = [float((state[key] - value).abs().max()) for key, value in prompt.named_parameters()]
    assert min(moved) > 1e-6, "every part of the prompt was trained"
    scorer = load_scorer(llava)
    scorer(prompt(torch.rand(2, 3, 32, 32))).sum().backward()
    assert all(p.grad is not None for p in prompt.parameters())
    assert all(p.grad is None for p in scorer.parameters())
    assert main([*arguments, "--split-by", "image", "--epochs", "1", "--out", str(tmp_path / "image")]) == 0
    assert "too good" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_is_no_model_is_one_line(kadid_like: Path, tmp_path: Path, capsys: Any):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("no transformers: pip install transformers==5.23.0")
    data = ["--data", "folder", str(kadid_like), "--out", str(tmp_path / "r")]
    for folder in (tmp_path / "nothing", kadid_like):
        assert main(["--model", str(folder), *data]) == 2
        assert "correct --model" in capsys.readouterr().err.splitlines()[-1]
