"""The one state dict inside what a training script saved: which of several, under which names; all values finite.

Scripts nest the weights (`state_dict`, `model`, `params`...), save an exponential moving average (EMA) or a
stochastic weight average (SWA) beside them, and leave their wrappers in the names: `module.` (DataParallel, DDP,
timm's and SWA's averages), `_orig_mod.` (torch.compile), `model.` (Lightning). Names are stripped of wrappers; which
weights to take is never guessed: with raw and averaged ones in a file, the user says which.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileiqa.errors import UserError
from mobileiqa.text import printable
from mobileiqa.typed_json import shortened

if TYPE_CHECKING:
    import torch


WEIGHTS = ("raw", "ema")  # which of a file's weights: as the optimiser left them, or averaged over steps

_AVERAGE = {"ema", "averaged", "average", "averaging", "avg", "swa", "shadow", "polyak"}
_AVERAGE_PREFIXES = {"ema", "ema_model", "model_ema", "averaged", "averaged_model", "swa_model", "shadow"}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WRAPPERS = {"_orig_mod", "module"}  # components of names, at any depth; no model here has such a part
_LEADING = ("model.", "net.", "network.")  # a Lightning module's own name for the network
_COUNTERS = {"n_averaged", "total_ops", "total_params"}  # SWA's, and thop's in every module
_SMALL = 10  # a group of fewer tensors than the largest one's count over this is no rival: a loss, a metric
_DEPTH = 8

Fits = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class StateDict:
    """Tensors by name without wrappers, and in words what was taken from the file; empty for a plain state dict."""

    tensors: "dict[str, torch.Tensor]"
    remark: str


@dataclass(frozen=True)
class _Group:
    """Tensors that lie together in a file, by name or (`tensors` a list) without names."""

    path: tuple[str, ...]
    tensors: Any
    averaged: bool

    def __str__(self) -> str:
        kind = "EMA weights" if self.averaged else "weights"
        return f"{kind} under {shortened(printable('.'.join(self.path)), 80)!r}" if self.path else kind


def select(content: Any, path: Path, weights: str | None, fits: Fits) -> StateDict:
    """The state dict in a file's `content`. weights: "raw", "ema", or None where the file leaves no choice.

    fits: whether tensors of such names are a known model's; it decides between groups, and about prefixes. Raises
    UserError, naming what there is, for no tensors, for several state dicts, and where two names become one.
    """
    if weights not in (None, *WEIGHTS):
        raise UserError(f"weights among {', '.join(WEIGHTS)}", repr(weights), "correct weights")
    groups = list(_rivals(content))
    group = _one(groups, path, weights, fits)
    if not isinstance(group.tensors, Mapping):
        raise UserError(
            f"a state dict (names to tensors) in {path.name}",
            f"{group} as a list of {len(group.tensors)}, without names",
            "save them by name, or take the others with --weights raw",
        )
    _check_entries(group, path)
    tensors, remarks = _without_wrappers(group.tensors, path, fits)
    others = [str(other) for other in groups if other is not group]
    parts = [*([str(group)] if group.path or group.averaged else []), *remarks]
    return StateDict(tensors, "; ".join([*parts, *([f"left out {', '.join(others[:4])}"] if others else [])]))


def check_finite(tensors: "Mapping[str, torch.Tensor]", path: Path) -> None:
    """Raises UserError with the first name whose values, as float32, are not all finite."""
    import torch

    for name, value in tensors.items():
        if not value.is_floating_point() or not value.numel():
            continue
        extremes = torch.stack(torch.aminmax(value.float()))  # NaN comes through; one pass, no mask
        if not torch.isfinite(extremes).all():
            bad = int((~torch.isfinite(value.float())).sum())
            raise UserError(
                f"finite weights in {path.name}",
                f"NaN or infinity in {shown(name)}, {bad} of its {value.numel()} values",
                "take a checkpoint from before the training diverged",
            )


def shown(name: str) -> str:
    """A tensor's name in an error: printable, and not too long."""
    return shortened(printable(name), 120)


def _rivals(content: Any) -> Iterator[_Group]:
    """The groups of tensors that may be a model's weights; {} counts as one, so that it is named as empty."""
    groups = list(_groups(content))
    largest = max((len(group.tensors) for group in groups), default=0)
    yield from (group for group in groups if len(group.tensors) * _SMALL >= largest)
    if not groups and isinstance(content, Mapping) and not content:
        yield _Group((), content, averaged=False)


def _groups(content: Any) -> Iterator[_Group]:
    """Every mapping or list that is mostly tensors, in the file's order."""
    swapped = isinstance(content, Mapping) and "averaging_state" in content  # Lightning's WeightAveraging
    seen: set[int] = set()
    stack: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while stack:
        path, value = stack.pop()
        if id(value) in seen or len(path) > _DEPTH or not isinstance(value, (Mapping, list, tuple)):
            continue
        seen.add(id(value))
        averaged = path == ("state_dict",) if swapped else any(map(_is_average, path))
        pairs = list(value.items() if isinstance(value, Mapping) else enumerate(value))
        if 0 < len(pairs) <= 2 * sum(_is_tensor(part) for _, part in pairs):
            yield from _by_prefix(_Group(path, value, averaged))
        else:
            stack += [((*path, str(key)), part) for key, part in reversed(pairs)]


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_average(name: str) -> bool:
    return any(word.lower() in _AVERAGE for word in _WORDS.findall(name))


