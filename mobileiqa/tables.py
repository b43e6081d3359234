"""Published tables, each one command: python -m mobileiqa.tables NAME --data SET ROOT --out DIR; `list` names them.

Every row is trained and tested as mobileiqa/evaluation/published.py says; the paper's figures stand beside ours, with
95 % intervals. The same command goes on where it was stopped, and tables of one --out share what they train alike.
`--try` runs every row for one step at a tiny size, on any set, to see that it works before a GPU is busy for days; its
figures say nothing. `list --data SET ROOT...` says which tables have everything that they need.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobileiqa import cli
from mobileiqa.datasets.registry import READERS
from mobileiqa.errors import UserError, one_line
from mobileiqa.evaluation.published import BACKBONES, ELSEWHERE, GMACS, IMAGES, TABLES, Row, Table
from mobileiqa.table_rows import Context, figures_of, recipe_of
from mobileiqa.text import table as aligned

MACS_PER_HOUR = 3.6e16  # 10^13 a second: what the hours of `list` assume


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.tables msliqa.tid2013 --data kadid-10k KADID/ --data tid2013 TID/ --out t/",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="a table that `list` names, or list")
    add(
        "--data",
        nargs=2,
        action="append",
        default=[],
        metavar=("SET", "PATH"),
        help="each set that the table needs",
    )
    add("--out", type=Path, metavar="DIR", help="the rows' runs and figures, and NAME.txt (default: tables)")
    add(
        "--try",
        dest="tried",
        action="store_true",
        help="one tiny step of each row, on any sets: does it run?",
    )
    add("--from-scratch", action="store_true", help="no pretrained backbones")
    add("--init", type=Path, metavar="FILE", help="the backbone of every row, where timm's cannot be fetched")
    add("--cache", type=Path, metavar="DIR", help="decode photos once, and keep them here")
    add("--device", default="cpu", help="cpu, cuda, cuda:1... (default %(default)s)")
    add("--precision", default="fp32", choices=("fp32", "bf16", "fp16"), help="mixed, if not fp32")
    add("--workers", type=int, default=0, metavar="N", help="loader processes (default 0)")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    if args.name == "list":
        return _list(args)
    table = table_of(args.name)
    context = _context(table, args)
    figures = {}
    for row in table.rows:
        if not row.quoted:
            cli.note(f"{table.name}: {row.label}")
            figures[row.label] = figures_of(row, context)
    text = report(table, figures, args.tried)
    cli.say(text)
    cli.write_text(context.out / f"{table.name}.txt", text + "\n")
    paper = {row.label: row.paper for row in table.rows if row.paper}
    cli.emit(
        {"table": table.name, "tried": args.tried, "rows": figures, "paper": paper, "out": str(context.out)}
    )
    return 0


def table_of(name: str) -> Table:
    """The table called so, or at that place among its paper's in `list`, which is said. Raises UserError."""
    if name in TABLES:
        return TABLES[name]
    by_place = {place: table for table, place in places().items()}
    if name not in by_place:
        raise UserError(f"one of the tables {', '.join(TABLES)}, or list", repr(name), "correct the name")
    table = TABLES[by_place[name]]
    cli.note(f"{name} is {table.name}: its place in `list`; the paper's own numbers were not at hand")
    return table


def places() -> dict[str, str]:
    """table -> its place among its paper's tables, such as mobileiqa.4: no number of the paper's."""
    counts: dict[str, int] = {}
    result = {}
    for table in TABLES.values():
        counts[table.paper] = counts.get(table.paper, 0) + 1
        result[table.name] = f"{table.paper}.{counts[table.paper]}"
    return result


def _sets(args: argparse.Namespace) -> list[tuple[str, Path]]:
    """What --data names. Raises UserError for a set that there is no reader for, and for one named twice."""
    names = [name for name, _ in args.data]
    if unknown := [name for name in names if name not in READERS]:
        raise UserError(f"a set of {', '.join(READERS)} with --data", repr(unknown[0]), "correct --data")
    if doubled := [name for name in names if names.count(name) > 1]:
        raise UserError("each set once", f"{doubled[0]} more than once", "leave one out")
    return [(name, Path(path)) for name, path in args.data]


def _list(args: argparse.Namespace) -> int:
    sets = _sets(args)
    missing = _missing(sets, args) if sets else {}
    cli.say(listing())
    for name, needs in missing.items():
        cli.say(f"{name}: {'missing ' + '; '.join(needs) if needs else 'everything is there'}")
    cli.emit({"tables": list(TABLES), **({"missing": missing} if sets else {})})
    return 0


def listing() -> str:
    """Every table with what it needs, and what other commands give."""
    rows = [("table", "place", "in the paper", "about", "rows", "sets", "timm's weights", "hours", "of")]
    for t in TABLES.values():
        trained = sum(not row.quoted for row in t.rows)
        needs = (", ".join(t.needs), ", ".join(weights_of(t)) or "-", hours_of(t))
        rows.append(
            (t.name, places()[t.name], t.number or "unknown", t.title, str(trained), *needs, t.source)
        )
    elsewhere = [("also in the papers", "command"), *ELSEWHERE.items()]
    note = (
        f"hours: of all rows on a GPU of {MACS_PER_HOUR / 3.6e15:.0f} TMAC/s, which is assumed, not measured; "
        "a CPU core takes hundreds of times as long, but for kan4iqa's minutes"
    )
    return f"{aligned(rows)}\n{note}\n\n{aligned(elsewhere)}"


