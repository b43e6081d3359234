"""The process that runs a .tflite file under LiteRT's own profiler; profile.py asks it as child.py is asked.

Python's Interpreter has no profiler, but libLiteRt.so, which the ai-edge-litert package ships, exports LiteRT's C
interface, and a CompiledModel with `enable_profiling` records what each operator took: XNNPACK's own operators
where it took the graph, LiteRT's built-in ones elsewhere. The handful of calls and one struct below follow the
headers litert_compiled_model.h, litert_options.h and litert_profiler_event.h of release 2.3; another release may
have moved them, so what comes back is checked before it is believed.

Request on stdin: {"mode": "profile", "model", "signature", "threads", "cpus", "seed", "use_xnnpack", "warmup_runs",
"runs"}; "signature" is "" where the file has no other.
Answer on stdout: {"runtime", "cpus", "plain_ms", "profiled_ms", "events", "evidence"}, or {"error": TEXT}.
`events`: per profiled run [[name, partition, microseconds], ...] in the order in which they ran; partitions count
from 0, null is an operator of LiteRT's own.
"""

import ctypes
import json
import os
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

Handle = ctypes.c_void_p
CPU = 1  # kLiteRtHwAcceleratorCpu
WRITE = 1  # kLiteRtTensorBufferLockModeWrite
BUILT_IN, DELEGATED = 2, 8  # the event types that stand for operators
# LiteRtElementType -> numpy's name, of those that can be filled; the rest are strings and types narrower than a byte.
ELEMENTS = {1: "float32", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8", 10: "float16",
            11: "float64", 13: "uint64", 16: "uint32", 17: "uint16"}  # fmt: skip
TYPE_BYTES = 256  # more than LiteRtRankedTensorType has; it is only handed from one call to the next
NO_DESTRUCTOR = ctypes.CFUNCTYPE(None, Handle)(lambda payload: None)


