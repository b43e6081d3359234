"""Converted files: objects of the flatbuffer, offsets, vtables, vector lengths; checksums left wrong or set right.

A file with embedded preprocessing whose checksum was not written again, and a file altered after its sidecar, must be
refused by whatever would believe a score of it.
"""

import hashlib
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tools.fuzz.case import INPUT, OUTPUT, SEEDS, Case, Expectation, Step
from tools.fuzz.damage import Mutation, damage, number, place, put, tried
from tools.fuzz.json_text import mutated_json

MARK = b"SHA-256 of this file with the 32 bytes after the colon zero:"
DIGEST_BYTES = 32
# How often each is the seed: small files are tried ten times as fast.
WEIGHTS = {"tiny": 40, "plain": 15, "tiny_camera": 30, "reference": 5, "reference_camera": 10}
TEXTS = (b"", b"\0", b"mobileiqa", b"score", b"image", b"\x1b[31m", b"a; touch X; : #", b"\xff\xfe", b"x" * 5000,
         b"$(id)", b"serving_default", b"\\u000a", b"CONV_2D", b"FlexErf")  # fmt: skip
_LAYOUTS = ("<B", "<H", "<I", "<I", "<I", "<Q")


class Flatbuffers:
    """Cases of altered .tflite files."""

    kind = "flatbuffers"

    def __init__(self, corpus: Path) -> None:
        models = corpus / "models"
        self.seeds = {name: (models / f"{name}.tflite").read_bytes() for name in WEIGHTS}
        self.beside = {name: (models / f"{name}.tflite.json").read_bytes() for name in WEIGHTS}

    def case(self, rng: random.Random) -> Case:
        """One file and one to three mutations of it, in one of the ways in which files are found."""
        name = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        seed = content = self.seeds[name]
        words = []
        while content == seed:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                content, text = self._mutated(content, rng)
                words.append(text)
        camera, files = name.endswith("_camera"), {}
        refused = camera
        if camera and rng.random() < 0.5:
            content, refused = resealed(content), False
            words.append("checksum written again")
        if name == "plain" or rng.random() < 0.1:
            files[f"{name}.tflite.json"] = self.beside[name]
            refused = True
        expectation = Expectation.REFUSED if refused else Expectation.ANY
        file = f"{name}.tflite"
        return Case(
            self.kind, name, "; ".join(words), {file: content, **files}, file, steps(file), expectation
        )

    def _mutated(self, content: bytes, rng: random.Random) -> Mutation:
        way = rng.random()
        if way < 0.5:
            return tried(_object, content, rng)
        if way < 0.75:
            return tried(_offset, content, rng)
        if way < 0.85:
            return tried(_metadata, content, rng)
        return damage(content, rng, list(self.seeds.values()))


def steps(file: str) -> tuple[Step, ...]:
    """Every command that opens a .tflite file without a phone."""
    path = f"{INPUT}/{file}"
    scored = ("--images", f"{SEEDS}/photos", "--limit", "2") if file == "tiny.tflite" else ()  # it is FP32
    return (
        Step("mobileiqa.score", (f"{SEEDS}/photo.png", "--model", path, "--format", "json")),
        Step("convert.inspect", (path,)),
        Step("convert.selftest", (path,)),
        Step("convert.package", (path, "--out", f"{OUTPUT}/camera.tflite")),
        Step("convert.report.__main__", (path, "--out", f"{OUTPUT}/report.html", *scored)),
    )


def resealed(content: bytes) -> bytes:
    """The content with the checksum that it now has, where the mark of one is still there."""
    at = content.find(MARK) + len(MARK)
    if at < len(MARK) or at + DIGEST_BYTES > len(content):
        return content
    empty = content[:at] + bytes(DIGEST_BYTES) + content[at + DIGEST_BYTES :]
    return content[:at] + hashlib.sha256(empty).digest() + content[at + DIGEST_BYTES :]


def unpacked(content: bytes) -> Any:
    """The file in object form."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def packed(model: Any) -> bytes:
    """The bytes of a file in object form."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _object(content: bytes, rng: random.Random) -> Mutation:
    """One field of one table, by its type."""
    model = unpacked(content)
    graph = rng.choice(model.subgraphs)
    groups = {
        "operator code": model.operatorCodes, "tensor": graph.tensors, "operator": graph.operators, "graph": [graph],
        "signature": model.signatureDefs, "metadata": model.metadata, "buffer": model.buffers, "model": [model],
    }  # fmt: skip
    group = rng.choice([name for name, each in groups.items() if each])
    target = rng.choice(groups[group])
    nested = [
        target,
        *(value for value in vars(target).values() if type(value).__module__ == type(model).__module__),
    ]
    target = rng.choice(nested)
    field = rng.choice(list(vars(target)))
    before = getattr(target, field)
    setattr(target, field, _other_value(before, rng))
    return packed(model), f"{group}: {type(target).__name__}.{field} from {str(before)[:60]}"


