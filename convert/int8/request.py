"""What `--int8 [WHAT ...]` asks for: a mode or a recipe file, and a calibration set, in any order."""

from dataclasses import dataclass
from pathlib import Path

from calibration import sets
from calibration.generated import generated
from calibration.sets import MANIFEST, CalibrationSet
from convert.int8 import recipe as recipes
from convert.int8.recipe import MODES, Recipe
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec

GENERATED = 32  # images, where no calibration set is named


@dataclass(frozen=True)
class Request:
    """How to quantize, and on which images; only a static recipe has some."""

    recipe: Recipe
    calibration: CalibrationSet | None

    @property
    def calibration_sha256(self) -> str | None:
        """Of the calibration set, if there is one."""
        return self.calibration.sha256 if self.calibration else None


def request(words: list[str], spec: ModelSpec) -> Request:
    """Reads the words after --int8 for a model of `spec`.

    Raises UserError for a word that is none of them, two of a kind, a recipe or a set that is malformed, and a
    set that was selected for other inputs.
    """
    mode = _only([w for w in words if w in MODES], "mode")
    folder = _only([w for w in words if Path(w).is_dir() or Path(w).name == MANIFEST], "calibration set")
    file = _only([w for w in words if Path(w).suffix == ".json" and w != folder], "recipe")
    unknown = [w for w in words if w not in (mode, folder, file)]
    if unknown or (mode and file):
        raise UserError(
            f"after --int8: {', '.join(MODES)} or a recipe's JSON, and a calibration folder",
            ", ".join(unknown) or f"{mode} and {file}",
            "name a set that python -m calibration.select wrote; a checkpoint goes before --int8",
        )
    recipe = recipes.read(Path(file)) if file else Recipe(mode or MODES[0])
    if recipe.mode != "static":
        return Request(recipe, None)
    chosen = sets.load(folder, spec) if folder else generated(GENERATED, 0, spec)
    if chosen.warning:
        cli.note(chosen.warning)
    return Request(recipe, chosen)


def _only(words: list[str], what: str) -> str | None:
    if len(words) > 1:
        raise UserError(f"one {what} after --int8", ", ".join(words), "leave the others out")
    return words[0] if words else None
