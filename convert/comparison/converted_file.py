"""What a converted file says of itself, and whether that is what its checkpoint says."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from convert.runtimes.runners import ARM
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.spec import ModelSpec

PRECISIONS = ("fp32", "fp16", "int8")
DESCRIPTIVE = (
    "license",
    "origin",
    "trained_on",
    "training",
)  # fields of ModelSpec that cannot change a score


@dataclass(frozen=True)
class ConvertedFile:
    """A converted file: its spec and its precision, as written in its metadata."""

    path: Path
    spec: ModelSpec
    precision: str  # one of PRECISIONS

    def tolerance(self, runtime: str) -> str:
        """The key of the tolerance that judges this file in a runtime."""
        if self.path.suffix.lower() == ".onnx":
            return "onnx"
        executes_fp16 = self.precision == "fp16" and runtime.startswith(ARM)
        return "fp16-arithmetic" if executes_fp16 else self.precision


def read_converted_file(path: Path) -> ConvertedFile:
    """Reads an .onnx or .tflite file's metadata; UserError when it is neither, damaged, or says nothing."""
    if path.suffix.lower() not in (".onnx", ".tflite"):
        raise UserError(
            "converted files ending in .tflite or .onnx", path.name, "convert the checkpoint first"
        )
    if not path.is_file():
        raise UserError("a .tflite or .onnx file", f"nothing at {path}", "correct the path")
    integrity.verify(path)
    if path.suffix.lower() == ".onnx":
        from convert.export import onnx_file

        return ConvertedFile(path, onnx_file.load_spec(path), "fp32")
    from mobileiqa.scoring import litert

    precision = litert.read_metadata(path).get("precision")
    if precision not in PRECISIONS:
        raise UserError(
            f"a precision among {', '.join(PRECISIONS)}", f"{precision!r} in {path}", "convert it again"
        )
    return ConvertedFile(path, litert.load_spec(path), precision)


def at_size(reference: ModelSpec, converted: ModelSpec) -> ModelSpec:
    """`reference` with the converted file's input sizes; `reference` itself where the inputs are others."""
    if [i.name for i in reference.inputs] != [i.name for i in converted.inputs]:
        return reference
    inputs = tuple(
        dataclasses.replace(mine, height_px=its.height_px, width_px=its.width_px)
        for mine, its in zip(reference.inputs, converted.inputs, strict=True)
    )
    return dataclasses.replace(reference, inputs=inputs)


def spec_difference(reference: ModelSpec, converted: ModelSpec) -> str:
    """What a converted file's spec says otherwise, sizes and descriptions apart; empty when nothing."""
    return "; ".join(
        f"{name} is {theirs}, expected {mine}"
        for name, mine, theirs in at_size(reference, converted).differences(converted)
        if name not in DESCRIPTIVE
    )
