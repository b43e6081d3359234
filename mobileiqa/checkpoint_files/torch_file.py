"""The content of a .pt, .pth, .ckpt or .pkl file: tensors in plain containers, and nothing else.

torch's weights-only unpickler runs no code, yet a crafted file can still make it reserve memory without end, or read
behind a record's end; and what it refuses, it refuses in words cut short. So the pickle inside is first walked with
stand-ins for everything that it names: nothing of the file is called, and an object that is neither a tensor nor a
plain container is named with its place. Only then torch reads the file.
"""

import io
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mobileiqa.errors import UserError
from mobileiqa.text import printable
from mobileiqa.typed_json import shortened

MAX_PICKLE = 16 << 20  # bytes of the pickle itself, which holds names and shapes; weights lie beside it
MAX_INFLATION = 2  # times a file's size: torch.save does not compress

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch's format before zip archives
_SAVE_ALONE = "save the weights alone: torch.save(model.state_dict(), path)"
_ITEM_BYTES = {
    "BFloat16Storage": 2, "BoolStorage": 1, "ByteStorage": 1, "CharStorage": 1, "ComplexDoubleStorage": 16,
    "ComplexFloatStorage": 8, "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "IntStorage": 4,
    "LongStorage": 8, "QInt32Storage": 4, "QInt8Storage": 1, "QUInt8Storage": 1, "ShortStorage": 2, "UntypedStorage": 1,
}  # fmt: skip
_KINDS = {
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_meta_tensor_no_storage": "a meta tensor, which has no values",
    "_rebuild_qtensor": "a quantized tensor",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_wrapper_subclass": "a tensor subclass",
}
_NUMPY = {"f2": "float16", "f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64", "b1": "bool"}
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # as pickles up to protocol 2 have them
_PLAIN = ("torch.Size", "torch.device", "_codecs.encode", "builtins.complex")
_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it: git lfs pull"),
    (b"<!DOCTYPE", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"\x89HDF", "an HDF5 file", "convert it with the framework that wrote it"),
)
# What the unpicklers raise on open files that are damaged or no pickles: they have no errors of their own.
_DAMAGE = (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError,
           AssertionError, OverflowError, MemoryError, struct.error, zipfile.BadZipFile)  # fmt: skip


def read(path: Path) -> Any:
    """The file's content, read without running code. Raises UserError for anything that is not plain tensors."""
    import warnings

    import torch

    _check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what cannot be read is an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise _refused(path, _sentence(error)) from error


def _refused(path: Path, reason: str, todo: str = "copy the file again, or " + _SAVE_ALONE) -> UserError:
    name = printable(path.name)
    return UserError(
        f"a PyTorch state dict in {name}, loadable without running code", shortened(printable(reason)), todo
    )


def _sentence(error: BaseException) -> str:
    """What went wrong, without torch's advice on how to load unsafely."""
    text = str(error).strip()
    inner = re.search("WeightsUnpickler error: (.+)", text)
    reason = inner[1] if inner else text.partition("\n")[0].partition(". ")[0]
    if not reason or reason.startswith("Weights only"):
        reason = type(error).__name__
    return f"a truncated or damaged file ({reason})"


def _check(path: Path) -> None:
    """Raises UserError for a file of another kind, a damaged one, and one that holds other objects."""
    with path.open("rb") as file:
        start = file.read(512)
        if reason := _other_kind(path, start):
            raise _refused(path, *reason)
        try:
            content = _zip_content(path) if start.startswith(b"PK\x03\x04") else _legacy_content(file, path)
        except _DAMAGE as error:
            if isinstance(error, UserError):
                raise
            raise _refused(path, _sentence(error)) from error
    if objects := list(_foreign(content)):
        place, label = objects[0]
        more = f", and {len(objects) - 1} more objects" if len(objects) > 1 else ""
        raise _refused(path, f"{label} {place}{more}", _SAVE_ALONE)


def _other_kind(path: Path, start: bytes) -> tuple[str, str] | None:
    """What the file is instead, and what to do, by its first bytes."""
    if not start:
        return "an empty file", "copy it again"
    for beginning, what, todo in _BEGINNINGS:
        if start.startswith(beginning):
            return what, todo
    if start[4:8] == b"TFL3":
        return "a TFLite file", "rename it to .tflite, and score with it"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "a safetensors file", "rename it to .safetensors"
    if start[257:262] == b"ustar" or tarfile.is_tarfile(path):
        return "torch's tar format of 2016", "load it with the torch that wrote it, and " + _SAVE_ALONE
    return None


