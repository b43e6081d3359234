"""`mobileiqa.Scorer`: a model as a function of photos, which pickles, for batches and for engines such as Ray or Spark.

    scores, reasons = mobileiqa.Scorer("reference.tflite")(["a.jpg", content, array, image])

Sent to another process it is a few bytes, the model's name and its hash; the model is loaded there, once, at the
first photo. `columns` gives what engines write: one list per column.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa.loaded_model import ModelArguments, score_images
from mobileiqa.photos.loading import Photo
from mobileiqa.scoring.rows import Row, version
from mobileiqa.spec import ModelSpec

_log = logging.getLogger(__name__)


class Scorer:
    """Scores of photos by one model, on one thread.

    model: a .tflite file, a checkpoint (which needs PyTorch) or a model's name; None: the packaged file. weights: "raw"
    or "ema" of a checkpoint that has both. reference: the pristine original, for a model that compares with one.
    Raises UserError where the model cannot be loaded; in another process also where its file is another one by then.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
        weights: str | None = None,
        reference: str | os.PathLike[str] | None = None,
    ) -> None:
        name = None if model is None else os.fspath(model)
        original = None if reference is None else Path(reference)
        self.arguments = ModelArguments(name, threads, weights, original).with_hash()
        self.arguments.loaded()

    def __getstate__(self) -> dict[str, ModelArguments]:
        """For another process, which need not try out what ran here."""
        self.arguments.loaded()
        return {"arguments": self.arguments.for_workers()}

    @property
    def spec(self) -> ModelSpec:
        """Inputs, range, direction and reasons of the model."""
        return self.arguments.loaded().spec

    def __call__(self, photos: Photo | Sequence[Photo]) -> tuple[NDArray[np.float64], list[dict[str, float]]]:
        """The scores (N,) and each photo's reasons, name -> probability, the likeliest first; {} where there are none.

        A photo is a path, a URI, a file's bytes, a Pillow image, or an upright RGB array (height, width, 3), uint8.
        One that cannot be read scores NaN; a line is logged, and `rows` says why.
        """
        rows = self.rows(photos)
        for row in rows:
            if row.score is None:
                _log.warning("no score for %s: %s", row.image, row.error)
        scores = [np.nan if row.score is None else row.score for row in rows]
        return np.array(scores, np.float64), [dict(row.reasons) for row in rows]

    def rows(self, photos: Photo | Sequence[Photo], names: Iterable[str] | None = None) -> list[Row]:
        """One Row for each photo, in order: the score, or why there is none. names: what the rows call them."""
        photos = [photos] if isinstance(photos, str | bytes | os.PathLike | Image.Image) else photos
        if isinstance(photos, np.ndarray) and photos.ndim == 3:
            photos = [photos]
        return list(score_images(photos, self.arguments.loaded(), names or map(_name, photos)))

    def columns(self, photos: Sequence[Photo], names: Iterable[str] | None = None) -> dict[str, list[Any]]:
        """The rows as columns: image, score, reason, probability, error, model, model_sha256, version."""
        rows, origin = self.rows(photos, names), self.arguments
        return {
            "image": [row.image for row in rows],
            "score": [row.score for row in rows],
            "reason": [row.reason[0] or None for row in rows],
            "probability": [row.reason[1] for row in rows],
            "error": [row.error or None for row in rows],
            "model": [self.spec.name] * len(rows),
            "model_sha256": [origin.sha256] * len(rows),
            "version": [version()] * len(rows),
        }


def _name(photo: Photo) -> str:
    return (
        os.fspath(photo)
        if isinstance(photo, str | os.PathLike)
        else f"a photo in memory ({type(photo).__name__})"
    )
