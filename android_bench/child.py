"""The process that loads a .tflite file: it times it, or runs it on given inputs.

One request on stdin and one answer on stdout, both JSON (the answer is the last line). It imports nothing of
this package, because the same file also runs under the emulated ARM Python of emulate.py, where only the
standard library, numpy and LiteRT exist. The runtime is imported late, after the process is pinned.

Requests: {"mode": "time", "model", "threads", "cpus", "seed", "use_xnnpack", "warmup_runs", "runs"}
          {"mode": "score", "model", "threads", "inputs": [NPZ...], "output": NPZ}   one answer per NPZ
          {"mode": "score", ..., "seed"}                                             random inputs, one answer
Answer: the measurements, or {"error": TEXT}.
"""

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Request = dict[str, Any]
PACE_BLOCK = bytes(1 << 16)  # stays in the core's own cache


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
    rss_after_import, pace_before, alone = _status_mb("VmRSS"), pace(), _threads()
    counters = scheduling_counters()
    start = counters()
    interpreter, init_ms = _timed(lambda: load(request))
    loaded = _difference(start, counters())
    fill_random(interpreter, generator)
    counters = scheduling_counters()  # of the runtime's threads too
    counters()  # the first call costs the run that follows it its cache
    stolen_before = stolen()
    before = [_timed(interpreter.invoke)[1] for _ in range(request["warmup_runs"])]
    start = counters()
    runs = [_timed(interpreter.invoke)[1] for _ in range(request["runs"])]
    spent = _difference({**start, **stolen_before}, {**counters(), **stolen()})
    if "wait_ms" in loaded:
        spent["init_wait_ms"] = loaded["wait_ms"]
    peak = _status_mb("VmHWM")
    read_output(interpreter)
    return {
        "runtime": runtime(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "init_ms": init_ms,
        "first_ms": (before + runs)[0],
        "run_ms": runs,
        "rss_after_import_mb": rss_after_import,
        "peak_rss_mb": peak,
        "delegate_kernels": sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details()),
        "evidence": {
            **spent,
            "pace_before_ms": pace_before,
            "pace_after_ms": pace(),
            "workers": _threads() - alone,
        },
    }


def score(request: Request) -> dict[str, Any]:
    """Runs the file on each NPZ of inputs, or once on random ones; outputs `0`, `1`... go into one NPZ."""
    import numpy as np

    interpreter = load(request)
    outputs = []
    for path in request.get("inputs", [None]):
        if path is None:
            fill_random(interpreter, np.random.default_rng(request["seed"]))
        else:
            with np.load(path) as arrays:
                fill(interpreter, dict(arrays))
        interpreter.invoke()
        outputs.append(read_output(interpreter))
    np.savez(request["output"], **{str(index): value for index, value in enumerate(outputs)})
    return {"runtime": runtime(), "count": len(outputs)}


def load(request: Request) -> Any:
    """A ready interpreter. Without XNNPACK the reference kernels run, and nothing is delegated."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO
    if not request.get("use_xnnpack", True):
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        request["model"], num_threads=request["threads"], experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    return interpreter


def fill_random(interpreter: Any, generator: Any) -> None:
    """Standard normal values in every input, written in place: no copy counts as the model's memory."""
    import numpy as np

    for detail in interpreter.get_input_details():
        shape = detail["shape_signature"]
        if detail["dtype"] is not np.float32 or (shape[1:] < 0).any():
            dtype = np.dtype(detail["dtype"]).name
            raise ValueError(f"input {detail['name']!r} is {dtype} {shape.tolist()}, not fixed-size float32")
        generator.standard_normal(out=interpreter.tensor(detail["index"])(), dtype=np.float32)


def fill(interpreter: Any, arrays: dict[str, Any]) -> None:
    """Sets named float32 inputs; raises ValueError when a name, shape or dtype is not the file's."""
    details = inputs_by_name(interpreter)
    if details.keys() != arrays.keys():
        raise ValueError(f"the file's inputs are {sorted(details)}, the arrays given are {sorted(arrays)}")
    for name, value in arrays.items():
        shape, dtype = tuple(details[name]["shape"].tolist()), details[name]["dtype"]
        if value.shape != shape or value.dtype != dtype:
            raise ValueError(
                f"input {name!r} is {dtype.__name__} {shape}, the array given is {value.dtype} {value.shape}"
            )
        interpreter.set_tensor(details[name]["index"], value)


def inputs_by_name(interpreter: Any) -> dict[str, dict[str, Any]]:
    """Input details by signature name; in a file without one by tensor name, less exporters' decoration."""
    if interpreter.get_signature_list():
        return interpreter.get_signature_runner().get_input_details()
    return {
        detail["name"].removeprefix("serving_default_").removesuffix(":0"): detail
        for detail in interpreter.get_input_details()
    }


def read_output(interpreter: Any) -> Any:
    """The file's one output, flattened; raises ValueError when there are several or a value is not finite."""
    import numpy as np

    details = interpreter.get_output_details()
    if len(details) != 1:
        raise ValueError(f"one output was expected, the file has {[detail['name'] for detail in details]}")
    value = interpreter.get_tensor(details[0]["index"]).reshape(-1)
    if not np.isfinite(value).all():
        raise ValueError(f"the output is not finite: {value[:4].tolist()}")
    return value


def runtime() -> str:
    """Name and version of the runtime."""
    from importlib.metadata import version

    return f"ai-edge-litert {version('ai-edge-litert')}"


def pace() -> float:
    """How fast the core runs now: the fastest of five times for hashing 512 KB, in ms.

    Hashing is one chain of dependent instructions: it follows the clock and nothing else, and the fastest of
    five leaves out a preemption, which `scheduling` counts.
    """

    def work() -> None:
        digest = hashlib.sha256()
        for _ in range(8):
            digest.update(PACE_BLOCK)

    return min(_timed(work)[1] for _ in range(5))


def scheduling_counters() -> Callable[[], dict[str, Any]]:
    """A function that reads what the scheduler has done to this process: `preemptions`, and `wait_ms` where counted.

    Opening files between two runs would slow the second by more than a small model takes: they are opened here.
    """
    files = [path.open("rb", buffering=0) for path in Path("/proc/self/task").glob("*/schedstat")]

    def read() -> dict[str, Any]:
        found: dict[str, Any] = {"preemptions": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw}
        # Per thread: ns on a CPU, ns waiting for one, time slices; all 0 in a kernel that keeps no count.
        threads = [os.pread(file.fileno(), 99, 0).split() for file in files]
        if any(int(ran) for ran, _, _ in threads):
            found["wait_ms"] = sum(int(waited) for _, waited, _ in threads) / 1e6
        return found

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
