"""The published sets: UHD-IQA, KonIQ-10k, SPAQ, BID, LIVE in the Wild; of distorted images KADID-10k, TID2013, PIPAL.

Every reader takes the set's folder and a seed, and reads the layout that the set is published in (registry.py
says which). Case differences between labels and files are bridged where the published set has them.
"""

import re
from pathlib import Path, PurePath

from mobileiqa.datasets.core import Dataset
from mobileiqa.datasets.label_files import (
    FETCH_AGAIN,
    Row,
    excel_lines,
    images_by_name,
    read_csv,
    read_excel,
    read_matlab,
    read_plain,
    subfolder,
)
from mobileiqa.datasets.labels import Label, Scale, assemble, vote_shares
from mobileiqa.errors import UserError

LIVE_TRAINING = 7  # the first images of LIVE in the Wild trained the raters and are not scored for use


def uhd_iqa(root: Path, seed: int) -> Dataset:
    """UHD-IQA: the challenge's files, one per side, or the later release's single file."""
    whole = root / "uhd-iqa-metadata.csv"
    files = [whole] if whole.exists() else sorted(root.glob("uhd-iqa-*-metadata.csv"))
    if not files:
        raise UserError(f"uhd-iqa-*-metadata.csv in {root}", "none", FETCH_AGAIN)
    base = subfolder(root, "challenge", ".")
    labels = [
        _photo(row, base / row.text("set"), row.number("quality_mos"), row.text("set"))
        for file in files
        for row in read_csv(file, ("image_name", "quality_mos", "set"), FETCH_AGAIN)
    ]
    return assemble("uhd-iqa", labels, Scale("MOS", 0, 1), seed)


def koniq_10k(root: Path, seed: int) -> Dataset:
    """KonIQ-10k, with its votes; the larger images where both sizes are there. A MOS of 1..5 shows in its values."""
    rows = read_csv(root / "koniq10k_distributions_sets.csv", ("image_name", "mos", "set"), FETCH_AGAIN)
    folder = subfolder(root, "1024x768", "512x384")
    labels = [_photo(row, folder, row.number("mos"), row.text("set")) for row in rows]
    scale = Scale("MOS", 1, 5) if max(label.score for label in labels) <= 5 else Scale("MOS", 0, 100)
    return assemble("koniq-10k", labels, scale, seed)


def spaq(root: Path, seed: int) -> Dataset:
    """SPAQ; the label file's name is spelled with blanks or with underscores."""
    folder = subfolder(root, "Annotations")
    name = "MOS and Image attribute scores.xlsx"
    underscored = folder / name.replace(" ", "_")
    rows = read_excel(underscored if underscored.exists() else folder / name, ("image_name", "mos"))
    images = subfolder(root, "TestImage")
    return assemble(
        "spaq", [_photo(row, images, row.number("mos")) for row in rows], Scale("MOS", 0, 100), seed
    )


def bid(root: Path, seed: int) -> Dataset:
    """BID: the first two columns are the image's number and its grade, below one line of headings."""
    file = root / "DatabaseGrades.xlsx"
    lines = excel_lines(file)
    headings = lines[0][1] if lines else ()
    if any(isinstance(cell, int | float) for cell in headings):
        raise UserError(f"headings in the first row of {file.name}", f"{headings}", FETCH_AGAIN)
    images = images_by_name([root])
    labels = []
    for where, cells in lines[1:]:
        if all(cell is None for cell in cells[:2]):
            continue  # the sheet goes on below the grades
        row = Row(where, dict(zip(("number", "grade"), cells, strict=False)))
        image = f"DatabaseImage{row.count('number'):04d}.JPG"
        path = images.get(image.lower(), root / image)
        labels.append(Label(where, image, path, row.number("grade")))
    return assemble("bid", labels, Scale("MOS", 0, 5), seed)


def live_itw(root: Path, seed: int) -> Dataset:
    """LIVE in the Wild, without the raters' training images."""
    data, folder = subfolder(root, "Data"), subfolder(root, "Images")
    files = ("AllImages_release", "AllMOS_release")
    names, scores = read_matlab({data / f"{name}.mat": name for name in files})
    if len(names) != len(scores):
        raise UserError(
            f"as many names as scores in {data}", f"{len(names)} names, {len(scores)} scores", FETCH_AGAIN
        )
    images = images_by_name([folder])
    labels = []
    for number, pair in enumerate(zip(names, scores, strict=True), 1):
        row = Row(f"AllMOS_release.mat, entry {number}", dict(zip(("name", "mos"), pair, strict=True)))
        image = row.text("name")
        path = images.get(image.lower(), folder / image)
        labels.append(Label(row.where, image, path, row.number("mos")))
    return assemble("live-itw", labels[LIVE_TRAINING:], Scale("MOS", 0, 100), seed)


def _photo(row: Row, folder: Path, score: float, split: str = "") -> Label:
    image = row.text("image_name")
    return Label(row.where, image, folder / image, score, split, votes=vote_shares(row))


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
