"""The audit's gates: each looks at a set from one side and returns what it found.

A gate that had nothing to look at says so ("not checked"); it never passes in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from calibration import leakage
from calibration import stratified_sampling as sampling
from calibration.inference import differences, prepared_sha256
from calibration.photos import Photo, measure
from calibration.sets import CalibrationSet, changed
from mobileiqa import cli
from mobileiqa.errors import UserError, one_line
from mobileiqa.preprocess import prepare
from mobileiqa.spec import Fit, InputSpec, ModelSpec

FEWEST = 8  # below: min and max over so few pictures are those of the pictures, not of the model. Fails.
ADVISED = 32  # below: warned. Ranges of a MobileNetV3 settled by 64 images.
ONE_SIDED = 0.9  # share of images that are all dark, all bright or all grey, from which the set fails
CLIPPED_IMAGE = 0.25  # share of samples at 0 or 255 above which an image is listed as saturated
CLIPPED_SET = 0.5  # share of images that are saturated, from which the set fails
RARE_BIN = 0.05  # share of the candidates from which a bin that the set lacks is worth a warning
SHOWN = 3  # examples named in a finding


class Status(StrEnum):
    """What a gate says; `fail` makes the audit's exit code 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """One gate's result."""

    gate: str
    status: Status
    detail: str


def check_count(photos: Sequence[Photo]) -> Finding:
    """FEWEST images or more, better ADVISED."""
    n = len(photos)
    status = Status.FAIL if n < FEWEST else Status.WARN if n < ADVISED else Status.OK
    return Finding("count", status, f"{n} images; {ADVISED} or more are advised, {FEWEST} are needed")


def check_files(calibration: CalibrationSet) -> Finding:
    """Every image is there, readable, and the one that was selected."""
    return _fail_if(
        "files", list(changed(calibration)), f"all {len(calibration.images)} images are those selected"
    )


def check_inputs(calibration: CalibrationSet, spec: ModelSpec | None) -> Finding:
    """The stored preprocessing is the model's."""
    if spec is None:
        detail = f"{calibration.spec_name} is no model known by name; give its .tflite file with --model"
        return Finding("preprocessing", Status.NOT_CHECKED, detail)
    return _fail_if(
        "preprocessing", differences(calibration.spec, spec), f"the inputs are those of {spec.name}"
    )


def check_prepared(calibration: CalibrationSet) -> Finding:
    """Prepared now, every image gives the values recorded when it was selected, and measures the same."""
    problems = []
    for index, photo in enumerate(cli.progress(calibration.images, "preparing", len(calibration.images))):
        try:
            picture = calibration.picture(index)
        except UserError as error:
            problems.append(one_line(str(error)))
            continue
        now = measure(picture, photo.id)
        if now.pixels_sha256 != photo.pixels_sha256:
            problems.append(f"{photo.id} decodes to other pixels than when it was selected")
        elif prepared_sha256(prepare(picture, calibration.spec)) != photo.prepared_sha256:
            problems.append(f"{photo.id} is prepared otherwise than when it was selected")
    return _fail_if("prepared inputs", problems, "every image is prepared as it was when selected")


def check_duplicates(photos: Sequence[Photo]) -> list[Finding]:
    """No picture twice; almost the same picture is worth a look."""
    copies = [str(match) for match in leakage.without_duplicates(photos)[1]]
    near = [str(match) for match in leakage.near_duplicates(photos) if not _same(match, photos)]
    status = Status.WARN if near else Status.OK
    detail = _some(near) if near else "no two pictures look alike"
    return [
        _fail_if("duplicates", copies, "every picture is there once"),
        Finding("near duplicates", status, detail),
    ]


def check_leakage(photos: Sequence[Photo], test: Sequence[Photo] | None) -> Finding:
    """Nothing of the test split calibrates."""
    if test is None:
        return Finding("leakage", Status.NOT_CHECKED, "give the test images with --test-split")
    matches = [str(match) for match in leakage.leaks(photos, test)]
    return _fail_if("leakage", matches, f"nothing in common with {len(test)} test images")


