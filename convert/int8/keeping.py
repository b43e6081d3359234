"""The runtime, keeping every activation."""

import warnings
from pathlib import Path
from typing import Any

from mobileiqa import first_run


def interpreter(path: Path, threads: int = 1) -> Any:
    """An interpreter of the file, allocated, whose tensors can all be read after a run: as large as all of them."""
    from ai_edge_litert.interpreter import Interpreter

    first_run.check(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it takes memory
        loaded = Interpreter(
            model_path=str(path), num_threads=threads, experimental_preserve_all_tensors=True
        )
    loaded.allocate_tensors()
    return loaded
