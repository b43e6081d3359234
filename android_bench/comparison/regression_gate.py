"""Lays each row beside its reference: the first like it, or the same row of a baseline, with a verdict.

Against a baseline, a row is "slower" only when Mann-Whitney's U says so (p < 0.01, one-sided) AND its median
grew beyond the allowed factor: significance alone would fail on a real change of 0.5 %, a threshold alone on
one unlucky launch of a fast model. The gate covers the baseline: what it holds and the new results do not, or
hold under another device, precision or config, fails as well; nothing is skipped without a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from android_bench.comparison.significance import mann_whitney, smallest_p, speed
from android_bench.results.entries import Entry
from mobileiqa.errors import UserError

ALPHA = 0.01
MAX_SLOWDOWN = 1.05


class Verdict(StrEnum):
    """What is said of a row against the baseline."""

    SLOWER = "slower"  # significantly, and beyond the threshold: the gate fails
    SAME = "same"  # within the threshold, or not distinguishable from noise
    FASTER = "faster"  # significantly, and beyond the threshold's inverse
    LOST = "lost"  # in the baseline, not in the new results: the gate fails
    UNJUDGED = "not judged"  # too few runs: the gate fails
    CHANGED = "not compared"  # the baseline has it under another setting only
    NO_SAMPLES = "by hand"  # no samples, so no significance
    NEW = "new"  # not in the baseline


FAILING = frozenset({Verdict.SLOWER, Verdict.LOST, Verdict.UNJUDGED})
JUDGED = frozenset({Verdict.SLOWER, Verdict.SAME, Verdict.FASTER})


@dataclass(frozen=True)
class Row:
    """An entry and how it compares. `speed`: the reference's time over this one's, above 1 when this is faster.

    `interval`: 95 % of the speed, None without samples. `p`: one-sided, of being slower, None without a
    baseline. `reason` is a sentence wherever something was not compared.
    """

    entry: Entry
    reference: Entry | None = None
    speed: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    verdict: Verdict | None = None
    reason: str = ""


def lay_out(entries: Sequence[Entry]) -> list[Row]:
    """Rows beside the first row of the same setting, precision aside; other settings start anew."""
    references: dict[tuple[tuple[str, str], ...], Entry] = {}
    rows = []
    for entry in entries:
        group = tuple(item for item in entry.setting if item[0] != "precision")
        reference = references.setdefault(group, entry)
        rows.append(Row(entry) if reference is entry else _beside(entry, reference))
    return rows


def judge(
    entries: Sequence[Entry], baseline: Sequence[Entry], max_slowdown: float = MAX_SLOWDOWN
) -> list[Row]:
    """Rows beside the baseline's rows of the same model, size and setting, then the baseline's lost rows.

    Raises UserError when the baseline holds two results of one model, size and setting.
    """
    known: dict[tuple, Entry] = {}
    for entry in baseline:
        key = (*entry.identity, entry.setting)
        if key in known:
            raise UserError(
                "one result per model, size, device and config in the baseline",
                f"two of {entry.model} {entry.size} on {entry.device} ({known[key].json}, {entry.json})",
                "leave one of them out",
            )
        known[key] = entry
    rows, matched = [], set()
    for entry in entries:
        key = (*entry.identity, entry.setting)
        if key in known:
            matched.add(key)
            rows.append(_verdict(entry, known[key], max_slowdown))
        else:
            rows.append(_unmatched(entry, baseline))
    lost = [entry for key, entry in known.items() if key not in matched]
    return rows + [_lost(entry, entries) for entry in lost]


def passed(rows: Sequence[Row]) -> bool:
    """True when no row fails and at least one was judged; a gate that judged nothing has not passed."""
    verdicts = {row.verdict for row in rows}
    return not verdicts & FAILING and bool(verdicts & JUDGED)


def _beside(entry: Entry, reference: Entry) -> Row:
    """Speed alone; the interval where both sides have samples."""
    if entry.by_hand or reference.by_hand:
        ratio = reference.central_ms / entry.central_ms
        return Row(entry, reference, ratio, reason="by hand: no samples, so no interval and no significance")
    paired = entry.json == reference.json  # one file is one interleaved session
    ratio, *interval = speed(entry.launches_ms, reference.launches_ms, paired)
    return Row(entry, reference, ratio, (interval[0], interval[1]), reason=_cautions(entry, reference))


def _verdict(entry: Entry, reference: Entry, max_slowdown: float) -> Row:
    row = _beside(entry, reference)
    if entry.by_hand:
        return replace(row, verdict=Verdict.NO_SAMPLES)
    new, old = ([ms for launch in side.launches_ms for ms in launch] for side in (entry, reference))
    if smallest_p(len(new), len(old)) >= ALPHA:
        reason = f"{len(new)} runs beside {len(old)} cannot reach p < {ALPHA}: measure at least 5 of each"
        return replace(row, verdict=Verdict.UNJUDGED, reason=reason)
    slower = mann_whitney(new, old)
    slowdown = entry.central_ms / reference.central_ms
    if slowdown > max_slowdown and slower < ALPHA:
        return replace(row, p=slower, verdict=Verdict.SLOWER)
    if slowdown < 1 / max_slowdown and mann_whitney(old, new) < ALPHA:
        return replace(row, p=slower, verdict=Verdict.FASTER)
    return replace(row, p=slower, verdict=Verdict.SAME)


def _cautions(entry: Entry, reference: Entry) -> str:
    """What differs without forbidding the comparison, and what the interval cannot know."""
    new, old = entry.measured, reference.measured
    assert new and old, "only entries with samples get here"
    notes = []
    if min(len(new.launches), len(old.launches)) == 1:
        notes.append("one launch: the interval leaves out what differs between launches")
    for name, now, then in (
        ("runtime", new.runtime, old.runtime),
        ("platform", new.device.platform, old.device.platform),
    ):
        if now != then:
            notes.append(f"{name} {then} then, {now} now")
    partitions = [side.launches[0].delegate_kernels for side in (old, new)]
    if entry.identity == reference.identity and partitions[0] != partitions[1]:
        notes.append(f"XNNPACK partitions {partitions[0]} then, {partitions[1]} now")
    return "; ".join(notes)


def _unmatched(entry: Entry, baseline: Sequence[Entry]) -> Row:
    alike = [other for other in baseline if other.identity == entry.identity]
    if not alike:
        return Row(entry, verdict=Verdict.NEW, reason="not in the baseline")
    return Row(entry, verdict=Verdict.CHANGED, reason=_difference(alike[0], entry))


def _lost(entry: Entry, entries: Sequence[Entry]) -> Row:
    alike = [other for other in entries if other.identity == entry.identity]
    reason = "in the baseline, not in the new results"
    if alike:
        reason = f"{reason} under its setting: {_difference(entry, alike[0])}"
    return Row(entry, verdict=Verdict.LOST, reason=reason)


def _difference(old: Entry, new: Entry) -> str:
    """`threads 1 then, 4 now`, for all that differs."""
    then, now = dict(old.setting), dict(new.setting)
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if "source" in names:
        return f"{then['source']} then, {now['source']} now"
    return "; ".join(f"{name} {then[name]} then, {now[name]} now" for name in names)