def check_brightness(photos: Sequence[Photo]) -> Finding:
    """Not all dark, not all bright."""
    bins = [sampling.bin_of(photo.luminance, sampling.LUMINANCE) for photo in photos]
    shares = {name: bins.count(name) / len(bins) for name in ("dark", "bright")}
    problems = [
        f"{share:.0%} of the images are {name}" for name, share in shares.items() if share >= ONE_SIDED
    ]
    return _fail_if("brightness", problems, f"dark {shares['dark']:.0%}, bright {shares['bright']:.0%}")


def check_saturation(photos: Sequence[Photo]) -> Finding:
    """Few images with many samples at 0 or 255."""
    clipped = sorted(photos, key=lambda p: -(p.black + p.white))
    clipped = [p for p in clipped if p.black + p.white > CLIPPED_IMAGE]
    share = len(clipped) / len(photos)
    status = Status.FAIL if share >= CLIPPED_SET else Status.WARN if clipped else Status.OK
    names = [f"{p.id} ({p.black:.0%} at 0, {p.white:.0%} at 255)" for p in clipped]
    detail = (
        f"{len(clipped)} of {len(photos)} images have more than {CLIPPED_IMAGE:.0%} of samples at 0 or 255"
    )
    return Finding("saturation", status, f"{detail}: {_some(names)}" if names else detail)


def check_color(photos: Sequence[Photo]) -> Finding:
    """Not all grey: the first layers of a network that saw no colour would clip it."""
    share = sum(photo.grey for photo in photos) / len(photos)
    problems = [f"{share:.0%} of the images are grey"] if share >= ONE_SIDED else []
    return _fail_if("colour", problems, f"{share:.0%} of the images are grey")


def check_coverage(photos: Sequence[Photo], candidates: sampling.Coverage) -> Finding:
    """The set has every kind of image of which the candidates had RARE_BIN or more, and more than one kind."""
    coverage = sampling.coverage(photos)
    problems = []
    for name, bins in coverage.items():
        offered = candidates.get(name, {})
        total = sum(offered.values()) or 1
        missing = [b for b, n in offered.items() if b not in bins and n / total >= RARE_BIN]
        problems += [f"no {name} {b}, {offered[b]} of {total} candidates are" for b in missing]
        if len(bins) == 1 and len(photos) > 1:
            problems.append(f"one {name} only: {next(iter(bins))}")
    status = Status.WARN if problems else Status.OK
    return Finding("coverage", status, "; ".join(problems) or f"{', '.join(coverage)} are covered")


def check_enlarged(photos: Sequence[Photo], spec: ModelSpec) -> Finding:
    """Images at least as large as the inputs: smaller ones are blurred by enlargement, or padded with black."""
    smaller = [photo for photo in photos if any(_smaller(photo, input_spec) for input_spec in spec.inputs)]
    sizes = " and ".join(f"{i.width_px}x{i.height_px} ({i.fit})" for i in spec.inputs)
    detail = f"{len(smaller)} of {len(photos)} images must be enlarged or padded for {sizes}"
    return Finding("image size", Status.WARN if smaller else Status.OK, detail)


def _smaller(photo: Photo, input_spec: InputSpec) -> bool:
    """A crop is padded where one side is too short; resizing enlarges where there are too few pixels."""
    if input_spec.fit is Fit.CENTER_CROP:
        return photo.width_px < input_spec.width_px or photo.height_px < input_spec.height_px
    height_px, width_px = input_spec.resize_px or (input_spec.height_px, input_spec.width_px)
    return photo.width_px * photo.height_px < width_px * height_px


def check_origin(calibration: CalibrationSet) -> Finding:
    """Photos, not generated pictures."""
    return Finding(
        "origin", Status.WARN if calibration.generated else Status.OK, calibration.warning or "image files"
    )


def _fail_if(gate: str, problems: Sequence[str], fine: str) -> Finding:
    return Finding(gate, Status.FAIL, _some(problems)) if problems else Finding(gate, Status.OK, fine)


def _some(items: Sequence[str]) -> str:
    more = f"; and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more


def _same(match: leakage.Match, photos: Sequence[Photo]) -> bool:
    pixels = {photo.id: photo.pixels_sha256 for photo in photos}
    return pixels[match.image] == pixels[match.other]
