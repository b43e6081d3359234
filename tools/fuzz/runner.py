"""Runs cases until their number or the time is up, in one or two processes, and keeps what broke a rule.

Pictures are scored forty at a time, as a user scores a folder; where such a batch breaks a rule, or one picture's
answer is not clear, its pictures are scored one by one.
"""

import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mobileiqa import cli
from tools.fuzz.case import INPUT, Case, Outcome, Step, generator, save
from tools.fuzz.checkpoints import Checkpoints
from tools.fuzz.client import Client
from tools.fuzz.flatbuffers import Flatbuffers
from tools.fuzz.images import Images
from tools.fuzz.labels import Labels
from tools.fuzz.names import Names
from tools.fuzz.oracles import Violation, violations
from tools.fuzz.records import Records

KINDS = {kind.kind: kind for kind in (Images, Checkpoints, Flatbuffers, Records, Labels, Names)}
BATCH = {"images": 40}
PROGRESS_S = 60.0
SAVED = 3  # cases kept of each signature


@dataclass
class Tally:
    """What came of the cases of one kind; a case's exit code is its first step's."""

    cases: int = 0
    steps: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        rate = round(self.cases / self.seconds, 1) if self.seconds else None
        return {"cases": self.cases, "steps": self.steps, "per_second_and_process": rate,
                "outcomes": dict(self.outcomes), "violations": dict(self.violations)}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """When to stop: after so many seconds, or so many cases of each kind (0: no limit)."""

    seconds: float
    counts: dict[str, int]


class Campaign:
    """The state that the processes share: which case is next, tallies, signatures seen."""

    def __init__(self, corpus: Path, seed: int, kinds: Sequence[str], budget: Budget, failures: Path) -> None:
        self.seed, self.budget, self.failures = seed, budget, failures
        self.kinds = {name: KINDS[name](corpus) for name in kinds}
        self.tallies = {name: Tally() for name in kinds}
        self.next = dict.fromkeys(kinds, 0)
        self.signatures: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.end = time.monotonic() + budget.seconds
        self.reported = time.monotonic()

    def work(self, client: Client) -> None:
        """One process's share: the kind that has had the least time is next."""
        while (batch := self._take()) is not None:
            kind, indices = batch
            start = time.monotonic()
            cases = [self.kinds[kind].case(generator(self.seed, kind, index)) for index in indices]
            results = run_batch(client, cases) if kind in BATCH else [client.run(case) for case in cases]
            with self.lock:
                self.tallies[kind].seconds += time.monotonic() - start
            for index, case, outcomes in zip(indices, cases, results, strict=True):
                self._judge(index, case, outcomes)

    def _take(self) -> tuple[str, range] | None:
        with self.lock:
            if time.monotonic() > self.end:
                return None
            limits = self.budget.counts
            open_kinds = [k for k in self.kinds if not limits or self.next[k] < limits.get(k, 0)]
            if not open_kinds:
                return None
            kind = min(open_kinds, key=lambda name: self.tallies[name].seconds)
            start = self.next[kind]
            end = start + BATCH.get(kind, 1)
            self.next[kind] = min(end, limits[kind]) if limits else end
            self.tallies[kind].seconds += 1e-6  # so that another process takes another kind
            return kind, range(start, self.next[kind])

    def _judge(self, index: int, case: Case, outcomes: Sequence[Outcome]) -> None:
        broken = [(outcome, each) for outcome in outcomes for each in violations(case, outcome)]
        with self.lock:
            tally = self.tallies[case.kind]
            tally.cases += 1
            if time.monotonic() - self.reported > PROGRESS_S:
                self.reported = time.monotonic()
                cli.note(", ".join(f"{name} {each.cases}" for name, each in self.tallies.items()))
            tally.steps += len(outcomes)
            for outcome in outcomes:
                tally.outcomes[f"{_short(outcome.step.module)} {_ending(outcome)}"] += 1
            for outcome, violation in broken:
                tally.violations[violation.rule] += 1
                self.signatures[violation.signature] += 1
                if self.signatures[violation.signature] <= SAVED:
                    self._keep(index, case, outcome, violation)

    def _keep(self, index: int, case: Case, outcome: Outcome, violation: Violation) -> None:
        folder = self.failures / f"{case.kind}-{self.seed}-{index}"
        if not folder.exists():
            save(case, folder, seed=self.seed, index=index, rule=violation.rule, detail=violation.detail,
                 stderr=outcome.stderr[-4000:], traceback=outcome.traceback)  # fmt: skip
        cli.say(f"{violation.rule}: {violation.module}: {violation.detail!r}")
        cli.say(f"  {case.origin!r}: {case.mutation!r}")
        cli.say(f"  again: python -m tools.fuzz --replay {folder}")
        sys.stdout.flush()


