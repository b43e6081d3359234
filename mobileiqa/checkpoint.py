"""Checkpoints: our own format, and the published state dicts of all six models.

Own format: one .safetensors file whose header carries the ModelSpec as JSON, so that weights and
preprocessing cannot be separated; the same JSON is written beside it (PATH.json) for people. Published files
(.pt / .pth / .pkl) are recognised by their keys. Loading is strict (every key, every shape) and safe: no
pickled code is ever run.
"""

import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileiqa import cli
from mobileiqa import spec as specs
from mobileiqa.errors import UserError
from mobileiqa.integrity import sha256
from mobileiqa.keys import to_published
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, build, entry

if TYPE_CHECKING:
    import torch
    from torch import nn

HEADER_KEY = "mobileiqa"
PUBLISHED_SUFFIXES = (".pt", ".pth", ".pkl", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # training scripts nest the weights under these

# What torch's unpickler raises on files that are damaged or no pickles: it has no errors of its own.
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
           AssertionError, OverflowError, MemoryError, struct.error, zipfile.BadZipFile)  # fmt: skip


def save(path: Path | str, model: "nn.Module", spec: ModelSpec, *, force: bool = False) -> Path:
    """Writes model and spec as PATH (.safetensors) and PATH.json, atomically. Returns the path.

    Raises UserError for another suffix, an existing file without `force`, or weights that are not finite, and
    OSError where the file cannot be written, as on a full disk.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError("a path ending in .safetensors", str(path), "rename the output")
    cli.refuse_existing(path, force)
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise UserError("finite weights", f"NaN or infinity in {bad[0]}", "check the training run")
    with cli.atomic(path) as temporary:
        try:
            save_file(state, temporary, metadata={HEADER_KEY: json.dumps(spec.to_json())})
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
    cli.write_json(path.with_name(path.name + ".json"), {"spec": spec.to_json(), "sha256": sha256(path)})
    return path


def load(path: Path | str) -> "tuple[nn.Module, ModelSpec]":
    """The model (eval mode, float32, CPU) and the ModelSpec of a checkpoint file.

    Raises UserError, naming what was looked for and what was found, for anything that is not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            "a checkpoint file", f"{'a folder' if path.is_dir() else 'nothing'} at {path}", "correct the path"
        )
    if path.suffix == ".safetensors":
        return _load_own(path)
    if path.suffix in PUBLISHED_SUFFIXES:
        return _load_published(path)
    raise UserError(
        "a checkpoint: .safetensors (ours) or .pt, .pth, .pkl (published)",
        path.name,
        "name a checkpoint file; a .tflite file is run with mobileiqa.score --model",
    )


def load_spec(path: Path | str) -> ModelSpec:
    """The ModelSpec of a .safetensors checkpoint of ours; reads no tensors and imports no torch.

    Raises UserError for another file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="np") as file:
            return _spec(file.metadata() or {}, path)
    except (SafetensorError, OSError) as error:
        raise UserError("a whole safetensors file", f"{path}: {error}", "correct the path") from error


def _load_own(path: Path) -> "tuple[nn.Module, ModelSpec]":
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise UserError("a whole safetensors file", f"{path.name}: {error}", "copy the file again") from error
    spec = _spec(header, path)
    model = build(spec.name)
    _load_strictly(model, state, path)
    return model, spec


def _spec(header: Mapping[str, str], path: Path) -> ModelSpec:
    """The spec in a safetensors header."""
    if HEADER_KEY not in header:
        raise UserError(
            f"a {HEADER_KEY!r} entry in the header of {path.name}",
            f"header keys {sorted(header)}",
            "save it with mobileiqa.checkpoint.save, or load the published .pt file",
        )
    return specs.from_json(_json(header[HEADER_KEY], path))


def _json(text: str, path: Path) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"JSON in the header of {path.name}", str(error), "save the checkpoint again"
        ) from error


def _load_published(path: Path) -> "tuple[nn.Module, ModelSpec]":
    state = read_state_dict(path)
    name = recognise(state)
    if name is None:
        wanted = "; ".join(f"{n}: {', '.join(e.markers)}" for n, e in MODELS.items() if e.markers)
        found = ", ".join(sorted(state)[:4]) or "no tensors"
        raise UserError(
            f"the keys of one published model ({wanted})",
            f"{len(state)} keys in {path.name} ({found}, ...)",
            "check that this is the right file",
        )
    model = build(name)
    names = to_published(model.state_dict(), entry(name).prefixes())
    own = {published: key for key, published in names.items()}
    _load_strictly(model, {own.get(key, key): value for key, value in state.items()}, path, names)
    return model, _published_spec(name, path)


def read_state_dict(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors by key of a .pt / .pth / .pkl file, read without running code. UserError for another file."""
    return _unwrap(_read_pickle(path), path)


def _published_spec(name: str, path: Path) -> ModelSpec:
    import dataclasses

    spec = entry(name).spec
    return dataclasses.replace(
        spec, trained_on=f"published state dict {path.name} (data not recorded in the file)"
    )


def _read_pickle(path: Path) -> Any:
    """The file's content, by torch's weights-only unpickler: tensors and plain containers, no code."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what cannot be read is an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"a PyTorch state dict in {path.name}, loadable without running code",
            reason[0],
            "save it as a plain state dict: torch.save(model.state_dict(), path)",
        ) from error


def _unwrap(content: Any, path: Path) -> "dict[str, torch.Tensor]":
    """The flat state dict inside `content`: one level of nesting and a `module.` prefix are tolerated."""
    import torch

    if isinstance(content, Mapping):
        content = next((content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)), content)
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise UserError(
            f"a state dict (names to tensors) in {path.name}",
            f"a {type(content).__name__} of other things",
            "save it as torch.save(model.state_dict(), path)",
        )
    return {key.removeprefix("module."): value for key, value in content.items()}


def recognise(keys: "Mapping[str, Any]") -> str | None:
    """The name of the model whose published marker keys are all there, or None."""
    published = ((name, e.markers) for name, e in MODELS.items() if e.markers)
    return next((name for name, markers in published if all(m in keys for m in markers)), None)


def _load_strictly(
    model: "nn.Module",
    state: "Mapping[str, torch.Tensor]",
    path: Path,
    names: Mapping[str, str] | None = None,
) -> None:
    """Loads `state` into `model`; names keys as the file spells them (`names`: own -> in the file)."""
    wanted = model.state_dict()
    shown = names or {}
    problems = [f"missing {shown.get(k, k)}" for k in wanted if k not in state]
    problems += [f"unexpected {k}" for k in state if k not in wanted]
    problems += [
        f"{shown.get(k, k)} is {_described(state[k])}, wanted {_described(v)}"
        for k, v in wanted.items()
        if k in state and _described(state[k]) != _described(v)
    ]
    if problems:
        raise UserError(
            f"exactly the {len(wanted)} tensors of the model in {path.name}",
            f"{len(problems)} differences ({'; '.join(problems[:3])})",
            "check that this is the right file",
        )
    model.load_state_dict(state, strict=True)


def _described(tensor: "torch.Tensor") -> str:
    """Shape and kind; half and bfloat16 weights count as float: they are widened exactly."""
    return f"{tuple(tensor.shape)} {'float' if tensor.is_floating_point() else 'int'}"
