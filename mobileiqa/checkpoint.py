"""Checkpoints: our own format, and the published state dicts of the models of the zoo.

Own format: one .safetensors file whose header carries the ModelSpec as JSON, so that weights and
preprocessing cannot be separated; the same JSON is written beside it (PATH.json), with the file's SHA-256, which is
checked on load. Published files (.pt, .pth, .ckpt, .pkl) are recognised by their keys; what training scripts leave
around them is taken off and said (checkpoint_files/state_dict.py). Loading is strict (every key, every shape, every
value finite) and safe: no pickled code is ever run (checkpoint_files/torch_file.py).
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileiqa import cli, typed_json
from mobileiqa import spec as specs
from mobileiqa.checkpoint_files import state_dict, torch_file
from mobileiqa.checkpoint_files.state_dict import StateDict, shown, to_published
from mobileiqa.errors import UserError
from mobileiqa.files.integrity import check_recorded, sha256
from mobileiqa.spec import Fit, InputSpec, ModelSpec
from mobileiqa.text import printable
from mobileiqa.typed_json import shortened
from mobileiqa.zoo import MODELS, build, entry, refuse_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

HEADER_KEY = "mobileiqa"
OWN_SUFFIX = ".safetensors"
PUBLISHED_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".bin", ".pt.tar", ".pth.tar")
OTHER_SUFFIXES = (".npz", ".h5", ".hdf5")  # of other frameworks


def save(path: Path | str, model: "nn.Module", spec: ModelSpec, *, force: bool = False) -> Path:
    """Writes model and spec as PATH (.safetensors) and PATH.json, atomically. Returns the path.

    Raises UserError for another suffix, an existing file without `force`, or weights that are not finite, and
    OSError where the file cannot be written, as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise UserError("a path ending in .safetensors", str(path), "rename the output")
    cli.refuse_existing(path, force)
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    state_dict.check_finite(state, path)
    with cli.atomic(path) as temporary:
        try:
            save_file(state, temporary, metadata={HEADER_KEY: json.dumps(spec.to_json())})
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        sidecar_path(path).unlink(missing_ok=True)  # it would refuse the new file
    cli.write_json(sidecar_path(path), {"spec": spec.to_json(), "sha256": sha256(path)})
    return path


def load(path: Path | str, weights: str | None = None) -> "tuple[nn.Module, ModelSpec]":
    """The model (eval mode, float32, CPU) and the ModelSpec of a checkpoint file.

    weights: "raw" or "ema", for a published file that has both. What was taken from such a file, and what was taken
    off its names, is said on stderr. Raises UserError, naming what was looked for and what was found, for anything
    that is not a checkpoint, holds a value that is not finite, or is not the file that its sidecar describes.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        raise UserError("a checkpoint file", f"a vision-language model's folder at {path}", _PROMPTS_TODO)
    if not path.is_file():
        raise UserError(
            "a checkpoint file", f"{'a folder' if path.is_dir() else 'nothing'} at {path}", "correct the path"
        )
    name = path.name.lower()
    if name.endswith(OWN_SUFFIX):
        if weights is not None:
            raise UserError(
                "a file with raw and EMA weights for --weights",
                f"{path.name}, which has one set",
                "leave it out",
            )
        return _load_own(path)
    if name.endswith(PUBLISHED_SUFFIXES):
        return _load_published(path, weights)
    if name.endswith(OTHER_SUFFIXES):
        refuse_weights(weights, path.name)
        return _load_other_framework(path)
    raise UserError(
        "a checkpoint: .safetensors (ours) or .pt, .pth, .ckpt, .pkl, .npz, .h5 (published)",
        path.name,
        "name a checkpoint file; a .tflite file is run with mobileiqa.score --model",
    )


# Keys of the public code's prompters, and of ours: mobileiqa.models.visual_prompts.
_PROMPTS = ({"pad_up", "pad_down", "pad_left", "pad_right"}, {"patch"}, {"prompt"})
_PROMPTS_TODO = (
    "tune and test it with python -m mobileiqa.prompts on a computer: the published one has 7 billion parameters, "
    "which no phone holds"
)


def _refuse_prompt(keys: Iterable[str], path: Path) -> None:
    """Raises UserError for a visual prompt, which is no model by itself."""
    if set(keys) in _PROMPTS:
        raise UserError(
            "the weights of a whole model",
            f"a visual prompt in {path.name}, without the vision-language model that it is for",
            _PROMPTS_TODO,
        )


def load_spec(path: Path | str) -> ModelSpec:
    """The ModelSpec of a .safetensors checkpoint of ours; reads no tensors and imports no torch.

    Raises UserError for another file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with path.open("rb"):  # safe_open calls whatever keeps it from reading "no such file"
            pass
        with safe_open(path, framework="np") as file:
            _refuse_prompt(file.keys(), path)
            return _spec(file.metadata() or {}, path)
    except PermissionError:
        raise
    except (SafetensorError, OSError) as error:
        raise UserError("a whole safetensors file", f"{path}: {error}", "correct the path") from error


