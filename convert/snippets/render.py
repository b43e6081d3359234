"""Source files that load one camera file in an app: its names, sizes, golden scores and tolerance filled in.

The templates beside this file are whole programs in their languages; what is a fact of the file stands in them
as @@NAME. Scores are written as the shortest decimals that give the same doubles in every one of the languages.
"""

import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.delivery import golden, seal
from convert.graph import read_graph
from mobileiqa import litert
from mobileiqa.camera import Delivery
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError, one_line
from mobileiqa.litert import OUTPUT
from mobileiqa.spec import Fit, ModelSpec
from mobileiqa.zoo import UNTRAINED

TEMPLATES = Path(__file__).with_name("templates")
AGAIN = "deliver the model again"


@dataclass(frozen=True)
class Source:
    """A template, the name of what it becomes, and a row of its table of sizes."""

    template: str
    name: str
    row: str = ""


# In names and rows: CLASS and SNAKE of the file's name; a size's signature, width and height, its golden scores.
LANGUAGES: dict[str, tuple[Source, ...]] = {
    "kotlin": (
        Source("Scorer.kt.in", "{CLASS}.kt", '            Size("{signature}", {width}, {height}, {scores}),'),
    ),
    "java": (
        Source(
            "Scorer.java.in",
            "{CLASS}.java",
            '        new Size("{signature}", {width}, {height}, {scores}),',
        ),
    ),
    "swift": (
        Source(
            "Scorer.swift.in",
            "{CLASS}.swift",
            '    Size(signature: "{signature}", width: {width}, height: {height}, scores: [{scores}]),',
        ),
    ),
    "c++": (
        Source("scorer.hpp.in", "{SNAKE}.hpp"),
        Source(
            "scorer.cpp.in", "{SNAKE}.cpp", '    {{"{signature}", {width}, {height}, {{{scores}}}}},'
        ),
    ),
    "python": (
        Source("scorer.py.in", "{SNAKE}.py", '    ("{signature}", {width}, {height}, ({scores})),'),
    ),
}  # fmt: skip


class _Template(string.Template):
    delimiter = "@@"


def render(path: Path) -> dict[str, str]:
    """File name -> content, of every language. Raises UserError for a file that is none of convert.delivery's."""
    facts, rows = _facts(path)
    sources = [source for language in LANGUAGES.values() for source in language]
    return {
        source.name.format(**facts): _Template(_text(source.template)).substitute(
            facts, SIZES="\n".join(source.row.format(**row) for row in rows)
        )
        for source in sources
    }


def _text(template: str) -> str:
    return (TEMPLATES / template).read_text(encoding="utf-8")


def _facts(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What the templates name, and the rows of the table of sizes."""
    delivery, spec, vectors = _read(path)
    rows = list(_rows(vectors))
    low, high = spec.score_range
    names = _names(path)
    facts = {
        **names,
        "TITLE": f"Made by convert.snippets for {path.name}, SHA-256 {sha256(path)}.",
        "ABOUT": _about(delivery, spec, str(litert.read_metadata(path).get("precision"))),
        "SCORE": f"{low:g} to {high:g}, {'higher' if spec.higher_is_better else 'lower'} is better",
        "FIT": _fit(delivery, spec),
        "INPUT": _word(delivery.input),
        "OUTPUT": OUTPUT,
        "TOLERANCE": repr(float(vectors["tolerance"])),
        "IMAGES": ", ".join(f'"{name}"' for name in golden.IMAGES),
        "NAMES": ", ".join(golden.IMAGES),
        "COUNT": str(len(golden.IMAGES)),
    }
    return facts, rows


def _read(path: Path) -> tuple[Delivery, ModelSpec, dict[str, Any]]:
    """What the file takes, its model, and its golden vectors; UserError unless it is a whole camera file."""
    delivery = litert.delivery_of(path)
    if delivery is None:
        raise UserError(
            "a file that takes a camera's image",
            f"{path}, which does not",
            f"run `python -m convert.delivery {path} --out CAMERA.tflite` first",
        )
    if not seal.read_seal(path).intact:
        raise UserError(f"{path} as it was delivered", "a broken seal", "run `python -m convert.selftest`")
    vectors = json.loads(read_graph(path).metadata[golden.ENTRY])
    if vectors["images"] != {name: formula for name, (_, formula) in golden.IMAGES.items()}:
        raise UserError(f"the golden images {', '.join(golden.IMAGES)}", str(vectors["images"]), AGAIN)
    return delivery, litert.load_spec(path), vectors


def _rows(vectors: dict[str, Any]) -> Iterator[dict[str, str]]:
    for size in vectors["sizes"]:
        yield {
            "signature": _word(size["signature"]),
            "width": str(int(size["width_px"])),
            "height": str(int(size["height_px"])),
            "scores": ", ".join(repr(float(size["scores"][name])) for name in golden.IMAGES),
        }


def _names(path: Path) -> dict[str, str]:
    """FILE, and the names of class and file made of it."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", path.name):
        raise UserError(
            "a file name of letters, digits, '.', '_' and '-'", repr(path.name), "rename the file"
        )
    words = [word for word in re.split(r"[._-]", path.stem) if word]
    if not words or words[0][0].isdigit():
        words = ["model", *words]
    words.append("scorer")
    return {
        "FILE": path.name,
        "STEM": path.stem,
        "CLASS": "".join(word[0].upper() + word[1:] for word in words),
        "SNAKE": "_".join(word.lower() for word in words),
    }


def _word(text: str) -> str:
    """`text`, which goes into code: a word, or a UserError."""
    if not re.fullmatch(r"\w+", text):
        raise UserError("names of letters, digits and '_' in the file", repr(text), AGAIN)
    return text


def _about(delivery: Delivery, spec: ModelSpec, precision: str) -> str:
    note = f" The weights are {UNTRAINED}." if spec.untrained else ""
    return one_line(f"{spec.name} ({precision}): one uint8 RGB image of {delivery} in, score out.{note}")


def _fit(delivery: Delivery, spec: ModelSpec) -> str:
    """What the app does with a photo first."""
    if not delivery.fitted:
        return "It has the camera's own size: resize and crop are in the file."
    wanted = spec.inputs[0]
    if wanted.fit is Fit.RESIZE:
        return f"Resize it to {delivery} first: {wanted.resample}, antialiased, aspect ratio not kept."
    return f"Cut its centre of {delivery} out first, with black around what is smaller."
