"""Running a converted .tflite file, with the base install alone: numpy, Pillow and ai-edge-litert.

A file written by convert.tflite explains itself: its flatbuffer holds a metadata entry, JSON, with the
ModelSpec that says how an image becomes its inputs. A file of another converter can have such JSON beside it,
in FILE.tflite.json. A file of convert.package prepares images itself: it takes their bytes (`inputs_of`).
"""

import mmap
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import preprocess, typed_json
from mobileiqa import spec as specs
from mobileiqa.errors import UserError
from mobileiqa.files import integrity, tflite
from mobileiqa.photos.loading import Photo, read_pixels
from mobileiqa.scoring import embedded_preprocessing, first_run, first_run_child
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

METADATA_NAME = "mobileiqa"
SIGNATURE = "serving_default"
OUTPUT, REASONS = "score", "reasons"

Inputs = Mapping[str, NDArray[Any]]  # float32 NCHW; one uint8 NHWC image for a file of convert.package
Runner = Callable[[Inputs], NDArray[np.float64]]
Outputs = Mapping[str, NDArray[np.float64]]
OutputsRunner = Callable[[Inputs], Outputs]
Prepare = Callable[[Photo], dict[str, NDArray[Any]]]

_CONVERT = "convert the model with `python -m convert.tflite`"
_FOREIGN = (
    "scoring takes one score per image: `python -m convert.tflite` writes such files;"
    " inspect, bench and profile take any"
)
MAX_THREADS = 512
# What LiteRT's Python binding raises; KeyError and IndexError for names and indices that lead nowhere.
_RUNTIME = (ValueError, RuntimeError, TypeError, LookupError, OverflowError, MemoryError)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a .tflite file's "mobileiqa" metadata entry: "spec", "precision", "untrained"...

    Reads a few pages of the file, not its weights. Raises UserError when the file is not TFLite, is damaged,
    or has no such entry.
    """
    path = Path(path)
    content = _embedded(path)
    if content is None:
        raise UserError(f"a {METADATA_NAME!r} metadata entry in {path}", "none", _CONVERT)
    return content


def load_spec(path: str | os.PathLike[str]) -> ModelSpec:
    """The ModelSpec inside a .tflite file, or in FILE.tflite.json beside it where the file has none inside.

    Raises UserError when neither is there, or when either is damaged.
    """
    path = Path(path)
    sidecar = path.with_name(path.name + ".json")
    content = _embedded(path)
    if content is None and not sidecar.is_file():
        raise UserError(f"a model spec in {path} or in {sidecar.name}", "neither", _CONVERT)
    if content is None:
        content, path = _json_object(sidecar.read_bytes(), sidecar), sidecar
    if "spec" not in content:
        raise UserError(f'"spec" in the metadata of {path}', f"only {sorted(content)}", _CONVERT)
    return specs.from_json(content["spec"], str(path))


def inputs_of(path: str | os.PathLike[str]) -> Prepare:
    """How an image becomes the inputs of this very file: a function for `runner`'s.

    A file of convert.package takes the upright photo's bytes, uint8 (1, H, W, 3), where it was made for the
    app's sizes; where it was made for the model's own, the photo is resized or cropped first. Any other
    file gets preprocess.prepare's arrays. The function raises UserError for a photo that cannot be read or
    has none of these sizes.
    """
    spec, embedded = load_spec(path), preprocessing_of(path)
    if embedded is None:
        return lambda image: preprocess.prepare(image, spec)
    prepare = embedded_preprocessing.inputs_of(embedded, spec, Path(path).name)
    return lambda image: prepare(read_pixels(image, spec.color_management))


def preprocessing_of(path: str | os.PathLike[str]) -> EmbeddedPreprocessing | None:
    """What a file of convert.package takes; None for a file with float inputs."""
    content = _embedded(Path(path)) or {}
    return embedded_preprocessing.from_json(content["delivery"], str(path)) if "delivery" in content else None


def open_familiar(path: str | os.PathLike[str], threads: int = 1) -> "Interpreter | None":
    """The interpreter of a file that passed here before, for `runner`, built while the file's hash is computed.

    None for any other file, which LiteRT may touch only after the hash. `runner` checks the hash of both.
    """
    if first_run.is_familiar(path):
        with suppress(*_RUNTIME), integrity.hashed_meanwhile(path):  # `runner` will say why
            return _interpreter(Path(path), threads)
    return None


def runner(
    path: str | os.PathLike[str], threads: int = 1, interpreter: "Interpreter | None" = None
) -> Runner:
    """`outputs_runner`, of which the function returns the scores alone."""
    run = outputs_runner(path, threads, interpreter)
    return lambda inputs: run(inputs)[OUTPUT]


def outputs_runner(
    path: str | os.PathLike[str], threads: int = 1, interpreter: "Interpreter | None" = None
) -> OutputsRunner:
    """Loads a .tflite file and returns a function from named inputs to its outputs by name.

    The function takes arrays by input name, float32 NCHW or as `inputs_of` makes them, and returns, in float64, the
    scores (N,) as "score" and, of a file that has them, probabilities (N, reasons) as "reasons". N is a multiple of
    the file's own batch: more is run in turn. Of a packaged file's signatures it runs the one whose size the arrays
    have. `interpreter`: what `open_familiar` built for the same file. Scores are passed on as they are, NaN included.
    Raises UserError when the file cannot be loaded or a delegate refuses it, and for inputs of another name, shape or
    type.
    """
    path = Path(path)
    check_threads(threads)
    _check_identifier(path)
    embedded = preprocessing_of(path)
    first_run.check(path, threads)
    keys = [size.signature for size in embedded.sizes] if embedded else [SIGNATURE]
    opened = _open(path, threads, keys, interpreter)

    def run(inputs: Inputs) -> Outputs:
        one = next((each for each in opened if each.takes(inputs)), opened[0])
        count = _check_inputs(inputs, one.shapes, one.dtype)
        parts = []
        for start in range(0, count, one.batch):
            window = slice(start, start + one.batch)
            part = {name: np.ascontiguousarray(array[window]) for name, array in inputs.items()}
            parts.append(_run(one, part, path))
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if outputs[OUTPUT].shape != (count,):
            raise UserError(f"scores of shape ({count},) from {path}", f"{outputs[OUTPUT].shape}", _CONVERT)
        return outputs

    return run


def check_threads(threads: int) -> None:
    """Raises UserError for a number of CPU threads that no runtime here can start."""
    if not 1 <= threads <= MAX_THREADS:
        raise UserError(f"--threads of 1..{MAX_THREADS}", f"{threads}", "correct --threads")


def _interpreter(path: Path, threads: int) -> "Interpreter":
    """Loaded and allocated, so that a delegate's refusal comes before any image. Raises one of _RUNTIME."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(**first_run_child.model(str(path)), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _open(path: Path, threads: int, keys: list[str], interpreter: "Interpreter | None") -> "list[_Signature]":
    """The signatures `keys` of the file. UserError where the runtime refuses it."""
    try:
        interpreter = interpreter or _interpreter(path, threads)
        present = list(interpreter.get_signature_list())
        if set(keys) <= set(present):
            return [_opened(interpreter.get_signature_runner(key), path) for key in keys]
    except UserError:
        raise
    except _RUNTIME as error:
        raise UserError(f"a TFLite file that LiteRT can run, in {path}", _words(error), _CONVERT) from error
    raise UserError(
        f"the signature {' and '.join(map(repr, keys))}, by which a score is asked for, in {path}",
        f"the signatures {present}" if present else "no signature",
        _FOREIGN,
    )