def _other_value(value: Any, rng: random.Random) -> Any:
    """Something of nearly the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | np.integer):
        return rng.choice(
            (0, 1, 2, 3, 5, 9, 17, 31, 100, 127, -1, int(value) + 1, int(value) - 1, 0x7FFF, 0x7FFFFFFF)
        )
    if isinstance(value, float | np.floating):
        return rng.choice((float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e38, float(value) * 2))
    if isinstance(value, bytes | str):
        return rng.choice(TEXTS)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.size > 64:
        return _other_bytes(value, rng)
    if isinstance(value, list | np.ndarray) and len(value):
        return _other_list(list(value), rng)
    return None if value is not None else rng.choice((None, [0], [rng.randrange(9)] * rng.randrange(1, 6)))


def _other_bytes(value: np.ndarray, rng: random.Random) -> np.ndarray:
    """A constant's bytes: fewer, more, zeros, NaN or noise."""
    word = rng.choice(("fewer", "more", "zero", "noise", "ones"))
    if word in ("fewer", "more"):
        return np.resize(value, rng.randrange(1, value.size) if word == "fewer" else value.size * 2)
    changed, at = value.copy(), place(value.size, rng)
    filler = {"zero": bytes(16), "noise": rng.randbytes(16), "ones": b"\xff" * 16}[word]
    part = changed[at : at + 16]
    part[:] = np.frombuffer(filler, np.uint8)[: part.size]
    return changed


def _other_list(value: list[Any], rng: random.Random) -> list[Any]:
    at = rng.randrange(len(value))
    word = rng.choice(("element", "element", "element", "dropped", "doubled", "swapped", "emptied"))
    if word == "element" and isinstance(value[at], int | float | np.number | bytes):
        value[at] = _other_value(value[at], rng)
    elif word == "doubled":
        value.insert(at, value[at])
    elif word == "swapped":
        other = rng.randrange(len(value))
        value[at], value[other] = value[other], value[at]
    else:
        value = [] if word == "emptied" else value[:at] + value[at + 1 :]
    return value


def _offset(content: bytes, rng: random.Random) -> Mutation:
    """A table's offset to its vtable, an entry of the vtable, a field behind it, or a vector's length."""
    table, name = rng.choice(list(_tables(content)))
    (back,) = struct.unpack_from("<i", content, table)
    vtable = table - back
    size, _ = struct.unpack_from("<HH", content, vtable)
    word = rng.choice(("table's vtable", "vtable entry", "field", "field", "vector length", "vtable size"))
    if word == "table's vtable":
        return put(content, table, "<I", number(rng)), f"{name}: {word}"
    if word == "vtable size":
        return put(content, vtable + rng.choice((0, 2)), "<H", number(rng)), f"{name}: {word}"
    entry = vtable + 4 + 2 * rng.randrange(max((size - 4) // 2, 1))
    if word == "vtable entry":
        return put(
            content, entry, "<H", rng.choice((0, 2, 4, 6, 8, 12, 100, 0x7FFF, 0xFFFF))
        ), f"{name}: {word}"
    field = table + struct.unpack_from("<H", content, entry)[0]
    if word == "vector length":
        field += struct.unpack_from("<I", content, field)[0]
    return put(content, field, rng.choice(_LAYOUTS), number(rng)), f"{name}: {word} at byte {field}"


def _tables(content: bytes) -> Iterator[tuple[int, str]]:
    """(place, name) of the tables that a reader visits; the first operators and tensors of each graph."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    yield model._tab.Pos, "Model"
    parts = {
        "OperatorCodes": model,
        "Subgraphs": model,
        "Buffers": model,
        "Metadata": model,
        "SignatureDefs": model,
    }
    for index in range(min(model.SubgraphsLength(), 4)):
        graph = model.Subgraphs(index)
        yield from _vector(graph, "Tensors")
        yield from _vector(graph, "Operators")
    for name, owner in parts.items():
        yield from _vector(owner, name)


def _vector(owner: Any, name: str) -> Iterator[tuple[int, str]]:
    for index in range(min(getattr(owner, f"{name}Length")(), 40)):
        yield getattr(owner, name)(index)._tab.Pos, f"{name}[{index}]"


def _metadata(content: bytes, rng: random.Random) -> Mutation:
    """A metadata entry that holds JSON, altered as json_text.py alters files."""
    model = unpacked(content)
    entries = {entry.name: entry.buffer for entry in model.metadata}
    texts = {
        name: bytes(model.buffers[at].data)
        for name, at in entries.items()
        if model.buffers[at].data is not None
    }
    name = rng.choice([name for name, text in texts.items() if text.startswith(b"{")])
    text, word = mutated_json(texts[name], rng)
    model.buffers[entries[name]].data = np.frombuffer(text, np.uint8)
    return packed(model), f"entry {name.decode(errors='replace')}: {word}"