def _by_prefix(group: _Group) -> Iterator[_Group]:
    """The group, or two where a part of its names begins with an average's, such as `ema_model.`."""
    if not isinstance(group.tensors, Mapping):
        yield group
        return
    parts: dict[str, dict[Any, Any]] = {"": {}}
    for key, value in group.tensors.items():
        first = str(key).partition(".")[0]
        parts.setdefault(first if first in _AVERAGE_PREFIXES else "", {})[key] = value
    for prefix, tensors in parts.items():
        averaged = group.averaged or bool(prefix) or "n_averaged" in map(_short, map(str, tensors))
        if tensors:
            cut = {str(k).removeprefix(f"{prefix}."): v for k, v in tensors.items()} if prefix else tensors
            yield _Group((*group.path, prefix) if prefix else group.path, cut, averaged)


def _one(groups: list[_Group], path: Path, weights: str | None, fits: Fits) -> _Group:
    """The group to take."""
    if not groups:
        raise UserError(
            f"a state dict (names to tensors) in {path.name}",
            "no tensors by name",
            "save it as torch.save(model.state_dict(), path)",
        )
    _check_choice(groups, path, weights)
    if weights is not None:
        groups = [group for group in groups if group.averaged == (weights == "ema")]
    if len(groups) > 1:
        groups = [group for group in groups if _fits(group, fits)] or groups
    if len(groups) > 1:
        raise UserError(
            f"one state dict in {path.name}",
            f"{len(groups)}: {', '.join(map(str, groups[:4]))}",
            "save the one that you want alone",
        )
    return groups[0]


def _check_choice(groups: list[_Group], path: Path, weights: str | None) -> None:
    """Raises UserError where `weights` has to be said, or asks for what is not there."""
    names = {kind: [str(g) for g in groups if g.averaged == (kind == "ema")] for kind in WEIGHTS}
    if weights is None and names["raw"] and names["ema"]:
        raise UserError(
            f"a word on which weights of {path.name} to take",
            f"{names['raw'][0]} and {names['ema'][0]}",
            "choose with --weights raw or --weights ema, or save the ones that you want alone",
        )
    if weights is not None and not names[weights]:
        raise UserError(f"{weights} weights in {path.name}", str(groups[0]), "leave --weights out")


def _fits(group: _Group, fits: Fits) -> bool:
    if not isinstance(group.tensors, Mapping):
        return False
    names = {_short(str(key)): None for key in group.tensors}
    return fits(names) or any(fits({key.removeprefix(prefix): None for key in names}) for prefix in _LEADING)


def _check_entries(group: _Group, path: Path) -> None:
    wrong = next(
        ((k, v) for k, v in group.tensors.items() if not isinstance(k, str) or not _is_tensor(v)), None
    )
    if wrong is not None:
        key, value = wrong
        raise UserError(
            f"a state dict (names to tensors) in {path.name}",
            f"{shortened(repr(key), 80)}, a {type(value).__name__}, among the tensors",
            "save it as torch.save(model.state_dict(), path)",
        )


def _short(key: str) -> str:
    """The name without wrappers; a name that is nothing else stays."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS) or key


def _without_wrappers(
    tensors: "Mapping[str, torch.Tensor]", path: Path, fits: Fits
) -> "tuple[dict[str, torch.Tensor], list[str]]":
    """The tensors by their names without wrappers, without counters; and what was done, in words."""
    names = {key: _short(key) for key in tensors if key.rpartition(".")[2] not in _COUNTERS}
    remarks = [f"{part}. taken off {sum(part in key.split('.') for key in names)} names"
               for part in sorted(_WRAPPERS) if any(part in key.split(".") for key in names)]  # fmt: skip
    for prefix in _leading(list(names.values()), fits):
        names = {key: name.removeprefix(prefix) for key, name in names.items()}
        remarks.append(f"{prefix} taken off the names")
    if counters := {key.rpartition(".")[2] for key in tensors if key not in names}:
        remarks.append(f"left out {len(tensors) - len(names)} counters ({', '.join(sorted(counters))})")
    origins: dict[str, str] = {}
    for key, name in names.items():
        if origins.setdefault(name, key) != key:
            raise UserError(
                f"one tensor for each name in {path.name}",
                f"both {shown(origins[name])} and {shown(key)}, which are one name without wrappers",
                "save the one that you want alone",
            )
    return {name: tensors[key] for name, key in origins.items()}, remarks


def _leading(names: list[str], fits: Fits) -> list[str]:
    """The prefixes to take off, outermost first."""
    prefixes: list[str] = []
    while len(prefixes) < _DEPTH and not fits(dict.fromkeys(names)):
        for prefix in _LEADING:
            shorter = [name.removeprefix(prefix) for name in names]
            shared = bool(names) and all(name.startswith(prefix) for name in names)
            if shared or (shorter != names and fits(dict.fromkeys(shorter))):
                prefixes.append(prefix)
                names = shorter
                break
        else:
            break
    return prefixes


def rename(key: str, prefixes: dict[str, str]) -> str | None:
    """`key` with its longest matching prefix replaced, or None when no prefix matches."""
    matching = [p for p in prefixes if key.startswith(p)]
    if not matching:
        return None
    longest = max(matching, key=len)
    return prefixes[longest] + key[len(longest) :]


def to_published(keys: Iterable[str], prefixes: dict[str, str]) -> dict[str, str]:
    """own key -> published key. Raises KeyError for a key that the table does not cover."""
    table = {key: rename(key, prefixes) for key in keys}
    uncovered = [key for key, name in table.items() if name is None]
    if uncovered:
        raise KeyError(f"no published name for {uncovered[:3]}")
    return {key: name for key, name in table.items() if name is not None}
