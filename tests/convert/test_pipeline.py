"""A conversion stays in memory: the model's file is written once, at the end, and read by nobody on the way."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from calibration.sets import generated
from convert.flatbuffer import model as fb
from convert.int8 import quantize as quantizing
from convert.int8.arguments import Int8Arguments
from convert.int8.calibration import collect_statistics
from convert.int8.recipe import Recipe
from convert.load import LoadedModel
from convert.packaging.packaged_file import embed_preprocessing
from convert.pipeline import Precision, Via, convert
from mobileiqa.files import integrity
from mobileiqa.spec import InputSpec, ModelSpec
from tests.convert.int8.networks import bending, pictures
from tests.convert.packaging.conftest import TINY, write_tiny

SPEC = ModelSpec("toy", (InputSpec("image", 32, 48),), trained_on="nothing")
_listening: list[list[tuple[str, bool]]] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _listening and ".tflite" in str(arguments[0]):
        path, mode, _ = arguments
        if mode is not None:  # None: tempfile.mkstemp, which makes the empty file that `atomic` has written
            _listening[-1].append((Path(str(path)).name, any(letter in mode for letter in "wax+")))


sys.addaudithook(_listen)  # there is no way to take one back: it is silent where nobody listens


@contextmanager
def opened() -> Iterator[list[tuple[str, bool]]]:
    """(name, whether it was opened to write) of every .tflite file that Python opens in the block."""
    _listening.append([])
    try:
        yield _listening[-1]
    finally:
        _listening.pop()


class Toy(nn.Module):
    """Two convolutions with hard-swish, a mean and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.convs = nn.ModuleList(nn.Conv2d(n, 8, 3, padding=1) for n in (3, 8, 8, 8, 8))
        self.last = nn.Linear(8, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for conv in self.convs:
            x = nn.functional.hardswish(4 * conv(x))
        return self.last(x.mean((2, 3))).squeeze(1)


def test_the_listener_hears_reads_and_writes(tmp_path: Path) -> None:
    with opened() as names:
        (tmp_path / "a.tflite").write_bytes(b"x")
        (tmp_path / "a.tflite").read_bytes()
    assert names == [("a.tflite", True), ("a.tflite", False)]


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(Precision))
def test_a_conversion_writes_the_file_once_and_reads_none(precision: Precision, tmp_path: Path) -> None:
    int8 = Int8Arguments(Recipe(), generated(4, 0, SPEC)) if precision is Precision.INT8 else None
    source, path = LoadedModel(Toy().eval(), SPEC, None), tmp_path / "toy.tflite"
    with opened() as names:
        converted = convert(source, precision, Via.LITERT, path, int8)
    assert converted.fp16_arithmetic_allowed == (precision is not Precision.FP32)
    assert [writes for _, writes in names] == [True] and "toy.tflite" in names[0][0]
    assert fb.read(path).description == f"toy {precision}".encode()


@pytest.mark.parametrize("recipe", [Recipe(float_first=0), Recipe("dynamic"), Recipe("weights")], ids=str)
def test_quantization_opens_no_file_and_its_bytes_are_those_of_a_way_through_files(
    flatbuffer, tmp_path: Path, recipe: Recipe
) -> None:
    """As it was before: the model written and read again between any two steps."""
    fp32, images = bending(flatbuffer), pictures(6)
    with opened() as names:
        model, _ = quantizing.quantize(fp32, recipe, images)
    assert names == []
    statistics = collect_statistics(fp32, quantizing.uses_equalization(recipe), lambda: images, len(images))
    rounded, _ = quantizing._round_to_nearest(statistics, recipe)
    fb.write(rounded, tmp_path / "rounded.tflite")
    rounded = fb.read(tmp_path / "rounded.tflite")
    quantizing._correct(statistics, rounded, recipe)
    fb.write(rounded, tmp_path / "corrected.tflite")
    assert fb.pack(fb.read(tmp_path / "corrected.tflite")) == fb.pack(model)


def test_packaging_writes_the_file_once(flatbuffer, tmp_path: Path) -> None:
    source, path = write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY), tmp_path / "packaged.tflite"
    with opened() as names:
        embed_preprocessing(source, path, [(80, 60), (60, 80)])
    assert len([name for name, writes in names if writes]) == 1
    assert integrity.read_checksum(path).intact