def _run(signature: "_Signature", inputs: Inputs, path: Path) -> dict[str, NDArray[np.float64]]:
    """The outputs of one batch; of scores, a scalar is one and so is each row of (N, 1). UserError where it fails."""
    try:
        stored = {
            name: np.array(values, np.float64, ndmin=1) for name, values in signature.run(**inputs).items()
        }
    except _RUNTIME as error:
        raise UserError(f"{path} to run in LiteRT", _words(error), _CONVERT) from error
    outputs = {}
    for name, (scale, zero_point) in signature.quantization.items():
        outputs[name] = (stored[name] - zero_point) * scale if scale else stored[name]
    if outputs[OUTPUT].size == len(outputs[OUTPUT]):
        outputs[OUTPUT] = outputs[OUTPUT].reshape(-1)
    return outputs


def _words(error: Exception) -> str:
    return typed_json.shortened(str(error), 600) or type(error).__name__


@dataclass(frozen=True)
class _Signature:
    """One signature of a loaded file."""

    run: Callable[..., dict[str, NDArray[Any]]]
    shapes: Mapping[str, tuple[int, ...]]
    dtype: np.dtype[Any]
    quantization: Mapping[
        str, tuple[float, int]
    ]  # of each output, scale and zero point; scale 0: it is no integer

    @property
    def batch(self) -> int:
        return next(iter(self.shapes.values()))[0]

    def takes(self, inputs: Inputs) -> bool:
        """Whether these are its inputs, whatever the batch."""
        return {n: a.shape[1:] for n, a in inputs.items()} == {n: s[1:] for n, s in self.shapes.items()}


