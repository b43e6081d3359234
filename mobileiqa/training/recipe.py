"""Recipes: the settings that decide a training run's result, one frozen dataclass each, the papers' by name.

What only decides where and how fast it runs (device, workers, folders) is in loop.Settings. Where a paper and
its public code differ, the paper is followed; the line says so.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from mobileiqa.errors import UserError
from mobileiqa.spec import ColorSpace
from mobileiqa.text import integer, real
from mobileiqa.variants import gives_votes


@dataclass(frozen=True)
class Recipe:
    """Everything that changes the weights a run ends with."""

    name: str
    model: str  # what is exported, a name in zoo.MODELS
    objective: str  # a name in objectives.OBJECTIVES
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    optimizer: str = (
        "adamw"  # "adam" (weight decay inside the gradient, as torch's Adam does), "sgd" (momentum .9)
    )
    warmup_epochs: float = 0.0  # linear from 0
    cosine_epochs: float = 0.0  # length of the cosine after the warm-up; 0: until the end
    final_lr: float = 0.0  # of the cosine, as a fraction of lr
    lr_steps: tuple[
        tuple[int, float], ...
    ] = ()  # in place of the cosine: (up to this epoch, this fraction of lr)
    encoder_lr: float = 1.0  # of the module's `encoder`, as a fraction of lr
    losses: tuple[tuple[str, float], ...] = (("mse", 1.0),)
    options: tuple[tuple[str, float], ...] = ()  # of the objective
    epoch_images: int = 0  # of an epoch, drawn anew for each; 0: all
    crop_px: int = 0  # random square crop at native scale; 0: the model's own fit
    input_px: tuple[
        int, ...
    ] = ()  # side of each input while training, its fit unchanged; (): the spec's size
    window_px: int = 0  # side of the window that a cache keeps of each image; 0: 1.5 crops
    flip_h: bool = True
    flip_v: bool = False
    color_spaces: tuple[
        str, ...
    ] = ()  # one is drawn for each image of a step; (): the input's own, as in tests
    random_crops: bool = True  # where the model reads a centre crop, training reads a random one
    jnd: float = 0.0  # probability of JNDMix noise, of each view
    group: int = 1  # samples in a row that share reference and distortion, for ranking pairs
    accumulate: int = 1  # micro-batches per optimiser step; losses over a batch see one micro-batch
    ema: float = 0.0  # decay of averaged weights; they are validated and exported when it is not 0
    kan_penalty: float = 0.0  # weight of the KAN layers' regularisation
    grid_every: int = 0  # steps between KAN grid updates; convert's spline rewrite needs grids left uniform
    validation_limit: int = 0  # images that validate each epoch; 0: all of them
    clip_norm: float = 0.0  # of the gradient; 0: not clipped
    seed: int = 3407

    def __post_init__(self) -> None:
        if not 0 <= self.jnd <= 1:
            raise ValueError(f"jnd {self.jnd} must be a probability, 0..1")
        if unknown := set(self.color_spaces) - set(ColorSpace):
            raise ValueError(f"color spaces {', '.join(sorted(unknown))} must be of {', '.join(ColorSpace)}")
        if self.jnd and set(self.color_spaces) - {"rgb"}:
            raise ValueError("jnd needs RGB alone: its noise is that of RGB")
        unit = self.accumulate * self.group
        if min(self.batch, unit) < 1 or self.batch % unit:
            raise ValueError(
                f"batch {self.batch} must be a multiple of accumulate x group, {unit}, in {self}"
            )

    def option(self, name: str, default: float = 0.0) -> float:
        """One of the objective's own settings."""
        return dict(self.options).get(name, default)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return dataclasses.asdict(self)


# MobileIQA: Adam, lr 1e-5, weight decay 1e-5, cosine with T_max 50 (it rises again after 50 epochs, as
# torch's CosineAnnealingLR does), horizontal and vertical flips. The public code neither shuffles nor keeps
# the paper's input size: not repeated.
_MOBILE: dict[str, Any] = {
    "lr": 1e-5, "weight_decay": 1e-5, "optimizer": "adam", "cosine_epochs": 50.0, "flip_v": True,
}  # fmt: skip
# LAR-IQA: MSE + (1 - Pearson), weights 1:1; AdamW, 5 warm-up epochs, then cosine. As in the public code, images are
# neither flipped nor cropped at random: the synthetic branch reads the centre 1280x1280, zero padded.
_LAR: dict[str, Any] = {
    "lr": 5e-5, "weight_decay": 1e-4, "warmup_epochs": 5.0, "losses": (("mse", 1.0), ("plcc", 1.0)),
    "flip_h": False, "random_crops": False,
}  # fmt: skip

RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe("mobileiqa-teacher", "mobilevit-iqa", "supervised", 100, 4, **_MOBILE),
        Recipe("mobileiqa-student", "mobilenet-iqa", "supervised", 300, 8, **_MOBILE),
        Recipe("mobileiqa-distill", "mobilenet-iqa", "distill", 300, 8, options=(("alpha", 2.0),), **_MOBILE),
        # The public code's objective: the stacked LDA outputs are matched too, and all terms weigh the same.
        Recipe("mobileiqa-distill-code", "mobilenet-iqa", "distill", 300, 8,
               options=(("alpha", 1.0), ("levels", 1.0)), **_MOBILE),
        Recipe("lar-iqa-branch", "lar-iqa-single", "multi-task", 100, 32, **_LAR),
        # With the noise of JNDMix (arXiv 2302.09838) in half of the images.
        Recipe("lar-iqa-branch-jnd", "lar-iqa-single", "multi-task", 100, 32, jnd=0.5, **_LAR),
        Recipe("lar-iqa-kan", "lar-iqa-kan", "supervised", 50, 20, **_LAR),
        Recipe("lar-iqa-mlp", "lar-iqa-mlp", "supervised", 50, 20, **_LAR),
        # MSLIQA's four ways to train: Adam and its schedule are not in the paper's abstract, so AdamW as LAR-IQA.
        *(Recipe(name, name, "multi-scale", 50, 16, lr=1e-4, weight_decay=1e-4, warmup_epochs=1.0,
                 losses=(("mse", 1.0), ("plcc", 1.0)), random_crops=False)
          for name in ("msliqa-single", "msliqa-multi-crop", "msliqa-multi-resize", "msliqa-both")),
        # KonCept512's notebook: three rates; its reload of the best weights between them is not repeated.
        Recipe("koncept512", "koncept512", "supervised", 70, 32, lr=1e-4, weight_decay=0.0, optimizer="adam",
               lr_steps=((40, 1.0), (60, 0.2), (70, 0.1))),
        # MUSIQ on KonIQ-10k, from general knowledge of the paper: L1 on the scale 0..100.
        Recipe("musiq", "musiq", "supervised", 30, 96, lr=1e-4, weight_decay=0.0, optimizer="sgd",
               losses=(("mae", 100.0),), options=(("native_patches", 512.0),)),
        # MS-SCANet's released code, but a cosine by epochs, where that steps it by batches, a warm-up (the first steps
        # of Adam would move a head of 51 million weights by 20 times the labels' range), and one run.
        Recipe("ms-scanet", "ms-scanet", "cross-branch", 600, 16, lr=1e-4, weight_decay=1e-5, optimizer="adam",
               warmup_epochs=1.0,
               cosine_epochs=50.0, flip_v=True, losses=(("mae", 1.0),), options=(("consistency", 0.5),)),
        # YOTO's training code: batches with their references and without, half and half.
        Recipe("fr-nr-transformer", "fr-nr-transformer", "fr-nr", 100, 8, lr=1e-4, weight_decay=1e-5,
               optimizer="adam", cosine_epochs=50.0, encoder_lr=0.1, crop_px=224,
               options=(("fr_share", 0.5),)),
        # From the reference (--init) or a Lite0 backbone, on people's ratings: they say nothing of reasons.
        Recipe("whole-photo", "whole-photo", "supervised", 30, 16, lr=2e-4, weight_decay=2e-2, warmup_epochs=1.0,
               final_lr=0.01, losses=(("mse", 10.0), ("plcc", 1.0)), ema=0.99, clip_norm=5.0),
        # A trunk that knows distortions: where tools.train_reference starts.
        Recipe("reference", "lar-iqa-lite", "degradation", 5, 40, lr=1e-3, weight_decay=2e-2,
               warmup_epochs=0.1, final_lr=0.01, losses=(("mse", 10.0), ("plcc", 1.0)),
               options=(("classes", 1.0),), crop_px=160, window_px=336, ema=0.999, clip_norm=5.0,
               validation_limit=500),
        # The second half of it: larger crops, closer to the 512 pixels that are scored.
        Recipe("reference-fine", "lar-iqa-lite", "degradation", 2, 40, lr=6e-4, weight_decay=2e-2,
               warmup_epochs=0.1, final_lr=0.01, losses=(("mse", 20.0), ("plcc", 2.0)),
               options=(("classes", 1.0),), crop_px=224, window_px=336, ema=0.998, clip_norm=5.0,
               validation_limit=500),
        # MobileNetV3 from random weights, with `reference` as the teacher: the backbone of the two after it.
        Recipe("reference-branch", "lar-iqa-single", "imitate", 4, 64, lr=3e-3, weight_decay=2e-2,
               warmup_epochs=0.1, final_lr=0.01, losses=(("mse", 5.0), ("plcc", 0.5)),
               options=(("stages", 1.0), ("features", 2.0)), crop_px=144, window_px=336, ema=0.999,
               clip_norm=5.0, validation_limit=500),
        # Trained, so that INT8 can be judged on them. 336 px windows as the photo: at 252 px its scale is that of
        # a 512 px photo at 384.
        Recipe("reference-kan", "lar-iqa-kan", "supervised", 2, 32, lr=5e-4, weight_decay=2e-2,
               warmup_epochs=0.1, final_lr=0.01, losses=(("mse", 20.0), ("plcc", 2.0)), epoch_images=2500,
               input_px=(252, 224), window_px=336, ema=0.99, clip_norm=5.0, validation_limit=500),
        Recipe("reference-mobile", "mobilenet-iqa-small", "supervised", 2, 32, lr=1e-3, weight_decay=2e-2,
               warmup_epochs=0.1, final_lr=0.01, losses=(("mse", 20.0), ("plcc", 2.0)), epoch_images=2000,
               crop_px=144, window_px=336, ema=0.99, clip_norm=5.0, validation_limit=500),
    )
}  # fmt: skip


