"""What a search leaves behind: its results beside the published file, or what it says when nothing was published."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.int8.search import pareto_front
from mobileiqa import cli, typed_json
from mobileiqa.files.outputs import put

if TYPE_CHECKING:
    from convert.int8.search.search import Search

RESULTS = ("recipe.json", "front.json", "front.png")


def folder_of(path: Path) -> Path:
    """x.tflite -> x.search."""
    return path.with_suffix(".search")


def results_of(path: Path) -> list[Path]:
    """x.tflite -> x.recipe.json, x.front.json, x.front.png."""
    return [path.with_suffix(f".{name}") for name in RESULTS]


def publish_results(search: "Search", path: Path) -> dict[str, Any]:
    """Moves RESULTS beside `path`, removes the search's folder, prints the front; returns a summary for machines."""
    from convert.int8.search.candidates import remove

    content = typed_json.parse_object(typed_json.content_of(search.folder / RESULTS[1]), RESULTS[1])
    targets = results_of(path)
    for name, target in zip(RESULTS, targets, strict=True):
        put(search.folder / name, target)
    remove(search.folder)
    rows, fp32_ms = content["candidates"], content["fp32_latency_ms"]
    cli.say(f"within {search.budget}, validated on {content['judged_on']}; FP32 takes {fp32_ms:.2f} ms:")
    for line in pareto_front.table(rows):
        cli.say(line)
    recipe, data, picture = map(str, targets)
    cli.say(f"recipe: {recipe}, every candidate: {data}, {picture}")
    return {
        "recipe": recipe, "front": data, "picture": picture, "candidates": len(rows), "chosen": rows[0]["name"],
        "fp32_latency_ms": fp32_ms, "latency_ms": rows[0]["latency_ms"],
    }  # fmt: skip


def note_measurements(search: "Search", path: Path) -> dict[str, Any]:
    """Says that the file failed parity and that the measurements are kept; nothing for machines."""
    cli.note(f"{search.folder} holds what was measured; nothing of it was written beside {path}")
    return {}


def report_over_budget(error: pareto_front.OverBudgetError, path: Path) -> dict[str, Any]:
    """Prints the candidates that came closest; returns the command's last line."""
    for line in [f"FAIL: {error}; the closest:", *pareto_front.table(error.rows)]:
        cli.say(line)
    cli.note(f"nothing written to {path}; {folder_of(path)} holds what was measured, for another budget")
    return {
        "path": str(path), "precision": "int8", "passed": False, "reason": str(error), "closest": error.rows,
    }  # fmt: skip
