"""Checkpoints: safetensors headers and tensors, published state dicts as a pickle, a zip and Python objects.

With PATH.json beside it an altered file must be refused, and so must weights that are not finite.
"""

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.fuzz.case import INPUT, SEEDS, Case, Expectation, Step
from tools.fuzz.damage import Mutation, damage, number, tried
from tools.fuzz.json_text import mutated_json

FILES = ("tiny.safetensors", "tiny.pt", "tiny_legacy.pth")


class Checkpoints:
    """Cases of altered checkpoints."""

    kind = "checkpoints"

    def __init__(self, corpus: Path) -> None:
        models = corpus / "models"
        self.seeds = {name: (models / name).read_bytes() for name in FILES}
        self.beside = (models / "tiny.safetensors.json").read_bytes()
        self.state: dict[str, Any] | None = None

    def case(self, rng: random.Random) -> Case:
        """One checkpoint and a mutation of it."""
        name = rng.choices(FILES, (5, 4, 1))[0]
        content, text, refused = self._mutated(name, rng)
        files = {name: content}
        if name.endswith(".safetensors") and content != self.seeds[name] and rng.random() < 0.3:
            files[f"{name}.json"], refused = self.beside, True
        expectation = Expectation.REFUSED if refused else Expectation.ANY
        return Case(self.kind, name, text, files, name, _steps(name), expectation)

    def _mutated(self, name: str, rng: random.Random) -> tuple[bytes, str, bool]:
        """Content, words, and whether it must be refused."""
        seed = self.seeds[name]
        if rng.random() < 0.2:
            return (*damage(seed, rng, list(self.seeds.values())), False)
        if name.endswith(".safetensors"):
            if rng.random() < 0.15:
                return (*_not_finite(seed, rng), True)
            return (*tried(rng.choice((_header, _spec, _tensors)), seed, rng), False)
        if rng.random() < 0.5 and name.endswith(".pt"):
            return (*tried(_member, seed, rng), False)
        return self._objects(rng)

    def _objects(self, rng: random.Random) -> tuple[bytes, str, bool]:
        """A state dict with something else in it, saved by torch itself."""
        import torch

        state = torch.load(io.BytesIO(self.seeds["tiny.pt"]), weights_only=True)
        word = rng.choice(list(OBJECTS))
        content, refused = OBJECTS[word](dict(state), rng)
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=rng.random() < 0.8)
        return file.getvalue(), word, refused


def _steps(name: str) -> tuple[Step, ...]:
    path = f"{INPUT}/{name}"
    data = ("--data", "folder", f"{SEEDS}/sets/folder", "--split", "all", "--limit", "5")
    return (
        Step("mobileiqa.score", (f"{SEEDS}/photo.png", "--model", path, "--format", "json")),
        Step("mobileiqa.evaluate", (path, *data)),
        Step(
            "convert.parity",
            (path, f"{SEEDS}/models/tiny.tflite", "--images", f"{SEEDS}/photos", "--limit", "2"),
        ),
    )


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: bytes, data: bytes) -> bytes:
    """A safetensors file."""
    return struct.pack("<Q", len(header)) + header + data


def _header(content: bytes, rng: random.Random) -> Mutation:
    """The JSON in front: any value of it, or its length."""
    header, data = split(content)
    if rng.random() < 0.2:
        return struct.pack("<Q", number(rng) & (1 << 64) - 1) + content[8:], "another header length"
    text, word = mutated_json(json.dumps(header).encode(), rng)
    return joined(text, data), f"header: {word}"


def _spec(content: bytes, rng: random.Random) -> Mutation:
    """The spec, which is JSON inside a string of the header."""
    header, data = split(content)
    text, word = mutated_json(header["__metadata__"]["mobileiqa"].encode(), rng)
    header["__metadata__"]["mobileiqa"] = text.decode("utf-8", "replace")
    return joined(json.dumps(header).encode(), data), f"spec: {word}"


def _tensors(content: bytes, rng: random.Random) -> Mutation:
    """Names, shapes, types and places of the tensors."""
    header, data = split(content)
    name = rng.choice([key for key in header if key != "__metadata__"])
    word = rng.choice(("dtype", "shape", "offsets", "renamed", "module.", "doubled", "dropped"))
    if word == "dtype":
        header[name]["dtype"] = rng.choice(
            ("F64", "F16", "BF16", "I64", "I8", "BOOL", "U8", "F8_E4M3", "X", "")
        )
    elif word == "shape":
        header[name]["shape"] = rng.choice(
            ([], [0], [1], header[name]["shape"][::-1], [2**40], [-1], [1, *header[name]["shape"]])
        )
    elif word == "offsets":
        header[name]["data_offsets"][rng.randrange(2)] = number(rng)
    elif word == "doubled":
        header[f"module.{name}"] = header[name]
    else:
        entry = header.pop(name)
        header |= {} if word == "dropped" else {(f"module.{name}" if word == "module." else "x" * 300): entry}
    return joined(json.dumps(header).encode(), data), f"tensor {name}: {word}"