def recipe(name: str) -> Recipe:
    """The recipe of that name; UserError lists the names there are."""
    if name not in RECIPES:
        raise UserError(f"one of the recipes {', '.join(RECIPES)}", repr(name), "correct --recipe")
    return RECIPES[name]


def with_overrides(base: Recipe, texts: list[str]) -> Recipe:
    """`base` with `field=value` settings of numbers and booleans, of options such as alpha, and of losses.

    losses=mse:1,rank:0.5 are the loss terms and their weights. UserError names the fields there are.
    """
    changed: dict[str, Any] = {}
    options = dict(base.options)
    fields = {
        f.name: f for f in dataclasses.fields(base) if f.type in (int, float, bool, "int", "float", "bool")
    }
    for text in texts:
        key, _, value = text.partition("=")
        if key == "losses":
            changed[key] = _losses(value)
        elif key in options:
            options[key] = _parsed(value, float, text)
        elif key in fields:
            changed[key] = _parsed(value, type(getattr(base, key)), text)
        else:
            known = ", ".join([*options, "losses", *fields])
            raise UserError(f"FIELD=VALUE with one of {known}", repr(text), "correct --set")
    try:
        return dataclasses.replace(base, options=tuple(options.items()), **changed)
    except ValueError as error:
        raise UserError("settings that fit together", str(error), "correct --set") from error


# Loss terms, and whether each knows the scale of the labels. What is trained by others alone only ranks images, and a
# linear map to the labels is fitted afterwards (training/validation.py).
LOSSES = {
    "mse": True, "mae": True, "plcc": False, "norm-in-norm": False, "monotonicity": False, "rank": False,
}  # fmt: skip


def ranks_only(recipe: Recipe) -> bool:
    """True where no loss of the recipe knows the scale of the labels. Votes have their own."""
    return not gives_votes(recipe.model) and not any(LOSSES[name] for name, weight in recipe.losses if weight)


def _losses(value: str) -> tuple[tuple[str, float], ...]:
    """mse:1,rank:0.5 -> (("mse", 1.0), ("rank", 0.5)); a term without a weight has 1."""
    terms: dict[str, float] = {}
    for part in value.split(","):
        name, _, weight = part.partition(":")
        if name not in LOSSES or name in terms:
            raise UserError(
                f"losses=TERM:WEIGHT,... with terms of {', '.join(LOSSES)}, each once",
                repr(part),
                "correct --set",
            )
        terms[name] = _parsed(weight or "1", float, f"losses={value}")
    if not any(terms.values()):
        raise UserError("a loss whose weight is not 0", f"losses={value}", "correct --set")
    return tuple(terms.items())


def _parsed(value: str, kind: type, text: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        number = {int: integer, float: real}.get(kind, kind)(value)
    except (ValueError, KeyError) as error:
        raise UserError(f"a {kind.__name__} after '='", repr(text), "correct --set") from error
    if not 0 <= number < float("inf"):
        raise UserError("a number of 0 or more", repr(text), "correct --set")
    return number


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate for optimiser step `step` (0-based): linear warm-up, then a cosine from lr to final_lr * lr.

    Past its length the cosine goes on, up and down again, as torch's CosineAnnealingLR does with a T_max
    shorter than the run (MobileIQA's student: 300 epochs, T_max 50).
    """
    epoch = step / steps_per_epoch
    if epoch < recipe.warmup_epochs:
        return recipe.lr * (step + 1) / (recipe.warmup_epochs * steps_per_epoch + 1)
    if recipe.lr_steps:
        return recipe.lr * next(
            (factor for end, factor in recipe.lr_steps if epoch < end), recipe.lr_steps[-1][1]
        )
    length = recipe.cosine_epochs or max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    phase = (epoch - recipe.warmup_epochs) / length
    return recipe.lr * cosine(phase, recipe.final_lr)


def cosine(phase: float, low: float) -> float:
    """From 1 at phase 0 to `low` at phase 1, half a wave."""
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * phase))
