"""KAN layer (efficient-KAN's parametrisation): y = W_b silu(x) + (W_s * scaler) B(x).

B are the 8 cubic B-spline bases of a grid of 5 intervals on [-1, 1], extended by 3 knots on each side, by the
Cox-de Boor recursion on half-open intervals: zero outside the extended grid. The grid is a buffer per input
row and may become non-uniform after a grid update; nothing here assumes that it is uniform.

Below it the layers whose edges are orthogonal polynomials, cosines and sines, or wavelets: (N, in) -> (N, out) each;
equations, names and published quirks are in kan_bases.py's table.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobileiqa.errors import UserError

ORDER = 3
INTERVALS = 5
BASES = INTERVALS + ORDER
KNOTS = INTERVALS + 2 * ORDER + 1


def uniform_grid(in_features: int) -> torch.Tensor:
    """(in_features, 12) float32 knots from -2.2 to 2.2, step 0.4."""
    step = 2 / INTERVALS
    return (torch.arange(-ORDER, INTERVALS + ORDER + 1) * step - 1).expand(in_features, -1).contiguous()


def b_splines(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """x (N, in), grid (in, 12) -> (N, in, 8): the cubic bases at x (de Boor 1978, eq. IX.14)."""
    x = x.unsqueeze(-1)
    bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
    for k in range(1, ORDER + 1):
        left = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)])
        right = (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:-k])
        bases = left * bases[:, :, :-1] + right * bases[:, :, 1:]
    return bases


class KANLinear(nn.Module):
    """(N, in_features) -> (N, out_features)."""

    grid: torch.Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.base_weight = nn.Parameter(torch.empty(out_features, in_features))
        self.spline_weight = nn.Parameter(torch.empty(out_features, in_features, BASES))
        self.spline_scaler = nn.Parameter(torch.empty(out_features, in_features))
        self.register_buffer("grid", uniform_grid(in_features))
        nn.init.kaiming_uniform_(self.base_weight, a=5**0.5)
        nn.init.kaiming_uniform_(self.spline_scaler, a=5**0.5)
        nn.init.normal_(self.spline_weight, std=0.1 / INTERVALS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the module."""
        base = nn.functional.linear(nn.functional.silu(x), self.base_weight)
        weight = self.spline_weight * self.spline_scaler.unsqueeze(-1)
        return base + nn.functional.linear(b_splines(x, self.grid).flatten(1), weight.flatten(1))


class PolynomialLinear(nn.Module):
    """Orthogonal polynomials of tanh x, (N, in) -> (N, out); subclasses say which, by their recursion."""

    KEY = ""

    def __init__(self, in_features: int, out_features: int, degree: int = 3) -> None:
        super().__init__()
        if degree < 1:
            raise UserError("a degree of 1 or more", str(degree), "correct it")
        self.degree = degree
        coefficients = torch.empty(in_features, out_features, degree + 1)
        nn.init.normal_(coefficients, std=1 / (in_features * (degree + 1)))
        self.register_parameter(self.KEY, nn.Parameter(coefficients))

    def first(self, t: Tensor) -> Tensor:
        """P_1(t)."""
        raise NotImplementedError

    def next(self, n: int, t: Tensor, last: Tensor, before: Tensor) -> Tensor:
        """P_n(t) from P_{n-1} and P_{n-2}."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """See kan_bases.py's table."""
        t = torch.tanh(x)
        p = [torch.ones_like(t), self.first(t)]
        for n in range(2, self.degree + 1):
            p.append(self.next(n, t, p[-1], p[-2]))
        weight = getattr(self, self.KEY).permute(1, 0, 2).flatten(1)
        return functional.linear(torch.stack(p, -1).flatten(1), weight)


class ChebyshevLinear(PolynomialLinear):
    """T_n = 2t T_{n-1} - T_{n-2}."""

    KEY = "cheby_coeffs"

    def __init__(self, in_features: int, out_features: int, degree: int = 3) -> None:
        super().__init__(in_features, out_features, degree)
        self.register_buffer(
            "arange", torch.arange(degree + 1)
        )  # of the published acos form: kept for its key

    def first(self, t: Tensor) -> Tensor:
        """T_1."""
        return t

    def next(self, n: int, t: Tensor, last: Tensor, before: Tensor) -> Tensor:
        """T_n."""
        return 2 * t * last - before


class HermiteLinear(PolynomialLinear):
    """H_n = 2t H_{n-1} - 2(n-1) H_{n-2}, the physicists'."""

    KEY = "hermite_coeffs"

    def first(self, t: Tensor) -> Tensor:
        """H_1."""
        return 2 * t

    def next(self, n: int, t: Tensor, last: Tensor, before: Tensor) -> Tensor:
        """H_n."""
        return 2 * t * last - 2 * (n - 1) * before


