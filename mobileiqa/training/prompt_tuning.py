"""A frozen vision-language model as a scorer of prompted photos, and the training of the prompt in front of it.

The model is any folder that transformers' AutoModelForImageTextToText reads and whose pictures are `<image>` tokens
(LLaVA and its kin); nothing is ever fetched. Photos: shorter side to the model's size (bicubic, antialiased), centre
crop, 0..1; the prompt; ImageNet's mean and deviation, as the released code has it, or CLIP's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mobileiqa import cli
from mobileiqa.checkpoint_files import torch_file
from mobileiqa.datasets.core import Sample
from mobileiqa.errors import UserError, install_command, one_line
from mobileiqa.models.visual_prompts import VisualPrompt, score_of
from mobileiqa.photos.loading import load_image
from mobileiqa.spec import IMAGENET_MEAN, IMAGENET_STD
from mobileiqa.training.validation import figures

QUERY = "Rate the technical quality of the image."
TEMPLATE = "USER: <image> {query} ASSISTANT:"
GOOD, BAD = ("good", "fine"), ("poor", "bad")
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
NORMALIZATIONS = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "clip": (CLIP_MEAN, CLIP_STD)}
STATE = "state.pt"


class FrozenScorer(nn.Module):
    """Images (N, 3, side, side) in 0..1 -> scores (N,), 0..1, of a frozen model that was asked about quality."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, model: nn.Module, ids: Sequence[int], good: Sequence[int], bad: Sequence[int], side: int,
        normalization: str = "imagenet",
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.good, self.bad, self.side = model.eval().requires_grad_(False), good, bad, side
        self.register_buffer("ids", torch.tensor([list(ids)]))
        for name, values in zip(("mean", "std"), NORMALIZATIONS[normalization], strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        ids = self.ids.expand(len(images), -1)
        pixels = ((images - self.mean) / self.std).to(next(self.model.parameters()).dtype)
        logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits
        return score_of(logits[:, -1], self.good, self.bad)


def load_scorer(folder: Path, normalization: str = "imagenet") -> FrozenScorer:
    """The model of a local folder. Raises UserError where transformers is missing or cannot read the folder."""
    try:
        from transformers import AutoModelForImageTextToText, AutoTokenizer
    except ImportError as error:
        raise UserError(
            "transformers for a vision-language model", "no such package", install_command("prompts")
        ) from error
    if not folder.is_dir():
        raise UserError("the folder of a vision-language model", f"nothing at {folder}", "correct --model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise UserError(
            f"a model that transformers reads in {folder}", one_line(str(error))[:200], "correct --model"
        ) from error
    vision = getattr(model.config, "vision_config", None)
    side, patch = (getattr(vision, name, None) for name in ("image_size", "patch_size"))
    if not isinstance(side, int) or not isinstance(patch, int) or not hasattr(model.config, "image_token_id"):
        raise UserError(
            "a model of <image> tokens and square pictures, as LLaVA", type(model).__name__, "name another"
        )
    whole = getattr(model.config, "vision_feature_select_strategy", "default") == "full"
    ids = query_ids(tokenizer, model.config.image_token_id, (side // patch) ** 2 + whole)
    return FrozenScorer(model, ids, word_ids(tokenizer, GOOD), word_ids(tokenizer, BAD), side, normalization)


def query_ids(tokenizer: Any, image_token: int, count: int) -> list[int]:
    """The question's tokens, `count` of the picture in their place."""
    before, after = TEMPLATE.format(query=QUERY).split("<image>")
    return [
        *tokenizer.encode(before), *([image_token] * count), *tokenizer.encode(after, add_special_tokens=False),
    ]  # fmt: skip


def word_ids(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """The last token of each word with a blank in front. Raises UserError for a word that the model does not know."""
    ids = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
    unknown = [
        word for word, each in zip(words, ids, strict=True) if not each or each[-1] == tokenizer.unk_token_id
    ]
    if unknown:
        raise UserError(
            f"the words {', '.join(words)} in the model's vocabulary",
            f"no {', '.join(unknown)}",
            "name another",
        )
    return [each[-1] for each in ids]


def pixels_of(sample: Sample, side: int) -> NDArray[np.float32]:
    """A photo as the model sees it before the prompt: (3, side, side) in 0..1."""
    from PIL import Image

    image = load_image(sample.path)
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC).crop(
        (left, top, left + side, top + side)
    )
    return np.asarray(resized, np.float32).transpose(2, 0, 1) / 255


@dataclass(frozen=True)
class Tuning:
    """How a prompt is trained: the released code's settings."""

    lr: float = 60.0
    epochs: int = 25
    batch: int = 4
    patience: int = 6  # epochs without a better (SRCC + PLCC) / 2 of validation
    seed: int = 42


def predict(
    prompt: VisualPrompt, scorer: FrozenScorer, samples: Sequence[Sample], batch: int
) -> NDArray[np.float64]:
    """Scores (N,) of photos, in order."""
    scores = []
    device = scorer.mean.device
    with torch.inference_mode():
        for start in range(0, len(samples), batch):
            images = np.stack([pixels_of(sample, scorer.side) for sample in samples[start : start + batch]])
            scores.append(scorer(prompt(torch.from_numpy(images).to(device))).double().cpu().numpy())
    return np.concatenate(scores)


def tune(
    prompt: VisualPrompt, scorer: FrozenScorer, train: Sequence[Sample], validation: Sequence[Sample],
    tuning: Tuning, folder: Path,
) -> dict[str, float]:  # fmt: skip
    """Trains the prompt in place by SGD on the MSE with labels, and leaves the best epoch's; goes on from `folder`.

    Returns the best epoch and its validation figures. Raises UserError where the loss is no longer finite.
    """
    optimizer = torch.optim.SGD(prompt.parameters(), tuning.lr)
    state = _restored(folder, prompt) or {
        "epoch": 0,
        "best": -math.inf,
        "figures": {},
        "prompt": _copy(prompt),
        "best_prompt": _copy(prompt),
    }
    prompt.load_state_dict(state["prompt"])
    for epoch in range(state["epoch"], tuning.epochs):
        if epoch - state["figures"].get("epoch", epoch) >= tuning.patience:
            break
        _epoch(prompt, scorer, train, tuning, epoch, optimizer)
        reached = _figures(predict(prompt, scorer, validation, tuning.batch), validation)
        mean = (reached["srcc"] + reached["plcc"]) / 2
        cli.note(f"epoch {epoch + 1}: SRCC {reached['srcc']:.4f}, PLCC {reached['plcc']:.4f}")
        if mean > state["best"]:
            state |= {"best": mean, "figures": {"epoch": epoch + 1, **reached}, "best_prompt": _copy(prompt)}
        state |= {"epoch": epoch + 1, "prompt": _copy(prompt)}
        with cli.atomic(folder / STATE) as temporary:
            torch.save(state, temporary)
    prompt.load_state_dict(state["best_prompt"])
    return state["figures"]


def _copy(prompt: VisualPrompt) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in prompt.state_dict().items()}


def _restored(folder: Path, prompt: VisualPrompt) -> dict[str, Any] | None:
    path = folder / STATE
    if not path.exists():
        return None
    state = torch_file.read(path)
    shapes = {name: tuple(value.shape) for name, value in prompt.state_dict().items()}
    if {name: tuple(value.shape) for name, value in state["prompt"].items()} != shapes:
        raise UserError(f"a run of the same prompt in {folder}", "another one", "give another --out")
    return state


def _epoch(
    prompt: VisualPrompt, scorer: FrozenScorer, train: Sequence[Sample], tuning: Tuning, epoch: int,
    optimizer: torch.optim.Optimizer,
) -> None:  # fmt: skip
    rng = np.random.default_rng([tuning.seed, epoch])
    device = scorer.mean.device
    order = rng.permutation(len(train))
    for start in cli.progress(range(0, len(order), tuning.batch), f"epoch {epoch + 1}"):
        samples = [train[i] for i in order[start : start + tuning.batch]]
        images = np.stack([pixels_of(sample, scorer.side) for sample in samples])
        flipped = rng.random(len(images)) < 0.5  # the photo, never the prompt
        images[flipped] = images[flipped][..., ::-1]
        labels = torch.tensor([sample.score for sample in samples], device=device)
        loss = nn.functional.mse_loss(scorer(prompt(torch.from_numpy(images).to(device))), labels)
        if not torch.isfinite(loss):
            raise UserError("a finite loss", f"{float(loss)} in epoch {epoch + 1}", "lower --lr")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _figures(scores: NDArray[np.float64], samples: Sequence[Sample]) -> dict[str, float]:
    labels = np.array([sample.score for sample in samples])
    return {name: value for name, value in figures(scores, labels).items() if name in ("srcc", "plcc")}
