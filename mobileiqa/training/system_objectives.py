"""Objectives of single published systems; those that several models share are in objectives.py.

multi-scale   MSLIQA's heads, each against the labels on its own zoom level of an image
cross-branch  MS-SCANet: L1, and the two branches' mean tokens brought together
fr-nr         YOTO: each batch with its pristine originals or without
"""

from collections.abc import Callable

import torch
from torch import nn

from mobileiqa.errors import UserError
from mobileiqa.models.fr_nr_transformer import FRNRTransformer
from mobileiqa.models.ms_scanet import MSSCANet
from mobileiqa.models.msliqa import MSLIQA, MultiScale, Zoom, views, whole
from mobileiqa.spec import ModelSpec
from mobileiqa.training import objective
from mobileiqa.training.loss_terms import Setup, mean_of, scored
from mobileiqa.training.objective import Batch, Gather, Task


def multi_scale(setup: Setup) -> Task:
    """MSLIQA: each image's view of every zoom level, by that level's head; validation chooses the head that scores."""
    model = setup.model
    if not isinstance(model, MSLIQA) or setup.recipe.ema:
        raise UserError(
            "an MSLIQA model, and no averaged weights (ema)", setup.spec.name, "choose another recipe"
        )
    return multi_scale_task(model, model.zooms, setup.spec)


def multi_scale_task(model: MultiScale, zooms: tuple[Zoom, ...], spec: ModelSpec) -> Task:
    """Each training image's view of every zoom level against its label, by that level's head: MSE + (1 - PLCC), summed.

    The views of a step follow torch's global seed, which the loop sets. In validation every head reads the whole image.
    Raises ValueError where the model does not have one head per zoom level.
    """
    if len(model.heads) != len(zooms):
        raise ValueError(f"expected {len(zooms)} heads, one per zoom level; found {len(model.heads)}")

    def of_views(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        scores = gather(model.by_views(views(batch.inputs[0], zooms)))
        return {"loss": multi_scale_loss(scores, gather(batch.score))}

    def score(image: torch.Tensor) -> torch.Tensor:
        return whole(model, image, zooms)

    choose = model.choose if isinstance(model, MSLIQA) else lambda head: None
    return Task(model, of_views, score, lambda: (model, spec), choose=choose)


def multi_scale_loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """scores (N, heads), target (N,) -> MSE + (1 - PLCC), summed over the heads."""
    terms = [objective.mse(score, target) + objective.plcc_loss(score, target) for score in scores.unbind(1)]
    return torch.stack(terms).sum()


def cross_branch(setup: Setup) -> Task:
    """MS-SCANet: the recipe's losses + `consistency` * MSE of the branches' mean tokens after they have met.

    The third published loss compares branch 2's map with its repetition taken apart again, and is always 0: left out.
    Its 100,352 tokens and channels under one layer make random weights score -3 to 3 where labels are 0..1, so a run
    may begin at the labels' mean.
    """
    model, weight = setup.model, setup.recipe.option("consistency")
    if not isinstance(model, MSSCANet):
        raise UserError("ms-scanet for this recipe", setup.spec.name, "choose another recipe")

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        features = model.forward_features(*batch.inputs)
        parts = scored(setup.recipe, model.forward_head(features), batch, gather)
        x, y, _ = features
        parts["consistency"] = mean_of(nn.functional.mse_loss(x.mean(1), y.mean(1)), gather)
        return {**parts, "loss": parts["loss"] + weight * parts["consistency"]}

    def shift(by: float) -> None:
        with torch.no_grad():
            model.prediction_head.fc2.bias.add_(by)

    return Task(model, loss, model, lambda: (model, setup.spec), shift=shift)


def fr_nr(setup: Setup) -> Task:
    """YOTO's joint training: a share of the batches, `fr_share`, with their originals, the rest without.

    An image that has no original stays without in every batch. Validation is without. Which batch has them follows
    torch's global seed, which the loop sets.
    """
    model, share = setup.model, setup.recipe.option("fr_share")
    if not isinstance(model, FRNRTransformer):
        raise UserError("fr-nr-transformer for this recipe", setup.spec.name, "choose another recipe")

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        image, *originals = batch.inputs
        paired = bool(originals) and float(torch.rand(())) < share
        score = with_originals(model, image, originals[0]) if paired else model(image)
        return scored(setup.recipe, score, batch, gather)

    return Task(model, loss, model, lambda: (model, setup.spec))


def with_originals(model: FRNRTransformer, image: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Scores (N,): of an image that is its own original without it, of the others with theirs."""
    own = (image == original).flatten(1).all(1)
    scores = image.new_zeros(len(image))
    if own.any():
        scores = scores.masked_scatter(own, model(image[own]))
    if not own.all():
        scores = scores.masked_scatter(~own, model(image[~own], original[~own]))
    return scores


SYSTEM_OBJECTIVES: dict[str, Callable[[Setup], Task]] = {
    "multi-scale": multi_scale,
    "cross-branch": cross_branch,
    "fr-nr": fr_nr,
}