def read_safetensors(path: Path) -> "tuple[dict[str, str], dict[str, torch.Tensor]]":
    """The header's metadata and the tensors of any .safetensors file. UserError for a damaged one."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb"):  # safe_open calls whatever keeps it from reading "no such file"
        pass
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
        reason = f"{path.name}: {shortened(str(error))}"
        raise UserError("a whole safetensors file", reason, "copy the file again") from error


def sidecar_path(path: Path) -> Path:
    """PATH.json beside a checkpoint of ours."""
    return path.with_name(path.name + ".json")


def _load_own(path: Path) -> "tuple[nn.Module, ModelSpec]":
    header, state = read_safetensors(path)
    _refuse_prompt(state, path)
    spec = _spec(header, path)
    _check_inputs(spec, path)
    model = build(spec.name)
    _load_strictly(model, state, path)
    return model, spec


def _check_inputs(spec: ModelSpec, path: Path) -> None:
    """Raises UserError where the model cannot take the spec's inputs: other names, kinds, or another fixed size."""
    known = entry(spec.name).spec
    if known.takes_reference and any(each.of_reference for each in spec.inputs):
        known = known.with_reference()
    names = [each.name for each in known.inputs]
    if [each.name for each in spec.inputs] != names:
        inputs = ", ".join(each.name for each in spec.inputs)
        raise UserError(
            f"the inputs {', '.join(names)} of {spec.name} in {path.name}",
            inputs,
            "save the checkpoint again",
        )
    for stored, own in zip(spec.inputs, known.inputs, strict=True):
        if not _fits(stored, own):
            size = f"{own.width_px}x{own.height_px}"
            kind = f"crops of {size}" if own.fit is Fit.RANDOM_CROPS else f"{own.fit} of {size}"
            raise UserError(
                f"{kind}, which {spec.name} is made for, in {path.name}",
                f"{stored.fit} of {stored.width_px}x{stored.height_px}",
                "save the checkpoint again",
            )


def _fits(stored: InputSpec, own: InputSpec) -> bool:
    """Whether a model whose input is `own` can take what `stored` makes of an image."""
    tokens = [(i.fit is Fit.MULTI_SCALE, len(i.scales_px), i.of_reference) for i in (stored, own)]
    sizes = [(i.height_px, i.width_px) for i in (stored, own)]
    fixed = own.fixed_size or own.fit is Fit.RANDOM_CROPS
    return tokens[0] == tokens[1] and (not fixed or sizes[0] == sizes[1])


def _spec(header: Mapping[str, str], path: Path) -> ModelSpec:
    """The spec in a safetensors header, checked against the sidecar, as the whole file is, where there is one."""
    if HEADER_KEY not in header:
        raise UserError(
            f"a {HEADER_KEY!r} entry in the header of {path.name}",
            f"header keys {shortened(str(sorted(header)))}",
            "save it with mobileiqa.checkpoint.save, or load the published .pt file",
        )
    todo = "save the checkpoint again"
    source = f"the header of {path.name}"
    spec = specs.from_json(typed_json.parse(header[HEADER_KEY], source, todo), source)
    _check_sidecar(path, spec)
    return spec