class Event(ctypes.Structure):
    """ProfiledEventData: what the profiler recorded once."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("index", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


def main() -> int:
    """Answers one request; exit 1 and {"error"} when the runtime refuses the file."""
    request = json.load(sys.stdin)
    os.sched_setaffinity(0, request["cpus"])
    answer: dict[str, Any]
    try:
        answer = profile(request)
    except (OSError, AttributeError) as error:  # no library, or one without these functions
        answer = {"error": f"ai-edge-litert {version('ai-edge-litert')} has no profiler: {error}"}
    except (ValueError, RuntimeError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, separators=(",", ":"), allow_nan=False))  # noqa: T201
    return int("error" in answer)


def profile(request: dict[str, Any]) -> dict[str, Any]:
    """Runs without the profiler first, then as often with it."""
    library = Library()
    environment, model, compiled = load(library, request)
    number, signature = signature_of(library, model, request["signature"])
    kinds = {side: tensor_types(library, signature, side) for side in ("Input", "Output")}
    inputs, outputs = (
        buffers(library, environment, compiled, number, side, kinds[side]) for side in ("Input", "Output")
    )
    for buffer, kind in zip(inputs, kinds["Input"], strict=True):
        fill_random(library, buffer, element(kind), request["seed"])
    call = _size(number), _size(len(inputs)), inputs, _size(len(outputs)), outputs

    def run() -> float:
        start = time.perf_counter_ns()
        library("RunCompiledModel", compiled, *call)
        return (time.perf_counter_ns() - start) / 1e6

    for _ in range(request["warmup_runs"]):
        run()
    plain = [run() for _ in range(request["runs"])]
    profiler = library.new("CompiledModelGetProfiler", compiled)
    if not profiler:
        raise RuntimeError("LiteRT gave no profiler, although profiling was asked for")
    profiled, events = [], []
    counted = _counters()
    read, before = counted.scheduling_counters(), counted.frequency_probe()
    start = {**read(), **counted.stolen()}
    for _ in range(request["runs"]):
        library("StartProfiler", profiler)  # also forgets the run before
        profiled.append(run())
        library("StopProfiler", profiler)
        events.append(read_events(library, profiler))
    end = {**read(), **counted.stolen()}
    spent = {name: end[name] - start[name] for name in end if name in start}
    return {
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
        "cpus": sorted(os.sched_getaffinity(0)),
        "plain_ms": plain,
        "profiled_ms": profiled,
        "events": events,
        "evidence": {
            **spent,
            "pace_before_ms": before,
            "pace_after_ms": counted.frequency_probe(),
            "workers": 0,
        },
    }


def _counters() -> Any:
    """The benchmark's own child as a module, for what it counts: both then mean the same by "disturbed"."""
    spec = spec_from_file_location("bench_child", Path(__file__).resolve().parents[1] / "child.py")
    assert spec is not None and spec.loader is not None, "a file beside this one"
    module = sys.modules["bench_child"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Library:
    """libLiteRt.so: `library("RunCompiledModel", ...)` calls LiteRtRunCompiledModel; a bad status raises."""

    def __init__(self) -> None:
        self.alive: list[Any] = []  # memory that LiteRT keeps pointers to
        package = find_spec("ai_edge_litert")
        if package is None or package.origin is None:
            raise OSError("the package is not installed")
        self._library = ctypes.CDLL(str(Path(package.origin).with_name("libLiteRt.so")))

    def __call__(self, name: str, *arguments: Any) -> None:
        """Raises RuntimeError when the call fails, AttributeError when the library has no such function."""
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status:
            raise RuntimeError(f"LiteRt{name} failed with status {status}")

    def new(self, name: str, *arguments: Any) -> Any:
        """The handle that a call writes through its last parameter."""
        handle = Handle()
        self(name, *arguments, ctypes.byref(handle))
        return handle

    def count(self, name: str, *arguments: Any) -> int:
        """The size that a call writes through its last parameter."""
        value = _size(0)
        self(name, *arguments, ctypes.byref(value))
        return value.value


def load(library: Library, request: dict[str, Any]) -> tuple[Any, Any, Any]:
    """(environment, model, compiled model), with the profiler and the CPU kernels that were asked for."""
    environment = library.new("CreateEnvironment", 0, None)
    model = library.new("CreateModelFromFile", environment, os.fsencode(request["model"]))
    options = library.new("CreateOptions")
    library("SetOptionsHardwareAccelerators", options, CPU)
    kernels = "xnnpack" if request["use_xnnpack"] else "builtin"
    for name, text in (
        ("runtime_options_string", "enable_profiling = true\n"),
        ("xnnpack", f'num_threads = {request["threads"]}\nkernel_mode = "{kernels}"\n'),
    ):
        payload = ctypes.create_string_buffer(text.encode())
        opaque = library.new("CreateOpaqueOptions", name.encode(), payload, NO_DESTRUCTOR)
        library("AddOpaqueOptions", options, opaque)
        library.alive.append(payload)
    return environment, model, library.new("CreateCompiledModel", environment, model, options)


def signature_of(library: Library, model: Any, name: str) -> tuple[int, Any]:
    """(number, handle) of the signature of that name; of the only one for "". Raises ValueError when there is none."""
    keys = []
    for index in range(library.count("GetNumModelSignatures", model)):
        signature, key = library.new("GetModelSignature", model, _size(index)), ctypes.c_char_p()
        library("GetSignatureKey", signature, ctypes.byref(key))
        keys.append((key.value or b"").decode())
        if keys[-1] == name:
            return index, signature
    if name or len(keys) != 1:
        raise ValueError(f"the file's signatures are {keys}, asked for was {name!r}")
    return 0, signature


def tensor_types(library: Library, signature: Any, side: str) -> list[Any]:
    """LiteRtRankedTensorType of each "Input" or "Output"; ValueError for an input that cannot be filled."""
    types = []
    for index in range(library.count(f"GetNumSignature{side}s", signature)):
        tensor = library.new(f"GetSignature{side}TensorByIndex", signature, _size(index))
        kind = ctypes.create_string_buffer(TYPE_BYTES)
        library("GetRankedTensorType", tensor, kind)
        if side == "Input" and element(kind) not in ELEMENTS:
            raise ValueError(f"input {index} is of a type that the profiler cannot fill, as strings are")
        types.append(kind)
    return types


def element(kind: Any) -> int:
    """The first field of a LiteRtRankedTensorType: what its elements are."""
    return ctypes.c_int.from_buffer(kind).value


def buffers(
    library: Library, environment: Any, compiled: Any, number: int, side: str, kinds: list[Any]
) -> Any:
    """A tensor buffer of each type for the "Input" or "Output" of signature `number`, as a C array."""
    arrays = []
    for index, kind in enumerate(kinds):
        needs = library.new(
            f"GetCompiledModel{side}BufferRequirements", compiled, _size(number), _size(index)
        )
        arrays.append(library.new("CreateManagedTensorBufferFromRequirements", environment, kind, needs))
    return (Handle * len(arrays))(*(handle.value for handle in arrays))


def fill_random(library: Library, buffer: int, kind: int, seed: int) -> None:
    """Normal real numbers, 8-bit ones over their whole range, others 0 or 1: as child.py's."""
    import numpy as np

    size, address = library.count("GetTensorBufferPackedSize", Handle(buffer)), Handle()
    library("LockTensorBuffer", Handle(buffer), ctypes.byref(address), WRITE)
    content = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (size,))
    values, generator = content.view(ELEMENTS[kind]), np.random.default_rng(seed)
    if values.dtype.kind == "f":
        values[:] = generator.standard_normal(values.size, dtype=np.float32)
    elif values.dtype.itemsize == 1 and values.dtype.kind in "iu":
        content[:] = np.frombuffer(generator.bytes(size), np.uint8)
    else:
        values[:] = generator.integers(0, 2, values.size)
    library("UnlockTensorBuffer", Handle(buffer))


def read_events(library: Library, profiler: Any) -> list[tuple[str, int | None, int]]:
    """The operators of one run. Raises RuntimeError when they cannot be what the struct above says."""
    count = ctypes.c_int()
    library("GetNumProfilerEvents", profiler, ctypes.byref(count))
    events = (Event * count.value)()
    library("GetProfilerEvents", profiler, count, events)
    rows: list[tuple[str, int | None, int]] = []
    partition, last = -1, None  # XNNPACK counts its operators from 0 in each partition
    for event in events:
        if event.type not in (BUILT_IN, DELEGATED):
            continue
        if event.index >= 1 << 31 or event.elapsed_us >= 1 << 40:
            raise RuntimeError("the profiler's events are of another layout than LiteRT 2.3's")
        if event.type == BUILT_IN:
            last = None
        else:
            partition += last is None or event.index <= last
            last = event.index
        rows.append((event.tag.decode(), None if last is None else partition, event.elapsed_us))
    return rows


def _size(value: int) -> Any:
    return ctypes.c_size_t(value)


if __name__ == "__main__":
    sys.exit(main())
