"""What must hold of every outcome, whatever the input: the rules that the commands state about themselves.

A rule never asks how the product works, only what can be seen from outside: exit code, lines, files, scores.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.fuzz.case import Case, Expectation, Outcome

EXIT_CODES = (0, 1, 2)
# Exit codes that refuse a file: of `selftest` and `report` a failed check, 1, is the refusal; `inspect` shows any file.
REFUSALS = {"mobileiqa.score": (2,), "mobileiqa.evaluate": (2,), "convert.package": (2,),
            "convert.parity": (1, 2), "convert.selftest": (1, 2), "convert.report.__main__": (1, 2)}  # fmt: skip
SAME_SCORE = 1e-6
MARGIN = 1.0  # of the score range, beyond which a score is no score
# On stderr beside the one line of an error: what LiteRT says when it starts, and libtiff of a damaged directory or
# strip, which Pillow lets it print.
_NOTES = re.compile(
    r"INFO: |note: |WARNING: All log messages|$|(TIFF|LZW|ZIP|Fax|CCITT|JPEG|PackBits|ZSTD|LZMA|Missing|_TIFF)\w*: "
)
_ERROR = re.compile(
    r"^[\w.: -]+: (?:expected .*; found .*; |no score for .*: |.*: .*; check the path, its permissions)"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Violation:
    """A rule that an outcome broke."""

    rule: str
    module: str
    detail: str

    @property
    def signature(self) -> str:
        """What two violations of one cause share: rule, command, and the detail without numbers and names."""
        return (
            f"{self.rule} | {self.module} | {re.sub(r'0x[0-9a-f]+|[0-9]+|/[^ ]+', '#', self.detail)[-160:]}"
        )


def violations(case: Case, outcome: Outcome) -> list[Violation]:
    """Every rule that the outcome of one step broke."""
    rules: tuple[Callable[[Case, Outcome], Iterator[str]], ...]
    rules = (_answers, _stderr, _stdout, _files, _refusal, _score)
    return [
        Violation(rule.__name__.strip("_"), outcome.step.module, detail)
        for rule in rules
        for detail in rule(case, outcome)
    ]


def _answers(case: Case, outcome: Outcome) -> Iterator[str]:
    """The process lives, no exception leaves it, and its exit code is one of three."""
    if outcome.ended:
        yield outcome.ended
    elif outcome.traceback:
        yield "traceback: " + " <- ".join(reversed(_last_frames(outcome.traceback)))
    elif outcome.exit_code not in EXIT_CODES:
        yield f"exit code {outcome.exit_code}"
    if not outcome.traceback and "Traceback (most recent call last)" in outcome.stdout + outcome.stderr:
        yield f"a traceback was printed: {outcome.stderr.strip().splitlines()[-1:]}"


def _last_frames(trace: str) -> list[str]:
    """The last two places in the project and the exception."""
    places = re.findall(
        r'File "[^"]*?((?:mobileiqa|convert|calibration|android_bench)/[^"]+)", line (\d+)', trace
    )
    return [f"{file}:{line}" for file, line in places[-2:]] + [trace.strip().splitlines()[-1][:200]]


def _stderr(case: Case, outcome: Outcome) -> Iterator[str]:
    """Exit code 2 says why in one line, with what was expected and found; any other in none or in notes."""
    if outcome.exit_code not in EXIT_CODES:
        return
    lines = [line for line in outcome.stderr.splitlines() if not _NOTES.match(line)]
    if _CONTROL.search("".join(lines)):
        yield f"control characters on stderr: {lines}"[:300]
    errors = [line for line in lines if _ERROR.search(line)]
    several = outcome.step.module == "mobileiqa.score"  # a line for each picture of a folder
    if outcome.exit_code == 2 and (not errors or (len(errors) > 1 and not several)):
        yield f"{len(errors)} lines that say why: {lines[:3]}"[:400]
    other = [line for line in lines if line not in errors and not _is_note(line, case, outcome)]
    if other:
        yield f"other lines on stderr: {other[:3]}"[:400]


def _is_note(line: str, case: Case, outcome: Outcome) -> bool:
    """A line that a command writes itself: under its name or the file's, or the JSON of its summary."""
    command = outcome.step.module.removesuffix(".__main__")
    return line.startswith(("{", "python -m ", command, f"{case.main}: ", "WARNING: ", "failed parity: "))


def _stdout(case: Case, outcome: Outcome) -> Iterator[str]:
    """Where a command came to an end, its last line is JSON without NaN; nothing moves the terminal's cursor.

    CSV is for programs: it has names as they are.
    """
    is_csv = "csv" in outcome.step.arguments
    if _CONTROL.search(outcome.stdout) and not is_csv:
        yield f"control characters on stdout: {_CONTROL.findall(outcome.stdout)[:4]}"
    if outcome.exit_code in (0, 1) and not is_csv:
        try:
            json.loads((outcome.stdout.splitlines() or [""])[-1], parse_constant=_refuse)
        except ValueError as error:
            yield f"the last line is no JSON: {error}"


def _refuse(name: str) -> None:
    raise ValueError(name)


def _files(case: Case, outcome: Outcome) -> Iterator[str]:
    """Nothing half written: no temporary name, nothing beside the input, nothing at all after an error."""
    for name in outcome.left:
        last = name.rpartition("/")[2]
        if name.startswith(("tmp/", "in/")) or last.startswith(".") or last.endswith(".tmp"):
            if case.kind != "names" or not last.startswith(case.mutation.strip("'\"")[:1]):
                yield f"left behind: {name}"
        elif outcome.exit_code == 2 and len(case.steps) == 1:
            yield f"written although refused: {name}"


def _refusal(case: Case, outcome: Outcome) -> Iterator[str]:
    """A file whose checksum is wrong is refused by whatever would have believed it."""
    codes = REFUSALS.get(outcome.step.module)
    known = case.expectation is Expectation.REFUSED and codes and outcome.exit_code in EXIT_CODES
    if known and outcome.exit_code not in codes:
        yield f"accepted, exit code {outcome.exit_code}, although known to be wrong"


def _score(case: Case, outcome: Outcome) -> Iterator[str]:
    """Scores are finite and in range, and the seed's where nothing changed that a pixel depends on."""
    if outcome.step.module != "mobileiqa.score" or case.kind == "names":
        return
    summary = result(outcome)
    scores = [row["score"] for row in summary.get("results", ())]
    if case.expectation is Expectation.SAME and (
        not scores or case.score is None or abs(scores[0] - case.score) > SAME_SCORE
    ):
        yield f"scores {scores}, expected {case.score}; {outcome.stderr[:200]}"
    low, high = summary.get("score_range", (0, 1))
    margin = MARGIN * (high - low)
    if wrong := [s for s in scores if not (math.isfinite(s) and low - margin <= s <= high + margin)]:
        yield f"score {wrong[0]} on a range of {low}..{high}"


def result(outcome: Outcome) -> dict[str, Any]:
    """The command's last line as an object; empty where it is none."""
    try:
        value = json.loads((outcome.stdout.splitlines() or ["{}"])[-1])
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
