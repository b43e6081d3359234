"""The training record of a run: made before its first step, kept in its folder, stored with its checkpoint."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mobileiqa import checkpoint, cli, typed_json
from mobileiqa.datasets.core import Dataset
from mobileiqa.errors import UserError
from mobileiqa.images import load_image
from mobileiqa.training.weights import is_backbone
from mobileiqa.training_record import TrainedSet, TrainingRecord, files_of, pixel_key, record, sample_keys
from mobileiqa.workers import process_pool

FILE = "training_record.json"
IN_PROCESSES = 500  # images from which starting processes to decode them pays


def of_run(out: Path, sets: Sequence[Dataset], earlier: Sequence[Path]) -> TrainingRecord:
    """The record in the run's folder, or a new one that is written there; `earlier`: --init's and --teacher's files.

    Raises UserError where the folder's run reads other images, or splits them by another seed.
    """
    path = out / FILE
    if not path.exists():
        new = of_sets(sets).with_earlier(_earlier(earlier))
        cli.write_json(path, dataclasses.asdict(new))
        return new
    written = typed_json.decode(TrainingRecord, typed_json.parse(path.read_bytes(), str(path)), str(path))
    trained = [trained_set(dataset) for dataset in sets]
    for now, before in zip(trained, written.sets, strict=False):
        if now != before:
            raise UserError(
                f"the images that the run in {out} began with ({_in_words(before)})",
                _in_words(now),
                "give the same --data and --split-seed to go on, or another --out",
            )
    return written


def of_sets(sets: Iterable[Dataset]) -> TrainingRecord:
    """The record of training on the train side of `sets`, with their validation sides."""
    sets = tuple(sets)
    sides: dict[str, set[str]] = {"train": set(), "validation": set()}
    for dataset in sets:
        samples = [sample for side in sides for sample in dataset.of(side)]
        pixels = _pixel_keys(files_of(dataset, samples))
        for sample in samples:
            sides[sample.split] |= sample_keys(dataset, sample, pixels)
    return record([trained_set(dataset) for dataset in sets], sides["train"], sides["validation"])


def trained_set(dataset: Dataset) -> TrainedSet:
    """What the record says of a whole set."""
    counts = (len({sample.path for sample in dataset.of(side)}) for side in ("train", "validation"))
    return TrainedSet(dataset.name, dataset.split_seed, *counts, dataset.listing)


def _pixel_keys(paths: Iterable[Path]) -> dict[Path, str]:
    """Each file's pixel key; pristine images come once for each of their distortions."""
    unique = list(dict.fromkeys(paths))
    if len(unique) < IN_PROCESSES:
        return {path: _pixel_key(path) for path in cli.progress(unique, "recording images", len(unique))}
    with process_pool() as pool:
        keys = pool.map(_pixel_key, unique, chunksize=16)
        return dict(zip(unique, cli.progress(keys, "recording images", len(unique)), strict=True))


def _pixel_key(path: Path) -> str:
    return pixel_key(load_image(path))


def _earlier(paths: Iterable[Path]) -> list[tuple[str, TrainingRecord | None]]:
    """What checkpoints say of their own training; a timm backbone's images (ImageNet) are no question here."""
    records: list[tuple[str, TrainingRecord | None]] = []
    for path in dict.fromkeys(paths):
        if not is_backbone(path):
            own = path.suffix.lower() == ".safetensors"
            records.append((path.name, checkpoint.load_spec(path).training if own else None))
    return records


def _in_words(trained: TrainedSet) -> str:
    return json.dumps(dataclasses.asdict(trained))
