"""The training record of a run: made before its first step, kept in its folder, stored with its checkpoint.

A run that goes on reads the same files and scores, or its record would not know what it was trained on. Files are
compared by their bytes then: that takes a tenth of the time of decoding them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mobileiqa import checkpoint, cli, typed_json
from mobileiqa.datasets.core import Dataset
from mobileiqa.errors import UserError
from mobileiqa.files.integrity import sha256
from mobileiqa.photos.loading import load_image
from mobileiqa.training.initial_weights import is_backbone
from mobileiqa.training_record import TrainedSet, TrainingRecord, files_of, pixel_key, record, sample_keys
from mobileiqa.workers import process_pool

FILE = "training_record.json"
DATA = "training_data.json"  # what the files and scores of each set were, as a hash
IN_PROCESSES = 500  # images from which starting processes to decode them pays


def of_run(out: Path, sets: Sequence[Dataset], earlier: Sequence[Path]) -> TrainingRecord:
    """The record in the run's folder, or a new one that is written there; `earlier`: --init's and --teacher's files.

    Raises UserError where the folder's run reads other images or scores, or splits them by another seed.
    """
    path = out / FILE
    if not path.exists():
        (out / DATA).unlink(missing_ok=True)  # of a start that was killed before its record
    if not path.exists():
        new = of_sets(sets).with_earlier(_earlier(earlier))
        _check_data(out, sets)
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
    _check_data(out, sets)
    return written


def _check_data(out: Path, sets: Sequence[Dataset]) -> None:
    """Writes what the sets hold to the run's folder; UserError where the run began with something else."""
    path = out / DATA
    content = {"data": [_content_sha256(dataset) for dataset in sets]}
    if not path.exists():
        cli.write_json(path, content)
        return
    before = typed_json.parse_object(path.read_bytes(), str(path), "give another --out").get("data")
    if before != content["data"]:
        same = isinstance(before, list) and len(before) == len(sets)
        changed = (
            [d.name for d, old, new in zip(sets, before, content["data"], strict=True) if old != new]
            if same
            else []
        )
        raise UserError(
            f"the images and scores that the run in {out} began with",
            f"other ones in {', '.join(changed)}" if changed else f"{len(sets)} sets",
            "restore them to go on, or give another --out",
        )


def _content_sha256(dataset: Dataset) -> str:
    """Of the files and labels that train and validate, wherever they lie and in whichever order."""
    samples = [sample for side in ("train", "validation") for sample in dataset.of(side)]
    paths = list(dict.fromkeys(sample.path for sample in samples))
    progress = cli.progress(paths, "comparing the files with the run's", len(paths))
    files = {path: sha256(path) for path in progress}
    rows = [(files[s.path], s.score, s.split, s.reference, s.distortion, s.level) for s in samples]
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()


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
