"""Is calibration prepared as inference is? Where do two specs differ?"""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec


def at_size_of(spec: ModelSpec, stored: ModelSpec) -> ModelSpec:
    """`spec` at the input size of `stored`, where both have one input of a size that is free."""
    if not (spec.size_is_free and stored.size_is_free):
        return spec
    return spec.resized(stored.inputs[0].width_px, stored.inputs[0].height_px)


def differences(stored: ModelSpec, asked: ModelSpec) -> list[str]:
    """Every field in which the inputs differ, such as "image.height_px: 1231 stored, 224 wanted".

    Only inputs count: a set serves every model that prepares images the same way.
    """
    return [
        f"{name}: {old} stored, {new} wanted"
        for name, old, new in stored.differences(asked)
        if name in ("inputs", "color_management") or "." in name
    ]


def check_same(stored: ModelSpec, spec: ModelSpec) -> None:
    """Raises UserError, naming the fields, where the inputs differ."""
    if reasons := differences(stored, spec):
        raise UserError(
            f"a calibration set for the inputs of {spec.name}",
            "; ".join(reasons),
            "select again for this model with python -m calibration.select (and --size)",
        )


def prepared_sha256(inputs: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 in hex of a model's named inputs: names in order, shapes, little-endian float32 values."""
    digest = hashlib.sha256()
    for name, array in inputs.items():
        digest.update(f"{name} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()
