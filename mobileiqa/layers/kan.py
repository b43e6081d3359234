"""KAN layer (efficient-KAN's parametrisation): y = W_b silu(x) + (W_s * scaler) B(x).

B are the 8 cubic B-spline bases of a grid of 5 intervals on [-1, 1], extended by 3 knots on each side, by the
Cox-de Boor recursion on half-open intervals: zero outside the extended grid. The grid is a buffer per input
row and may become non-uniform after a grid update; nothing here assumes that it is uniform.
"""

import torch
from torch import nn

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
