"""Figures of the shipped checkpoint: python -m tools.reference_card benchmarks/whole_photo.json

The JSON is what benchmarks/whole_photo.py wrote of it. Fills in the card beside the checkpoint between its markers, and
writes benchmarks/REFERENCE.md, so that neither can differ from what was measured.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from mobileiqa import cli, typed_json
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError
from mobileiqa.zoo import REFERENCE

CARD = REFERENCE.with_name("README.md")
REPORT = Path(__file__).resolve().parents[1] / "benchmarks" / "REFERENCE.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = cli.parser(__doc__ or "", "python -m tools.reference_card benchmarks/whole_photo.json")
    parser.add_argument("measured", type=Path, help="the JSON of benchmarks/whole_photo.py")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    measured = typed_json.parse_object(
        args.measured.read_bytes(), str(args.measured), "measure the reference again"
    )
    if measured.get("sha256") != sha256(REFERENCE):
        raise UserError(
            "figures of the shipped checkpoint", str(args.measured), "measure the reference again"
        )
    card = CARD.read_text(encoding="utf-8")
    figures = "\n".join([BEGIN, *_checks(measured), END])
    card = re.sub(f"{BEGIN}.*{END}", lambda _: figures, card, flags=re.DOTALL)
    card = re.sub(r"(SHA-256 \| `)[^`]*", lambda m: m[1] + sha256(REFERENCE), card)
    for target, text in ((CARD, card), (REPORT, "\n".join(_report(measured)) + "\n")):
        with cli.atomic(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    cli.emit({"card": CARD.name, "report": str(REPORT.relative_to(REPORT.parents[1]))})
    return 0


def _checks(measured: dict[str, Any]) -> list[str]:
    """A table: what must hold, what was measured, and whether it is enough."""
    rows = ["| what must hold | measured | limit | cases | holds |", "|---|--:|--:|--:|---|"]
    for check in measured["checks"]:
        limit = f"{'at least' if check['at_least'] else 'at most'} {check['limit']:g}"
        holds = "yes" if check["holds"] else "**no**"
        rows.append(f"| {check['name']} | {check['figure']:.4g} | {limit} | {check['count']} | {holds} |")
    return rows


def _report(measured: dict[str, Any]) -> list[str]:
    """benchmarks/REFERENCE.md."""
    within, reasons = measured["within_distortion"], measured["reasons"]
    return [
        "# The reference checkpoint, measured",
        "",
        "On photos that were not trained on: photos at full size, damaged in many ways, and 41 photos of 512x512 under"
        " KADID-10k's 25 distortions x 5 levels, against transferred KADID scores. Nobody rated these photos. Written"
        " by `python -m tools.reference_card` from:",
        "",
        "```",
        "python benchmarks/whole_photo.py reference --photos photos/ large_val/ --held-out val/ "
        "--severity severity.csv",
        "```",
        "",
        *_checks(measured),
        "",
        "What was tried for the lines that do not hold, what limits them, and what each idea gives:"
        " [REFERENCE_ATTEMPTS.md](REFERENCE_ATTEMPTS.md).",
        "",
        "![losses while training, and correlations on photos that were not trained on](reference_curve.png)",
        "",
        "| distortion | SRCC within it | right reason first, levels 3 to 5 |",
        "|---|--:|--:|",
        *(f"| {name} | {value:.3f} | {reasons[name]:.0%} |" for name, value in within.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
