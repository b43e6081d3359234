"""Figures of the shipped checkpoint: python -m tools.reference_card REPORT/evaluation.json

REPORT is what `python -m mobileiqa.evaluate reference ... --out REPORT` wrote. Fills in the card beside the checkpoint
between its markers, and writes benchmarks/REFERENCE.md, so that neither can differ from what was measured.
"""

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
METRICS = ("srcc", "plcc", "plcc_fitted", "krcc", "rmse", "mae")
GOAL = 0.85  # SRCC within a distortion


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = cli.parser(__doc__ or "", "python -m tools.reference_card report/evaluation.json")
    parser.add_argument("evaluation", type=Path, help="the JSON of mobileiqa.evaluate")
    return cli.command(parser, lambda args: _command(args.evaluation), argv)


def _command(path: Path) -> int:
    found = typed_json.parse_object(path.read_bytes(), str(path), "evaluate `reference` again")
    models = found.get("models")
    rows = [row for row in models if isinstance(row, dict)] if isinstance(models, list) else []
    model = next((row for row in rows if row.get("sha256") == sha256(REFERENCE)), None)
    if model is None:
        raise UserError("an evaluation of the shipped checkpoint", str(path), "evaluate `reference` again")
    card = CARD.read_text(encoding="utf-8")
    figures = "\n".join([BEGIN, *_figures(found, model), END])
    card = re.sub(f"{BEGIN}.*{END}", lambda _: figures, card, flags=re.DOTALL)
    card = re.sub(r"(SHA-256 \| `)[^`]*", lambda m: m[1] + sha256(REFERENCE), card)
    for target, text in ((CARD, card), (REPORT, "\n".join(_report(found, model)) + "\n")):
        with cli.atomic(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    cli.emit({"card": CARD.name, "report": str(REPORT.relative_to(REPORT.parents[1]))})
    return 0


def _figures(found: dict[str, Any], model: dict[str, Any]) -> list[str]:
    """The card's table and its sentence on single distortions and pairs."""
    good = [d for d in model["distortions"] if (d["srcc"] or 0) >= GOAL]
    return [
        *_metrics([model]),
        "",
        f"{found['images']} images. Within one distortion, SRCC is {GOAL:g} or more for {len(good)} of"
        f" {len(model['distortions'])}. Of {model['pairs']:,} pairs of one photo and distortion whose levels differ"
        f" by two or more, {model['pair_accuracy']:.1%} are in the right order.",
    ]


def _metrics(models: list[dict[str, Any]]) -> list[str]:
    """A table: one row a model, value and 95 % interval of each metric."""
    rows = ["| | " + " | ".join(name.upper().replace("_", " ") for name in METRICS) + " |", "|---" * 7 + "|"]
    for model in models:
        cells = [_cell(model["metrics"].get(name)) for name in METRICS]
        rows.append(f"| {model['label']} | " + " | ".join(cells) + " |")
    return rows


def _cell(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate['value']:.4f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _report(found: dict[str, Any], model: dict[str, Any]) -> list[str]:
    """benchmarks/REFERENCE.md."""
    rows = [f"| {d['number']} {d['name']} | {d['n']} | {d['srcc']:.3f} |" for d in model["distortions"]]
    return [
        "# The reference checkpoint, measured",
        "",
        "41 photos that were not trained on (CID22's validation images), KADID-10k's 25 distortions x 5 levels, against"
        " transferred KADID scores; 95 % intervals by bootstrap. Written by `python -m tools.reference_card`.",
        "",
        "```",
        "python -m mobileiqa.distort pristine/val --severity severity.csv --out val/",
        "python -m mobileiqa.evaluate reference reference_fp16.tflite --data folder val/ --split all --out report/",
        "```",
        "",
        *_metrics(found["models"]),
        "",
        f"Pairs of one photo and distortion, levels two or more apart, in the right order: {model['pair_accuracy']:.2%}"
        f" of {model['pairs']:,} (distortions that get worse with every level).",
        "",
        "![scores against labels](reference_scatter.png)",
        "",
        "The two halves of its training: [crops of 160 pixels](reference_curve_1.png),"
        " [of 224](reference_curve_2.png).",
        "",
        "| distortion | images | SRCC |",
        "|---|--:|--:|",
        *rows,
    ]


if __name__ == "__main__":
    sys.exit(main())
