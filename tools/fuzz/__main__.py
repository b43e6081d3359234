"""Altered input for every command, from one seed: python -m tools.fuzz --minutes 3. Exit 1: a rule was broken.

The rules are in oracles.py. A case that broke one is kept, and `--replay FOLDER` runs it again. `--fault NAME` puts a
fault back to prove that the harness finds it (faults.py).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from mobileiqa import cli
from mobileiqa.errors import UserError
from tools.fuzz import case, corpus, faults, oracles, runner
from tools.fuzz.client import Client

NO_LIMIT = 1e6  # minutes


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        __doc__ or "", "python -m tools.fuzz --minutes 10 --seed 7 --kinds images flatbuffers"
    )
    add = parser.add_argument
    add("--minutes", type=float, help="wall clock, the corpus included (default 3, with --counts none)")
    add("--seed", type=int, default=1, help="every case follows from it (default %(default)s)")
    add("--kinds", nargs="+", choices=runner.KINDS, default=list(runner.KINDS), metavar="KIND",
        help=f"default: all of {' '.join(runner.KINDS)}")  # fmt: skip
    add("--counts", nargs="+", default=[], metavar="KIND=N", help="stop after so many cases")
    add("--processes", type=int, default=2, metavar="N", help="at a time (default %(default)s)")
    add(
        "--failures",
        type=Path,
        default=Path("out/fuzz"),
        metavar="DIR",
        help="keeps them (default %(default)s)",
    )
    add("--replay", type=Path, metavar="FOLDER", help="runs one kept case again, and shows everything")
    add("--fault", choices=faults.FAULTS, default="", help="puts this fault back first")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    start = time.monotonic()
    seeds = corpus.ensure()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if arguments.replay:
            return _replay(arguments.replay, Path(folder), seeds, arguments.fault)
        counts = _counts(arguments.counts)
        minutes = arguments.minutes or (NO_LIMIT if counts else 3)
        seconds = 60 * minutes - (time.monotonic() - start)
        kinds = list(counts) or arguments.kinds
        budget = runner.Budget(seconds, counts)
        campaign = runner.Campaign(seeds, arguments.seed, kinds, budget, arguments.failures)
        runner.run(campaign, Path(folder) / "work", seeds, arguments.processes, arguments.fault)
    for line in runner.summary_lines(campaign):
        cli.say(line)
    tallies = {name: tally.to_json() for name, tally in campaign.tallies.items()}
    passed = not campaign.signatures
    cli.emit(
        {"passed": passed, "seed": arguments.seed, "kinds": tallies, "signatures": dict(campaign.signatures)}
    )
    return int(not passed)


def _counts(texts: list[str]) -> dict[str, int]:
    counts = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in runner.KINDS or not number.isdigit():
            raise UserError(
                f"--counts such as images=10000, of {', '.join(runner.KINDS)}", text, "correct --counts"
            )
        counts[name] = int(number)
    return counts


def _replay(folder: Path, work: Path, seeds: Path, fault: str) -> int:
    """One kept case: what each step printed, and the rules that it broke."""
    try:
        rest = case.load(folder)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            "a folder that this command kept", f"{folder}: {error}", "name one below out/fuzz"
        ) from error
    client = Client(work / "work", seeds, fault)
    outcomes = client.run(rest)
    client.close()
    broken = []
    for outcome in outcomes:
        cli.say(
            f"{outcome.step.module} {' '.join(outcome.step.arguments)}: exit {outcome.exit_code} {outcome.ended}"
        )
        for text in (outcome.stdout[-2000:], outcome.stderr[-2000:], outcome.traceback):
            cli.say(text.encode("utf-8", "backslashreplace").decode())
        broken += oracles.violations(rest, outcome)
    for violation in broken:
        cli.say(f"BROKEN {violation.rule}: {violation.module}: {violation.detail!r}")
    cli.emit({"passed": not broken, "broken": [violation.signature for violation in broken]})
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
