"""Runs a command and says what it cost: `python benchmarks/cost.py OUT.json COMMAND...`

A process of its own, because Linux counts the memory of the process that starts a command towards the
command's peak: measured from a benchmark that holds a gigabyte, every converter would seem to need one.
This one is small. OUT.json gets {"code", "seconds", "peak_mb"}; the code is negative for a signal.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """See the module."""
    start = time.perf_counter()
    code = subprocess.call(sys.argv[2:])
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    Path(sys.argv[1]).write_text(json.dumps({"code": code, "seconds": seconds, "peak_mb": peak_mb}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
