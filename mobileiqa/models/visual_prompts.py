"""Visual prompts (arXiv 2509.03494): a pattern that is added to the pixels of a photo before a frozen model sees it.

    photo 0..1 -> + d tanh(t) where the prompt is -> clamp to 0..1 -> normalise -> vision-language model -> logits
    score = sigmoid(logsumexp(logits of good words) - logsumexp(logits of bad words)) at the last position

Only t is trained: a border of `size` pixels (padding), a square (patch, in the centre or at the top left), or the whole
picture (full). Keys are those of the public code, whose checkpoint is the prompt alone. Its mode `mul`, x * d tanh(t),
blanks what is outside the prompt, and is here for its checkpoints only; `replace` puts the pattern in place of the
border. The public code sums exp of raw logits, which overflows in half precision; the form above is equal.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from mobileiqa.errors import UserError

KINDS = ("padding", "patch", "patch-top-left", "full")
MODES = ("add", "mul", "replace")
INITIAL_STD = 0.01


class VisualPrompt(nn.Module):
    """Images (N, 3, side, side) in 0..1 -> the same with the prompt, in 0..1.

    Raises UserError for another kind or mode, and for a size that does not fit.
    """

    def __init__(
        self, kind: str, size: int = 30, side: int = 448, mode: str = "add", delta: float = 1.0
    ) -> None:
        super().__init__()
        if kind not in KINDS or mode not in MODES or (mode == "replace" and kind != "padding"):
            known = f"a prompt of {', '.join(KINDS)}, with a mode of {', '.join(MODES)} (replace: of padding)"
            raise UserError(known, f"{kind}, {mode}", "correct the kind or the mode")
        if kind != "full" and not 1 <= size <= (side - 1) // (2 if kind == "padding" else 1):
            raise UserError(f"a size that leaves some of {side} pixels", str(size), "correct --prompt-size")
        self.kind, self.size, self.side, self.mode, self.delta = kind, size, side, mode, delta
        for name, (height, width) in self.shapes().items():
            self.register_parameter(name, nn.Parameter(INITIAL_STD * torch.randn(1, 3, height, width)))

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each tensor of t, by its key."""
        if self.kind == "full":
            return {"prompt": (self.side, self.side)}
        if self.kind != "padding":
            return {"patch": (self.size, self.size)}
        row, column = (self.size, self.side), (self.side - 2 * self.size, self.size)
        return {"pad_up": row, "pad_down": row, "pad_left": column, "pad_right": column}

    def canvas(self) -> torch.Tensor:
        """(1, 3, side, side): d tanh(t) where the prompt is, 0 elsewhere."""
        pattern = {name: self.delta * torch.tanh(value) for name, value in self.named_parameters()}
        if self.kind == "full":
            return pattern["prompt"]
        if self.kind == "padding":
            inner = self.side - 2 * self.size
            middle = pattern["pad_left"].new_zeros(1, 3, inner, inner)
            rows = torch.cat([pattern["pad_left"], middle, pattern["pad_right"]], 3)
            return torch.cat([pattern["pad_up"], rows, pattern["pad_down"]], 2)
        first = self.side // 2 - self.size // 2 if self.kind == "patch" else 0
        last = self.side - first - self.size
        return functional.pad(pattern["patch"], (first, last, first, last))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        canvas = self.canvas()
        if self.mode == "mul":
            return (image * canvas).clamp(0, 1)
        if self.mode == "replace":
            inside = functional.pad(torch.ones_like(image[:1, :1, self.size : -self.size, self.size : -self.size]),
                                    (self.size,) * 4)  # fmt: skip
            image = image * inside
        return (image + canvas).clamp(0, 1)


def score_of(logits: torch.Tensor, good: Sequence[int], bad: Sequence[int]) -> torch.Tensor:
    """Logits (N, vocabulary) of the next word -> scores (N,), 0..1: how much of both words' weight is on the good."""
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return torch.sigmoid(logits[:, list(good)].logsumexp(1) - logits[:, list(bad)].logsumexp(1))
