"""Makes the shipped reference checkpoint from a training run's: python -m tools.ship_reference BEST.safetensors

Matrices and kernels are rounded to FP16, so that the file stays under 16 MB; vectors (biases, norms, gates) are
few and stay FP32. Loading widens them exactly: what is evaluated and converted is the rounded model.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from mobileiqa import cli
from mobileiqa.errors import UserError

PROG = "python -m tools.ship_reference"
MAX_BYTES = 16_000_000


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = cli.parser(PROG, __doc__ or "", f"{PROG} runs/reference/best.safetensors")
    parser.add_argument("checkpoint", type=Path, help="best.safetensors of the run")
    parser.add_argument("--out", type=Path, metavar="PATH", help="default: the package's own reference")
    parser.add_argument("--license", default="CC BY-SA 4.0", help="of the weights (default %(default)s)")
    parser.add_argument("--trained-on", metavar="TEXT", help="default: what the run wrote")
    args = parser.parse_args(argv)
    return cli.run(PROG, lambda: _command(args))


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
    path = checkpoint.save(args.out or REFERENCE, model, spec, force=True)
    megabytes = round(path.stat().st_size / 1e6, 2)
    cli.emit({"path": str(path), "size_mb": megabytes, "sha256": checkpoint.sha256(path)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
