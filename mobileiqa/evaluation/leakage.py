"""Whether a model was trained on the images that it is judged on, by the training record in its spec.

An image was trained on when its pixels were, when the pristine image that it was made from was, or when the set is
the very one of the training and that training's split put it there. Images that picked the best epoch are no test
images either, but may be evaluated as the validation side that they are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mobileiqa import cli
from mobileiqa.datasets.core import SPLIT_SEED, Dataset, Sample
from mobileiqa.errors import UserError
from mobileiqa.photos.loading import load_image
from mobileiqa.spec import ModelSpec
from mobileiqa.training_record import TrainingRecord, files_of, pixel_key, sample_keys

INSISTED = ("train", "all")  # sides whose figures are asked for whatever was trained on

Reread = Callable[[int], Dataset]  # the same set, split by another seed


@dataclass(frozen=True)
class Leakage:
    """One model: the rows of the images that it was trained on, and of those that picked its best epoch.

    recorded: False where the model's file does not say what it was trained on.
    """

    model: str
    recorded: bool
    train: frozenset[int] = frozenset()
    validation: frozenset[int] = frozenset()
    unrecorded: tuple[str, ...] = ()

    def text(self, count: int) -> str:
        """In a sentence, of `count` evaluated images."""
        if not self.recorded:
            return f"{self.model}: which images it was trained on is not recorded"
        parts = [f"{self.model}: trained on {_share(len(self.train), count)}"]
        if self.validation:
            parts.append(f"its best epoch was chosen on {_share(len(self.validation), count)}")
        if self.unrecorded:
            parts.append(f"it started from {', '.join(self.unrecorded)}, whose images are not recorded")
        return "; ".join(parts)


def split_seed(specs: Mapping[str, ModelSpec], dataset: Dataset) -> int:
    """The split seed that the models, by label, were trained with on this set; SPLIT_SEED where none was.

    Raises UserError where two models were trained with different ones.
    """
    seeds = {
        label: seed
        for label, spec in specs.items()
        if spec.training and (seed := spec.training.split_seed(dataset.name, dataset.listing)) is not None
    }
    if len(set(seeds.values())) > 1:
        raise UserError(
            "models trained with one split seed",
            ", ".join(f"{seed} of {label}" for label, seed in seeds.items()),
            "choose one with --split-seed, or evaluate them one by one",
        )
    return next(iter(seeds.values()), SPLIT_SEED)


def leakages(
    specs: Mapping[str, ModelSpec], dataset: Dataset, samples: Sequence[Sample], reread: Reread
) -> tuple[Leakage, ...]:
    """Each trained model's Leakage among `samples` of `dataset`, whose pixels are read only where there is a record."""
    records = {label: spec.training for label, spec in specs.items() if not spec.untrained}
    keys = _keys(dataset, samples) if any(records.values()) else []
    return tuple(_leakage(label, record, dataset, samples, keys, reread) for label, record in records.items())


def refused_rows(leaks: Iterable[Leakage], side: str) -> frozenset[int]:
    """The rows that must not be scored as images of `side`."""
    if side in INSISTED:
        return frozenset()
    rows: set[int] = set()
    for leak in leaks:
        rows |= leak.train | leak.validation if side == "test" else leak.train
    return frozenset(rows)


def refuse(leaks: Sequence[Leakage], side: str, names: Sequence[str]) -> None:
    """Raises UserError where a model was trained on an image of `side`; `names` are all images', by row."""
    rows = sorted(refused_rows(leaks, side))
    if not rows:
        return
    guilty = [leak for leak in leaks if leak.train or leak.validation]
    examples = ", ".join(names[row] for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
    raise UserError(
        "images that no model was trained on",
        f"{'; '.join(leak.text(len(names)) for leak in guilty)} ({examples})",
        "use the split of its training (leave --split-seed out), leave them out (`mobileiqa evaluate --skip-trained`), "
        "or insist with --split all, which states the share",
    )


def _leakage(
    label: str,
    record: TrainingRecord | None,
    dataset: Dataset,
    samples: Sequence[Sample],
    keys: Sequence[frozenset[str]],
    reread: Reread,
) -> Leakage:
    if record is None:
        return Leakage(label, False)
    sides = _recorded_sides(record, dataset, reread)
    rows: dict[str, frozenset[int]] = {}
    for side in ("train", "validation"):
        trained = record.keys(side)
        rows[side] = frozenset(
            row
            for row, (sample, of_sample) in enumerate(zip(samples, keys, strict=True))
            if (sample.path, side) in sides or not trained.isdisjoint(of_sample)
        )
    return Leakage(label, True, rows["train"], rows["validation"] - rows["train"], record.unrecorded)


def _recorded_sides(record: TrainingRecord, dataset: Dataset, reread: Reread) -> set[tuple[Path, str]]:
    """(path, side) of every image of the set where it is one of the record's, split as it was then."""
    seeds = {
        trained.split_seed
        for trained in record.sets
        if (trained.name, trained.listing) == (dataset.name, dataset.listing)
    }
    splits = [dataset if seed == dataset.split_seed else reread(seed) for seed in sorted(seeds)]
    return {(sample.path, sample.split) for split in splits for sample in split.samples}


def _keys(dataset: Dataset, samples: Sequence[Sample]) -> list[frozenset[str]]:
    """Each sample's keys; an image that cannot be read has no pixels: scoring it will say why."""
    files, pixels = files_of(dataset, samples), {}
    for path in cli.progress(files, "comparing with the training images", len(files)):
        with suppress(UserError):
            pixels[path] = pixel_key(load_image(path))
    return [sample_keys(dataset, sample, pixels) for sample in samples]


def _share(count: int, total: int) -> str:
    return f"{count} of {total} images" + (f" ({count / total:.0%})" if count else "")
