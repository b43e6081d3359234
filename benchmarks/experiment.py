"""What the training comparisons share: their arguments, and how a comparison ends or stops on the way."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mobileiqa import cli
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.distortions import severity
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec
from mobileiqa.training.experiments import CPU, OutOfTime, by_reference, deadline, key
from mobileiqa.training.initial_weights import initialize
from mobileiqa.training.loop import Validate
from mobileiqa.training.malloc import keep_freed_memory
from mobileiqa.training.pixel_sources import Source, source, synthetic
from mobileiqa.training.validation import validator

ROOT = Path(__file__).resolve().parents[1]
LABELS = (
    "Correlations are with transferred KADID scores (the mean human score of that distortion and level on other "
    "images), never with a MOS of these images."
)


SPLIT_SEED = 0  # of the references' parts; the seeds of the runs never move an image between them


@dataclass(frozen=True)
class Data:
    """The parts of the references, and where a plan's runs are kept; packs, which serve all plans, lie beside."""

    parts: dict[str, tuple[Dataset, tuple[Sample, ...]]]
    folder: Path

    def source(self, part: str, window_px: int) -> Source:
        """The packed windows of a part."""
        return source(*self.parts[part], self.folder.parent / "packs", window_px)

    def samples(self, part: str) -> tuple[Sample, ...]:
        """The labelled images of a part."""
        return self.parts[part][1]

    def scored(self, part: str, spec: ModelSpec) -> Validate:
        """What scores a task on one random crop, of the spec's size, of each of a part's images."""
        return validator(self.source(part, spec.inputs[0].width_px), self.samples(part), spec, CPU)


def divided(
    args: argparse.Namespace, counts: Mapping[str, int], test_references: int, *settings: Any
) -> Data:
    """Parts of `counts` references of one folder, and "test" of the other's; the runs' folder depends on `settings`."""
    table = severity.read(args.severity)
    seen, unseen = (synthetic(f, table, SPLIT_SEED, share=0) for f in (args.pristine, args.test_pristine))
    parts = {name: (seen, samples) for name, samples in by_reference(seen, counts, SPLIT_SEED).items()}
    parts["test"] = (unseen, by_reference(unseen, {"test": test_references}, SPLIT_SEED)["test"])
    names = [sorted({sample.reference for sample in dataset.samples}) for dataset in (seen, unseen)]
    return Data(parts, args.cache / key(*settings, names, sorted(table.items())))


@dataclass(frozen=True)
class Findings:
    """A finished comparison: the page that is committed, and its JSON."""

    page: str
    content: dict[str, Any]


def parser(summary: str, name: str) -> argparse.ArgumentParser:
    """The arguments of a comparison `name`."""
    given = "--pristine PRISTINE/train --test-pristine PRISTINE/val --severity severity.csv"
    example = f"python benchmarks/{name}.py {given} --minutes 30"
    found = cli.parser(summary, example)
    found.add_argument("--pristine", type=Path, required=True, metavar="DIR", help="undistorted images")
    found.add_argument(
        "--test-pristine", type=Path, required=True, metavar="DIR", help="undistorted images of the test"
    )
    found.add_argument("--severity", type=Path, required=True, metavar="CSV", help="scores of distortions")
    found.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs per variant (default %(default)s)"
    )
    found.add_argument(
        "--minutes", type=float, default=0.0, metavar="M", help="save and stop after this time"
    )
    found.add_argument(
        "--cache", type=Path, default=ROOT / ".cache" / name, metavar="DIR", help="packs and runs"
    )
    out = ROOT / "benchmarks" / f"{name}.json"
    found.add_argument("--out", type=Path, default=out, help=f"JSON; {page_of(out).name} goes beside it")
    found.add_argument("--force", action="store_true", help="replace existing results")
    return found


def start_of(encoder: Path | None) -> str:
    """What an encoder's weights start from, for a page and for the name of a folder of runs."""
    return "random weights" if encoder is None else f"`{encoder.name}`"


def start_from(model: nn.Module, encoder: Path | None, frozen: tuple[str, ...]) -> None:
    """Gives `model.backbone` the weights of a file and freezes what begins with `frozen`; None: leaves all as it is."""
    if encoder is None:
        return
    initialize(model, type(model).__name__, (encoder,), from_scratch=False)
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))


def with_encoder(found: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the file that pretrained encoders start from."""
    found.add_argument(
        "--encoder", type=Path, metavar="FILE",
        help="ImageNet weights of the encoder, as `make backbone` fetches them (default: random ones)",
    )  # fmt: skip
    return found


def page_of(out: Path) -> Path:
    """The Markdown page beside a JSON file: distillation.json, DISTILLATION.md."""
    return out.with_name(f"{out.stem.upper()}.md")


def conclude(args: argparse.Namespace, body: Callable[[float], Findings]) -> int:
    """Runs body(until), prints and writes what it found. Out of time: exit 0, and the last line says so."""
    if args.seeds < 1 or args.minutes < 0:
        found = f"{args.seeds} seeds, {args.minutes:g} minutes"
        raise UserError("one seed or more, and no negative time", found, "correct --seeds or --minutes")
    page = page_of(args.out)
    for path in (args.out, page):
        cli.refuse_existing(path, args.force)
    keep_freed_memory()
    try:
        findings = body(deadline(args.minutes))
    except OutOfTime:
        cli.note("out of time: the same command goes on from here")
        cli.emit({"finished": False})
        return 0
    cli.write_json(args.out, findings.content)
    with cli.atomic(page) as temporary:
        temporary.write_text(findings.page, encoding="utf-8")
    cli.say(findings.page)
    cli.emit({"finished": True, "json": str(args.out), "report": str(page), **findings.content["figures"]})
    return 0
