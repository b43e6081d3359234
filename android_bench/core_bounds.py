"""The least cycles that a core can need for counted instructions, from what its maker publishes of its pipelines.

For each group of pipelines: the instructions that only it executes, over how many it starts a cycle; the largest of
these is a bound. It knows no dependency, no cache miss and no latency, so a real run takes longer, and may take much
longer: a bound in milliseconds is not a time. It holds, though, it has no noise, and ratios of bounds are those of
the work. Where a guide leaves a figure open, the larger one stands here, so that the bound stays below the core.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PRODUCTS = ("fmla_4s", "fmla_8h", "sdot", "smmla")
OTHER_VECTORS = ("smlal", "shuffles", "converts", "vector")
HALF_RATE = (
    "smlal",
    "converts",
)  # half of an out-of-order core's vector pipelines multiply integers and convert
COUNTED_ON = "cortex-a76"  # the kernels are those that XNNPACK picks there


@dataclass(frozen=True)
class Core:
    """A core's pipelines: how many instructions of a kind it starts in a cycle, at most.

    width: of all kinds. products: 128-bit FMLA, SDOT. vectors: other vector arithmetic. half_rate: HALF_RATE's kinds.
    memory: loads and stores together. ghz: its clock in the phone named, for milliseconds. source: where they stand.
    """

    name: str
    width: int
    products: int
    vectors: int
    half_rate: int
    loads: int
    stores: int
    memory: int
    branches: int
    ghz: float
    phone: str
    source: str


@dataclass(frozen=True)
class Bound:
    """At least so many cycles, because of `limit`; `ms` at the core's clock."""

    core: str
    cycles: float
    ms: float
    limit: str


# A55's two 64-bit halves take a 128-bit product together, a 64-bit operation each.
CORES = (
    Core("Cortex-A55", 2, 1, 2, 2, 1, 1, 2, 1, 1.8, "Snapdragon 888",
         "Arm Cortex-A55 Software Optimization Guide"),
    Core("Cortex-A76", 4, 2, 2, 1, 2, 2, 2, 1, 2.42, "Snapdragon 855",
         "Arm Cortex-A76 Software Optimization Guide 8.0 (PJDOC-466751330-7215)"),
    Core("Cortex-A77", 6, 2, 2, 1, 2, 2, 2, 2, 2.42, "Snapdragon 865",
         "Arm Cortex-A77 Software Optimization Guide 3.0 (PJDOC-466751330-11050)"),
    Core("Cortex-X1", 8, 4, 4, 2, 3, 2, 3, 2, 2.84, "Snapdragon 888",
         "Arm Cortex-X1 Software Optimization Guide"),
    Core("Cortex-X3", 8, 4, 4, 2, 3, 2, 3, 2, 3.2, "Snapdragon 8 Gen 2",
         "Arm Cortex-X3 Software Optimization Guide"),
)  # fmt: skip


def bound(counts: Mapping[str, int], core: Core) -> Bound:
    """The bound of one inference whose instructions by kind are `counts` (instruction_counter.KINDS)."""

    def of(*kinds: str) -> int:
        return sum(counts[kind] for kind in kinds)

    # Products and other arithmetic share the pipelines. Copies and constants may fall away in renaming, and moves from
    # general registers go elsewhere on some cores: neither counts.
    limits = {
        "instructions a cycle": counts["instructions"] / core.width,
        "vector pipelines": of(*PRODUCTS) / core.products + of(*OTHER_VECTORS) / core.vectors,
        "pipelines that convert": of(*HALF_RATE) / core.half_rate,
        "loads": counts["loads"] / core.loads,
        "stores": counts["stores"] / core.stores,
        "loads and stores": of("loads", "stores") / core.memory,
        "branches": counts["branches"] / core.branches,
    }
    limit = max(limits, key=lambda name: limits[name])
    return Bound(core.name, limits[limit], limits[limit] / core.ghz / 1e6, limit)


def bounds(counts: Mapping[str, int]) -> list[Bound]:
    """Every core's, in the order of CORES."""
    return [bound(counts, core) for core in CORES]
