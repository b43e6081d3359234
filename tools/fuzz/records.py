"""JSON that commands read: sidecars, a checkpoint's JSON, recipes, calibration sets, bench results, `dataset.json`."""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.fuzz import label_sets
from tools.fuzz.case import INPUT, OUTPUT, SEEDS, Case, Step
from tools.fuzz.flatbuffers import steps as tflite_steps
from tools.fuzz.json_text import mutated_json

_SCORE = ("mobileiqa.score", f"{SEEDS}/photo.png", "--format", "json", "--model")


@dataclass(frozen=True)
class Target:
    """One JSON file among others, and the commands that read it. `sealed` writes its own hash again."""

    file: str
    beside: dict[str, bytes]
    content: bytes
    steps: tuple[Step, ...]
    sealed: Callable[[bytes], bytes] = lambda content: content


class Records:
    """Cases of altered JSON."""

    kind = "json"

    def __init__(self, corpus: Path) -> None:
        models, records = corpus / "models", corpus / "json"
        photos = {f"photos/{path.name}": path.read_bytes() for path in sorted((corpus / "photos").iterdir())}
        bench = (records / "bench.json").read_bytes()
        compare = Step(
            "android_bench.compare",
            (f"{INPUT}/b.json", "--baseline", f"{SEEDS}/json/bench.json", *_written("gate")),
        )
        plain = Step("android_bench.compare", (f"{INPUT}/b.json", *_written("shown")))
        self.targets = {
            "sidecar": _tflite(models, "tiny"), "plain sidecar": _tflite(models, "plain"),
            "camera sidecar": _tflite(models, "tiny_camera"), "checkpoint JSON": _checkpoint(models),
            "recipe": Target("r.json", {}, (records / "recipe.json").read_bytes(),
                             (Step("convert.int8.recipe:read", (f"{INPUT}/r.json",)),)),
            "bench": Target("b.json", {}, bench, (compare, plain)),
            "by hand": Target("b.json", {}, (records / "by_hand.json").read_bytes(), (plain,)),
            "calibration": Target("set/manifest.json", photos, (corpus / "calibration" / "manifest.json").read_bytes(),
                                  (Step("calibration.audit", (f"{INPUT}/set",)),), _manifest),
            "dataset.json": _dataset(),
        }  # fmt: skip

    def case(self, rng: random.Random) -> Case:
        """One record and one or two mutations of it."""
        name = rng.choice(list(self.targets))
        target = self.targets[name]
        content, words = target.content, []
        for _ in range(rng.choice((1, 1, 2))):
            content, text = mutated_json(content, rng)
            words.append(text)
        if rng.random() < 0.5:
            content = target.sealed(content)
        files = {**target.beside, target.file: content}
        return Case(self.kind, name, "; ".join(words), files, target.file, target.steps)


def _written(name: str) -> tuple[str, ...]:
    return ("--csv", f"{OUTPUT}/{name}.csv", "--html", f"{OUTPUT}/{name}.html")


def _tflite(models: Path, name: str) -> Target:
    file = f"{name}.tflite"
    content = (models / f"{file}.json").read_bytes()
    return Target(f"{file}.json", {file: (models / file).read_bytes()}, content, tflite_steps(file))


def _checkpoint(models: Path) -> Target:
    file = "tiny.safetensors"
    module, *rest = _SCORE
    step = Step(module, (*rest, f"{INPUT}/{file}"))
    return Target(
        f"{file}.json", {file: (models / file).read_bytes()}, (models / f"{file}.json").read_bytes(), (step,)
    )


def _dataset() -> Target:
    files, _ = label_sets.layouts()["folder"]
    content = files.pop("dataset.json")
    return Target("dataset.json", files, content, (Step("mobileiqa.data", ("describe", "folder", INPUT)),))


def _manifest(content: bytes) -> bytes:
    """A calibration manifest with the hash that its changed content has, as far as it still has one."""
    try:
        manifest: dict[str, Any] = json.loads(content)
        identity = {name: manifest[name] for name in ("schema", "spec_name", "seed", "generated", "images")}
        text = json.dumps(
            {**identity, "inputs": manifest["spec"]["inputs"]}, sort_keys=True, separators=(",", ":")
        )
        return json.dumps({**manifest, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()
    except (ValueError, KeyError, TypeError):
        return content
