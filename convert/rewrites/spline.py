"""KAN's B-splines without comparisons, on a uniform grid; with a scaler of each spline, or without.

    B_j(x) = (relu(2 - |u|)^3 - 4 relu(1 - |u|)^3) / 6,   u = (x - c_j) / h

is the cubic cardinal B-spline centred on c_j: the same piecewise cubic as the Cox-de Boor recursion on a uniform
grid, zero outside its four intervals, so zero outside the extended grid too. 1/h moves into the centres'
scale, 1/6 into the weights. A grid that was updated (non-uniform) is refused: the recursion stays.
"""

import torch
from torch import nn

from convert.rewrites.core import Rewrite, Sites, linear, replace_modules
from mobileiqa.layers.kan import ORDER, KANLinear
from mobileiqa.layers.kan_bases import SplineLinear

EQUATION = "B(u) = (relu(2-|u|)^3 - 4 relu(1-|u|)^3) / 6, u = (x - centre) / h"
UNIFORM = 1e-5  # of a step: float32 grids of steps 0.4 are uniform to 6e-7


class UniformKAN(nn.Module):
    """Equal to KANLinear or SplineLinear on its uniform grid: (N, in) -> (N, out)."""

    offsets: torch.Tensor

    def __init__(self, source: KANLinear | SplineLinear, step: float) -> None:
        super().__init__()
        self.inverse_step = 1 / step
        centres = source.grid[:, 2:-2].double()  # the middle knot of each basis
        self.register_buffer("offsets", (centres / step).to(source.grid.dtype))
        weight = source.spline_weight.double() / 6
        if isinstance(source, KANLinear):
            weight = weight * source.spline_scaler.double().unsqueeze(-1)
        self.base = linear(source.base_weight, None)
        self.spline = linear(weight.flatten(1).to(source.base_weight.dtype), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        distance = ((x * self.inverse_step).unsqueeze(-1) - self.offsets).abs()
        outer, inner = torch.relu(2 - distance), torch.relu(1 - distance)
        bases = outer * outer * outer - 4 * (inner * inner * inner)
        return self.base(nn.functional.silu(x)) + self.spline(bases.flatten(1))


def _uniform(layer: KANLinear | SplineLinear) -> nn.Module | str:
    steps = layer.grid.double().diff(dim=1)
    step = float(steps.mean())
    spread = float((steps - step).abs().max())
    if not step > 0 or spread > UNIFORM * step:
        return f"grid is not uniform (steps differ by {spread:.2g}); the recursion stays"
    assert layer.grid.shape[1] == 2 * ORDER + 6
    return UniformKAN(layer, step).eval()


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Replaces every KANLinear and SplineLinear with a uniform grid."""
    sites = replace_modules(model, KANLinear, _uniform)
    more = replace_modules(model, SplineLinear, _uniform)
    return model, Sites(sites.replaced + more.replaced, sites.refused + more.refused)


REWRITE = Rewrite("spline_without_comparisons", EQUATION, apply)
