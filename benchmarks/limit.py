"""What this core can do at best, and how far a file is from it.

    limit = MACs of the file / measured FP32 matrix rate + its GELU values x measured time of one

Both rates are measured through LiteRT in the same run as the files: a 484x2420 by 2420x2420 product (the
shape of the model's largest layers) and chains of GELU on 256 KB (stays in the core's cache) and on 64 MB
(does not). The limit takes the cached rate: a file that tiles well keeps its GELUs there. Left out of it:
the depthwise convolutions' poorer reuse, softmax, element-wise sums and all copies, so that 1.0x cannot be
reached.
"""

from dataclasses import dataclass
from pathlib import Path

from convert.delegation import macs_and_memory
from convert.flatbuffer.reader import read_graph

MATRIX, GELU_CACHED, GELU_STREAMED = PROBES = ("probe-matrix", "probe-gelu-cached", "probe-gelu-streamed")


@dataclass(frozen=True)
class Work:
    """What one run of a file computes."""

    macs: int
    gelu_values: int


@dataclass(frozen=True)
class Rates:
    """What this core measured: FP32 GMAC/s, and nanoseconds for one GELU."""

    gmacs_per_s: float
    gelu_ns: float
    gelu_streamed_ns: float

    def limit_ms(self, work: Work) -> float:
        """The least time for `work`, in ms."""
        return work.macs / self.gmacs_per_s / 1e6 + work.gelu_values * self.gelu_ns / 1e6


def work_of(path: Path) -> Work:
    """MACs and GELU values of a .tflite file, from its graph."""
    graph = read_graph(path)
    return Work(
        sum(macs_and_memory.macs(graph, op) for op in graph.operators),
        sum(macs_and_memory.values(graph, op) for op in graph.operators if op.name == "GELU"),
    )


def rates(files: dict[str, Path], median_ms: dict[str, float]) -> Rates:
    """The rates that follow from each probe's file and its median time."""
    work = {name: work_of(path) for name, path in files.items()}

    def gelu_ns(name: str) -> float:
        return median_ms[name] * 1e6 / work[name].gelu_values

    return Rates(work[MATRIX].macs / median_ms[MATRIX] / 1e6, gelu_ns(GELU_CACHED), gelu_ns(GELU_STREAMED))
