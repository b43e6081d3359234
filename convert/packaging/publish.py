"""The end of a conversion: a file gets the name that it has earned, as a packaged file where that was asked for.

float file -> parity -> its name
float file -> parity -> packaged file -> agreement with the float file -> its name; the float file goes
"""

import dataclasses
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.comparison.compare import ParityReport
from convert.output_file import place, staged
from convert.packaging.packaged_file import LIMITS, Agreement, Images, agreements, embed_preprocessing
from convert.stage_times import stage
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing

if TYPE_CHECKING:
    from convert.pipeline import Converted

STAGE = "packaging"

Reports = list[ParityReport]


def publish(
    converted: "Converted",
    reports: Reports,
    path: Path,
    images: Images,
    image_sizes: Sequence[tuple[int, int]] | None = None,
) -> tuple[Path, Reports, EmbeddedPreprocessing | None]:
    """Moves what was made to `path`, or to its failed name: the packaged file for `image_sizes`, else the float file.

    image_sizes: (width, height) pixels, empty for the model's own size; None for float inputs. No packaged file
    is made of a float file that failed parity: that one is kept. Returns where the file is, the reports under its
    name, those of packaging among them, and what a packaged file takes.
    """
    passed = all(report.passed for report in reports)
    if image_sizes is None or not passed:
        target = _placed(converted, converted.path, path, passed)
        return target, _renamed(reports, {converted.path: str(target)}), None
    with stage(STAGE), staged(path) as unproven:
        embedded = embed_preprocessing(converted.path, unproven, image_sizes)
        more = _compared(converted, unproven, images)
        target = _placed(converted, unproven, path, all(report.passed for report in more), embedded)
    names = {converted.path: f"{target} (float inputs)", unproven: str(target)}
    return target, _renamed([*reports, *more], names), embedded


def _compared(converted: "Converted", out: Path, images: Images) -> Reports:
    """One report for each size of the packaged file `out`."""
    return [
        _report(converted, f"{out}, {size}", agreement)
        for size, agreement in agreements(converted.path, out, images)
    ]


def _report(converted: "Converted", candidate: str, agreement: Agreement) -> ParityReport:
    return ParityReport(
        reference=str(converted.path), candidate=candidate, runtime="litert", stage=STAGE, n=agreement.images,
        tolerance=LIMITS[converted.precision], passed=agreement.passed, reason=agreement.reason,
        worst_image=agreement.worst_image or None, max_abs=agreement.max_abs if isfinite(agreement.max_abs) else None,
    )  # fmt: skip


def _placed(
    converted: "Converted",
    packaged: Path,
    path: Path,
    passed: bool,
    embedded: EmbeddedPreprocessing | None = None,
) -> Path:
    """Where the staged file `packaged` is now, with its sidecar."""
    fields: dict[str, Any] = {
        "precision": str(converted.precision), "via": str(converted.via), "spec": converted.source.spec,
        "calibration_sha256": converted.calibration_sha256, "checkpoint_sha256": converted.source.checkpoint_sha256,
        "rewrites": converted.rewrites.to_json(), "fp16_arithmetic_allowed": converted.fp16_arithmetic_allowed,
        "approximations": converted.approximations, "delivery": embedded.to_json() if embedded else None,
    }  # fmt: skip
    return place(packaged, path, passed, **fields)


def _renamed(reports: Reports, names: dict[Path, str]) -> Reports:
    """The reports with staged files' names replaced by what they are called now."""

    def named(text: str) -> str:
        for packaged, name in names.items():
            text = text.replace(str(packaged), name)
        return text

    return [
        dataclasses.replace(
            r, reference=named(r.reference), candidate=named(r.candidate), reason=named(r.reason)
        )
        for r in reports
    ]