def _opened(signature: Any, path: Path) -> _Signature:
    outputs = signature.get_output_details()
    if set(outputs) not in ({OUTPUT}, {OUTPUT, REASONS}):
        names = typed_json.shortened(", ".join(map(repr, sorted(outputs)))) or "no output"
        raise UserError(
            f"one output named {OUTPUT!r} in {path}, with {REASONS!r} or without", names, _FOREIGN
        )
    details = signature.get_input_details()
    shapes = {name: tuple(int(n) for n in detail["shape"]) for name, detail in details.items()}
    if not shapes or any(not shape or min(shape) < 1 for shape in shapes.values()):
        raise UserError(
            f"inputs of one fixed size, a batch first, in {path}", f"{shapes or 'none'}", _FOREIGN
        )
    dtype = np.dtype(next(iter(details.values()))["dtype"])
    return _Signature(signature, shapes, dtype, {n: _quantization(o, path) for n, o in outputs.items()})


def _quantization(output: dict[str, Any], path: Path) -> tuple[float, int]:
    """The output's scale and zero point, 0 and 0 of a float. UserError for integers that do not say their scale."""
    scale, zero_point = output["quantization"]
    if np.dtype(output["dtype"]).kind == "f":
        return 0.0, 0
    if not scale:
        raise UserError(
            f"a score in float, or with a scale, in {path}", f"{np.dtype(output['dtype'])}", _FOREIGN
        )
    return float(scale), int(zero_point)


def _check_inputs(inputs: Inputs, shapes: Mapping[str, tuple[int, ...]], dtype: Any = np.float32) -> int:
    """How many images or crops `inputs` holds; UserError unless names, types and shapes are the file's."""
    todo = "prepare the image with the file's own spec"
    if set(inputs) != set(shapes):
        raise UserError(f"inputs {sorted(shapes)}", f"{sorted(inputs)}", todo)
    count = len(next(iter(inputs.values())))
    for name, array in inputs.items():
        batch, *image = shapes[name]
        if array.dtype != dtype or array.shape != (count, *image) or not count or count % batch:
            raise UserError(
                f"{np.dtype(dtype)} {shapes[name]} for input {name!r}, or a multiple of that batch",
                f"{array.dtype} {array.shape}",
                todo,
            )
    return count


def _check_identifier(path: Path) -> None:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing"
        raise UserError("a .tflite file", f"{kind} at {path}", "check the path")
    with path.open("rb") as file:
        start = file.read(8)
    if start[4:] != tflite.IDENTIFIER:
        raise UserError(
            f"the TFLite identifier {tflite.IDENTIFIER.decode()} at byte 4 of {path}",
            f"{start[4:]!r}" if start else "an empty file",
            _CONVERT,
        )


def _embedded(path: Path) -> dict[str, Any] | None:
    """The metadata entry's JSON object, or None where the (sound) file has none. The hashes at hand are checked."""
    _check_identifier(path)
    voucher = first_run.verify(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        try:
            content = _entry(buffer)
        except tflite.DamageError as error:
            raise UserError(
                f"a whole TFLite file in {path}",
                f"a truncated or damaged one ({error})",
                "copy or convert it again",
            ) from error
    if content is None:
        return None
    value = _json_object(content, path)
    if "delivery" in value:
        integrity.require_checksum(path, voucher)
    return value


def _entry(buffer: mmap.mmap) -> bytes | None:
    """The bytes of the metadata entry, copied; DamageError for two of them, which may differ."""
    ours = [place for name, place in tflite.metadata(buffer) if name == METADATA_NAME]
    if len(ours) > 1:
        raise tflite.DamageError(f"{len(ours)} metadata entries {METADATA_NAME!r}, which may differ")
    return buffer[ours[0][0] : sum(ours[0])] if ours else None


def _json_object(content: bytes, path: Path) -> dict[str, Any]:
    return typed_json.parse_object(content.rstrip(b"\0"), f"the metadata of {path}", _CONVERT)
