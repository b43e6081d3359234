"""`python -m android_bench.profile`: what each operator of a .tflite file costs on this machine, by LiteRT's profiler.

Where XNNPACK took the graph the operators are XNNPACK's own, fused as it fused them, and their names tell the
arithmetic (F32, F16, QS8); elsewhere they are LiteRT's built-in ones, and a picture shows them hatched. Times are
whole microseconds, so operators below some 10 us are a sum to be trusted rather than figures. Left out: which
operator of the file became which one of XNNPACK's, which the runtime does not tell.

Exit 0: profiled. 1: the runtime refused the file or crashed. 2: the user's input was wrong.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.process import ask
from android_bench.results import interference
from android_bench.results.measurements import BenchConfig, ContentionCounters, Device, FileIdentity, Launch
from android_bench.results.signatures import HELP, OPTION, labelled, read_signature
from android_bench.results.summary import summarize
from android_bench.results.tflite_file import with_fixed_sizes
from android_bench.runners.host import choose_cpus, request_of, this_machine
from mobileiqa import cli, typed_json
from mobileiqa.errors import RunError, UserError

CHILD = Path(__file__).with_name("profiling") / "child.py"
SCHEMA = 1
EXAMPLE = "python -m android_bench.profile model.tflite --runs 10 --plot profile.svg --out profile.json"


@dataclass(frozen=True)
class Operator:
    """One operator: its time in every profiled run. `partition`: of XNNPACK's, None when it was not delegated."""

    name: str
    partition: int | None
    run_ms: tuple[float, ...]

    @property
    def ms(self) -> float:
        """Median over the runs."""
        return summarize(self.run_ms).median

    @property
    def by(self) -> str:
        """Whose kernel ran it."""
        return "LiteRT" if self.partition is None else "XNNPACK"


@dataclass(frozen=True)
class Kind:
    """All operators of one name by one kernel library. `share`: of the operators' time, 0..1."""

    name: str
    by: str
    count: int
    ms: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Profile(FileIdentity):
    """A profiled signature of a file. `plain_ms`: runs without the profiler; `profiled_ms`: those of the operators,
    which are in the order in which they ran.
    """

    config: BenchConfig
    device: Device
    runtime: str
    cpus: tuple[int, ...]
    plain_ms: tuple[float, ...]
    profiled_ms: tuple[float, ...]
    operators: tuple[Operator, ...]
    evidence: ContentionCounters | None = None  # of the profiled runs

    @property
    def disturbed(self) -> str:
        """What disturbed the profiled runs, by the benchmark's own measure; "" when nothing did."""
        launch = Launch(
            self.cpus,
            max(self.plain_ms),
            self.plain_ms[0],
            self.profiled_ms,
            0.0,
            0.0,
            self.partitions,
            self.evidence,
        )
        return interference.of_launch(launch, self.config)

    @property
    def name(self) -> str:
        """What ran, for people."""
        return labelled(Path(self.file).name, self.signature)

    @property
    def operators_ms(self) -> float:
        """All operators together."""
        return sum(operator.ms for operator in self.operators)

    @property
    def partitions(self) -> int:
        """Parts of the graph that XNNPACK took."""
        return len({operator.partition for operator in self.operators} - {None})

    def kinds(self) -> list[Kind]:
        """Operators by name, the most expensive first."""
        groups: dict[tuple[str, str], list[float]] = {}
        for operator in self.operators:
            groups.setdefault((operator.name, operator.by), []).append(operator.ms)
        whole = self.operators_ms or 1.0  # below the profiler's microsecond altogether
        rows = [Kind(*key, len(times), sum(times), sum(times) / whole) for key, times in groups.items()]
        return sorted(rows, key=lambda kind: -kind.ms)

    def summary(self) -> dict[str, Any]:
        """Times in ms, counts, and `delegated_share`: of the operators' time, 0..1, in XNNPACK."""
        delegated = [operator.ms for operator in self.operators if operator.partition is not None]
        return {
            "plain_median_ms": round(summarize(self.plain_ms).median, 4),
            "profiled_median_ms": round(summarize(self.profiled_ms).median, 4),
            "operators_ms": round(self.operators_ms, 4),
            "operators": len(self.operators),
            "not_delegated": len(self.operators) - len(delegated),
            "partitions": self.partitions,
            "delegated_share": round(sum(delegated) / (self.operators_ms or 1.0), 4),
        }