def _not_finite(content: bytes, rng: random.Random) -> Mutation:
    """NaN or infinity in one weight."""
    header, data = split(content)
    at = rng.randrange(len(data) // 4) * 4
    value = rng.choice((float("nan"), float("inf"), -float("inf")))
    return joined(
        json.dumps(header).encode(), data[:at] + struct.pack("<f", value) + data[at + 4 :]
    ), f"a weight is {value}"


def _member(content: bytes, rng: random.Random) -> Mutation:
    """A file inside the zip: the pickle's opcodes, a tensor's bytes, its name; or gone."""
    files = {info.filename: zipfile.ZipFile(io.BytesIO(content)).read(info) for info in _members(content)}
    name = (
        rng.choice(list(files))
        if rng.random() < 0.4
        else next(file for file in files if file.endswith("data.pkl"))
    )
    word = "gone" if rng.random() < 0.1 else "damaged"
    piece = files.pop(name)
    if word == "damaged":
        piece, word = damage(piece, rng, list(files.values()))
        files[name] = piece
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return out.getvalue(), f"{name.rpartition('/')[2]}: {word}"


def _members(content: bytes) -> list[zipfile.ZipInfo]:
    return zipfile.ZipFile(io.BytesIO(content)).infolist()


Objects = tuple[Any, bool]


def _nan(state: dict[str, Any], rng: random.Random) -> Objects:
    key = rng.choice(list(state))
    state[key] = state[key].clone()
    state[key].view(-1)[0] = rng.choice((float("nan"), float("inf")))
    return state, True


def _both(state: dict[str, Any], rng: random.Random) -> Objects:
    """Raw and averaged weights in one file."""
    first, second = rng.choice((("state_dict", "state_dict_ema"), ("model", "ema"), ("params", "params_ema")))
    return {first: state, second: {key: value + 1 for key, value in state.items()}}, True


def _nested(state: dict[str, Any], rng: random.Random) -> Objects:
    wrapper = rng.choice(("state_dict", "model", "net", "params", "x", "optimizer", "model_state"))
    return {wrapper: state, "epoch": 3, "best": float("nan")}, False


def _prefixed(state: dict[str, Any], rng: random.Random) -> Objects:
    prefix = rng.choice(("module.", "_orig_mod.", "module.module.", "model.", "module._orig_mod.", "net."))
    return {prefix + key: value for key, value in state.items()}, False


def _doubled(state: dict[str, Any], rng: random.Random) -> Objects:
    key = rng.choice(list(state))
    return {**state, f"module.{key}": state[key] + 1}, True


def _added(state: dict[str, Any], rng: random.Random) -> Objects:
    import torch

    zeros = torch.zeros(2, 2)
    values = (zeros, zeros.to_sparse(), zeros.to("meta"), zeros.bool(), zeros.to(torch.complex64), [1, 2], None, "text",
              1.5, {1: 2}, pickle.PROTO, b"\0")  # fmt: skip
    key = rng.choice(("total_ops", "n_averaged", "x", 7, None, ("a",), "", "\x1b[31m"))
    return {**state, key: rng.choice(values)}, False


def _replaced(state: dict[str, Any], rng: random.Random) -> Objects:
    import torch

    key = rng.choice(list(state))
    value = state[key]
    others = (value.double(), value.half(), value.to(torch.int32), value.to_sparse(), value.to("meta"), value[:0], key,
              value.unsqueeze(0), value.flatten(), value.tolist(), None, value.to(torch.complex64))  # fmt: skip
    return {**state, key: rng.choice(others)}, False


def _another(state: dict[str, Any], rng: random.Random) -> Objects:
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    return rng.choice(
        (
            deep,
            None,
            3,
            [],
            {},
            list(state.values()),
            {1: 2},
            set(state),
            "text",
            (state,),
            {"state_dict": None},
        )
    ), False


OBJECTS: dict[str, Callable[[dict[str, Any], random.Random], Objects]] = {
    "a weight that is not finite": _nan, "raw and averaged weights": _both, "nested": _nested, "prefixed": _prefixed,
    "a key twice": _doubled, "something added": _added, "a tensor replaced": _replaced, "another object": _another,
}  # fmt: skip
