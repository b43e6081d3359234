"""Google's MUSIQ weights (google-research/musiq, Apache-2.0): an .npz file of flax's arrays, read without pickle.

    opt/target/conv_root/kernel                                                  (7, 7, 3, 64)
    opt/target/block1/unit1/conv1/kernel                                         (1, 1, 64, 64)
    opt/target/Transformer/posembed_input/pos_embedding                          (1, 100, 384)
    opt/target/Transformer/encoderblock_0/LayerNorm_0/scale                      (384)
    opt/target/Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel    (384, 6, 64)
    opt/target/Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel              (384, 1152)
    opt/target/head/kernel                                                       (384, 1), or (384, 10) for AVA

The names come from the public model code; no published file was at hand to check them against. Loading is strict:
a file with other names is refused, never half read.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mobileiqa.errors import UserError
from mobileiqa.text import printable
from mobileiqa.typed_json import shortened

TARGET = "opt/target/"  # where the weights lie, beside the optimiser's state
MAX_NPZ = 1 << 30  # bytes: the weights are 109 MB, the optimiser's state about twice that


def from_npz(path: Path) -> dict[str, torch.Tensor]:
    """The published PyTorch names and tensors of Google's .npz weights; without pickle.

    Only arrays under opt/target/ are read. Raises UserError for another file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_NPZ:
            raise ValueError(f"{size:,} bytes unpacked, more than {MAX_NPZ:,}")
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name.startswith(TARGET)]
            if len(set(names)) != len(names):
                raise ValueError("two arrays of one name")
            arrays = {name.removeprefix(TARGET): _floats(file[name]) for name in names}
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError,
            NotImplementedError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise UserError(
            f"Google's MUSIQ weights in {path.name}", shortened(str(error)), "copy it again"
        ) from error
    return npz_state(arrays, path.name)


def _floats(array: object) -> NDArray[np.floating]:
    """What lies in the archive: an entry that is no array comes as bytes."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise ValueError(f"an entry of {getattr(array, 'dtype', type(array).__name__)}, not of floats")
    return array


def npz_state(arrays: Mapping[str, NDArray[np.floating]], source: str) -> dict[str, torch.Tensor]:
    """The published PyTorch names and tensors of flax's arrays by path, such as block1/unit1/conv1/kernel.

    Raises UserError for a path or a shape that no such tensor has.
    """
    state: dict[str, torch.Tensor] = {}
    for path, array in arrays.items():
        try:
            key = ".".join(part for part in map(_published_part, path.split("/")) if part)
            value = np.ascontiguousarray(_as_torch(path, array), np.float32)
            if key in state:
                raise ValueError("two arrays of one name")
        except (ValueError, IndexError, TypeError) as error:
            array_of = f"{shortened(printable(path), 80)} of shape {shortened(str(array.shape), 80)}"
            raise UserError(
                f"MUSIQ's arrays in {source}", array_of, "check that this is the right file"
            ) from error
        state[key] = torch.from_numpy(value)
    if len(state.get("head.bias", ())) > 1:  # votes: the port puts a softmax behind it
        state = {key.replace("head.", "head.0.", 1) if key.startswith("head.") else key: value
                 for key, value in state.items()}  # fmt: skip
    return state


_PARTS = {
    "Transformer": "transformer_encoder",
    "unit1": "",
    "pos_embedding": "position_emb",
    "scale_embedding": "scale_emb",
    "kernel": "weight",
    "scale": "weight",
    "LayerNorm_0": "norm1",
    "Dense_0": "fc1",
    "Dense_1": "fc2",
}


def _published_part(part: str) -> str:
    """One part of a flax path as the port names it. Unnamed modules carry their kind and a number."""
    if part in _PARTS:
        return _PARTS[part]
    if part.startswith("encoderblock_"):
        return f"transformer.{part}"
    kinds = (("LayerNorm_", "norm2"), ("MlpBlock_", "mlp"), ("DotProductAttention_", "attention"),
             ("SelfAttention_", "attention"))  # fmt: skip
    return next((name for kind, name in kinds if kind in part), part)


def _as_torch(path: str, array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Kernels: (H, W, in, out), (in, out), (in, heads, size) of queries, keys, values, (heads, size, in) of out."""
    *_, module, tensor = ("", *path.split("/"))
    if tensor == "scale_embedding":
        return array.reshape(array.shape[1:])
    if tensor in ("pos_embedding", "cls"):
        return array
    if tensor != "kernel":
        return array.reshape(-1)
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if array.ndim == 3 and module == "out":
        return array.transpose(2, 0, 1).reshape(array.shape[2], -1)
    if array.ndim == 3:
        return array.transpose(1, 2, 0).reshape(-1, array.shape[0])
    return array.transpose(1, 0)