def _check_sidecar(path: Path, spec: ModelSpec) -> None:
    """Raises UserError where PATH.json is no sidecar of ours, or describes another file or another spec."""
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return
    todo = f"copy both files again, or move {sidecar.name} away if it is not of this checkpoint"
    content = typed_json.parse_object(typed_json.content_of(sidecar), sidecar.name, todo)
    recorded = content.get("sha256")
    if not isinstance(recorded, str):
        raise UserError(f'the checkpoint\'s "sha256" in {sidecar.name}', "none", todo)
    check_recorded(path, recorded, sidecar.name, todo)
    if specs.from_json(content.get("spec"), sidecar.name) != spec:
        raise UserError(f"the spec of {path.name} in {sidecar.name}", "another one", todo)


def _load_published(path: Path, weights: str | None) -> "tuple[nn.Module, ModelSpec]":
    content = read_state_dict(path, weights)
    state = content.tensors
    name = recognise(state)
    _refuse_prompt(state, path)
    if name is None:
        published = ", ".join(n for n, e in MODELS.items() if e.markers)
        keys = ", ".join(map(shown, sorted(state)[:3])) or "no tensors"
        raise UserError(
            f"the weights of one published model ({published}), by their published keys, in {path.name}",
            f"{len(state)} keys ({keys}, ...)",
            "check that this is the right file",
        )
    return _loaded(name, state, path, content.remark)


def _load_other_framework(path: Path) -> "tuple[nn.Module, ModelSpec]":
    """Google's MUSIQ as numpy arrays, or KonCept512 as Keras wrote it."""
    if path.suffix.lower() == ".npz":
        from mobileiqa.models.musiq_npz import from_npz

        state = from_npz(path)
        return _loaded("musiq-ava-google" if "head.0.weight" in state else "musiq-google", state, path, "JAX")
    from mobileiqa.models.koncept512 import from_keras

    return _loaded("koncept512", from_keras(path), path, "Keras")


def _loaded(
    name: str, state: "Mapping[str, torch.Tensor]", path: Path, remark: str
) -> "tuple[nn.Module, ModelSpec]":
    """The model `name` with a state dict of published names."""
    model = build(name)
    names = to_published(model.state_dict(), entry(name).prefixes())
    own = {published: key for key, published in names.items()}
    _load_strictly(model, {own.get(key, key): value for key, value in state.items()}, path, names)
    return model, _published_spec(name, path, remark)


def read_state_dict(path: Path, weights: str | None = None) -> StateDict:
    """The tensors by key of a published file, read without running code; says what was taken from it.

    Raises UserError for another file, and as `load` does.
    """
    content = state_dict.select(
        torch_file.read(path), path, weights, lambda keys: recognise(keys) is not None
    )
    if content.remark:
        cli.note(f"{printable(path.name)}: {content.remark}")
    return content


def _published_spec(name: str, path: Path, remark: str) -> ModelSpec:
    taken = f"; {remark}" if remark else ""
    file = shortened(printable(path.name), 200)
    trained_on = f"published state dict {file} (data not recorded in the file{taken})"
    return dataclasses.replace(entry(name).spec, trained_on=trained_on)


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
    import torch

    expected = model.state_dict()
    names = {key: shown((names or {}).get(key, key)) for key in {**state, **expected}}
    problems = [f"missing {names[k]}" for k in expected if k not in state]
    problems += [f"unexpected {names[k]}" for k in state if k not in expected]
    problems += [
        f"{names[k]} is {_described(state[k])}, wanted {_described(v)}"
        for k, v in expected.items()
        if k in state and _described(state[k]) != _described(v)
    ]
    problems += [
        f"{names[k]} is another table of places"
        for k, v in expected.items()
        if k.endswith("relative_position_index") and k in state and not torch.equal(v, state[k].to(v.dtype))
    ]
    if problems:
        raise UserError(
            f"exactly the {len(expected)} tensors of the model in {path.name}",
            f"{len(problems)} differences ({'; '.join(problems[:3])})",
            "check that this is the right file",
        )
    state_dict.check_finite({names[key]: state[key] for key in expected}, path)
    model.load_state_dict(state, strict=True)


def _described(tensor: "torch.Tensor") -> str:
    """Shape and kind; half and bfloat16 weights count as float: they are widened exactly."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_floating_point():
        kind = "float"
    elif kind.startswith(("int", "uint")):
        kind = "int"
    return f"{shortened(str(tuple(tensor.shape)), 80)} {kind}"
