"""Golden photos: small encoded files and what a model must say of them, so that decoder and colours are tested too.

Drawn golden images (convert.packaging.golden_vectors) begin behind the decoder, where most mistakes of apps are: an
ignored Exif orientation, an ignored Display P3 profile, channels in the order BGR. These begin with a file, as a photo
does. Each is drawn from the first seed for which these mistakes move the model's outputs by far more than the
tolerance; `catches` says by how much. Equal models, equal Pillow: equal files.

`golden.json` is a list with one object for each photo, `GoldenPhoto`.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, features

from convert.comparison.converted_file import read_converted_file
from convert.packaging import golden_vectors
from convert.packaging.packaged_file import flat
from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.files.integrity import sha256
from mobileiqa.photos.color_profiles import CODED_PRIMARIES, D65, matrix_profile
from mobileiqa.photos.formats import pillow_formats
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.photos.loading import read_image
from mobileiqa.scoring import litert
from mobileiqa.spec import ColorManagement

LISTING = "golden.json"
AGAIN = "write them again with `python -m convert.app`"
SIZE = (240, 160)  # width and height, of a model that takes any
DECODERS = (
    5e-3  # of the score range: one grey level here and there, which decoders and colour engines differ by
)
FAR = 3.0  # times the tolerance: what a mistake should move
SEEDS = 24
BGR, STORED = "channels in the order BGR", "orientation and colour profile ignored"

Decode = Callable[[Path], Image.Image]
Outputs = Callable[[Image.Image], NDArray[np.float64]]  # a photo -> score, then reasons


@dataclass(frozen=True)
class GoldenPhoto:
    """A file, and what must come of it: the score and the probability of each reason, all within `tolerance`."""

    file: str
    what: str
    score: float
    tolerance: float
    reasons: tuple[float, ...] = ()
    sha256: str = ""  # of the file
    model_sha256: str = ""  # of the .tflite file that gave the score
    catches: dict[str, float] = field(default_factory=dict)  # mistake -> how far it moves an output

    @property
    def expected(self) -> NDArray[np.float64]:
        """(1 + reasons,)."""
        return np.array([self.score, *self.reasons])


@dataclass(frozen=True)
class _Kind:
    file: str
    what: str
    encode: Callable[[Image.Image], bytes]


def _encoded(photo: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, name, **options)
    return file.getvalue()


_jpeg = partial(_encoded, name="JPEG", quality=90)


def _in_p3(photo: Image.Image) -> bytes:
    profile = matrix_profile(CODED_PRIMARIES[12], D65, None)
    return _jpeg(photo, icc_profile=profile, subsampling=0)


def _turned(photo: Image.Image) -> bytes:
    """Stored lying on its side; Exif says how to turn it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return _jpeg(photo.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _kinds() -> Iterator[_Kind]:
    yield _Kind("plain.jpg", "JPEG, 4:2:0, no profile: sRGB", _jpeg)
    yield _Kind("p3.jpg", "JPEG in Display P3, converted to sRGB", _in_p3)
    yield _Kind("turned.jpg", "JPEG that Exif turns upright (orientation 6)", _turned)
    if features.check("webp"):
        yield _Kind("photo.webp", "WebP", partial(_encoded, name="WEBP", quality=90, method=4))
    if "HEIF" in pillow_formats():  # where pillow-heif is installed
        yield _Kind(
            "photo.heic", "HEIC, for platforms that read it", partial(_encoded, name="HEIF", quality=90)
        )


def _draw(seed: int, size: tuple[int, int]) -> Image.Image:
    """Coloured shapes and fine texture: sharp, saturated, no symmetry."""
    rng, (width, height) = np.random.default_rng(seed), size
    image = Image.new("RGB", size, tuple(map(int, rng.integers(0, 256, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        box = (x, y, x + int(rng.integers(5, width // 3)), y + int(rng.integers(5, height // 3)))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(box, fill=tuple(map(int, rng.integers(0, 256, 3))))
    mixed = 0.75 * np.asarray(image) + 0.25 * np.asarray(photo_like(seed, width, height))
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def write(model: Path, folder: Path) -> list[GoldenPhoto]:
    """The photos of a .tflite file of ours and their listing, into `folder`, which is there; returns the listing.

    A file that was packaged for an app's sizes gets photos of its first size. Raises UserError for a file that is none
    of ours, or gives what is not finite.
    """
    converted = read_converted_file(model)
    embedded, (low, high) = litert.preprocessing_of(model), converted.spec.score_range
    size = SIZE if embedded is None or embedded.fitted else embedded.sizes[0].pixels
    tolerance = (golden_vectors.TOLERANCES[converted.precision] + DECODERS) * (high - low)
    run, digest = outputs_of(model), sha256(model)
    photos = []
    for kind in _kinds():
        decode = partial(_pixels, colors=converted.spec.color_management)
        content, expected, catches = _most_telling(kind, size, decode, run, FAR * tolerance)
        if not np.isfinite(expected).all():
            raise UserError(
                f"finite outputs of {model}", f"{expected[0]}", "check it with `python -m convert.check`"
            )
        (folder / kind.file).write_bytes(content)
        score, *reasons = map(float, expected)
        hashed = hashlib.sha256(content).hexdigest()
        photos.append(
            GoldenPhoto(kind.file, kind.what, score, tolerance, tuple(reasons), hashed, digest, catches)
        )
    text = json.dumps([asdict(photo) for photo in photos], indent=1, allow_nan=False)
    (folder / LISTING).write_text(text + "\n", encoding="utf-8")
    return photos


def outputs_of(model: Path) -> Outputs:
    """The file in this machine's LiteRT."""
    run, prepare = litert.outputs_runner(model), litert.inputs_of(model)
    return lambda photo: flat(run(prepare(photo)))


def _most_telling(
    kind: _Kind, size: tuple[int, int], decode: Callable[[bytes], Image.Image], run: Outputs, far: float
) -> tuple[bytes, NDArray[np.float64], dict[str, float]]:
    """Of the first seed whose mistakes all move an output by `far`, else of the one that comes nearest to it."""
    best = None
    for seed in range(SEEDS):
        content = kind.encode(_draw(seed, size))
        upright = decode(content)
        expected = run(upright)
        catches = {name: _moved(run, wrong, expected) for name, wrong in _mistakes(content, upright)}
        least = min(catches.values())
        if best is None or least > best[0]:
            best = (least, content, expected, catches)
        if least >= far:
            break
    assert best is not None, "SEEDS is not 0"
    return best[1:]


def _pixels(content: bytes, colors: ColorManagement) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return read_image(image, colors)


def _mistakes(content: bytes, upright: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """What apps make of the file when they do it wrong."""
    pixels = np.asarray(upright)
    yield BGR, Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
    with Image.open(io.BytesIO(content)) as image:
        stored = np.asarray(image.convert("RGB"))
    if stored.shape != pixels.shape or not np.array_equal(stored, pixels):
        yield STORED, Image.fromarray(stored)


def _moved(run: Outputs, wrong: Image.Image, expected: NDArray[np.float64]) -> float:
    """The largest difference of an output; 1 where a photo of that size is refused, which nobody overlooks."""
    try:
        return float(np.abs(run(wrong) - expected).max())
    except UserError:
        return 1.0


@dataclass(frozen=True)
class _Listing:
    photos: tuple[GoldenPhoto, ...] = field(metadata={"least": 1})


def read(folder: Path) -> tuple[GoldenPhoto, ...]:
    """What `write` listed. Raises UserError where there is no listing, or none that this version can read."""
    path = folder / LISTING
    if not path.is_file():
        raise UserError(f"a folder of golden photos, with {LISTING}", f"none in {folder}", "check the path")
    rows = typed_json.parse(path.read_bytes(), str(path), AGAIN)
    return typed_json.decode(_Listing, {"photos": rows}, str(path), AGAIN).photos


def decoded(
    folder: Path, photos: Sequence[GoldenPhoto], decode: Decode
) -> Iterator[tuple[GoldenPhoto, "Image.Image | str"]]:
    """Each photo and its pixels, or why it has none: changed bytes, a format that is not read here."""
    for photo in photos:
        path = folder / photo.file
        if Path(photo.file).name != photo.file or not path.is_file():
            yield photo, "no such file"
        elif photo.sha256 and sha256(path) != photo.sha256:
            yield photo, "its bytes are not those that were scored"
        else:
            try:
                yield photo, decode(path)
            except UserError as error:
                yield photo, f"not read: {error.actual}"


def judged(photo: GoldenPhoto, outputs: NDArray[np.float64]) -> tuple[bool, str]:
    """Whether score and reasons are the golden ones, and the figures."""
    return golden_vectors.compare(outputs, photo.expected, photo.tolerance)
