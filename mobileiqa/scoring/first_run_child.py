"""The process that loads and runs a .tflite file for the first time: first_run_child.py FILE THREADS MEMORY_BYTES.

It imports nothing of this package and says on stdout how far it came ("loading", "running"), because it may end at
any moment. Exit 0: the file ran. Exit 1 with {"error"}: the runtime refused it.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def main() -> int:
    """Runs every signature once, or the first subgraph of a file without any."""
    path, threads, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    limit(memory)
    from ai_edge_litert.interpreter import Interpreter

    say("loading")
    try:
        interpreter = Interpreter(**model(path), num_threads=threads)
        interpreter.allocate_tensors()
        calls = [signature(interpreter, key) for key in interpreter.get_signature_list()]
        say("running")
        for call in calls or [lambda: first_subgraph(interpreter)]:
            call()
    except Exception as error:  # noqa: BLE001  (whatever the runtime raises is the answer)
        silent = f"{type(error).__name__} without a word, as for tensors larger than the memory"
        say(json.dumps({"error": str(error) or silent}))
        return 1
    return 0


def model(path: str) -> dict[str, Any]:
    """Interpreter's argument for the file: its name, or its bytes where the name is not UTF-8, which LiteRT takes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        with open(path, "rb") as file:
            return {"model_content": file.read()}
    return {"model_path": path}


def limit(memory: int) -> None:
    """No more address space than `memory` bytes, and no core file."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (memory if hard < 0 else min(memory, hard), hard))


def signature(interpreter: Any, key: str) -> Callable[[], Any]:
    """A call of the signature on random inputs."""
    run = interpreter.get_signature_runner(key)
    inputs = {name: values(detail) for name, detail in run.get_input_details().items()}
    return lambda: run(**inputs)


def first_subgraph(interpreter: Any) -> None:
    """One inference of the first subgraph on random inputs."""
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], values(detail))
    interpreter.invoke()


def values(detail: dict[str, Any]) -> Any:
    """Normal numbers, whole ones of 0 and 1, or empty strings, in the input's shape."""
    import numpy as np

    kind, shape = np.dtype(detail["dtype"]), tuple(detail["shape"])
    if kind.kind == "f":
        return np.random.default_rng(0).standard_normal(shape).astype(kind)
    if kind.kind in "OSU":
        return np.full(shape, b"", dtype=object)
    return np.random.default_rng(0).integers(0, 2, shape).astype(kind)


def say(text: str) -> None:
    """One line on stdout, at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main())
