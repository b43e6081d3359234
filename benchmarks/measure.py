"""One launch of one file, whichever its runtime: a fresh, pinned process, in android_bench's protocol."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from android_bench.process import ENVIRONMENT, ask
from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig, Launch
from android_bench.runners import host
from benchmarks.conversion_paths import essence
from convert.runtimes.tool_environments import python_of
from mobileiqa import typed_json
from mobileiqa.errors import RunError

PTE_CHILD = Path(__file__).with_name("pte_child.py")


def launch(
    path: Path, config: BenchConfig, if_disturbed: IfDisturbed = IfDisturbed.REPEAT
) -> tuple[Launch, str]:
    """Times one launch of `path`; (the launch, the runtime's name and version).

    Raises RunError when the runtime refuses the file or runs it on other threads than asked for, and when the
    machine stays disturbed. A .pte does not tell its partitions: they are 0.
    """
    if path.suffix == ".pte":
        answer = _ask_pte(path, config)
        fields = {name: answer[name] for name in Launch.__dataclass_fields__ if name in answer}
        return typed_json.decode(Launch, {**fields, "delegate_kernels": 0}, "the answer of a launch"), answer[
            "runtime"
        ]
    result = host.measure([path], replace(config, launches=1), if_disturbed=if_disturbed)[0]
    return result.launches[0], result.runtime


def score(path: Path, config: BenchConfig) -> float:
    """The first output value of `path` on the benchmark's inputs. Raises RunError."""
    if path.suffix == ".pte":
        return _ask_pte(path, replace(config, warmup_runs=0, runs=1))["score"]
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/output.npz"
        ask(
            [sys.executable],
            {
                "mode": "score",
                "model": str(path),
                "threads": config.threads,
                "cpus": host.choose_cpus(config),
                "seed": config.seed,
                "output": output,
            },
        )
        with np.load(output) as arrays:
            return float(arrays["0"][0])


def _ask_pte(path: Path, config: BenchConfig) -> dict[str, Any]:
    """One request to pte_child.py in the ExecuTorch environment."""
    request = {
        "model": str(path),
        "threads": config.threads,
        "cpus": host.choose_cpus(config),
        "seed": config.seed,
        "warmup_runs": config.warmup_runs,
        "runs": config.runs,
    }
    child = subprocess.run(
        [python_of("executorch"), PTE_CHILD],
        input=json.dumps(request),
        text=True,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        check=False,
    )
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        raise RunError(f"{path}: {essence(child.returncode, child.stderr)}") from None
    if "error" in answer:
        raise RunError(f"{path}: {answer['error']}")
    return answer
