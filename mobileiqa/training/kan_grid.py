"""What training adds to a KAN layer: its grid follows the data, and its splines stay simple.

A grid update moves the knots of every input row to the data's quantiles and refits the coefficients, so that
the layer computes what it did before. Least squares is linear in the coefficients, so the refit is one 8x8
matrix per input row, applied to the unscaled coefficients: the scaler is a factor on both sides and never
enters, whatever it is, 0 included. The published refit stores coefficients that contain the scaler already,
which its forward pass then applies once more; it also forms every (image, input, output) product on the way,
2 MB per image in LAR-IQA's head.
"""

from collections.abc import Callable

import torch
from torch import nn

from mobileiqa.layers.kan import INTERVALS, ORDER, KANLinear, b_splines
from mobileiqa.training.objective import Gather, alone

UNIFORM_SHARE = 0.02  # of the new grid; the rest is the data's quantiles (efficient-KAN)
_RCOND = 1e-7  # coefficients are stored in single precision: what determines them by less is noise
_MIN_GAP = 100.0  # between knots, in rounding steps of the largest: closer ones make the bases noise


def adapted_grid(x: torch.Tensor, margin: float = 0.01) -> torch.Tensor:
    """x (N, in) -> (in, 12) knots: quantiles of each column, blended with a uniform grid `margin` wider.

    The 6 inner knots hold all of x; 3 more on each side are a uniform step apart.
    """
    ordered = x.sort(dim=0).values.T
    low, high = ordered[:, :1] - margin, ordered[:, -1:] + margin
    step = (high - low) / INTERVALS
    count = torch.arange(INTERVALS + 1, device=x.device)
    quantiles = ordered[:, count * (len(x) - 1) // INTERVALS]
    inner = UNIFORM_SHARE * (low + step * count) + (1 - UNIFORM_SHARE) * quantiles
    beyond = step * torch.arange(1, ORDER + 1, device=x.device)
    return torch.cat([inner[:, :1] - beyond.flip(1), inner, inner[:, -1:] + beyond], 1)


@torch.no_grad()
def update_grid(layer: KANLinear, x: torch.Tensor, margin: float = 0.01) -> torch.Tensor:
    """Fits the layer's grid to its inputs x (N, in) and its coefficients to the new grid, in place.

    On x the layer's output changes by the best refit's residual only: not at all where a row's splines are
    cubics without knots, little where they are smooth. Between and beyond the data nothing is promised.
    Computed in float64 on the CPU, hence deterministic and the same for every device.

    Returns a mask (in,): True where the row has the new grid. A row keeps its old one where the new knots
    would be too close for the layer's precision: a column that is constant and far from 0.
    Raises ValueError for another shape, no rows, or values that are not finite.
    """
    rows = layer.grid.shape[0]
    if x.ndim != 2 or x.shape[1] != rows or not len(x) or not torch.isfinite(x).all():
        raise ValueError(
            f"expected finite inputs (N, {rows}), N > 0; found {tuple(x.shape)} or non-finite values"
        )
    x, before = x.detach().cpu().double(), layer.grid.cpu()
    after = adapted_grid(x, margin).to(before.dtype)
    room = _MIN_GAP * torch.finfo(before.dtype).eps * after.abs().amax(1)
    moved = after.diff(dim=1).amin(1) > room
    after = torch.where(moved[:, None], after, before)
    refit = _refit(x, before.double(), after.double())
    refit[~moved] = torch.eye(refit.shape[-1], dtype=refit.dtype)
    weight = torch.einsum("oic,idc->oid", layer.spline_weight.cpu().double(), refit)
    layer.grid.copy_(after)
    layer.spline_weight.copy_(weight)
    return moved


def _refit(x: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """(in, 8, 8): old coefficients to those on the new grid, by least squares over x.

    The smallest coefficients where x does not determine them.
    """
    old, new = (b_splines(x, grid).transpose(0, 1) for grid in (before, after))
    return torch.linalg.lstsq(new, old, rcond=_RCOND, driver="gelsd").solution


def update_grids(
    module: nn.Module, forward: Callable[[], object], margin: float = 0.01, gather: Gather = alone
) -> dict[str, int]:
    """Updates every KAN layer in `module` with the inputs that it gets in `forward()`.

    A layer that follows another one sees what the updated one gives. `gather` joins the inputs of several
    processes: without it their grids would drift apart. forward() should not train (batch norms, dropout).
    Returns how many input rows of each layer were updated.
    """
    updated: dict[str, int] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def update(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            assert isinstance(layer, KANLinear)
            updated[name] = int(update_grid(layer, gather(inputs[0]), margin).sum())

        return update

    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, KANLinear)]
    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers]
    try:
        with torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return updated


def regularization(layer: KANLinear, activation: float = 1.0, entropy: float = 1.0) -> torch.Tensor:
    """activation * sum(l1) + entropy * H(l1 / sum(l1)), a scalar: few splines, and small ones.

    l1 (out, in) is the mean |coefficient| of each spline, H the entropy, 0..log(out * in). The published
    code's stand-in for the KAN paper's penalty on activations (arXiv 2404.19756); the scaler is left out, as
    there. Finite gradients also where coefficients are 0.
    """
    l1 = layer.spline_weight.abs().mean(-1)
    total = l1.sum()
    share = l1 / torch.where(total > 0, total, 1)
    logs = share.clamp_min(torch.finfo(share.dtype).tiny).log()
    return activation * total - entropy * (share * logs).sum()