def _zip_content(path: Path) -> Any:
    """The stand-ins of an archive's pickle. Raises UserError for another archive or a bomb."""
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if len(sizes) != len(archive.infolist()):
            raise ValueError("two records of one name")
        if sum(sizes.values()) > MAX_INFLATION * path.stat().st_size + MAX_PICKLE:
            raise ValueError(f"{sum(sizes.values()):,} bytes unpacked from {path.stat().st_size:,}")
        if any(name.endswith("/constants.pkl") for name in sizes):
            raise _refused(path, "a TorchScript archive, which is a program", _SAVE_ALONE)
        pickles = [name for name in sizes if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("a zip archive that torch.save did not write")
        if sizes[pickles[0]] > MAX_PICKLE:
            reason = f"{sizes[pickles[0]]:,} bytes of other objects than tensors, numpy arrays perhaps"
            raise _refused(path, reason, _SAVE_ALONE)
        folder = pickles[0].removesuffix("data.pkl")

        def check(key: str, nbytes: int) -> None:
            if sizes.get(f"{folder}data/{key}") != nbytes:
                raise ValueError(f"a record of {sizes.get(f'{folder}data/{key}', 0):,} bytes for {nbytes:,}")

        with archive.open(pickles[0]) as record:
            return _Walk(io.BytesIO(record.read(MAX_PICKLE)), check).load()


def _legacy_content(file: Any, path: Path) -> Any:
    """The stand-ins of a file from before the zip format, or of a plain pickle, which holds no tensors."""
    file.seek(0)
    stream, sizes = io.BytesIO(file.read(MAX_PICKLE)), dict[str, int]()

    def check(key: str, nbytes: int) -> None:
        sizes[key] = nbytes
        if sum(sizes.values()) > path.stat().st_size:
            raise ValueError(f"storages of {sum(sizes.values()):,} bytes in {path.stat().st_size:,}")

    first = _Walk(stream, check).load()
    if first != _MAGIC or isinstance(first, bool):
        return first
    for _ in ("protocol", "system"):
        _Walk(stream, check).load()
    return _Walk(stream, check).load()


class _Dict(dict):  # type: ignore[type-arg]
    """Stands for an OrderedDict; its attributes are ignored, as load_state_dict ignores them here."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Tensor:
    """Stands for a tensor, and for what else is plain: a shape, a device, a dtype, a storage's type."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Foreign:
    """Stands for any other object. It takes whatever the pickle does to it, and does nothing."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name, self.arguments = name, arguments

    def __call__(self, *arguments: Any) -> "_Foreign":
        return _Foreign(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Does nothing."""

    def extend(self, values: Any) -> None:
        """Does nothing."""

    @property
    def label(self) -> str:
        """The type's name as people know it: numpy.float64 for what numpy pickles as multiarray.scalar."""
        module, _, name = self.name.rpartition(".")
        if name in _KINDS:
            return _KINDS[name]
        if module.startswith("numpy") and name == "_reconstruct":
            return "numpy.ndarray"
        if module.startswith("numpy") and name == "scalar" and self.arguments:
            kind = getattr(self.arguments[0], "arguments", ("",))[:1]
            return f"numpy.{_NUMPY.get(str(kind[0]) if kind else '', 'generic')}"
        if self.name == "copyreg._reconstructor" and self.arguments:
            return getattr(self.arguments[0], "name", self.name)
        return self.name


class _Walk(pickle._Unpickler):  # type: ignore[name-defined] # the one in Python: its memo is no array to blow up
    """Unpickles into stand-ins. `check(key, nbytes)` hears of every storage."""

    # Without two opcodes that reserve memory by a number in the file; torch writes neither.
    dispatch: ClassVar[dict[int, Any]] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()  # type: ignore[attr-defined]
        if code not in (pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0])
    }

    def __init__(self, stream: io.BytesIO, check: Callable[[str, int], None]) -> None:
        super().__init__(stream, encoding="utf-8")
        self.check = check

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for whatever the file names; nothing is imported."""
        full = f"{_RENAMED.get(module, module)}.{name}"
        if full in ("collections.OrderedDict", "collections.Counter"):
            return _Dict
        if (module == "torch" and name in _ITEM_BYTES) or full == "torch.storage.UntypedStorage":
            return type(name, (_Tensor,), {})
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _Tensor
        if full in _PLAIN or (module == "torch" and name.islower() and "." not in name):  # a dtype
            return _Tensor
        if full in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return _first
        if full == "torch._tensor._rebuild_from_type_v2":
            return lambda rebuild, _type, arguments, _state: rebuild(*arguments)
        return _list if full == "builtins.set" else _Foreign(full)

    def load_newobj(self) -> None:
        """An object made by its class's __new__: a stand-in is called instead."""
        arguments = self.stack.pop()
        self.stack[-1] = self.stack[-1](*arguments)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def persistent_load(self, pid: Any) -> Any:
        """A storage's stand-in, its size compared with what the file has."""
        _, kind, key, _, items = pid[:5]
        if type(items) is not int or items < 0 or not isinstance(key, str):
            raise ValueError("a storage without a size")
        self.check(key, items * _ITEM_BYTES[kind.__name__])
        return _Tensor()


def _first(value: Any, *_: Any) -> Any:
    return value


def _list(*values: Any) -> list[Any]:
    return list(*values)


def _foreign(content: Any) -> Iterator[tuple[str, str]]:
    """(place, label) of every object that is not plain, as the file orders them."""
    seen: set[int] = set()
    objects: list[tuple[tuple[str, ...], bool, str]] = []
    stack: list[tuple[tuple[str, ...], Any, bool]] = [((), content, False)]
    tensors = False
    while stack:
        path, value, among = stack.pop()
        tensors |= isinstance(value, _Tensor)
        if isinstance(value, _Foreign):
            objects.append((path, among, value.label))
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            pairs = list(value.items() if isinstance(value, Mapping) else enumerate(value))
            weights = any(isinstance(part, _Tensor) for _, part in pairs)
            for key, part in reversed(pairs):
                keys = [key] if isinstance(key, _Foreign) else []
                stack += [((*path, shortened(str(key), 80)), each, weights) for each in (part, *keys)]
    for path, among, label in objects:
        beside = "among the weights, " if among else "beside the weights, " if tensors else ""
        yield f"{beside}as {'.'.join(path)!r}" if path else "as the whole file", label
