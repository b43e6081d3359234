"""The words of the harness: a case is a folder of files, steps are commands on them, an outcome is what one did.

A case follows from (seed, kind, index) alone, whatever ran before it and however many processes there are.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

RECORD = "case.json"
INPUT, OUTPUT, SEEDS = "{in}", "{out}", "{seeds}"  # in a step's arguments: the case's folders, the corpus


class Expectation(StrEnum):
    """What is known about a case before any command has seen it."""

    ANY = "any"  # an error or a result, but none of the failures of oracles.py
    REFUSED = "refused"  # a checksum at hand says that the file is not the one that was written
    SAME = "same"  # nothing that a pixel depends on has changed: the seed's score to 1e-6


@dataclass(frozen=True)
class Step:
    """One command: `module`.main(arguments), or `module`:function of one path."""

    module: str
    arguments: tuple[str, ...]

    def resolved(self, folders: Mapping[str, Path]) -> tuple[str, ...]:
        """The arguments with the placeholders replaced."""
        resolved = []
        for text in self.arguments:
            for name, folder in folders.items():
                text = text.replace(name, str(folder))
            resolved.append(text)
        return tuple(resolved)


@dataclass(frozen=True)
class Case:
    """Files to try, and what is known about them. `main` is the altered one; `score` the seed's, for SAME."""

    kind: str
    origin: str  # the seed's name
    mutation: str  # in words
    files: Mapping[str, bytes]
    main: str
    steps: tuple[Step, ...]
    expectation: Expectation = Expectation.ANY
    score: float | None = None

    def write(self, folder: Path) -> Path:
        """Lays the files out in a new folder."""
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder


@dataclass(frozen=True)
class Outcome:
    """What one step did. `exit_code` is None where the process did not answer: `ended` says how it ended."""

    step: Step
    exit_code: int | None
    stdout: str = ""
    stderr: str = ""
    traceback: str = ""
    ended: str = ""  # "signal 11", "hang", "memory"
    seconds: float = 0.0
    left: Sequence[str] = field(default=())  # in the output folder and in the temporary one


def generator(seed: int, kind: str, index: int) -> random.Random:
    """The one source of chance of a case."""
    return random.Random(f"{seed}/{kind}/{index}")


def save(case: Case, folder: Path, **about: Any) -> Path:
    """Keeps a case so that `load` gives it back; `about` is for the reader."""
    case.write(folder / "files")
    record = {
        **about, "kind": case.kind, "origin": case.origin, "mutation": case.mutation, "main": case.main,
        "expectation": case.expectation, "score": case.score,
        "steps": [[step.module, list(step.arguments)] for step in case.steps],
    }  # fmt: skip
    (folder / RECORD).write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    return folder


def load(folder: Path) -> Case:
    """A case that `save` wrote. Raises OSError or KeyError for another folder."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    root = folder / "files"
    files = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    steps = tuple(Step(module, tuple(arguments)) for module, arguments in record["steps"])
    return Case(
        record["kind"], record["origin"], record["mutation"], files, record["main"], steps,
        Expectation(record["expectation"]), record["score"],
    )  # fmt: skip
