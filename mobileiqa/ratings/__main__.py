"""How votes on images are distributed: python -m mobileiqa.ratings fit VOTES.csv.

`fit` fits rating models to a file of votes (columns image_name, c1..c5, counts or fractions of c_total) and ranks
them; `equivalent` says how many votes a model's SRCC is worth, by KonIQ-10k's votes or your own.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from mobileiqa import cli
from mobileiqa.errors import UserError, install_command
from mobileiqa.text import table

MODEL_NAMES = ("logit-logistic", "beta", "maxentropy", "normal", "logistic", "kumaraswamy", "gsd")


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    return cli.command(_parser(), lambda args: args.command(args), argv)


def _parser() -> argparse.ArgumentParser:
    example = "python -m mobileiqa.ratings fit votes.csv --model all --picture fits.png"
    parser = cli.parser(__doc__ or "", example)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="fits rating models to votes and ranks them by AIC")
    fit.add_argument("votes", type=Path, metavar="VOTES.csv", help="image_name, c1..c5 [, c_total]")
    fit.add_argument("--model", choices=("all", *MODEL_NAMES), default="all", help="default: all")
    fit.add_argument("--method", choices=("mle", "moments"), default="mle", help="default: mle")
    fit.add_argument("--bounds", choices=("none", "published"), default="none",
                     help="published: the paper's, which keep a and b below 20 (default none)")  # fmt: skip
    fit.add_argument("--set", dest="subset", metavar="NAME", help="only rows whose column set is NAME")
    fit.add_argument("--out", type=Path, metavar="PATH.csv", help="parameters and figures of every image")
    cli.add_json(fit, "the table")
    fit.add_argument("--picture", type=Path, metavar="PATH.png", help="draw the comparison here")
    fit.add_argument("--force", action="store_true", help="replace existing files")
    fit.set_defaults(command=_fit)

    equivalent = commands.add_parser("equivalent", help="how many votes a model's SRCC is worth")
    equivalent.add_argument("srcc", type=float, metavar="SRCC", help="of the model, such as 0.921")
    equivalent.add_argument(
        "--votes", type=Path, metavar="VOTES.csv", help="default: KonIQ-10k's test images"
    )
    equivalent.add_argument("--set", dest="subset", metavar="NAME", help="only rows whose column set is NAME")
    equivalent.add_argument("--against", choices=("rest", "mos"), default="rest",
                            help="the mean of the other votes, or the column MOS (default rest)")  # fmt: skip
    equivalent.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    equivalent.set_defaults(command=_equivalent)
    return parser


def _fit(args: argparse.Namespace) -> int:
    from mobileiqa.ratings import comparison, votes

    if args.picture is not None and args.picture.suffix.lower() != ".png":
        raise UserError("a path ending in .png", str(args.picture), "correct --picture")
    outputs = [out for out in (args.out, args.json, args.picture) if out is not None]
    if len({out.resolve() for out in outputs}) < len(outputs):
        raise UserError("different files for --out, --json and --picture", "one twice", "rename one")
    for out in outputs:
        cli.refuse_existing(out, args.force)
    _need("scipy", *(["matplotlib"] if args.picture else []))
    ballots = votes.read(args.votes, args.subset)
    names = MODEL_NAMES if args.model == "all" else (args.model,)
    rows = comparison.compare(ballots.counts, names, args.method, args.bounds)
    total, few = int(ballots.counts.sum()), int((~rows[0].fit.identified).sum())
    cli.say(f"{len(ballots.names)} images, {total} votes, stored as {ballots.stored_as}")
    if few:
        cli.say(f"{few} images have votes in fewer than 3 categories: their parameters are not identified")
    for line in comparison.as_text(rows):
        cli.say(line)
    if args.out is not None:
        comparison.write_csv(args.out, ballots, rows)
    if args.json is not None:
        cli.write_json(args.json, comparison.as_json(rows))
    if args.picture is not None:
        comparison.draw(args.picture, rows)
    cli.emit({"images": len(ballots.names), "votes": total, "best": rows[0].fit.model,
              "models": comparison.as_json(rows)})  # fmt: skip
    return 0


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the packages {', '.join(packages)}", f"no {', '.join(missing)}", install_command("train")
        )


def _equivalent(args: argparse.Namespace) -> int:
    from mobileiqa.ratings import equivalence, votes

    if args.seed < 0:
        raise UserError("a seed of 0 or more", str(args.seed), "correct --seed")
    if args.votes is None:
        if args.subset is not None:
            raise UserError("--votes with --set", "none", "name the file, or leave --set out")
        curve = equivalence.KONIQ_MOS if args.against == "mos" else equivalence.KONIQ_REST
        source = "KonIQ-10k, 2015 test images, 10 draws"
    else:
        _need("scipy")
        ballots = votes.read(args.votes, args.subset)
        if args.against == "mos" and ballots.mos is None:
            raise UserError(f"a column MOS in {args.votes}", "none", "add it, or compare with the rest")
        sizes = equivalence.sizes_for(ballots.counts, args.against == "mos")
        mos = ballots.mos if args.against == "mos" else None
        curve = equivalence.vote_curve(ballots.counts, mos, sizes, seed=args.seed)
        source = f"{args.votes.name}, {len(ballots.names)} images, 10 draws, seed {args.seed}"
    equal = equivalence.equivalent_votes(args.srcc, curve)
    cli.say(f"{source}; against {'the MOS column' if args.against == 'mos' else 'the other votes'}")
    rows = [(str(n), f"{srcc:.4f}") for n, srcc in zip(curve.votes, curve.srcc, strict=True)]
    cli.say(table([("votes", "SRCC"), *rows], left=()))
    cli.say(f"an SRCC of {args.srcc:g} is worth {equal:.1f} votes")
    cli.emit({"srcc": args.srcc, "votes": round(equal, 3), "against": args.against, "source": source})
    return 0


if __name__ == "__main__":
    sys.exit(main())
