"""Ends commands at random moments, by Ctrl-C, kill and kill -9: python -m tools.kill_commands [NAME...].

After each: the exit code says how it ended, there is no traceback, what stands at an output's name is whole, and the
same command typed again just works and leaves what an undisturbed run leaves. Exit 1 when one of that does not hold.
Not in the test suite: it takes a quarter of an hour on two cores; tests/tools/test_kill_commands.py has a short form.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileiqa import cli

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
HIDDEN = re.compile(r"\..+(\.lock|\.[a-z0-9_]{8}\.tmp)")  # what kill -9 may leave
CHANGING = re.compile(r"(\.json|\.html|training\.csv|curve\.png|state\.pt)$")  # they say when they were made


@dataclass(frozen=True)
class Case:
    """A command that writes `outputs` into a folder of its own: words after `python -m`, with {out} and {in}."""

    name: str
    words: str
    outputs: tuple[str, ...]
    partial: tuple[str, ...] = ()  # what an interruption may leave beside them
    resumes: bool = False  # its folder is meant to be half done, and is gone on with


CASES = (
    Case("distort", "mobileiqa.distort {in}/photos --severity {in}/severity.csv --distortions 1..3 --out {out}/set",
         ("set",)),
    Case("select", "calibration.select --images {in}/photos --model lar-iqa-single --size 64x64 --count 60 --copy "
         "--out {out}/calib", ("calib",)),
    Case("convert", "convert.tflite --model lar-iqa-single --size 64x64 --fp32 --out {out}/x.tflite",
         ("x.tflite", "x.tflite.json"), ("x.failed.tflite", "x.failed.tflite.json")),
    Case("score", "mobileiqa.score {in}/photos --model {in}/x.tflite --out {out}/scores.csv",
         ("scores.csv",), ("scores.csv.partial",)),
    Case("jsonl", "mobileiqa.score {in}/photos --model {in}/x.tflite --out {out}/scores.jsonl",
         ("scores.jsonl",), ("scores.jsonl.partial",)),
    Case("snippets", "convert.snippets {in}/camera.tflite --out {out}/app", ("app",)),
    Case("app", "convert.app {in}/x.tflite --platform cpp --out {out}/apps", ("apps",)),
    Case("report", "convert.report {in}/x.tflite --images {in}/few --out {out}/report.html", ("report.html",)),
    Case("train", "mobileiqa.train --recipe reference --data folder {in}/set --size 64x64 --from-scratch --set "
         "crop_px=64 batch=8 group=1 epochs=2 warmup_epochs=0 lr=0.002 --save-every 0.2 --out {out}/run",
         ("run",), resumes=True),
)  # fmt: skip


# What the cases take: the files that need it, and the command that makes it.
INPUTS = (
    (
        ("x.tflite", "camera.tflite"),
        "convert.tflite --model lar-iqa-single --size 64x64 --fp32 --out {in}/x.tflite",
    ),
    (("camera.tflite",), "convert.package {in}/x.tflite --out {in}/camera.tflite"),
    (("set",), "mobileiqa.distort {in}/few --severity {in}/severity.csv --distortions 1..4 --out {in}/set"),
)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = cli.parser(__doc__ or "", "python -m tools.kill_commands score select --times 10")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(case.name for case in CASES)}"
    )
    parser.add_argument("--times", type=int, default=10, metavar="N", help="of each signal (default 10)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the moments (default 0)")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    moments, faults, interrupted = random.Random(args.seed), 0, {}
    with tempfile.TemporaryDirectory() as folder:
        inputs, cases = Path(folder, "in"), [c for c in CASES if not args.names or c.name in args.names]
        _prepare(inputs, cases)
        for case in cases:
            counts = interrupted[case.name] = {number.name: 0 for number in SIGNALS}
            for fault in _kill(case, inputs, Path(folder), args.times, moments, counts):
                cli.say(f"{case.name}: {fault}")
                faults += 1
    cli.emit({"faults": faults, "times": args.times, "interrupted": interrupted, "seed": args.seed})
    return int(faults > 0)


def _prepare(folder: Path, cases: Sequence[Case]) -> None:
    """Photos, scores of distortions, and what else the cases take."""
    from mobileiqa.photos.generated_images import calibration_image

    for name, count in (("photos", 100), ("few", 4)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            calibration_image(index, 0).resize((96, 80)).save(folder / name / f"{index:03d}.png")
    rows = [f"{number},{level},{5 - level * 0.8}" for number in range(1, 26) for level in range(1, 6)]
    (folder / "severity.csv").write_text("\n".join(["distortion,level,mean_score", *rows]) + "\n")
    for users, words in INPUTS:
        if any(f"{{in}}/{name}" in case.words for name in users for case in cases):
            code, err = _end(_start(words, folder, folder), None)
            assert code == 0, err


def _kill(
    case: Case, inputs: Path, folder: Path, times: int, moments: random.Random, interrupted: dict[str, int]
) -> Iterator[str]:
    """What went wrong. `interrupted`: counts by signal the runs that it ended, and not the command itself."""
    calm, out = folder / case.name / "calm", folder / case.name / "out"
    for path in (calm, out):
        path.mkdir(parents=True)
    before = time.monotonic()
    code, err = _end(_start(case.words, inputs, calm), None)
    seconds = time.monotonic() - before
    if code:
        yield f"undisturbed: exit {code}: {err}"
        return
    for number in cli.progress(SIGNALS * times, case.name):
        code, err = _end(_start(case.words, inputs, out), (moments.uniform(0, seconds), number))
        interrupted[signal.Signals(number).name] += code != 0
        yield from (
            f"{signal.Signals(number).name}: {fault}" for fault in _after(case, number, code, err, calm, out)
        )
        if code == 0 or _told(case, out):
            _empty(out)
        elif os.listdir(out) and (not case.resumes or number == signal.SIGKILL):  # else: as if never typed
            yield from (f"typed again: {fault}" for fault in _again(case, inputs, calm, out))
            _empty(out)


def _start(words: str, inputs: Path, out: Path) -> "subprocess.Popen[str]":
    arguments = [word.replace("{in}", str(inputs)).replace("{out}", str(out)) for word in words.split()]
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip


def _end(process: "subprocess.Popen[str]", stop: tuple[float, int] | None) -> tuple[int, str]:
    """Exit code and stderr; `stop`: after so many seconds that signal, Ctrl-C as a terminal sends it: to all."""
    if stop is not None:
        try:
            return process.wait(stop[0]), process.communicate()[1]
        except subprocess.TimeoutExpired:
            send: Callable[[int, int], None] = os.killpg if stop[1] == signal.SIGINT else os.kill
            send(process.pid, stop[1])
    try:
        err = process.communicate()[1]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, err


def _told(case: Case, out: Path) -> bool:
    """Whether the command had come to its last line: its outputs are there, and no lock says that it did not end."""
    entries = {*os.listdir(out)}
    return not case.resumes and {*case.outputs} <= entries and not any(map(HIDDEN.fullmatch, entries))


def _after(case: Case, number: int, code: int, err: str, calm: Path, out: Path) -> Iterator[str]:
    """What is wrong with an ended command's exit code, words and files.

    Before Python runs a line of ours it ends by -2 or -15, or, in its own start (no runpy yet), by 1 and a traceback;
    after our last line by -2 or -15 too, and then there may be progress on stderr.
    """
    if code == 1 and number == signal.SIGINT and err.endswith("KeyboardInterrupt\n") and "runpy" not in err:
        code, err = -number, ""
    if code not in (0, -number, 128 + number):
        yield f"exit {code}: {err[-500:]}"
    if code == -number and number != signal.SIGKILL and err and not _told(case, out):
        yield f"not silent at the start: {err[-500:]}"
    if "Traceback" in err and "mobileiqa" in err:
        yield f"a traceback: {err[-900:]}"
    entries = set(os.listdir(out))
    hidden = {name for name in entries if HIDDEN.fullmatch(name)}
    of_whole = {f".{name}.lock" for name in entries}  # by which the same command knows its own output
    if hidden - of_whole and number != signal.SIGKILL:
        yield f"left {sorted(hidden - of_whole)}"
    if unknown := entries - hidden - {*case.outputs, *case.partial}:
        yield f"left {sorted(unknown)}"
    for name in case.outputs:
        if name in entries and not case.resumes and _content(out / name) != _content(calm / name):
            yield f"{name} is not whole: {_content(out / name).keys() ^ _content(calm / name).keys()}"


def _again(case: Case, inputs: Path, calm: Path, out: Path) -> Iterator[str]:
    rows = {name: (out / name).read_text() for name in case.partial if (out / name).exists()}
    code, err = _end(_start(case.words, inputs, out), None)
    if code:
        yield f"exit {code}: {err[-500:]}"
    for name in sorted({*os.listdir(calm), *os.listdir(out)}):
        here, there = _content(out / name), _content(calm / name)
        if here != there:
            different = sorted(file for file in {*here, *there} if here.get(file) != there.get(file))
            yield f"{name} is not as it was: {different}"
    for name, text in rows.items():
        if not (out / name.removesuffix(".partial")).read_text().startswith(text):
            yield f"the rows of {name} were other ones"


def _content(path: Path) -> dict[str, bytes]:
    """File -> bytes; of files that hold dates or paths only that they are there, and are JSON where they say so."""
    content = {}
    for file in sorted(path.rglob("*")) if path.is_dir() else [path] * path.exists():
        name = str(file.relative_to(path)) if file != path else file.name
        if file.is_file() and "tensorboard" not in name:
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
            content[name] = b"" if CHANGING.search(name) else file.read_bytes()
    return content


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


if __name__ == "__main__":
    sys.exit(main())
