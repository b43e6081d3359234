"""Starts child.py or its like, natively or emulated, and turns whatever goes wrong in it into one RunError."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileiqa.errors import RunError

CHILD = Path(__file__).with_name("child.py")
# numpy's own thread pools would only cost memory: the child does no linear algebra outside the runtime.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONNOUSERSITE": "1"}


def ask(
    python: Sequence[str],
    request: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    script: Path = CHILD,
) -> dict[str, Any]:
    """One request to a fresh `script` run by `python`; RunError when it crashes, refuses, or answers nothing.

    The runtime's own error text is kept: it names the operator that a delegate could not take.
    """
    child = subprocess.run(
        [*python, "-P", str(script)],  # -P: the script's folder stays out of the import path
        input=json.dumps(dict(request)),
        env={**os.environ, **ENVIRONMENT, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = child.stdout.splitlines()
    try:
        answer = json.loads(lines[-1])
        if not isinstance(answer, dict):
            raise ValueError("no JSON object")
    except (IndexError, ValueError, RecursionError):
        words = f"{_ending(child.returncode)}; {_last_words(child.stderr)}"
        raise RunError(f"{request['model']}: {words}") from None
    if "error" in answer:
        complaints = [line for line in child.stderr.splitlines() if line.startswith("ERROR")]
        raise RunError(f"{request['model']}: {' '.join([str(answer['error']), *complaints])}")
    return answer


def _ending(code: int) -> str:
    """How a process without an answer ended."""
    if code < 0:
        return f"the runtime's process was ended by {signal.Signals(-code).name}"
    return f"the runtime's process gave no answer (exit code {code})"


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it printed nothing"
