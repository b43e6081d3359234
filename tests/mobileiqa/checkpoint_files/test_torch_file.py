"""Files that hold other things than plain tensors, and files that were crafted: one line each, memory bounded."""

import argparse
import io
import os
import pickle
import resource
import tarfile
import warnings
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobileiqa.checkpoint_files import torch_file
from mobileiqa.errors import UserError, one_line

WEIGHTS = {"a.weight": torch.zeros(4), "b.weight": torch.ones(3)}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about their deprecation
    QUANTIZED = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
MOST_MB = 200  # above what the process already holds


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        torch_file.read(path)
    text = str(error.value)
    assert text == one_line(text) and len(text) < 500 and "\x1b" not in text and "weights_only" not in text
    return text


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def zipped(path: Path, records: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return path


def records_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Custom:
    """A user's own class."""


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": WEIGHTS, "best": np.float64(0.9)}, "numpy.float64 beside the weights, as 'best'"),
        ({"state_dict": WEIGHTS, "log": {"s": [np.float32(1)]}}, "numpy.float32 beside the weights, as 'log.s.0'"),
        ({"state_dict": WEIGHTS, "x": np.zeros(3)}, "numpy.ndarray beside the weights, as 'x'"),
        ({**WEIGHTS, "c": Custom()}, "Custom among the weights, as 'c'"),
        ({"hyper_parameters": argparse.Namespace(lr=1), **WEIGHTS}, "argparse.Namespace among the weights"),
        ({"state_dict": WEIGHTS, "path": Path("x")}, "Path beside the weights, as 'path'"),
        ({"state_dict": WEIGHTS, "type": Custom}, "Custom beside the weights, as 'type'"),
        (Custom(), "Custom as the whole file"),
        ({"a": torch.eye(2).to_sparse()}, "a sparse tensor as 'a'"),
        ({"a": torch.zeros(2, device="meta")}, "a meta tensor, which has no values"),
        ({"a": QUANTIZED}, "a quantized tensor"),
        ({"a": Path("x"), "b": Custom(), "c": Custom()}, "and 2 more objects"),
    ],
)  # fmt: skip
def test_what_is_no_plain_tensor_is_named_with_its_place(
    tmp_path: Path, content: Any, words: str, legacy: bool
):
    path = saved(content, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    text = refusal(path)
    assert words in text and "torch.save(model.state_dict(), path)" in text


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_plain_content_is_read(tmp_path: Path, legacy: bool):
    shared = torch.arange(6.0)
    attributes = torch.nn.Parameter(torch.ones(2))
    attributes.tag = "x"
    content = {
        "state_dict": OrderedDict(WEIGHTS), "parameter": torch.nn.Parameter(torch.ones(2)), "tagged": attributes,
        "half": torch.ones(2).half(), "bf16": torch.ones(2).bfloat16(), "bool": torch.tensor([True]),
        "view": shared[2:4], "transposed": shared.view(2, 3).t(), "shared": shared, "empty": torch.zeros(0),
        "scalar": torch.tensor(1.0), "size": torch.Size([1, 2]), "dtype": torch.float32, "device": torch.device("cpu"),
        "set": {1, 2}, "counter": Counter("ab"), "bytes": b"abc", "complex": 1j, "none": None, "list": [1, "a", 2.5],
    }  # fmt: skip
    path = saved(content, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    result = torch_file.read(path)
    assert list(result) == list(content) and torch.equal(result["transposed"], content["transposed"])
    assert result["set"] == {1, 2} and result["counter"] == Counter("ab")


def test_a_state_dict_keeps_its_attributes_out_of_the_way(tmp_path: Path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict()
    assert list(torch_file.read(saved(state, tmp_path / "m.pt"))) == list(
        state
    )  # it has a _metadata attribute


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "a TFLite file"),
        ((2).to_bytes(8, "little") + b"{}", "a safetensors file"),
        (pickle.dumps({"a": np.zeros(2)}), "numpy.ndarray"),
        (b"\x80\x02" + b"\x8e" + (10**12).to_bytes(8, "little"), "damaged"),  # BINBYTES8 of a terabyte
        (b"\x80\x05\x96" + (10**11).to_bytes(8, "little") + b".", "damaged"),  # BYTEARRAY8
        (b"\x80\x02}r\xff\xff\xff\xff.", "damaged"),  # LONG_BINPUT at the last place of a memo
        (b"I" + b"9" * 100_000 + b"\n.", "damaged"),
        (b"cbuiltins\nbytearray\n(L100000000000L\ntR.", "builtins.bytearray"),
        (b"ctorch\nTensor\n(L100000000000L\ntR.", "torch.Tensor"),
        (b"ctorch\nFloatTensor\n(L100000000000L\ntR.", "torch.FloatTensor"),
        (b"cos\nsystem\n(S'touch /tmp/never'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"(lp0\nh\x00a.", "damaged"),
        (b"\x80\x02\x82\x01.", "damaged"),  # EXT1
    ],
)  # fmt: skip
def test_crafted_bytes_are_one_line(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    assert words in refusal(path)


def test_formats_of_old_and_programs_are_named(tmp_path: Path):
    with tarfile.open(tmp_path / "old.pt", "w:") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    assert "tar format" in refusal(tmp_path / "old.pt")
    torch.jit.script(torch.nn.ReLU()).save(tmp_path / "script.pt")
    assert "a TorchScript archive, which is a program" in refusal(tmp_path / "script.pt")
    assert "torch.save did not write" in refusal(zipped(tmp_path / "doc.pt", {"word/document.xml": b"<x/>"}))


def resaved(path: Path, change: Any, kind: int = zipfile.ZIP_STORED) -> Path:
    """A file of torch.save with its records changed."""
    records = records_of(saved({"a": torch.zeros(1000)}, path))
    change(records)
    return zipped(path, records, kind)


def test_a_storage_larger_than_its_record_is_not_read_behind_its_end(tmp_path: Path):
    def lie(records: dict[str, bytes]) -> None:
        name = next(name for name in records if name.endswith("data/0"))
        records[name] = records[name][:400]

    assert "a record of 400 bytes for 4,000" in refusal(resaved(tmp_path / "m.pt", lie))


def test_a_missing_record_and_two_of_one_name_are_damage(tmp_path: Path):
    def drop(records: dict[str, bytes]) -> None:
        records.pop(next(name for name in records if name.endswith("data/0")))

    assert "a record of 0 bytes" in refusal(resaved(tmp_path / "m.pt", drop))
    path = saved({"a": torch.zeros(10)}, tmp_path / "two.pt")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"x")
    assert "two records of one name" in refusal(path)


@pytest.mark.parametrize("start", [31, 50])
def test_an_archive_whose_offsets_lead_before_the_file_is_one_line(tmp_path: Path, start: int):
    """Of the zip's own directory: seeking there is an OSError without a name, as if the disk were bad."""
    path = tmp_path / "cut.pt"
    torch.save({"a": torch.zeros(3)}, path)
    content = path.read_bytes()
    path.write_bytes(content[:start] + content[start + 40 :])
    with pytest.raises(UserError, match=r"a PyTorch state dict in cut\.pt"):
        torch_file.read(path)


def test_bombs_are_refused_before_they_unpack(tmp_path: Path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    zeros = zipped(
        tmp_path / "zip.pt", {"m/data.pkl": b".", "m/data/0": bytes(300 << 20)}, zipfile.ZIP_DEFLATED
    )
    before = max(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert "bytes unpacked from" in refusal(zeros)
    names = zipped(tmp_path / "names.pt", {"m/data.pkl": b"}" * (17 << 20)})
    assert "bytes of other objects than tensors" in refusal(names)
    old = tmp_path / "old.pt"
    saved({"a": torch.zeros(1000)}, old, _use_new_zipfile_serialization=False)
    content = old.read_bytes().replace((1000).to_bytes(2, "little"), (60_000).to_bytes(2, "little"))
    old.write_bytes(content)
    assert "storages of" in refusal(old) or "damaged" in refusal(old)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < MOST_MB * 1024


def test_an_expanded_tensor_is_read_as_a_view_and_its_shape_refused_later(tmp_path: Path):
    path = saved({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "m.pt")
    assert torch_file.read(path)["a"].shape == (10**6, 10**6)  # four bytes of storage


def test_nothing_that_a_file_names_is_called(tmp_path: Path):
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trace"),)

    for legacy in (False, True):
        path = saved({"x": [{"y": Bomb()}]}, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
        assert "mkdir as 'x.0.y'" in refusal(path)
    assert not (tmp_path / "trace").exists()
