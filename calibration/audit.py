"""Are these images fit to calibrate INT8? python -m calibration.audit CALIBRATION_DIR. Exit 1: a gate failed.

Looks at the images themselves, not only at what the manifest says: are they those that were selected, are they
prepared as inference prepares them, are they different, unknown to the test split, of every kind and not
saturated.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calibration import checks
from calibration import stratified_sampling as sampling
from calibration.checks import Finding, Status
from calibration.inference import at_size_of
from calibration.leakage import read_test_split
from calibration.photos import Photo, refuse_unreadable
from calibration.sets import MANIFEST, CalibrationSet, read_json, read_manifest
from calibration.stratified_sampling import coverage_lines
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.model_source import resolve
from mobileiqa.spec import ModelSpec
from mobileiqa.text import table
from mobileiqa.zoo import is_name

WORST = 10  # images in the saturation table


@dataclass(frozen=True)
class Audit:
    """A set, what it was chosen from, and what the gates say."""

    calibration: CalibrationSet
    candidates: sampling.Coverage
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The gates that failed."""
        return tuple(finding.gate for finding in self.findings if finding.status is Status.FAIL)

    @property
    def passed(self) -> bool:
        """True when no gate failed; warnings do not count."""
        return not self.failed


def audit(
    calibration: CalibrationSet,
    spec: ModelSpec | None,
    test: Sequence[Photo] | None = None,
    candidates: sampling.Coverage | None = None,
) -> Audit:
    """Every gate on a set. spec: the model's spec; test: the test split; candidates: their coverage."""
    photos, offered = calibration.images, candidates or {}
    findings = (
        checks.check_origin(calibration),
        checks.check_count(photos),
        checks.check_files(calibration),
        checks.check_inputs(calibration, spec),
        checks.check_prepared(calibration),
        *checks.check_duplicates(photos),
        checks.check_leakage(photos, test),
        checks.check_brightness(photos),
        checks.check_saturation(photos),
        checks.check_color(photos),
        checks.check_enlarged(photos, calibration.spec),
        checks.check_coverage(photos, offered),
    )
    return Audit(calibration, offered, findings)


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(__doc__ or "", "python -m calibration.audit calib --test-split test/labels.csv")
    add = parser.add_argument
    add("set", type=cli.input_path, metavar="CALIBRATION_DIR", help=f"a folder with {MANIFEST}")
    add("--images", type=cli.input_path, metavar="DIR", help="where the images lie now, if they moved")
    add("--model", metavar="MODEL", help="a name or .tflite file; default: the model it was selected for")
    add("--test-split", type=cli.input_path, metavar="PATH", help="folder or label CSV of the test images")
    cli.add_json(parser, "the figures")
    add("--skip-unreadable", action="store_true", help="leave out, and list, test images that cannot be read")
    add("--force", action="store_true", help="replace --json's file")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    if args.json is not None:
        cli.refuse_existing(args.json, args.force)
    calibration = read_manifest(args.set, args.images)
    if args.images is not None and (calibration.generated or not args.images.is_dir()):
        report = "a generated set" if calibration.generated else f"no folder at {args.images}"
        raise UserError("the folder of a set's images", report, "correct --images")
    test = None
    if args.test_split is not None:
        test, broken = read_test_split(args.test_split)
        refuse_unreadable(broken, len(test) + len(broken), args.skip_unreadable)
    manifest = read_json(args.set / MANIFEST if args.set.is_dir() else args.set)
    report = audit(
        calibration, _inference_spec(args.model, calibration.spec), test, manifest.get("candidate_coverage")
    )
    for line in _lines(report):
        cli.say(line)
    if args.json is not None:
        cli.write_json(args.json, as_json(report))
    cli.emit(_summary(report))
    return 0 if report.passed else 1


def _inference_spec(model: str | None, stored: ModelSpec) -> ModelSpec | None:
    """What inference expects. A model's name leaves the size open where it is free; a file does not."""
    name = model or stored.name
    if model is None and not is_name(name):
        return None
    spec = resolve(name).spec()
    return at_size_of(spec, stored) if is_name(name) else spec


def _lines(report: Audit) -> list[str]:
    saturated = [["most saturated", "at 0", "at 255", "luminance"]]
    for photo in _most_saturated(report.calibration.images)[:WORST]:
        saturated.append(
            [f"  {photo.id}", f"{photo.black:.1%}", f"{photo.white:.1%}", f"{photo.luminance:.2f}"]
        )
    verdict = f"FAIL: {', '.join(report.failed)}" if report.failed else "passed"
    blocks = (
        coverage_lines(report.calibration.coverage, report.candidates),
        table(saturated, left=(0,)).splitlines(),
        table([[f.gate, f.status, f.detail] for f in report.findings]).splitlines(),
    )
    return [line for block in blocks for line in [*block, ""]] + [verdict]


def _most_saturated(photos: Sequence[Photo]) -> list[Photo]:
    return sorted(photos, key=lambda photo: (-(photo.black + photo.white), photo.id))


def _summary(report: Audit) -> dict[str, Any]:
    return {
        "model": report.calibration.spec_name,
        "images": len(report.calibration.images),
        "sha256": report.calibration.sha256,
        "generated": report.calibration.generated,
        "warning": report.calibration.warning,
        "failed": list(report.failed),
        "warned": [f.gate for f in report.findings if f.status is Status.WARN],
        "not_checked": [f.gate for f in report.findings if f.status is Status.NOT_CHECKED],
        "passed": report.passed,
    }


def as_json(report: Audit) -> dict[str, Any]:
    """Everything: the summary, every gate, coverage beside the candidates', and every image's figures."""
    return {
        **_summary(report),
        "findings": [asdict(finding) for finding in report.findings],
        "coverage": report.calibration.coverage,
        "candidate_coverage": report.candidates,
        "saturation": [
            {"image": p.id, "black": p.black, "white": p.white, "luminance": p.luminance}
            for p in _most_saturated(report.calibration.images)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
