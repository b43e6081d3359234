"""From a published model to the module that is exported: the rewrites, in order, measured together.

The result takes a batch of one image (or of `crops` crops), any input size, and returns the same scores.
"""

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobileiqa.errors import UserError
from mobileiqa.spec import Fit, InputSpec, ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from convert.rewrites.core import Rewrite

EXACT = 1e-6  # in float64; all rewrites but the spline's are at 1e-15 (its float32 knots are uniform to 6e-7)
PROBE_PX = 128  # side of the probe image where the size is free


@dataclass(frozen=True)
class Applied:
    """One rewrite's result: how many sites, and why others were refused."""

    name: str
    equation: str
    sites: int
    refused: tuple[str, ...]


@dataclass(frozen=True)
class RewriteReport:
    """All rewrites of one model, in order, and how far they moved a probe's score (float64, score units)."""

    model: str
    applied: tuple[Applied, ...]
    max_abs_error: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return dataclasses.asdict(self)


def rewrites(norms: dict[str, str], size: tuple[int, int]) -> "tuple[Rewrite, ...]":
    """Every rewrite, in the order in which they are applied.

    norms: as convert.rewrites.batch_norm.observed. size: (height, width) of the first input.
    """
    from convert.rewrites import (
        bands,
        batch_norm,
        channels_last_attention,
        fixed_tokens,
        fold_gamma,
        level_mean,
        linear_attention,
        max_pool,
        query_key,
        spline,
        strips,
    )

    return (
        fixed_tokens.rewrite(size),
        batch_norm.rewrite(norms),
        bands.REWRITE,
        strips.REWRITE,
        channels_last_attention.REWRITE,
        query_key.REWRITE,
        level_mean.REWRITE,
        fold_gamma.REWRITE,
        linear_attention.REWRITE,
        max_pool.REWRITE,
        spline.REWRITE,
    )


def apply_rewrites(model: "nn.Module", spec: ModelSpec) -> "tuple[nn.Module, RewriteReport]":
    """A rewritten copy of `model` (which is left alone), in its dtype, and what was done to it.

    Rewrites are applied in float64, so the only rounding is the last one, back to the model's dtype. Raises UserError
    where the model's own score of a probe is not finite, and where the rewrites move it.
    """
    import torch

    from convert.rewrites.batch_norm import observed

    dtype = next(model.parameters()).dtype
    work = copy.deepcopy(model).double().eval()
    probe = probe_inputs(spec)
    applied = []
    with torch.no_grad():
        with observed(work) as norms:
            expected = work(*probe)
        for rewrite in rewrites(norms, tuple(probe[0].shape[2:])):
            work, sites = rewrite.apply(work)
            if sites.replaced or sites.refused:
                applied.append(Applied(rewrite.name, rewrite.equation, sites.replaced, tuple(sites.refused)))
        error = float((work(*probe) - expected).abs().max())
    _check_scores(spec, expected, error)
    return work.to(dtype).eval(), RewriteReport(spec.name, tuple(applied), error)


def _check_scores(spec: ModelSpec, expected: "torch.Tensor", error: float) -> None:
    """Raises UserError for scores of the probe that are not finite, or that the rewrites moved by `error`."""
    if not bool(expected.isfinite().all()):
        raise UserError(
            f"weights with which {spec.name} scores a picture",
            f"the score {float(expected.view(-1)[0])}, although every weight is finite: some are too large, "
            "or a variance is negative",
            "take another checkpoint",
        )
    limit = EXACT * max(1.0, float(expected.abs().max()))
    if not error <= limit:  # also where it is NaN
        raise UserError(
            f"rewrites that move the score of {spec.name} by at most {limit:.1e}",
            f"{error:.1e}: with these weights they are not exact",
            "check that the checkpoint's scores are right in PyTorch, and report it if they are",
        )


def probe_inputs(spec: ModelSpec) -> "tuple[torch.Tensor, ...]":
    """Small float64 inputs, one image, from a fixed seed."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 3, *_probe_size(i)) for i in spec.inputs]
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def _probe_size(spec: InputSpec) -> tuple[int, int]:
    """The probe's size: small, unless the model fixes it (crops feed fully connected layers)."""
    if spec.fit is Fit.RANDOM_CROPS or spec.fixed_size:
        return spec.height_px, spec.width_px
    return PROBE_PX, PROBE_PX + 32