class JacobiLinear(PolynomialLinear):
    """P_n^(a, b) by its three-term recursion (Szego 1939, eq. 4.5.1)."""

    KEY = "jacobi_coeffs"

    def __init__(
        self, in_features: int, out_features: int, degree: int = 3, a: float = 0.9, b: float = 0.9
    ) -> None:
        super().__init__(in_features, out_features, degree)
        if not (-1 < a < math.inf and -1 < b < math.inf):
            raise UserError("a and b above -1", f"{a}, {b}", "correct them")
        self.a, self.b = a, b

    def first(self, t: Tensor) -> Tensor:
        """P_1."""
        return ((self.a - self.b) + (self.a + self.b + 2) * t) / 2

    def next(self, n: int, t: Tensor, last: Tensor, before: Tensor) -> Tensor:
        """P_n."""
        a, b, s = self.a, self.b, 2 * n + self.a + self.b
        scale = 2 * n * (n + a + b) * (s - 2)
        slope = s * (s - 1) * (s - 2) / scale
        offset = (s - 1) * (a * a - b * b) / scale
        return (slope * t + offset) * last - 2 * (n + a - 1) * (n + b - 1) * s / scale * before


class FourierLinear(nn.Module):
    """Cosines and sines of 1..grid_size times x, (N, in) -> (N, out)."""

    def __init__(self, in_features: int, out_features: int, grid_size: int = 5) -> None:
        super().__init__()
        if grid_size < 1:
            raise UserError("a grid size of 1 or more", str(grid_size), "correct it")
        scale = (in_features * grid_size) ** 0.5
        self.fouriercoeffs = nn.Parameter(torch.randn(2, out_features, in_features, grid_size) / scale)
        self.bias = nn.Parameter(torch.zeros(1, out_features))

    def forward(self, x: Tensor) -> Tensor:
        """See kan_bases.py's table."""
        k = torch.arange(1, self.fouriercoeffs.shape[-1] + 1, dtype=x.dtype, device=x.device)
        angle = x.unsqueeze(-1) * k
        cosine, sine = self.fouriercoeffs.flatten(2)
        return (
            functional.linear(angle.cos().flatten(1), cosine)
            + functional.linear(angle.sin().flatten(1), sine)
            + self.bias
        )


def _mexican_hat(u: Tensor) -> Tensor:
    return 2 / (3**0.5 * math.pi**0.25) * (u**2 - 1) * torch.exp(-(u**2) / 2)


def _morlet(u: Tensor) -> Tensor:
    return torch.cos(5 * u) * torch.exp(-(u**2) / 2)


def _dog(u: Tensor) -> Tensor:
    return -u * torch.exp(-(u**2) / 2)


def _meyer(u: Tensor) -> Tensor:
    """sin(pi |u|) times Meyer's window: 1 up to 1/2, a cosine of a smooth step to 0 at 1."""
    v = u.abs()
    t = 1 - functional.relu(
        1 - functional.relu(2 * v - 1)
    )  # 0..1; XNNPACK has no comparisons, clips and powers
    square = t * t
    step = square * square * (35 - 84 * t + 70 * square - 20 * square * t)
    return torch.sin(math.pi * v) * torch.cos(math.pi / 2 * step)


def _shannon(u: Tensor) -> Tensor:
    """sin(u)/u times a Hamming window over the features, the last axis of u (N, out, in)."""
    place = torch.arange(u.shape[-1], dtype=u.dtype, device=u.device) / max(u.shape[-1] - 1, 1)
    window = 0.54 - 0.46 * torch.cos(2 * math.pi * place) if u.shape[-1] > 1 else torch.ones_like(place)
    return torch.sinc(u / math.pi) * window


WAVELETS: dict[str, Callable[[Tensor], Tensor]] = {
    "mexican_hat": _mexican_hat, "morlet": _morlet, "dog": _dog, "meyer": _meyer, "shannon": _shannon,
}  # fmt: skip


class WaveletLinear(nn.Module):
    """One wavelet an edge with its own scale and place, then BatchNorm, (N, in) -> (N, out)."""

    def __init__(self, in_features: int, out_features: int, wavelet: str = "mexican_hat") -> None:
        super().__init__()
        if wavelet not in WAVELETS:
            raise UserError(f"a wavelet of {', '.join(WAVELETS)}", repr(wavelet), "correct the name")
        self.wavelet, shape = wavelet, (out_features, in_features)
        self.scale, self.translation = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.weight1, self.wavelet_weights = (
            nn.Parameter(torch.empty(shape)),
            nn.Parameter(torch.empty(shape)),
        )
        self.bn = nn.BatchNorm1d(out_features)
        for weight in (self.weight1, self.wavelet_weights):
            nn.init.kaiming_uniform_(weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """See kan_bases.py's table."""
        u = (x.unsqueeze(1) - self.translation) / self.scale
        return self.bn((WAVELETS[self.wavelet](u) * self.wavelet_weights).sum(-1))
