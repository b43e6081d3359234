"""The corpus: small valid files of every kind, made by the product's own commands, once, in a temporary folder.

Its folder's name holds a hash of the sources, so that files of an older version are never mutated. What it holds:
`pictures/` with `scores.json` (the tiny model's scores), `models/`, `json/`, `sets/`, `calibration/`, `photo.png`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.fuzz import label_sets, pictures, tiny

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("mobileiqa", "convert", "calibration", "android_bench", "tools/fuzz")
SCORES = "scores.json"
KEPT = 4  # corpora of as many versions of the sources; 25 MB each
SIZES = "48x40,40x48"  # of the packaged files' images: the graph resizes, and has two signatures


def ensure(folder: Path | None = None) -> Path:
    """The corpus of these sources; made where it is not there yet. Raises RuntimeError where a command fails."""
    whole = folder or Path(tempfile.gettempdir()) / f"mobileiqa-fuzz-{os.getuid()}" / _sources()
    if (whole / SCORES).exists():
        return whole
    whole.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=whole.parent) as staging:
        command = [sys.executable, "-m", "tools.fuzz.corpus", f"{staging}/corpus"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"the corpus could not be made: {run.stderr[-4000:]}")
        shutil.rmtree(whole, ignore_errors=True)
        Path(staging, "corpus").rename(whole)
    for old in sorted(whole.parent.glob(f"*/{SCORES}"), key=os.path.getmtime)[:-KEPT]:
        shutil.rmtree(old.parent, ignore_errors=True)
    return whole


def make(folder: Path) -> None:
    """Everything, in `folder`, which must not exist."""
    tiny.register()
    for name in ("pictures", "models", "json", "photos"):
        (folder / name).mkdir(parents=True)
    for name, content in pictures.pictures():
        (folder / "pictures" / name).write_bytes(content)
    pictures.base().resize((48, 40)).save(folder / "photo.png")  # one of SIZES
    for seed in range(12):
        pictures.base("RGB", seed).resize((90 + seed, 70)).save(folder / "photos" / f"{seed}.png")
    _models(folder / "models")
    _records(folder)
    for name, (files, _) in label_sets.layouts().items():
        for file, content in files.items():
            path = folder / "sets" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (folder / SCORES).write_text(json.dumps(_scores(folder), indent=2))


def _models(folder: Path) -> None:
    """The tiny checkpoint, ours and as published; FP32 of it, FP16 of the earlier reference; packaged files of both."""
    import torch

    from convert import package as embedded
    from convert import tflite
    from mobileiqa import checkpoint
    from mobileiqa.zoo import TRUNK

    model = tiny.build()
    checkpoint.save(folder / "tiny.safetensors", model, tiny.spec("generated pictures"))
    state = tiny.published(model.state_dict())
    torch.save(state, folder / "tiny.pt")
    torch.save(state, folder / "tiny_legacy.pth", _use_new_zipfile_serialization=False)
    _run(tflite.main, folder / "tiny.safetensors", "--fp32", "--out", folder / "tiny.tflite")
    _run(tflite.main, TRUNK, "--fp16", "--size", "64x64", "--out", folder / "reference.tflite")
    for name in ("tiny", "reference"):
        camera = folder / f"{name}_camera.tflite"
        _run(embedded.main, folder / f"{name}.tflite", "--input-size", SIZES, "--out", camera)
    _plain(folder / "tiny.tflite", folder / "plain.tflite")


def _plain(source: Path, path: Path) -> None:
    """The file without our metadata, as another converter's, and the spec beside it."""
    from convert.flatbuffer import model as fb

    model = fb.read(source)
    model.metadata = []
    fb.drop_unused_buffers(model)
    fb.write(model, path)
    beside = json.loads(source.with_name(f"{source.name}.json").read_text())
    record = {
        "spec": beside["spec"],
        "precision": "fp32",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps(record, indent=2))


def _records(folder: Path) -> None:
    """A recipe, a calibration set, results of the benchmark, one entered by hand."""
    from android_bench.cli import main as bench
    from calibration import select
    from convert.int8.recipe import Recipe

    (folder / "json" / "recipe.json").write_text(json.dumps(Recipe(keep_float=("head.*",)).to_json()))
    _run(bench, folder / "models" / "tiny.tflite", "--runs", 3, "--launches", 2, "--if-disturbed", "keep",
         "--out", folder / "json" / "bench.json")  # fmt: skip
    by_hand = {"source": "by hand", "model": "m", "size": "317x205", "precision": "fp16", "device": "d",
               "mean_ms": 12.5, "runs": 10}  # fmt: skip
    (folder / "json" / "by_hand.json").write_text(json.dumps({"schema": 1, "results": [by_hand]}))
    _run(select.main, "--images", folder / "photos", "--model", tiny.NAME, "--count", 8,
         "--out", folder / "calibration")  # fmt: skip


def _scores(folder: Path) -> dict[str, float]:
    """What the tiny model says of each picture that `score` reads; the others are refused."""
    from mobileiqa import score

    scorer = score.load_scorer(str(folder / "models" / "tiny.tflite"))
    rows = score.score_images(sorted((folder / "pictures").iterdir()), scorer)
    scores = {Path(row.image).name: row.score for row in rows}
    return {name: value for name, value in scores.items() if value is not None}


def _run(command: Any, *arguments: object) -> None:
    """One of the product's commands; SystemExit where it fails."""
    if code := command([str(argument) for argument in arguments]):
        raise SystemExit(f"{command.__module__} {arguments} ended with {code}")


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(_source_files()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _source_files() -> Iterator[Path]:
    for package in SOURCES:
        yield from (ROOT / package).rglob("*.py")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
