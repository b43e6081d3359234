"""The learning rate of a step, as a pure function: a resumed run needs no scheduler state."""

import math

from mobileiqa.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate for optimiser step `step` (0-based): linear warm-up, then a cosine from lr to final_lr * lr.

    Past its length the cosine goes on, up and down again, as torch's CosineAnnealingLR does with a T_max
    shorter than the run (MobileIQA's student: 300 epochs, T_max 50).
    """
    epoch = step / steps_per_epoch
    if epoch < recipe.warmup_epochs:
        return recipe.lr * (step + 1) / (recipe.warmup_epochs * steps_per_epoch + 1)
    length = recipe.cosine_epochs or max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    phase = (epoch - recipe.warmup_epochs) / length
    low = recipe.final_lr
    return recipe.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * phase)))
