"""Shared fixtures: generated photos, the data folder where there is one, and a tiny .tflite file."""

import fcntl
import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileiqa.photos.generated_images import photo_like

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

# What a shell starts in the background ignores Ctrl-C, under nohup SIGHUP, and so do its children: tests that send
# these would wait for ever.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(scope="session")
def photo() -> Callable[[int, int, int], Image.Image]:
    """photo(seed, width, height): a generated mode RGB picture."""
    return photo_like


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four small generated photos, PNG and JPEG, wide and tall: the stand-in for real ones."""
    folder = tmp_path_factory.mktemp("photos")
    for seed, (width, height, suffix) in enumerate(
        [(120, 80, "png"), (81, 120, "jpg"), (64, 64, "png"), (97, 55, "jpg")]
    ):
        photo_like(seed, width, height).save(folder / f"photo{seed}.{suffix}")
    return folder


@pytest.fixture(scope="session")
def real_photos() -> list[Path]:
    """Photos from phones and cameras; skips where the data folder is not there."""
    paths = sorted((SHARED / "data" / "photos").glob("*.*"))
    if not paths:
        pytest.skip("no ../shared/data/photos beside the checkout; the generated photos stand in")
    return paths


@pytest.fixture(scope="session")
def shared_case() -> Callable[[str], Path]:
    """shared_case(name): a picture of ../shared/cases; skips where that folder is not there."""

    def path(name: str) -> Path:
        if not (SHARED / "cases" / name).is_file():
            pytest.skip("no ../shared/cases beside the checkout; generated files of the same kinds stand in")
        return SHARED / "cases" / name

    return path


@pytest.fixture(scope="session")
def seeded() -> Callable[[str], Any]:
    """seeded(name): the model with its seeded weights, float32. Built once, shared: copy it to change it."""
    from mobileiqa.zoo import build_seeded

    return functools.cache(build_seeded)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A two-input toy model, its spec and its .tflite file: (module, spec, path)."""
    import torch

    from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec, Resample

    class Toy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 2, 3)

        def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
            relu = torch.nn.functional.relu
            score = relu(self.first(authentic)).mean((1, 2, 3)) - relu(self.second(synthetic)).mean((1, 2, 3))
            return torch.sigmoid(score)

    class Named(torch.nn.Module):
        def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"score": toy(authentic, synthetic)}

    spec = ModelSpec(
        "toy",
        (
            InputSpec("authentic", 24, 32, resample=Resample.BILINEAR),
            InputSpec("synthetic", 40, 40, fit=Fit.CENTER_CROP, color_space=ColorSpace.LAB),
        ),
    )
    toy = Toy().eval()
    named = Named()
    named.toy = toy
    path = _once(tmp_path_factory, "toy.tflite", lambda path: _convert(named.eval(), spec, path))
    return toy, spec, path


def _convert(module: Any, spec: Any, path: Path) -> None:
    import litert_torch
    import torch

    zeros = {expected.name: torch.zeros(expected.shape) for expected in spec.inputs}
    litert_torch.convert(module, sample_kwargs=zeros).export(str(path))
    content = {"spec": spec.to_json(), "precision": "fp32", "untrained": True}
    path.write_bytes(add_metadata(path.read_bytes(), "mobileiqa", json.dumps(content).encode()))


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A file made by one pytest worker and used by all: conversion takes ten seconds, mostly imports."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            make(unfinished)
            unfinished.rename(path)
    return path


def add_metadata(tflite: bytes, name: str, content: bytes) -> bytes:
    """The file with one more metadata entry, through the flatbuffer's object interface."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
    model.metadata.append(schema.MetadataT(name=name, buffer=len(model.buffers) - 1))
    builder = flatbuffers.Builder(len(tflite) + len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="session")
def with_metadata() -> Callable[[bytes, str, bytes], bytes]:
    """with_metadata(tflite, name, content): the file with one more metadata entry."""
    return add_metadata
