"""A calibration set without any images: `generated(64, 0, spec)`. It warns in every output that it reaches."""

from dataclasses import replace

from calibration import drawing, strata
from calibration.inference import prepared_sha256
from calibration.photos import measure
from calibration.sets import CalibrationSet
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec


def generated(count: int, seed: int, spec: ModelSpec) -> CalibrationSet:
    """`count` generated images: gradients, textures, noise, blur, flat, dark and bright ones in turn.

    CalibrationSet.warning says what they are worth; whoever writes an output passes it on. Raises UserError
    for a count below 1 and a negative seed.
    """
    if count < 1 or seed < 0:
        raise UserError("a count of 1 or more and a seed of 0 or more", f"{count} and {seed}", "correct them")
    photos, digests = [], []
    for index in cli.progress(range(count), "generating", count):
        picture = drawing.draw(index, seed)
        photos.append(measure(picture, drawing.name_of(index)))
        digests.append(prepared_sha256(prepare(picture, spec)))
    assigned = strata.assign(photos)
    images = (replace(p, prepared_sha256=d) for p, d in zip(assigned, digests, strict=True))
    return CalibrationSet(spec, seed, tuple(images), None)
