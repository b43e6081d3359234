"""The process that loads a .tflite file: it times it, or runs it on given inputs.

One request on stdin and one answer on stdout, both JSON (the answer is the last line). It imports nothing of
this package, because the same file also runs under the emulated ARM Python of emulate.py, where only the
standard library, numpy and LiteRT exist. The runtime is imported late, after the process is pinned.

Requests: {"mode": "time", "model", "threads", "cpus", "seed", "use_xnnpack", "warmup_runs", "runs"}
          {"mode": "score", "model", "threads", "inputs": [NPZ...], "output": NPZ}   one answer per NPZ
          {"mode": "score", ..., "seed"}                                             random inputs, one answer
          all of them with "signature", a name, where the file has several
Answer: the measurements, or {"error": TEXT}.
"""

import hashlib
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Request = dict[str, Any]
Details = dict[str, Any]
PROBE_BLOCK = bytes(1 << 16)  # stays in the core's own cache
SCORE = "score"  # of several outputs, the one that is read
BLOCK = 1 << 16  # random bytes made at once


def main() -> int:
    """Answers one request; exit 1 and {"error"} when the runtime refuses the file or the inputs."""
    request = json.load(sys.stdin)
    if "cpus" in request:
        os.sched_setaffinity(0, request["cpus"])
    answer: dict[str, Any]
    try:
        answer = {"time": measure, "score": score}[request["mode"]](request)
    except (ValueError, RuntimeError) as error:  # what LiteRT raises, and what the checks below raise
        answer = {"error": str(error)}
    print(json.dumps(answer, separators=(",", ":"), allow_nan=False))  # noqa: T201
    return int("error" in answer)


def measure(request: Request) -> dict[str, Any]:
    """Times load, first inference and every run. Peak memory starts after the import of the runtime."""
    import ai_edge_litert.interpreter  # noqa: F401  (imported here so that neither init_ms nor memory includes it)
    import numpy as np

    generator = np.random.default_rng(request["seed"])
    rss_after_import, probe_before, alone = _status_mb("VmRSS"), frequency_probe(), _threads()
    counters = scheduling_counters()
    start = counters()
    opened, init_ms = _timed(lambda: load(request))
    loaded = _difference(start, counters())
    fill_random(opened, generator)
    counters = scheduling_counters()  # of the runtime's threads too
    counters()  # the first call costs the run that follows it its cache
    stolen_before = stolen()
    before = [_timed(opened.invoke)[1] for _ in range(request["warmup_runs"])]
    start = counters()
    runs = [_timed(opened.invoke)[1] for _ in range(request["runs"])]
    spent = _difference({**start, **stolen_before}, {**counters(), **stolen()})
    if "wait_ms" in loaded:
        spent["init_wait_ms"] = loaded["wait_ms"]
    peak, probe_after, workers = _status_mb("VmHWM"), frequency_probe(), _threads() - alone
    check_score(opened)
    return {
        "runtime": runtime(),
        "inputs": [[np.dtype(one["dtype"]).name, one["shape"].tolist()] for one in opened.inputs.values()],
        "cpus": sorted(os.sched_getaffinity(0)),
        "init_ms": init_ms,
        "first_ms": (before + runs)[0],
        "run_ms": runs,
        "rss_after_import_mb": rss_after_import,
        "peak_rss_mb": peak,
        "delegate_kernels": partitions(opened, request),
        "evidence": {
            **spent,
            "pace_before_ms": probe_before,
            "pace_after_ms": probe_after,
            "workers": workers,
        },
    }


def score(request: Request) -> dict[str, Any]:
    """Runs the file on each NPZ of inputs, or once on random ones; outputs `0`, `1`... go into one NPZ."""
    import numpy as np

    opened = load(request)
    outputs = []
    for path in request.get("inputs", [None]):
        if path is None:
            fill_random(opened, np.random.default_rng(request["seed"]))
        else:
            with np.load(path) as arrays:
                fill(opened, dict(arrays))
        opened.invoke()
        outputs.append(read_output(opened))
    np.savez(request["output"], **{str(index): value for index, value in enumerate(outputs)})
    return {"runtime": runtime(), "count": len(outputs)}


