"""CalibrationSet: which images calibrate a model, on disk as manifest.json; images are referenced by hash.

The set's sha256 covers what decides the quantized file: the inputs' preprocessing, the seed, and every image's
record. It does not cover where the folder lies, so that a set that moved with its images is still the same.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from calibration import stratified_sampling as sampling
from calibration.inference import check_same, prepared_sha256
from calibration.photos import Photo, file_sha256, measure, pixels_sha256
from mobileiqa import cli, typed_json
from mobileiqa import spec as specs
from mobileiqa.errors import UserError
from mobileiqa.photos.generated_images import calibration_image, calibration_name
from mobileiqa.photos.loading import load_image
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ColorManagement, ModelSpec

SCHEMA = 1
MANIFEST = "manifest.json"
GENERATED = (
    "WARNING: calibrated on GENERATED images, not photos: the ranges do not fit real pictures, and the INT8 "
    "scores cannot be trusted; select photos with python -m calibration.select --images DIR"
)
_SELECT_AGAIN = "select again with python -m calibration.select"


@dataclass(frozen=True)
class CalibrationSet:
    """Images that calibrate a model, in the order in which they were chosen.

    `folder`: where their files are; None: they are generated from `seed`.
    """

    spec: ModelSpec
    seed: int
    images: tuple[Photo, ...]
    folder: Path | None

    @property
    def spec_name(self) -> str:
        """The model that the set was selected for."""
        return self.spec.name

    @property
    def ids(self) -> tuple[str, ...]:
        """The images' ids, in order."""
        return tuple(photo.id for photo in self.images)

    @property
    def coverage(self) -> sampling.Coverage:
        """Images per bin of each property."""
        return sampling.coverage(self.images)

    @property
    def generated(self) -> bool:
        """True where the images are not photos."""
        return self.folder is None

    @property
    def warning(self) -> str:
        """What every output must say about a generated set; empty for photos."""
        return GENERATED if self.generated else ""

    @property
    def sha256(self) -> str:
        """SHA-256 in hex of preprocessing, seed and image records."""
        text = json.dumps(_identity(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def picture(self, index: int) -> Image.Image:
        """The index-th image, upright mode RGB, in the spec's colours. Raises UserError when it cannot be read."""
        if self.folder is None:
            return calibration_image(index, self.seed)
        return load_image(self.folder / self.images[index].id, self.spec.color_management)

    def prepared(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Every image as the model's named inputs, by the one `prepare` that inference uses; one at a time."""
        for index in range(len(self.images)):
            yield prepare(self.picture(index), self.spec)


def _identity(calibration: CalibrationSet) -> dict[str, Any]:
    colors = calibration.spec.color_management
    return {
        **({} if colors is ColorManagement.SRGB else {"color_management": colors}),  # as in earlier manifests
        "schema": SCHEMA,
        "spec_name": calibration.spec.name,
        "inputs": [asdict(spec) for spec in calibration.spec.inputs],
        "seed": calibration.seed,
        "generated": calibration.generated,
        "images": [_record(photo) for photo in calibration.images],
    }


def _record(photo: Photo) -> dict[str, Any]:
    return {**asdict(photo), "stratum": dict(photo.stratum)}


def load(path: str | os.PathLike[str], spec: ModelSpec, images: Path | None = None) -> CalibrationSet:
    """The set in a folder or manifest, its images proved to be those that were chosen.

    images: where they lie now, if not where the manifest says. Raises UserError for a malformed or edited
    manifest, inputs other than `spec`'s (naming the field), and images that are missing or have changed.
    """
    calibration = read_manifest(path, images)
    check_same(calibration.spec, spec)
    if problems := list(changed(calibration)):
        raise UserError(
            f"the {len(calibration.images)} images of {path} as they were selected",
            f"{len(problems)} problems: {problems[0]}",
            f"restore them, say where they lie now, or {_SELECT_AGAIN}",
        )
    return calibration


def generated(count: int, seed: int, spec: ModelSpec) -> CalibrationSet:
    """`count` generated images: gradients, textures, noise, blur, flat, dark and bright ones in turn.

    CalibrationSet.warning says what they are worth; whoever writes an output passes it on. Raises UserError
    for a count below 1 and a negative seed.
    """
    if count < 1 or seed < 0:
        raise UserError("a count of 1 or more and a seed of 0 or more", f"{count} and {seed}", "correct them")
    photos, digests = [], []
    for index in cli.progress(range(count), "generating", count):
        picture = calibration_image(index, seed)
        photos.append(measure(picture, calibration_name(index)))
        digests.append(prepared_sha256(prepare(picture, spec)))
    assigned = sampling.assign(photos)
    images = (replace(p, prepared_sha256=d) for p, d in zip(assigned, digests, strict=True))
    return CalibrationSet(spec, seed, tuple(images), None)


def changed(calibration: CalibrationSet) -> Iterator[str]:
    """A line for every image that is missing, or is not the one that was selected."""
    for index, photo in enumerate(cli.progress(calibration.images, "verifying", len(calibration.images))):
        if calibration.folder is None:
            if pixels_sha256(calibration.picture(index)) != photo.sha256:
                yield f"{photo.id} is drawn otherwise by this version"
        elif not (calibration.folder / photo.id).is_file():
            yield f"no file at {calibration.folder / photo.id}"
        elif file_sha256(calibration.folder / photo.id) != photo.sha256:
            yield f"{photo.id} has changed since it was selected"


def save(calibration: CalibrationSet, out: Path, report: dict[str, Any], place: Path | None = None) -> None:
    """Writes OUT/manifest.json, atomically: the set, and `report` about how it was chosen.

    place: the folder that `out` will be in the end, from which the manifest says where the images lie.
    """
    folder = calibration.folder
    manifest = {
        "schema": SCHEMA,
        "warning": calibration.warning,
        "sha256": calibration.sha256,
        "spec_name": calibration.spec_name,
        "spec": calibration.spec.to_json(),
        "seed": calibration.seed,
        "generated": calibration.generated,
        "images_folder": None if folder is None else Path(os.path.relpath(folder, place or out)).as_posix(),
        "coverage": calibration.coverage,
        **report,
        "tool_versions": tool_versions(),
        "images": [_record(photo) for photo in calibration.images],
    }
    cli.write_json(out / MANIFEST, manifest)


def tool_versions() -> dict[str, str]:
    """What decoding and resizing depend on."""
    jpeg = str(features.version("jpg") or "none")
    return {
        "python": platform.python_version(), "numpy": np.__version__, "Pillow": PIL.__version__, "jpeg": jpeg,
    }  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """A manifest's JSON object. Raises UserError."""
    try:
        content = typed_json.parse(typed_json.content_of(path), str(path), _SELECT_AGAIN)
    except FileNotFoundError as error:
        raise UserError("a calibration manifest", f"nothing at {path}", _SELECT_AGAIN) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        schema = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise UserError(
            f"a calibration manifest of schema {SCHEMA} in {path}",
            typed_json.shortened(f"{schema}"),
            _SELECT_AGAIN,
        )
    return content


def read_manifest(path: str | os.PathLike[str], images: Path | None = None) -> CalibrationSet:
    """The set as its manifest describes it, images not looked at. Raises UserError as `load` does."""
    file = Path(path) / MANIFEST if Path(path).is_dir() else Path(path)
    content = read_json(file)
    source = f"a calibration manifest as it was written in {file}"
    manifest = typed_json.decode(_Manifest, typed_json.known(_Manifest, content), source, _SELECT_AGAIN)
    folder = None if manifest.generated else images or file.parent / (manifest.images_folder or "")
    photos = tuple(_photo(entry, source) for entry in manifest.images)
    calibration = CalibrationSet(specs.from_json(manifest.spec, source), manifest.seed, photos, folder)
    if not photos or calibration.sha256 != manifest.sha256:
        raise UserError(
            f"contents of {file} that match its sha256 {typed_json.shortened(manifest.sha256, 80)}",
            calibration.sha256 if photos else "no images",
            f"do not edit manifests: {_SELECT_AGAIN}",
        )
    return calibration


@dataclass(frozen=True)
class _Manifest:
    """What is read of manifest.json."""

    spec: dict[str, Any]
    seed: int
    sha256: str
    images: tuple[dict[str, Any], ...]
    generated: bool
    images_folder: str | None = None


def _photo(record: dict[str, Any], source: str) -> Photo:
    """One image's record, every field there. Its numbers stay as they are written: the set's hash covers them."""
    names, stratum = {field.name for field in fields(Photo)}, record.get("stratum")
    if set(record) != names or not isinstance(stratum, dict):
        difference = f"image fields {sorted(set(record) ^ names) or 'without a stratum'}"
        raise UserError(source, typed_json.shortened(difference), _SELECT_AGAIN)
    typed = {**record, "stratum": tuple(stratum.items())}
    photo = typed_json.decode(Photo, typed, source, _SELECT_AGAIN)
    if ".." in PurePosixPath(photo.id).parts or PurePosixPath(photo.id).is_absolute():
        raise UserError(source, f"an image outside the folder: {photo.id}", _SELECT_AGAIN)
    return Photo(**typed)
