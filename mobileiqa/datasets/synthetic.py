"""Pristine images made worse on purpose: KADID-10k, TID2013, PIPAL. Split by reference, always.

The distorted image's name tells its reference, its distortion and its level: I01_05_3.png.
"""

import re
from pathlib import Path, PurePath

from mobileiqa.datasets.core import Dataset
from mobileiqa.datasets.label_files import FETCH_AGAIN, Row, images_by_name, read_csv, read_plain, subfolder
from mobileiqa.datasets.labels import Label, Scale, assemble
from mobileiqa.errors import UserError

KADID_SCALE = Scale("DMOS", 1, 5)  # called differential, but higher is better

KADID_DISTORTIONS = (
    "Gaussian blur", "lens blur", "motion blur",
    "colour diffusion", "colour shift", "colour quantization", "saturation (HSV)", "saturation (Lab)",
    "JPEG2000", "JPEG",
    "white noise", "noise in YCbCr", "impulse noise", "multiplicative noise", "denoise",
    "brighten", "darken", "mean shift",
    "jitter", "non-eccentricity patch", "pixelate", "quantization", "colour block",
    "high sharpen", "contrast change",
)  # fmt: skip
TID_DISTORTIONS = (
    "additive Gaussian noise", "noise stronger in colour", "spatially correlated noise", "masked noise",
    "high-frequency noise", "impulse noise", "quantization noise", "Gaussian blur", "denoise",
    "JPEG", "JPEG2000", "JPEG transmission errors", "JPEG2000 transmission errors",
    "non-eccentricity patch", "local block-wise", "mean shift", "contrast change", "saturation",
    "multiplicative noise", "comfort noise", "lossy compression of noisy images",
    "colour quantization with dither", "chromatic aberrations", "sparse sampling and reconstruction",
)  # fmt: skip

_NAME = re.compile(r"(\w+?)_(\d+)_(\d+)")
_TYPES = {"KADID-10k": KADID_DISTORTIONS, "TID2013": TID_DISTORTIONS}


def kadid_10k(root: Path, seed: int) -> Dataset:
    """KADID-10k: 81 references, 25 distortions, 5 levels."""
    labels = kadid_labels(root)
    subfolder(root, "images")
    pristine = {label.reference: root / "images" / f"{label.reference}.png" for label in labels}
    return assemble("kadid-10k", labels, KADID_SCALE, seed, reference_files=pristine)


def kadid_labels(root: Path) -> list[Label]:
    """What dmos.csv says; the images need not be there. Raises UserError."""
    labels = []
    for row in read_csv(root / "dmos.csv", ("dist_img", "ref_img", "dmos"), FETCH_AGAIN):
        image = row.text("dist_img")
        label = _levelled("KADID-10k", row, image, root / "images" / image, row.number("dmos"))
        if PurePath(row.text("ref_img")).stem != label.reference:
            raise UserError(
                f"the reference of {image} in {row.where}", repr(row.text("ref_img")), FETCH_AGAIN
            )
        labels.append(label)
    return labels


def tid2013(root: Path, seed: int) -> Dataset:
    """TID2013: 25 references, 24 distortions, 5 levels; names and files differ in case."""
    rows = read_plain(root / "mos_with_names.txt", ("mos", "name"))
    folder = subfolder(root, "distorted_images")
    images = images_by_name([folder])
    labels = []
    for row in rows:
        image = row.text("name")
        path = images.get(image.lower(), folder / image)
        labels.append(_levelled("TID2013", row, image, path, row.number("mos")))
    return assemble(
        "tid2013",
        labels,
        Scale("MOS", 0, 9),
        seed,
        reference_files=_pristine(root / "reference_images", labels),
    )


def pipal(root: Path, seed: int) -> Dataset:
    """PIPAL's training part: 200 references. The second number in a name is a variant, not a severity.

    Distortion types count from 0 in the names and from 1 here; the levels stay 0 (not known).
    """
    lists = sorted(subfolder(root, "Train_Label").glob("*.txt"))
    if not lists:
        raise UserError(f"label files *.txt in {root / 'Train_Label'}", "none", FETCH_AGAIN)
    parts = [path for path in sorted(root.glob("Distortion_*")) if path.is_dir()]
    folders = parts or [subfolder(root, "Distortion_1", "Dist_Imgs")]
    images = images_by_name(folders)
    labels = []
    for row in (row for file in lists for row in read_plain(file, ("name", "elo"), ",")):
        image = row.text("name")
        reference, kind, _ = _parts(row, image)
        path = images.get(image.lower(), folders[0] / image)
        labels.append(Label(row.where, image, path, row.number("elo"), "", reference, kind + 1))
    pristine = _pristine(root / "Train_Ref", labels)
    return assemble("pipal", labels, Scale("Elo", 900, 1850), seed, reference_files=pristine)


def _pristine(folder: Path, labels: list[Label]) -> dict[str, Path]:
    """reference -> its image in `folder`, which need not be there; the case of the names does not count."""
    files = {path.stem.upper(): path for path in sorted(folder.glob("*.*"))}
    return {label.reference: files[label.reference] for label in labels if label.reference in files}


def _levelled(name: str, row: Row, image: str, path: Path, score: float) -> Label:
    """The label of an image whose name gives a numbered distortion of the set, and a level of 1..5."""
    reference, number, level = _parts(row, image)
    names = _TYPES[name]
    if not (1 <= number <= len(names) and 1 <= level <= 5):
        raise UserError(
            f"a name with distortion 1..{len(names)} and level 1..5 in {row.where}", image, FETCH_AGAIN
        )
    return Label(row.where, image, path, score, "", reference, number, level, names[number - 1])


def _parts(row: Row, image: str) -> tuple[str, int, int]:
    """Reference (upper case: TID2013 mixes), and the two numbers after it."""
    match = _NAME.fullmatch(PurePath(image).stem)
    if match is None:
        raise UserError(f"a name such as I01_05_3.png in {row.where}", repr(image), FETCH_AGAIN)
    return match[1].upper(), int(match[2]), int(match[3])