@dataclass(frozen=True)
class Opened:
    """A loaded file and the one subgraph of it that runs: its inputs by name, its outputs.

    The interpreter's public methods know the first subgraph alone, and a signature's runner copies what goes in and
    out. So this is what that runner itself is made of.
    """

    interpreter: Any
    subgraph: int
    inputs: dict[str, Details]
    outputs: list[Details]

    def invoke(self) -> None:
        """One inference."""
        self.interpreter._interpreter.Invoke(self.subgraph)

    def view(self, detail: Details) -> Any:
        """A tensor's own memory as an array; it must not outlive the next inference."""
        return self.interpreter._interpreter.tensor(self.interpreter, detail["index"], self.subgraph)


def load(request: Request) -> Opened:
    """The file, ready to run. Raises ValueError for a signature that it does not have, or none named of several."""
    interpreter = interpreter_of(request, **model_argument(request["model"]))
    names = list(interpreter.get_signature_list())
    if not names:
        interpreter.allocate_tensors()
        inputs = {plain(detail["name"]): detail for detail in interpreter.get_input_details()}
        return Opened(interpreter, 0, inputs, interpreter.get_output_details())
    if request.get("signature") not in names and (request.get("signature") or len(names) > 1):
        raise ValueError(f"the file's signatures are {names}, asked for was {request.get('signature')!r}")
    signature = interpreter.get_signature_runner(request.get("signature") or names[0])
    subgraph = signature._subgraph_index
    interpreter._interpreter.AllocateTensors(subgraph)  # of no other: their memory is not this one's
    inputs = dict(sorted(signature.get_input_details().items(), key=lambda item: item[1]["index"]))
    return Opened(interpreter, subgraph, inputs, list(signature.get_output_details().values()))


def model_argument(path: str) -> dict[str, Any]:
    """Interpreter's argument for the file: its name, or its bytes where the name is not UTF-8, which LiteRT takes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return {"model_content": Path(path).read_bytes()}
    return {"model_path": path}


def interpreter_of(request: Request, **model: Any) -> Any:
    """LiteRT's. Without XNNPACK the reference kernels run, and nothing is delegated."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO
    if not request.get("use_xnnpack", True):
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(**model, num_threads=request["threads"], experimental_op_resolver_type=resolver)


def plain(name: str) -> str:
    """A tensor's name less exporters' decoration."""
    return name.removeprefix("serving_default_").removesuffix(":0")


def partitions(opened: Opened, request: Request) -> int:
    """How many parts of the subgraph XNNPACK took.

    LiteRT lists the operators of a file's first subgraph only: any other is loaded once more, as the first.
    """
    interpreter = opened.interpreter
    if opened.subgraph:
        content = with_first(Path(request["model"]).read_bytes(), opened.subgraph)
        interpreter = interpreter_of(request, model_content=content)
        interpreter.allocate_tensors()
    return sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())


def with_first(model: bytes, subgraph: int) -> bytes:
    """A file's bytes with the first subgraph and that one in each other's place: two offsets of a flatbuffer."""
    content = bytearray(model)

    def at(place: int, layout: str = "<I") -> int:
        return struct.unpack_from(layout, content, place)[0]

    root = at(0)
    field = root + at(root - at(root, "<i") + 4 + 2 * 2, "<H")  # Model.subgraphs is field 2
    first = field + at(field) + 4  # behind the vector's length
    other = first + 4 * subgraph
    tables = first + at(first), other + at(other)
    struct.pack_into("<I", content, first, tables[1] - first)
    struct.pack_into("<I", content, other, tables[0] - other)
    return bytes(content)


def fill_random(opened: Opened, generator: Any) -> None:
    """Standard normal values in inputs of real numbers, every byte equally often in 8-bit ones.

    Wider whole numbers and truth values are 0 or 1, which are indices into anything, and strings are empty. A dynamic
    size is the one in the file. Written in place, a block at a time: no copy counts as the model's memory.
    """
    import numpy as np

    for detail in opened.inputs.values():
        kind = np.dtype(detail["dtype"])
        if kind.kind in "SOU":
            empty = np.full(tuple(detail["shape"]), b"", dtype=object)
            opened.interpreter._interpreter.SetTensor(detail["index"], empty, opened.subgraph)
            continue
        flat = opened.view(detail).reshape(-1)
        for start in range(0, flat.size, BLOCK):
            part = flat[start : start + BLOCK]
            if kind.kind == "f":
                part[:] = generator.standard_normal(part.size, dtype=np.float32)
            elif kind.kind in "iu" and kind.itemsize == 1:
                part.view(np.uint8)[:] = np.frombuffer(generator.bytes(part.size), np.uint8)
            else:
                part[:] = generator.integers(0, 2, part.size)


