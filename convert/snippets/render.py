"""Source files that load one packaged file in an app: its names, sizes, golden scores and tolerance filled in.

The templates beside this file are whole programs in their languages. Where a fact of the file stands, they say how
it becomes source, and which: @@literal(file), @@comment(about). languages.py does the former, in every language.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.flatbuffer.reader import read_graph
from convert.packaging import golden_vectors
from convert.snippets.languages import AGAIN, LANGUAGES, Language, comment, number, side, word
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.scoring import litert
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing
from mobileiqa.spec import Fit, ModelSpec
from mobileiqa.typed_json import decode, parse
from mobileiqa.zoo import UNTRAINED

TEMPLATES = Path(__file__).with_name("templates")
LONGEST_STEM = 100  # of the file's name, of which names of classes and sources are made
PLACEHOLDER = re.compile(r"@@(?P<how>\w+)\((?P<what>\w+)\)")


@dataclass(frozen=True)
class Source:
    """A template, the name of what it becomes, and a row of its table of sizes."""

    template: str
    name: str
    row: str = ""


SOURCES: dict[str, tuple[Source, ...]] = {
    "kotlin": (
        Source(
            "Scorer.kt.in",
            "@@word(class_name).kt",
            "            Size(@@literal(signature), @@side(width_px), @@side(height_px), @@numbers(golden)),",
        ),
    ),
    "java": (
        Source(
            "Scorer.java.in",
            "@@word(class_name).java",
            "        new Size(@@literal(signature), @@side(width_px), @@side(height_px), @@numbers(golden)),",
        ),
    ),
    "swift": (
        Source(
            "Scorer.swift.in",
            "@@word(class_name).swift",
            "    Size(signature: @@literal(signature), width: @@side(width_px), height: @@side(height_px),"
            " golden: [@@numbers(golden)]),",
        ),
    ),
    "c++": (
        Source("scorer.hpp.in", "@@word(snake).hpp"),
        Source(
            "scorer.cpp.in",
            "@@word(snake).cpp",
            "    {@@literal(signature), @@side(width_px), @@side(height_px), {@@numbers(golden)}},",
        ),
    ),
    "python": (
        Source(
            "scorer.py.in",
            "@@word(snake).py",
            "    (@@literal(signature), @@side(width_px), @@side(height_px), (@@numbers(golden))),",
        ),
    ),
}


@dataclass(frozen=True)
class SizeFacts:
    """One size, its signature, and what the file gives for the golden images there."""

    signature: str
    width_px: int
    height_px: int
    scores: dict[str, float]
    reasons: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def golden(self) -> list[float]:
        """Of each golden image in turn: the score, then the probabilities of the reasons."""
        return [v for name, score in self.scores.items() for v in (score, *self.reasons.get(name, ()))]


@dataclass(frozen=True)
class GoldenVectors:
    """The metadata entry `mobileiqa_golden`, as convert.package writes it."""

    arithmetic: str
    images: dict[str, str]
    tolerance: float
    sizes: tuple[SizeFacts, ...]


@dataclass(frozen=True)
class Facts:
    """What the templates name, as the file has it."""

    file: str
    stem: str
    class_name: str
    snake: str
    title: str
    about: str
    score: str
    fit: str
    input: str
    outputs: tuple[str, ...]
    reasons: tuple[str, ...]
    tolerance: float
    images: tuple[str, ...]
    sizes: tuple[SizeFacts, ...]

    @property
    def names(self) -> str:
        """The golden images, for people."""
        return ", ".join(self.images)


def render(path: Path) -> dict[str, str]:
    """File name -> content, of every language. Raises UserError for a file that is none of convert.package's."""
    return sources(read_facts(path))


def sources(facts: Facts) -> dict[str, str]:
    """File name -> content. Raises UserError for facts that no source can hold."""
    return {
        fill(source.name, facts, LANGUAGES[language], source): fill(
            (TEMPLATES / source.template).read_text(encoding="utf-8"), facts, LANGUAGES[language], source
        )
        for language, parts in SOURCES.items()
        for source in parts
    }


def fill(template: str, facts: Any, language: Language, source: Source) -> str:
    """`template` with every placeholder as source; what was filled in is not looked at again."""
    ways: dict[str, Callable[[Any], str]] = {
        "literal": language.literal,
        "literals": lambda texts: ", ".join(map(language.literal, texts)),
        "comment": comment,
        "word": word,
        "number": number,
        "numbers": lambda values: ", ".join(map(number, values)),
        "side": side,
        "count": lambda items: str(len(items)),
        "rows": lambda sizes: "\n".join(fill(source.row, size, language, source) for size in sizes),
    }
    return PLACEHOLDER.sub(lambda match: ways[match["how"]](getattr(facts, match["what"])), template)