def weights_of(table: Table) -> tuple[str, ...]:
    """The backbones of timm that its rows start from."""
    names = (BACKBONES.get(_model(row)) for row in table.rows if not row.quoted)
    return tuple(dict.fromkeys(name for name in names if name))


def _model(row: Row) -> str:
    return "" if row.regressor else recipe_of(row, tried=False).model.split("+")[0]


def hours_of(table: Table) -> str:
    """What training all of its rows takes at MACS_PER_HOUR; of regressors, the features that they read."""
    features = any(row.regressor for row in table.rows)
    macs = 1e9 * GMACS[""] if features else sum(_row_macs(row) for row in table.rows if not row.quoted)
    hours = macs * IMAGES[table.train[0]] / MACS_PER_HOUR
    return f"{hours:,.1f}" if hours >= 0.05 else "0"


def _row_macs(row: Row) -> float:
    """Of training on one image: three times the forward pass in each epoch, and the teacher's forward pass."""
    teacher = GMACS["mobilevit-iqa"] if row.teacher else 0.0
    return (3 * GMACS[_model(row)] + teacher) * 1e9 * recipe_of(row, tried=False).epochs


def _missing(sets: list[tuple[str, Path]], args: argparse.Namespace) -> dict[str, list[str]]:
    """table -> what it needs that is not there, in words."""
    problems = {name: _problem(name, path) for name, path in sets}
    weights = {name: "" if args.from_scratch or args.init else _absent(name) for name in BACKBONES.values()}
    result = {}
    for table in TABLES.values():
        needs = [problems.get(need, f"--data {need} PATH") for need in table.needs]
        needs += [weights[name] for name in weights_of(table)]
        result[table.name] = [need for need in needs if need]
    return result


def _problem(name: str, path: Path) -> str:
    """Why the set cannot be read, or which of its photos are not there; else empty."""
    from mobileiqa.datasets.registry import read

    try:
        read(name, path)
    except UserError as error:
        return f"{name}: {one_line(str(error))}"
    return ""


def _absent(backbone: str) -> str:
    """Words where timm's weights are neither in its cache nor can be fetched."""
    import huggingface_hub
    import timm

    from mobileiqa.training.initial_weights import stay_offline_where_closed

    config = timm.get_pretrained_cfg(backbone)
    hub = config.hf_hub_id if config is not None else None
    if hub and isinstance(huggingface_hub.try_to_load_from_cache(hub, "model.safetensors"), str):
        return ""
    stay_offline_where_closed()
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return f"timm's {backbone}, with --init FILE or --from-scratch"
    return ""


def _context(table: Table, args: argparse.Namespace) -> Context:
    sets = _sets(args)
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise UserError("a folder for --out", f"a file at {args.out}", "give another --out")
    if args.init is not None and (args.tried or args.from_scratch):
        raise UserError("--init, or random weights (--from-scratch, --try)", "both", "leave one out")
    if args.tried:
        if not sets:
            raise UserError("a set to try the table on", "no --data", "add --data SET PATH")
        data = {need: sets[min(i, len(sets) - 1)] for i, need in enumerate(table.needs)}
    else:
        data = {name: (name, path) for name, path in sets}
        if set(data) != set(table.needs):
            needs = " ".join(f"--data {name} PATH" for name in table.needs)
            names = ", ".join(name for name, _ in sets) or "none"
            raise UserError(f"the sets of {table.name}: {needs}", names, "add or correct --data")
    out = args.out or Path("tables")
    return Context(
        table, data, out, args.device, args.precision, args.workers, args.tried,
        args.from_scratch or args.tried, args.init, args.cache,
    )  # fmt: skip


def report(table: Table, figures: Mapping[str, Mapping[str, Any]], tried: bool) -> str:
    """The paper's figures and ours, row by row."""
    columns = [f"{metric} {who}" for metric in table.metrics for who in ("paper", "ours")]
    lines: list[tuple[str, ...]] = [("", "", *columns)]
    for row in table.rows:
        for reading in table.readings:
            paper = row.paper.get(reading.name, {})
            if row.quoted and not paper:
                continue
            cells = []
            for metric in table.metrics:
                theirs = "-" if paper.get(metric) is None else f"{paper[metric]:.3f}"
                cells += [theirs, _interval(figures.get(row.label, {}).get(reading.name, {}).get(metric))]
            lines.append((row.label, reading.name, *cells))
    number = table.number or "its number in the paper was not at hand"
    notes = [table.note] if table.note else []
    notes += ["Tried: one step at a tiny size. These figures say nothing."] if tried else []
    return "\n".join([f"{table.name}: {table.title} ({table.source}; {number})", *notes, aligned(lines)])


def _interval(figure: list[float] | None) -> str:
    return "-" if figure is None else "{:.3f} [{:.3f}, {:.3f}]".format(*figure)


if __name__ == "__main__":
    sys.exit(main())