def fill(opened: Opened, arrays: dict[str, Any]) -> None:
    """Sets named inputs; raises ValueError when a name, shape or dtype is not the file's."""
    if opened.inputs.keys() != arrays.keys():
        raise ValueError(
            f"the file's inputs are {sorted(opened.inputs)}, the arrays given are {sorted(arrays)}"
        )
    for name, value in arrays.items():
        detail = opened.inputs[name]
        shape, dtype = tuple(detail["shape"].tolist()), detail["dtype"]
        if value.shape != shape or value.dtype != dtype:
            raise ValueError(
                f"input {name!r} is {dtype.__name__} {shape}, the array given is {value.dtype} {value.shape}"
            )
        opened.view(detail)[...] = value


def read_output(opened: Opened) -> Any:
    """The file's one output, or its `score`, flattened; raises ValueError for neither, and for what is not finite."""
    import numpy as np

    names = [detail["name"] for detail in opened.outputs]
    if len(names) != 1 and SCORE not in names:
        raise ValueError(f"one output was expected, or one called {SCORE!r}; the file has {names}")
    value = opened.view(opened.outputs[names.index(SCORE) if len(names) > 1 else 0]).reshape(-1).copy()
    if not np.isfinite(value).all():
        raise ValueError(f"the output is not finite: {value[:4].tolist()}")
    return value


def check_score(opened: Opened) -> None:
    """Raises ValueError where the file's only output is a single number, and that is not finite: no such score is one.

    Other outputs may be anything: boxes, classes, features of random inputs.
    """
    import numpy as np

    detail = opened.outputs[0] if len(opened.outputs) == 1 else None
    if detail is not None and np.dtype(detail["dtype"]).kind == "f" and opened.view(detail).size == 1:
        read_output(opened)


def runtime() -> str:
    """Name and version of the runtime."""
    from importlib.metadata import version

    return f"ai-edge-litert {version('ai-edge-litert')}"


def frequency_probe() -> float:
    """How fast the core runs now: the fastest of five times for hashing 512 KB, in ms.

    Hashing is one chain of dependent instructions: it follows the clock and nothing else, and the fastest of
    five leaves out a preemption, which `scheduling` counts.
    """

    def work() -> None:
        digest = hashlib.sha256()
        for _ in range(8):
            digest.update(PROBE_BLOCK)

    return min(_timed(work)[1] for _ in range(5))


def scheduling_counters() -> Callable[[], dict[str, Any]]:
    """A function that reads what the scheduler has done to this process: `preemptions`, and `wait_ms` where counted.

    Opening files between two runs would slow the second by more than a small model takes: they are opened here.
    """
    files = [path.open("rb", buffering=0) for path in Path("/proc/self/task").glob("*/schedstat")]

    def read() -> dict[str, Any]:
        counters: dict[str, Any] = {"preemptions": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw}
        # Per thread: ns on a CPU, ns waiting for one, time slices; all 0 in a kernel that keeps no count.
        threads = [os.pread(file.fileno(), 99, 0).split() for file in files]
        if any(int(ran) for ran, _, _ in threads):
            counters["wait_ms"] = sum(int(waited) for _, waited, _ in threads) / 1e6
        return counters

    return read


def stolen() -> dict[str, float]:
    """`steal_ms`: what the hypervisor has taken from this process's CPUs, in its clock's ticks of 10 ms."""
    names = {f"cpu{cpu}" for cpu in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines())
    ticks = sum(int(fields[8]) for fields in lines if fields[0] in names)
    return {"steal_ms": ticks * 1e3 / os.sysconf("SC_CLK_TCK")}


def _difference(start: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    return {name: end[name] - start[name] for name in end if name in start}


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter_ns()
    value = call()
    return value, (time.perf_counter_ns() - start) / 1e6


def _status_mb(field: str) -> float:
    """A `VmX: N kB` line of /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    sys.exit(main())
