"""Makes the shipped reference checkpoint from a training run's: python -m tools.ship_reference BEST.safetensors

Matrices and kernels are rounded to FP16, so that the file stays under 16 MB; vectors (biases, norms, gates) are
few and stay FP32. Loading widens them exactly: what is evaluated and converted is the rounded model. A run from
before training records gets one from the photos of its command: --pristine, --exclude and --split-seed.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from mobileiqa import cli
from mobileiqa.datasets.core import SPLIT_SEED
from mobileiqa.errors import UserError
from mobileiqa.training_record import TrainingRecord

MAX_BYTES = 16_000_000


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = cli.parser(__doc__ or "", "python -m tools.ship_reference runs/reference/best.safetensors")
    parser.add_argument("checkpoint", type=Path, help="best.safetensors of the run")
    parser.add_argument("--out", type=Path, metavar="PATH", help="default: the package's own reference")
    parser.add_argument("--license", default="CC BY-SA 4.0", help="of the weights (default %(default)s)")
    parser.add_argument("--trained-on", metavar="TEXT", help="default: what the run wrote")
    parser.add_argument("--pristine", type=Path, metavar="DIR", help="the photos, for a run without a record")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="NAME", help="of them, as in training")
    parser.add_argument("--split-seed", type=int, default=SPLIT_SEED, metavar="N", help="as in training")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    from mobileiqa import checkpoint
    from mobileiqa.zoo import REFERENCE

    model, spec = checkpoint.load(args.checkpoint)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    size = sum(p.nbytes for p in model.parameters()) - sum(p.nbytes // 2 for p in matrices)
    if size > MAX_BYTES:
        raise UserError(f"at most {MAX_BYTES / 1e6:g} MB", f"{size / 1e6:.1f} MB", "ship a smaller model")
    for parameter in matrices:
        parameter.data = parameter.data.half()
    spec = dataclasses.replace(spec, license=args.license, trained_on=args.trained_on or spec.trained_on)
    if args.pristine:
        spec = dataclasses.replace(spec, training=_record(args.pristine, args.exclude, args.split_seed))
    path = checkpoint.save(args.out or REFERENCE, model, spec, force=True)
    megabytes = round(path.stat().st_size / 1e6, 2)
    cli.emit({"path": str(path), "size_mb": megabytes, "sha256": checkpoint.sha256(path)})
    return 0


def _record(pristine: Path, exclude: list[str], split_seed: int) -> TrainingRecord:
    """The record of a `pristine` run: it does not depend on which distortions there were."""
    from mobileiqa.training import records
    from mobileiqa.training.pixel_sources import synthetic
    from mobileiqa.training.run import VALIDATION_SHARE

    one_score = {(1, 1): 3.0}
    return records.of_sets([synthetic(pristine, one_score, split_seed, VALIDATION_SHARE, exclude)])


if __name__ == "__main__":
    sys.exit(main())