def read_facts(path: Path) -> Facts:
    """What the templates name. Raises UserError unless the file is a whole packaged file with names for sources."""
    embedded, spec, vectors = _read(path)
    low, high = spec.score_range
    class_name, snake = _names(path)
    return Facts(
        file=path.name,
        stem=path.stem,
        class_name=class_name,
        snake=snake,
        title=f"Made by convert.snippets for {path.name}, SHA-256 {sha256(path)}.",
        about=_about(embedded, spec, str(litert.read_metadata(path).get("precision"))),
        score=f"{low:g} to {high:g}, {'higher' if spec.higher_is_better else 'lower'} is better",
        fit=_fit(embedded, spec),
        input=word(embedded.input),
        outputs=spec.outputs,
        reasons=spec.reasons,
        tolerance=vectors.tolerance,
        images=tuple(golden_vectors.IMAGES),
        sizes=vectors.sizes,
    )


def _read(path: Path) -> tuple[EmbeddedPreprocessing, ModelSpec, GoldenVectors]:
    """What the file takes, its model, and its golden vectors; UserError unless it is a whole packaged file."""
    embedded = litert.preprocessing_of(path)
    if embedded is None:
        raise UserError(
            "a file with embedded preprocessing",
            f"{path}, which does not",
            f"run `python -m convert.package {path} --out CAMERA.tflite` first",
        )
    if not integrity.read_checksum(path).intact:
        raise UserError(f"{path} as it was packaged", "another checksum", "run `python -m convert.selftest`")
    spec = litert.load_spec(path)
    return embedded, spec, _vectors(path, len(spec.reasons))


def _vectors(path: Path, count: int) -> GoldenVectors:
    """The golden vectors, checked: whoever damages a file can write its checksum again."""
    content = read_graph(path).metadata.get(golden_vectors.ENTRY)
    if content is None:
        raise UserError(f"golden vectors in {path}", "none", AGAIN)
    vectors = decode(GoldenVectors, parse(content, f"the golden vectors of {path}", AGAIN), str(path), AGAIN)
    formulas = {name: formula for name, (_, formula) in golden_vectors.IMAGES.items()}
    if vectors.images != formulas or not vectors.sizes:
        raise UserError(
            f"the golden images {', '.join(formulas)}", ", ".join(vectors.images) or "none", AGAIN
        )
    for size in vectors.sizes:
        word(size.signature)
        if list(size.scores) != list(formulas):
            raise UserError(f"scores of {', '.join(formulas)}", ", ".join(size.scores) or "none", AGAIN)
        if any(len(size.reasons.get(name, ())) != count for name in formulas):
            raise UserError(f"{count} golden reasons of each image in {path}", "another number", AGAIN)
    return vectors


def _names(path: Path) -> tuple[str, str]:
    """The names of the class and of the sources in lower case, made of the file's."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", path.name) or len(path.stem) > LONGEST_STEM:
        raise UserError(
            f"a file name of letters, digits, '.', '_' and '-', at most {LONGEST_STEM}",
            repr(path.name),
            "rename the file",
        )
    words = [part for part in re.split(r"[._-]", path.stem) if part]
    if not words or words[0][0].isdigit():
        words = ["model", *words]
    words.append("scorer")
    return "".join(part[0].upper() + part[1:] for part in words), "_".join(part.lower() for part in words)


def _about(embedded: EmbeddedPreprocessing, spec: ModelSpec, precision: str) -> str:
    note = f" The weights are {UNTRAINED}." if spec.untrained else ""
    return f"{spec.name} ({precision}): one uint8 RGB image of {embedded} in, {' and '.join(spec.outputs)} out.{note}"


def _fit(embedded: EmbeddedPreprocessing, spec: ModelSpec) -> str:
    """What the app does with a photo first."""
    if not embedded.fitted:
        return "It has the photo's own size: resize and crop are in the file."
    model_input = spec.inputs[0]
    if model_input.fit is Fit.RESIZE:
        return f"Resize it to {embedded} first: {model_input.resample}, antialiased, aspect ratio not kept."
    return f"Cut its centre of {embedded} out first, with black around what is smaller."