def run_batch(client: Client, cases: Sequence[Case]) -> list[list[Outcome]]:
    """Cases of one step, tried in one call; the outcomes that each would have had alone."""
    names = [f"{index:02d}_{case.main}" for index, case in enumerate(cases)]
    files = {name: case.files[case.main] for name, case in zip(names, cases, strict=True)}
    step = cases[0].steps[0]
    arguments = (*(f"{INPUT}/{name}" for name in names), *step.arguments[1:])
    (outcome,) = client.run(replace(cases[0], files=files, steps=(Step(step.module, arguments),)))
    results = []
    for name, case in zip(names, cases, strict=True):
        alone = _alone(outcome, name, case.steps[0])
        # The first is always tried alone, too: what a single call prints is judged on one in forty.
        results.append([alone] if alone and case is not cases[0] else client.run(case))
    return results


def _alone(outcome: Outcome, name: str, step: Step) -> Outcome | None:
    """One picture's part of a batch's outcome; None where it has to be tried alone."""
    if outcome.exit_code not in (0, 2) or outcome.left:
        return None
    try:
        summary = json.loads(outcome.stdout.splitlines()[-1])
        rows = [row for row in summary["results"] if row["image"].endswith(f"/in/{name}")]
    except (ValueError, LookupError, TypeError):
        return None
    lines = [line for line in outcome.stderr.splitlines() if f"/in/{name}" in line]
    if len(rows) == 1 and not lines:
        return Outcome(step, 0, json.dumps({**summary, "results": rows}), seconds=outcome.seconds)
    if not rows and len(lines) == 1:
        return Outcome(step, 2, "", lines[0], seconds=outcome.seconds)
    return None


def run(
    campaign: Campaign, folder: Path, corpus: Path, processes: int, fault: str = "", hang_s: float = 60.0
) -> None:
    """The whole campaign; `folder` holds the processes' own folders meanwhile."""
    clients = [Client(folder / str(n), corpus, fault, hang_s) for n in range(processes)]
    try:
        with ThreadPoolExecutor(processes) as pool:
            try:
                list(pool.map(campaign.work, clients))  # raises what went wrong in the harness itself
            except BaseException:
                campaign.end = 0.0  # Ctrl-C, kill: every process stops after its case
                raise
    finally:
        for client in clients:
            client.close()
    shutil.rmtree(folder, ignore_errors=True)


def summary_lines(campaign: Campaign) -> Iterator[str]:
    """The tallies, for people."""
    for name, tally in campaign.tallies.items():
        rate = tally.cases / tally.seconds if tally.seconds else 0
        yield f"{name}: {tally.cases} cases, {tally.steps} steps, {rate:.1f} cases/s of one process"
        yield f"  {', '.join(f'{key}: {n}' for key, n in sorted(tally.outcomes.items()))}"
        if tally.violations:
            yield f"  BROKEN {', '.join(f'{key}: {n}' for key, n in sorted(tally.violations.items()))}"


def _short(module: str) -> str:
    return module.removesuffix(".__main__").rpartition(".")[2]


def _ending(outcome: Outcome) -> str:
    return outcome.ended or ("traceback" if outcome.traceback else f"exit {outcome.exit_code}")