def profile(path: Path | str, config: BenchConfig, signature: str | None = None) -> Profile:
    """Profiles one signature of a file in a fresh, pinned process, on random inputs, those of the benchmark.

    `launches` and `cooldown_s` are not used. Raises UserError for a file that is missing or no TFLite model, for
    several signatures of which none is named and for too many threads, and RunError when the runtime refuses it,
    lists other operators from run to run, or did not delegate as it was told to.
    """
    entry, cpus = read_signature(path, signature), choose_cpus(config)
    request = request_of("profile", entry, config, cpus)
    with _fixed(entry.file.path) as model:
        answer = ask([sys.executable], {**request, "model": str(model)}, script=CHILD)
    operators = _operators(str(path), answer["events"])
    if config.use_xnnpack != any(operator.partition is not None for operator in operators):
        words = "took no part of it; profile the built-in kernels (--no-xnnpack)"
        raise RunError(f"{path}: XNNPACK {words if config.use_xnnpack else 'was to be left out and was not'}")
    return Profile(
        **entry.identity(),
        config=config,
        device=this_machine(),
        runtime=answer["runtime"],
        cpus=tuple(answer["cpus"]),
        plain_ms=tuple(answer["plain_ms"]),
        profiled_ms=tuple(answer["profiled_ms"]),
        operators=operators,
        evidence=typed_json.decode(ContentionCounters, answer["evidence"], "the answer of a profile"),
    )


@contextmanager
def _fixed(path: Path) -> Iterator[Path]:
    """The file; one with dynamic sizes as a temporary copy at the sizes in it, which LiteRT's profiler needs."""
    content = with_fixed_sizes(path)
    if content is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        yield copy


def _operators(file: str, runs: Sequence[Sequence[Sequence[Any]]]) -> tuple[Operator, ...]:
    """Each operator's times over the runs; RunError when there are none, or others in another run."""
    listed = {tuple((name, partition) for name, partition, _ in run) for run in runs}
    if len(listed) != 1 or not runs[0]:
        counts = sorted({len(run) for run in runs})
        raise RunError(f"{file}: the profiler listed {counts} operators, not the same ones in every run")
    times = zip(*([event[2] / 1e3 for event in run] for run in runs), strict=True)
    return tuple(
        Operator(name, partition, ms) for (name, partition, _), ms in zip(runs[0], times, strict=True)
    )


def to_json(measured: Profile) -> dict[str, Any]:
    """Everything, JSON-ready; `kinds` and `summary` follow from the rest."""
    content = {
        **dataclasses.asdict(measured),
        "kinds": [dataclasses.asdict(kind) for kind in measured.kinds()],
    }
    return {"schema": SCHEMA, "profile": {**content, "summary": measured.summary()}}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.command(_parser(), _run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "Shows what each operator of a .tflite file costs on this machine, delegated or not.", EXAMPLE
    )
    default, add = BenchConfig(), parser.add_argument
    add("file", type=Path, metavar="FILE.tflite")
    add("--runs", type=int, default=default.runs, metavar="N", help="profiled runs (%(default)s)")
    add("--warmup", type=int, default=default.warmup_runs, metavar="N", help="before them (%(default)s)")
    add("--threads", type=int, default=default.threads, metavar="N", help="default %(default)s")
    add(OPTION, metavar="NAME", help=HELP)
    add("--no-xnnpack", action="store_true", help="run the built-in kernels, without the XNNPACK delegate")
    add("--top", type=int, default=10, metavar="N", help="most expensive single operators (%(default)s)")
    add("--plot", type=Path, metavar="PATH.svg", help="a picture: by kind, and in running order")
    add("--out", type=Path, metavar="PROFILE.json", help="every operator")
    add("--force", action="store_true", help="replace existing outputs")
    return parser


def _run(args: argparse.Namespace) -> int:
    """Profiles, shows, writes."""
    from android_bench.profiling.report import svg, tables

    if args.top < 0:
        raise UserError("--top of at least 0", f"{args.top}", "correct --top")
    if args.plot and args.plot.suffix.lower() != ".svg":
        raise UserError("a --plot that ends in .svg", str(args.plot), "rename it")
    if args.plot and args.out and args.plot.resolve() == args.out.resolve():
        raise UserError("a file of its own for each output", f"{args.out} twice", "change one of the names")
    for path in filter(None, (args.plot, args.out)):
        cli.refuse_existing(path, args.force)
    config = BenchConfig(
        threads=args.threads, warmup_runs=args.warmup, runs=args.runs, use_xnnpack=not args.no_xnnpack
    )
    measured = profile(args.file, config, args.signature)
    cli.say(tables(measured, args.top))
    if measured.disturbed:
        cli.say(f"DISTURBED: {measured.disturbed}; shares are of medians, measure again on a quiet machine")
    if args.plot:
        cli.write_text(args.plot, svg(measured))
    if args.out:
        cli.write_json(args.out, to_json(measured))
    identity = {name: getattr(measured, name) for name in ("file", "signature", "runtime")}
    written = [str(path) for path in (args.plot, args.out) if path]
    cli.emit({**identity, **measured.summary(), "written": written})
    return 0


if __name__ == "__main__":
    sys.exit(main())
