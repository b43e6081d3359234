"""What kind of place the code is, in figures: python -m tools.house [--check].

Import circles between files and between what lies side by side in a folder, files too small to be entered for
themselves, long functions, names that say nothing, files that shadow a package which they import; of tests, tools and
benchmarks long functions, long files and such names alone. Reads the code as text; runs none of it. `--check` exits 1
where a figure is past its limit.
"""

import argparse
import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileiqa import cli

PACKAGES = ("mobileiqa", "convert", "calibration", "android_bench")
AROUND = ("tests", "tools", "benchmarks")
SMALL_LINES = 60  # a shorter file that one file imports wants to be part of it
FUNCTION_LINES = 60
FILE_LINES = 400
VAGUE = frozenset({"found", "wanted", "chosen", "made", "kept", "said", "judged"})
ENTRANCES = ("__init__", "__main__")
# Files below SMALL_LINES that one file imports, and why they stay files: a new one needs a reason of its own.
REASONS = {
    "convert.int8.algorithms.weight_rounding": "an algorithm of its own, with its own tests",
    "convert.rewrites.fold_gamma": "a rewrite is a file: its equation, its refusals, its test",
    "convert.rewrites.spline": "a rewrite is a file: its equation, its refusals, its test",
}

# What a figure may be at most, and the median file at least.
LIMITS = {
    "file_circles": 0,
    "folder_circles": 0,
    "small_files": 10,
    "long_functions": 0,
    "long_files": 2,
    "vague_names": 0,
    "vague_names_around": 30,
    "shadows": 0,
}
MEDIAN_LINES = 150


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its syntax tree, its lines, and the modules of ours that it imports."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: frozenset[str]
    foreign: frozenset[str]  # top packages of others, such as onnx


def main(argv: list[str] | None = None) -> int:
    """The command. Exit 1 with --check where a figure is past its limit."""
    parser = cli.parser(__doc__ or "", "python -m tools.house --check")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure is past its limit")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    modules = read(args.root)
    figures = measure(modules, read(args.root, AROUND))
    for name, rows in figures.items():
        limit = f" (at most {LIMITS[name]})" if name in LIMITS else ""
        cli.say(f"{name.replace('_', ' ')}: {len(rows)}{limit}")
        for row in rows:
            cli.say(f"  {row}")
    lines = [m.lines for m in modules.values() if m.path.stem not in ENTRANCES]
    median = statistics.median(lines)
    cli.say(
        f"median lines of a file: {median:g} (at least {MEDIAN_LINES}); {len(lines)} files, {sum(lines)} lines"
    )
    past = [name for name, limit in LIMITS.items() if len(figures[name]) > limit]
    past += ["median_lines"] if median < MEDIAN_LINES else []
    past += ["small_files"] if any("no reason in" in row for row in figures["small_files"]) else []
    cli.emit(
        {**{k: len(v) for k, v in figures.items()}, "median_lines": median, "lines": sum(lines), "past": past}
    )
    return 1 if args.check and past else 0


def read(root: Path, packages: Sequence[str] = PACKAGES) -> dict[str, Module]:
    """Every module of the packages below `root`, by dotted name."""
    paths = [path for package in packages for path in sorted((root / package).rglob("*.py"))]
    names = {_dotted(path, root): path for path in paths}
    return {name: _module(name, path, frozenset(names)) for name, path in names.items()}


def measure(modules: Mapping[str, Module], around: Mapping[str, Module]) -> dict[str, list[str]]:
    """The rows of each figure, in words; `around`: tests and tools, which have no layers of their own."""
    graph = {name: module.imports for name, module in modules.items()}
    everything = {**modules, **around}
    return {
        "file_circles": [" -> ".join(sorted(c)) for c in circles(graph)],
        "folder_circles": [" -> ".join(sorted(c)) for c in sibling_circles(graph)],
        "small_files": sorted(_small(modules)),
        "long_functions": sorted(_long_functions(everything)),
        "long_files": sorted(
            f"{m.name} ({m.lines} lines)" for m in everything.values() if m.lines > FILE_LINES
        ),
        "vague_names": [f"{name} x{count}" for name, count in _vague_names(modules).most_common()],
        "vague_names_around": [
            f"{name} in {module.name}"
            for module in around.values()
            for name in _vague_names({"": module}).elements()
        ],
        "shadows": sorted(m.name for m in modules.values() if m.path.stem in m.foreign),
    }


def _dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _module(name: str, path: Path, known: frozenset[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    targets = set(_targets(tree))
    ours = {t if t in known else t.rpartition(".")[0] for t in targets}
    foreign = {t.partition(".")[0] for t in targets} - {*PACKAGES, ""}
    imports = frozenset(t for t in ours if t in known and t != name)
    return Module(name, path, tree, len(text.splitlines()), imports, frozenset(foreign))


def _targets(tree: ast.Module) -> Iterator[str]:
    """What is imported when the file runs: `from a import b` may mean a.b; imports for type checkers are none."""
    skipped = {id(n) for block in ast.walk(tree) if _for_types(block) for n in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def circles(graph: Mapping[str, frozenset[str]]) -> list[frozenset[str]]:
    """The strongly connected components of more than one node (Tarjan, 1972), largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[frozenset[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            position = stack.index(node)
            components.append(frozenset(stack[position:]))
            del stack[position:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted((c for c in components if len(c) > 1), key=len, reverse=True)


def sibling_circles(graph: Mapping[str, frozenset[str]]) -> list[frozenset[str]]:
    """Circles between what lies side by side in a folder, for every folder: a folder stands for all below it."""
    parents = {name.rpartition(".")[0] for name in graph} | {""}
    components = [c for parent in sorted(parents) for c in circles(_siblings(graph, parent))]
    folders = {name.rpartition(".")[0] for name in graph}
    return [c for c in components if c & folders]  # circles of files alone are counted as such


def _siblings(graph: Mapping[str, frozenset[str]], parent: str) -> dict[str, frozenset[str]]:
    """The graph between the children of `parent`."""
    edges: dict[str, set[str]] = {}
    for name, targets in graph.items():
        if (child := _child(name, parent)) is not None:
            others = {other for target in targets if (other := _child(target, parent)) is not None}
            edges.setdefault(child, set()).update(others - {child})
    return {name: frozenset(targets) for name, targets in edges.items()}


def _child(name: str, parent: str) -> str | None:
    """The child of `parent` that `name` lies in, itself included; None outside."""
    prefix = f"{parent}." if parent else ""
    if not name.startswith(prefix) or name == parent:
        return None
    return prefix + name.removeprefix(prefix).partition(".")[0]


def _small(modules: Mapping[str, Module]) -> Iterator[str]:
    importers = Counter(target for module in modules.values() for target in module.imports)
    for module in modules.values():
        if module.lines < SMALL_LINES and importers[module.name] == 1 and module.path.stem not in ENTRANCES:
            reason = REASONS.get(module.name, "no reason in tools/house.py")
            yield f"{module.name} ({module.lines} lines): {reason}"


def _long_functions(modules: Mapping[str, Module]) -> Iterator[str]:
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield f"{module.name}.{node.name} ({lines} lines)"


def _vague_names(modules: Mapping[str, Module]) -> "Counter[str]":
    names: Counter[str] = Counter()
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.arg):
                names[node.arg] += node.arg in VAGUE
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names[node.id] += node.id in VAGUE
    return +names


if __name__ == "__main__":
    sys.exit(main())
