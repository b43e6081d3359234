"""KAN layers by what their edges are made of: Taylor, splines, Gaussians, orthogonal polynomials, waves, wavelets.

| name | y_o of a layer with inputs x_i |
|---|---|
| taylor | b_o + sum_i sum_{k < order} c_oik (x_i - x0)^k, 0^0 = 1 |
| b-spline | W_b silu(x) + W_s B(x), as kan.py without its scaler |
| efficient | kan.py's own layer |
| fast | with u = LN(x): b + W_b silu(u) + W_s exp(-((u - g) / D)^2), g = -2..2 in 8 |
| bsrbf | with u = LN(x): W_b silu(u) + W_s (B(u) + R(u)), B-splines and Gaussians on -1.5..1.5 |
| chebyshev, jacobi, hermite | sum_i sum_{n <= degree} c_ion P_n(tanh x_i), by recursion |
| fourier | b_o + sum_i sum_{k=1..grid_size} a_oik cos k x_i + b_oik sin k x_i |
| wavelet | BatchNorm of sum_i w_oi psi((x_i - t_oi) / s_oi) |

`build_kan(name, sizes)` stacks them with nothing in between, as KAN4IQA (arXiv 2409.07762, 2505.21592) does from
features to a score; keys of state dicts are its. Written anew from the formulas. Published quirks that are kept:
Taylor's default order 2 means two terms and so an affine map (three layers are one linear regression, and that is
what was published as TaylorKAN; build_kan warns); each k = 0 term repeats the bias; WavKAN's `weight1` is stored and
never used, its BatchNorm normalises the score itself, its Mexican hat has the other sign, and Shannon's window runs
over the features. Chebyshev's published acos form has infinite gradients at |tanh x| = 1; the recursion is equal
elsewhere. For a phone: taylor is products and one FullyConnected; cos (fourier, morlet) is not delegated.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobileiqa.errors import UserError
from mobileiqa.layers.kan import (
    BASES,
    ChebyshevLinear,
    FourierLinear,
    HermiteLinear,
    JacobiLinear,
    KANLinear,
    WaveletLinear,
    b_splines,
    uniform_grid,
)

ORDERS = range(2, 6)  # of Taylor: the number of terms; with order K and L layers the degree is (K - 1)^L


class TaylorLinear(nn.Module):
    """Polynomials about x0, (N, in) -> (N, out). `bound` clamps |x - x0|: without it higher orders explode."""

    def __init__(
        self, in_features: int, out_features: int, order: int = 2, expansion_point: float = 0.0, *,
        bias: bool = True, bound: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if order not in ORDERS:
            raise UserError(
                f"an order (number of terms) of {ORDERS[0]} to {ORDERS[-1]}", str(order), "correct it"
            )
        if not math.isfinite(expansion_point) or (bound is not None and not 0 < bound < math.inf):
            raise UserError(
                "a finite expansion point and a bound above 0", f"{expansion_point}, {bound}", "correct it"
            )
        self.order, self.expansion_point, self.bound = order, expansion_point, bound
        self.coeffs = nn.Parameter(0.01 * torch.randn(out_features, in_features, order))
        self.bias = nn.Parameter(torch.zeros(1, out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """See the module."""
        z = x - self.expansion_point
        if self.bound is not None:
            z = z.clamp(-self.bound, self.bound)
        powers = [torch.ones_like(z), z]
        while len(powers) < self.order:
            powers.append(powers[-1] * z)
        y = functional.linear(torch.stack(powers, -1).flatten(1), self.coeffs.flatten(1))
        return y if self.bias is None else y + self.bias


class SplineLinear(nn.Module):
    """W_b silu(x) + W_s B(x), (N, in) -> (N, out): five intervals on -1..1, cubic."""

    grid: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.base_weight = nn.Parameter(torch.empty(out_features, in_features))
        self.spline_weight = nn.Parameter(torch.empty(out_features, in_features, BASES))
        self.register_buffer("grid", uniform_grid(in_features))
        nn.init.kaiming_uniform_(self.base_weight, a=5**0.5)
        nn.init.uniform_(self.spline_weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """See the module."""
        base = functional.linear(functional.silu(x), self.base_weight)
        return base + functional.linear(b_splines(x, self.grid).flatten(1), self.spline_weight.flatten(1))


class Gaussians(nn.Module):
    """x (N, in) -> (N, in, 8): exp(-((x - g) / D)^2), g evenly from -reach to reach, D their distance."""

    def __init__(self, reach: float) -> None:
        super().__init__()
        self.width = 2 * reach / (BASES - 1)
        self.grid = nn.Parameter(torch.linspace(-reach, reach, BASES), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.exp(-(((x.unsqueeze(-1) - self.grid) / self.width) ** 2))


class FastLinear(nn.Module):
    """FastKAN: Gaussians in place of splines, on normalised inputs, (N, in) -> (N, out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(in_features)
        self.rbf = Gaussians(2.0)
        self.spline_linear = nn.Linear(in_features * BASES, out_features, bias=False)
        self.base_linear = nn.Linear(in_features, out_features)
        nn.init.trunc_normal_(self.spline_linear.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """See the module."""
        u = self.layernorm(x)
        return self.spline_linear(self.rbf(u).flatten(1)) + self.base_linear(functional.silu(u))


class BSRBFLinear(nn.Module):
    """B-splines and Gaussians under the same coefficients, on normalised inputs, (N, in) -> (N, out)."""

    grid: Tensor
    REACH = 1.5

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(in_features)
        self.base_weight = nn.Parameter(torch.empty(out_features, in_features))
        self.spline_weight = nn.Parameter(torch.empty(out_features, in_features * BASES))
        self.register_buffer("grid", uniform_grid(in_features) * self.REACH)
        self.rbf = Gaussians(self.REACH)
        nn.init.kaiming_uniform_(self.base_weight, a=5**0.5)
        nn.init.kaiming_uniform_(self.spline_weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """See the module."""
        x = self.layernorm(x)
        bases = b_splines(x, self.grid) + self.rbf(x)
        base = functional.linear(functional.silu(x), self.base_weight)
        return base + functional.linear(bases.flatten(1), self.spline_weight)


# Add your basis here: a layer (in, out, **options), (N, in) -> (N, out).
KAN_LAYERS: dict[str, Callable[..., nn.Module]] = {
    "taylor": TaylorLinear, "b-spline": SplineLinear, "efficient": KANLinear, "fast": FastLinear, "bsrbf": BSRBFLinear,
    "chebyshev": ChebyshevLinear, "jacobi": JacobiLinear, "hermite": HermiteLinear, "fourier": FourierLinear,
    "wavelet": WaveletLinear,
}  # fmt: skip


class KAN(nn.Module):
    """Layers of one basis after another, nothing between them: features (N, sizes[0]) -> (N, sizes[-1])."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for layer in self.layers:
            x = layer(x)
        return x


def build_kan(basis: str, sizes: Sequence[int], **options: float | str | bool | None) -> KAN:
    """A stack such as build_kan("taylor", (64, 16, 1), order=3, bound=3.0); options are the layer's.

    Raises UserError for an unknown basis, wrong options and fewer than two sizes. Warns of Taylor's order 2.
    """
    if basis not in KAN_LAYERS:
        raise UserError(f"a KAN basis of {', '.join(KAN_LAYERS)}", repr(basis), "correct the name")
    if len(sizes) < 2 or min(sizes) < 1:
        raise UserError("two or more layer sizes of 1 or more", str(tuple(sizes)), "correct them")
    if basis == "taylor" and options.get("order", 2) == 2 and options.get("bound") is None:
        warnings.warn(
            "TaylorKAN of order 2 is an affine map: a linear regression; order 3 is not", stacklevel=2
        )
    try:
        return KAN([KAN_LAYERS[basis](i, o, **options) for i, o in pairwise(sizes)])
    except TypeError as error:
        raise UserError(f"options of the {basis} layer", str(error), "correct them") from error


def taylor_sizes(features: int) -> tuple[int, int, int, int]:
    """The published sizes of a TaylorKAN for a number of features."""
    widths = next(
        (w for most, w in ((64, (64, 16)), (128, (128, 32)), (256, (256, 64))) if features <= most),
        (512, 128),
    )
    return (features, *widths, 1)
