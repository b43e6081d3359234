"""What `--int8 [WHAT ...]` asks for: a mode, a recipe file or `auto`, and a calibration set, in any order."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calibration import sets
from calibration.sets import MANIFEST, CalibrationSet, generated
from convert.int8 import recipe as recipes
from convert.int8.recipe import MODES, Recipe
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from convert.int8.search.search import Search

AUTO = "auto"
GENERATED = 32  # images, where no calibration set is named


@dataclass(frozen=True)
class Int8Arguments:
    """How to quantize, and on which images: None where none were named and the recipe needs none.

    search: how `auto` finds the recipe once there is an FP32 file; `recipe` is then only the default one.
    """

    recipe: Recipe
    calibration: CalibrationSet | None
    search: "Search | None" = None

    @property
    def calibration_sha256(self) -> str | None:
        """Of the calibration set, if there is one."""
        return self.calibration.sha256 if self.calibration else None

    def with_recipe(self, fp32: bytes, spec: ModelSpec) -> "Int8Arguments":
        """These; of `auto`, the same with the recipe that the search finds for the FP32 file.

        Raises what auto.search does.
        """
        if self.search is None:
            return self
        from convert.int8.search.search import search

        return dataclasses.replace(self, recipe=search(fp32, spec, self.search))


def parse_arguments(words: list[str], spec: ModelSpec) -> Int8Arguments:
    """Reads the words after --int8, other than `auto`, for a model of `spec`.

    Raises UserError for a word that is none of them, two of a kind, a recipe or a set that is malformed, and a
    set that was selected for other inputs.
    """
    mode = _only([w for w in words if w in MODES], "mode")
    folder = _only([w for w in words if _is_set(w)], "calibration set")
    file = _only([w for w in words if Path(w).suffix.lower() == ".json" and w != folder], "recipe")
    unknown = [w for w in words if w not in (mode, folder, file)]
    if unknown or (mode and file):
        raise UserError(
            f"after --int8: {', '.join(MODES)} or a recipe's JSON, or {AUTO} first, and a calibration folder",
            ", ".join(unknown) or f"{mode} and {file}",
            "name a set that python -m calibration.select wrote; a checkpoint goes before --int8",
        )
    recipe = recipes.read(Path(file)) if file else Recipe(mode or MODES[0])
    if recipe.mode != "static" and not folder:
        return Int8Arguments(recipe, None)
    return Int8Arguments(recipe, _calibration(folder, spec))


def automatic(
    words: list[str], spec: ModelSpec, path: Path, images: Path | None, max_srcc_drop: float | None
) -> Int8Arguments:
    """Reads the words after --int8 where `auto` is one of them; `path` is where the file will be.

    images: those that judge, if not a third of the calibration set. Raises UserError as `parse_arguments` does, for
    images that are too few or calibrate too, and for a budget that is none.
    """
    from convert.int8.search.pareto_front import DEFAULT_MAX_DROP, Budget
    from convert.int8.search.search import Search
    from convert.int8.search.session import folder_of
    from convert.int8.search.validation_split import split_scenes, split_with_folder

    budget = Budget(DEFAULT_MAX_DROP if max_srcc_drop is None else max_srcc_drop)
    others = [w for w in words if w != AUTO]
    if words.count(AUTO) != 1 or len(others) > 1 or not all(map(_is_set, others)):
        raise UserError(
            f"after --int8 {AUTO}: a calibration folder", ", ".join(others) or ", ".join(words),
            "name a set that python -m calibration.select wrote; the search tries all modes itself",
        )  # fmt: skip
    arguments = parse_arguments(others, spec)
    assert arguments.calibration is not None, "the default recipe is static"
    split = (
        split_with_folder(arguments.calibration, images) if images else split_scenes(arguments.calibration)
    )
    return dataclasses.replace(arguments, search=Search(budget, split, folder_of(path)))


def _calibration(folder: str | None, spec: ModelSpec) -> CalibrationSet:
    """The set in a folder, or a generated one, which says so."""
    calibration = sets.load(folder, spec) if folder else generated(GENERATED, 0, spec)
    if calibration.warning:
        cli.note(calibration.warning)
    return calibration


def _is_set(word: str) -> bool:
    return Path(word).is_dir() or Path(word).name == MANIFEST


def _only(words: list[str], what: str) -> str | None:
    if len(words) > 1:
        raise UserError(f"one {what} after --int8", ", ".join(words), "leave the others out")
    return words[0] if words else None
