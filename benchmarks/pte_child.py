"""The process that loads an ExecuTorch .pte file and times it; the counterpart of android_bench/child.py.

It is run by path with the Python of the ExecuTorch environment: one JSON request on stdin, one JSON answer
as the last line on stdout, with the same fields, taken at the same points, as the .tflite child's. The
thread pool is set to the threads asked for before anything is loaded, and the answer says how many threads
the runtime then has and how much CPU time a second of wall clock took, because a delegate that still ran on
every core would look fast here.

Request: {"model", "threads", "cpus", "seed", "warmup_runs", "runs"} Answer: runtime, cpus, init_ms,
first_ms, run_ms, rss_after_import_mb, peak_rss_mb, score, pool_threads, cpu_per_wall; or {"error": TEXT}.
"""

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Request = dict[str, Any]


def main() -> int:
    """Answers one request; exit 1 with {"error"} when the runtime refuses the file."""
    request = json.load(sys.stdin)
    os.sched_setaffinity(0, request["cpus"])
    answer: dict[str, Any]
    try:
        answer = measure(request)
    except (ValueError, RuntimeError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, separators=(",", ":"), allow_nan=False))
    return int("error" in answer)


def measure(request: Request) -> dict[str, Any]:
    """Times load, first inference and every run. Peak memory starts after the import of the runtime."""
    import numpy as np
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    torch.set_num_threads(request["threads"])
    portable_lib._unsafe_reset_threadpool(request["threads"])
    if (count := portable_lib._threadpool_get_thread_count()) != request["threads"]:
        raise ValueError(f"{request['threads']} threads were asked for, ExecuTorch's pool has {count}")
    runtime = Runtime.get()
    generator = np.random.default_rng(request["seed"])
    rss_after_import = _status("VmRSS") * 1024 / 1e6

    method, init_ms = _timed(lambda: runtime.load_program(Path(request["model"])).load_method("forward"))
    inputs = random_inputs(method.metadata, generator)
    before = [_timed(lambda: method.execute(inputs))[1] for _ in range(request["warmup_runs"])]
    cpu_start, wall_start = time.process_time(), time.perf_counter()
    runs = [_timed(lambda: method.execute(inputs))[1] for _ in range(request["runs"])]
    cpu_per_wall = (time.process_time() - cpu_start) / (time.perf_counter() - wall_start)
    peak = _status("VmHWM") * 1024 / 1e6
    return {
        "runtime": f"executorch {importlib.metadata.version('executorch')}",
        "cpus": sorted(os.sched_getaffinity(0)),
        "init_ms": init_ms,
        "first_ms": (before + runs)[0],
        "run_ms": runs,
        "rss_after_import_mb": rss_after_import,
        "peak_rss_mb": peak,
        "score": score_of(method.execute(inputs)),
        "pool_threads": count,
        "cpu_per_wall": cpu_per_wall,
    }


def random_inputs(metadata: Any, generator: Any) -> list[Any]:
    """Standard normal float32 tensors of the method's input shapes, drawn in their order."""
    import numpy as np
    import torch

    shapes = [metadata.input_tensor_meta(index).sizes() for index in range(metadata.num_inputs())]
    return [torch.from_numpy(generator.standard_normal(shape, dtype=np.float32)) for shape in shapes]


def score_of(outputs: Any) -> float:
    """The first value of the method's one output; ValueError when there are several, or one is not finite."""
    import torch

    if len(outputs) != 1 or not torch.isfinite(outputs[0]).all():
        raise ValueError(f"one finite output was expected, the file gave {outputs}")
    return float(outputs[0].reshape(-1)[0])


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter_ns()
    value = call()
    return value, (time.perf_counter_ns() - start) / 1e6


def _status(field: str) -> int:
    """The number in a `field: N ...` line of /proc/self/status (kB for the Vm fields)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    sys.exit(main())
