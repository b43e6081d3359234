"""Label files of every reader: cells, separators, quotes, encodings, paths out of the folder, damaged archives."""

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from tools.fuzz import label_sets
from tools.fuzz.case import INPUT, SEEDS, Case, Step
from tools.fuzz.damage import Mutation, damage, tried
from tools.fuzz.json_text import mutated_json

CELLS = ("", " ", "nan", "inf", "-inf", "1e999", "-1", "0", "1e308", "9" * 400, "0x10", "1,5", "1_0", "１", "../../x",
         "/etc/passwd", "C:\\x.png", ".\\images\\a.png", "a\tb", "a\0b", '"', '"a', "=1+1", "\x1b[31m", "\u202e",
         "test", "train", "training", "TEST", "x" * 70_000, "I01_99_99.png", "I01_01_01.png", ".", "..")  # fmt: skip


class Labels:
    """Cases of altered label files, each with its whole data set."""

    kind = "labels"

    def __init__(self, corpus: Path) -> None:
        self.sets = label_sets.layouts()

    def case(self, rng: random.Random) -> Case:
        """One label file of one set and one or two mutations of it."""
        name = rng.choice(list(self.sets))
        files, labels = self.sets[name]
        file = rng.choice(labels)
        content, words = files[file], []
        for _ in range(rng.choice((1, 1, 2))):
            content, word = _mutated(file, content, rng)
            words.append(word)
        describe = Step("mobileiqa.data", ("describe", name, INPUT))
        model = f"{SEEDS}/models/tiny.tflite"
        evaluate = Step(
            "mobileiqa.evaluate", (model, "--data", name, INPUT, "--split", "all", "--limit", "5")
        )
        return Case(
            self.kind,
            f"{name} {file}",
            "; ".join(words),
            {**files, file: content},
            file,
            (describe, evaluate),
        )


def _mutated(file: str, content: bytes, rng: random.Random) -> Mutation:
    if file.endswith(".json"):
        return mutated_json(content, rng)
    if file.endswith(".xlsx") and rng.random() < 0.8:
        return tried(_workbook, content, rng)
    if file.endswith(".mat") and rng.random() < 0.7:
        return _matlab(content, rng)
    if file.endswith((".csv", ".txt")) and rng.random() < 0.8:
        name = rng.choice(list(TEXTS))
        return tried(lambda text, rng: (TEXTS[name](text, rng), name), content, rng)
    return damage(content, rng)


def _workbook(content: bytes, rng: random.Random) -> Mutation:
    """One member of the archive: its XML altered, another in its place, or gone."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    files = {info.filename: archive.read(info) for info in archive.infolist()}
    sheet = "xl/worksheets/sheet1.xml"
    name = sheet if sheet in files and rng.random() < 0.6 else rng.choice(list(files))
    piece, word = files[name], rng.choice(("damaged", "a number", "gone", "another"))
    files.pop(name)
    if word == "damaged":
        files[name], word = damage(piece, rng)
    elif word == "a number":
        before = rng.choice((b"<v>", b"<t>", b'r="', b't="', b's="'))
        cell = rng.choice(CELLS[:12]).encode()
        files[name] = piece.replace(before, before + cell, rng.choice((1, 3, -1)))
    elif word == "another":
        files[name] = rng.choice(list(files.values()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return out.getvalue(), f"{name}: {word}"


def _matlab(content: bytes, rng: random.Random) -> Mutation:
    """A byte behind the header's text, where types, sizes and shapes are."""
    head, (rest, word) = content[:128], damage(content[128:], rng)
    return head + rest, f"behind the header: {word}"


def _cell(content: bytes, rng: random.Random) -> bytes:
    """One cell, of any line."""
    separator = b"," if b"," in content else b" "
    lines = content.split(b"\n")
    at = rng.randrange(max(len(lines) - 1, 1))
    cells = lines[at].split(separator)
    cells[rng.randrange(len(cells))] = rng.choice(CELLS).encode("utf-8", "surrogatepass")
    lines[at] = separator.join(cells)
    return b"\n".join(lines)


def _line(content: bytes, rng: random.Random) -> bytes:
    """A line gone, doubled, moved, longer or shorter."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    line = lines.pop(at)
    lines[at:at] = rng.choice(
        ([], [line, line], [line + b",1"], [line.rpartition(b",")[0]], [b""], [b",,,,"])
    )
    if rng.random() < 0.3:
        rng.shuffle(lines)
    return b"\n".join(lines)


def _separator(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b",", rng.choice((b";", b"\t", b"|", b" ", b", ", b"; ", b",,")))


def _endings(content: bytes, rng: random.Random) -> bytes:
    return content.replace(
        b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\0\n", b"\x0b", b"\xe2\x80\xa8", b""))
    )


def _encoding(content: bytes, rng: random.Random) -> bytes:
    name = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "utf-7"))
    return content.decode("utf-8", "replace").encode(name, "replace")


def _quotes(content: bytes, rng: random.Random) -> bytes:
    quote = rng.choice((b'"', b"'", b"\xe2\x80\x9d"))
    return (
        content.replace(b",", quote + b"," + quote)
        if rng.random() < 0.5
        else content.replace(b",", b"," + quote, 1)
    )


def _comma(content: bytes, rng: random.Random) -> bytes:
    """Decimal commas behind semicolons, as a European spreadsheet saves."""
    return content.replace(b",", b";").replace(b".", rng.choice((b",", b".")))


def _path(content: bytes, rng: random.Random) -> bytes:
    prefix = rng.choice((b".\\", b"./", b"../", b"/", b"images\\", b"C:\\", b"~/", b"file://", b" "))
    return content.replace(b"\n", b"\n" + prefix, rng.choice((1, 2, -1)))


def _damaged(content: bytes, rng: random.Random) -> bytes:
    return damage(content, rng)[0]


TEXTS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a cell": _cell, "a line": _line, "another separator": _separator, "other line endings": _endings,
    "another encoding": _encoding, "quotes": _quotes, "decimal commas": _comma, "another path": _path,
    "damage": _damaged,
}  # fmt: skip
