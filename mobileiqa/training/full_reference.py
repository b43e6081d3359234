"""KADID-calibrated full-reference scores: labels for damage that nobody rated, such as two distortions at once.

Four full-reference metrics (piq) compare a damaged photo with its original; a ridge regression over the square
roots and logarithms of their errors was fitted to KADID-10k's 125 mean human scores, on a few photos that carry
those distortions. Never MOS: where a human mean exists, it is the label.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileiqa.distortions.kadid10k import distort
from mobileiqa.fragments import Pixels, fragments

GRID, PATCH_PX = 8, 64  # what the metrics compare: the size of KADID-10k's photos, of a photo of any size
MIN_ERROR = 1e-6
RIDGE = 1.0
Cell = tuple[int, int]  # distortion, level


def features(original: Pixels, damaged: Pixels) -> NDArray[np.float64]:
    """(8,): square root and logarithm of the metrics' errors, of the native fragments of both, uint8 (H, W, 3)."""
    errors = np.maximum(_errors(_tensor(original), _tensor(damaged)), MIN_ERROR)
    return np.concatenate([np.sqrt(errors), np.log(errors)])


def _tensor(pixels: Pixels) -> "object":
    import torch

    mosaic = fragments(pixels, GRID, GRID, PATCH_PX)
    return torch.from_numpy(mosaic.transpose(2, 0, 1)[None].astype(np.float32) / 255)


def _errors(original: "object", damaged: "object") -> NDArray[np.float64]:
    """0 for equal photos: HaarPSI, SR-SIM (distance from 1), MDSI and GMSD."""
    import piq
    import torch

    with torch.no_grad():
        similar = (
            piq.haarpsi(damaged, original),
            piq.srsim(damaged, original, chromatic=True),
        )
        different = (piq.mdsi(damaged, original), piq.gmsd(damaged, original))
    return np.array([*(1 - float(value) for value in similar), *(float(value) for value in different)])


@dataclass(frozen=True)
class Calibration:
    """A ridge regression: score = sum(weights * (features - mean) / deviation) + offset, 0..1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float

    def score(self, original: Pixels, damaged: Pixels) -> float:
        """The calibrated score of `damaged`, 0..1, higher is better."""
        return float(np.clip(self.predict(features(original, damaged)), 0, 1))

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features (..., 8) -> scores (...)."""
        return (values - self.mean) / self.deviation @ np.array(self.weights) + self.offset

    def save(self, path: Path) -> None:
        """Writes JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)))


def load(path: Path) -> Calibration:
    """What `save` wrote."""
    return Calibration(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(path.read_text()).items()}
    )


def fit(values: NDArray[np.float64], scores: NDArray[np.float64]) -> Calibration:
    """Ridge regression of scores (N,) on features (N, 8)."""
    mean, deviation = values.mean(0), values.std(0)
    z = (values - mean) / deviation
    weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (scores - scores.mean()))
    return Calibration(tuple(mean), tuple(deviation), tuple(weights), float(scores.mean()))


def cell_features(originals: Iterable[Pixels], cells: Iterable[Cell]) -> NDArray[np.float64]:
    """(cells, 8): the mean over the photos, as human means are over photos."""
    return np.mean([[features(each, distort(each, *cell)) for cell in cells] for each in originals], 0)


def leave_one_out(values: NDArray[np.float64], severity: Mapping[Cell, float]) -> NDArray[np.float64]:
    """(cells,) predictions, each distortion's by a regression that has not seen it."""
    numbers, scores = np.array([number for number, _ in severity]), np.array(list(severity.values()))
    out = np.empty(len(scores))
    for number in set(numbers):
        own = numbers == number
        out[own] = fit(values[~own], scores[~own]).predict(values[own])
    return out


Labeller = Callable[[Pixels, Pixels], float]  # original, damaged -> score
