"""What a .tflite file will cost on a phone, before it runs: operators, delegation, MACs, memory.

    python -m convert.inspect FILE.tflite [--check] [--gpu] [--json]

A forecast from the file alone; --check compares its delegation with what ai-edge-litert does, --gpu runs it on
LiteRT's GPU accelerator and notes in FILE.json whether it passed. The last line on stdout is one JSON object with all
of it. Exit 1 when --check finds a difference, or --gpu an operator that the GPU leaves or computes wrong.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.comparison import verified
from convert.delegation import gpu_check
from convert.delegation.accelerators import miscomputed
from convert.delegation.macs_and_memory import macs, parameters, peak, values
from convert.delegation.partitions import Forecast, check, forecast
from convert.flatbuffer.reader import Graph, Tensor, read_graphs
from mobileiqa.cli import command, emit, parser, say
from mobileiqa.files.integrity import verify
from mobileiqa.text import printable

FP16_ARITHMETIC = "fp16accfp16"
SHOWN_TENSORS = 5
OF_A_SIGNATURE = (
    "inputs",
    "warnings",
    "macs",
    "operators",
    "delegated",
    "partitions",
    "refusals",
    "peak_activation_bytes",
)


def inspect(graph: Graph) -> dict[str, Any]:
    """Everything the file tells, JSON-ready. Sizes in bytes, MACs and values per run of the model."""
    expected, highest = forecast(graph), peak(graph)
    at = graph.operators[highest.operator] if graph.operators else None
    return {
        "file": str(graph.path),
        "file_bytes": graph.file_bytes,
        **_identity(graph),
        "inputs": [_tensor(graph.tensors[i], _argument(graph, i)) for i in graph.inputs],
        "outputs": [_tensor(graph.tensors[i], _argument(graph, i)) for i in graph.outputs],
        "parameters": parameters(graph),
        "macs": sum(macs(graph, op) for op in graph.operators),
        "operators": expected.total,
        "delegated": len(expected.delegated),
        "partitions": [len(p) for p in expected.partitions],
        "ops": _histogram(graph, expected),
        "refusals": _refusals(graph, expected),
        "peak_activation_bytes": highest.nbytes,
        "peak_at": {"op": at.name, "index": at.index} if at else None,
        "peak_tensors": [_tensor(graph.tensors[i]) for i in highest.live[:SHOWN_TENSORS]],
        "warnings": _warnings(graph),
    }


def _identity(graph: Graph) -> dict[str, Any]:
    """Who the model is, by its own metadata; all but `fp16_capable` None in a file of another origin."""
    description = graph.description
    spec = description.get("spec") or {}
    return {
        "model": spec.get("name"),
        "score_range": spec.get("score_range"),
        "precision": description.get("precision"),
        "version": description.get("version"),
        "untrained": description.get("untrained"),
        "checkpoint_sha256": description.get("checkpoint_sha256"),
        "fp16_capable": graph.reduced_precision == FP16_ARITHMETIC,
    }


def _argument(graph: Graph, tensor: int) -> str | None:
    """The name that the signature gives an input or output."""
    names = {i: name for s in graph.signatures for name, i in {**s.inputs, **s.outputs}.items()}
    return names.get(tensor)


def _tensor(tensor: Tensor, name: str | None = None) -> dict[str, Any]:
    return {
        "name": name or tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "bytes": tensor.nbytes,
    }


def _histogram(graph: Graph, expected: Forecast) -> dict[str, dict[str, int]]:
    """Per operator type: how many, how many delegated, MACs, values written; most MACs first."""
    counts: dict[str, Counter[str]] = {}
    for op in graph.operators:
        counts.setdefault(op.name, Counter()).update(
            count=1, delegated=op.index in expected.delegated, macs=macs(graph, op), values=values(graph, op)
        )
    order = sorted(counts, key=lambda name: (-counts[name]["macs"], -counts[name]["values"], name))
    return {name: {key: int(n) for key, n in counts[name].items()} for name in order}


def _refusals(graph: Graph, expected: Forecast) -> list[dict[str, Any]]:
    """(operator type, reason) with how often and where first; the most frequent first."""
    where: dict[tuple[str, str], list[int]] = {}
    for index, reason in sorted(expected.refusals.items()):
        where.setdefault((graph.operators[index].name, reason), []).append(index)
    return [
        {"op": op, "reason": reason, "count": len(at), "first": at[0]}
        for (op, reason), at in sorted(where.items(), key=lambda item: -len(item[1]))
    ]


def _warnings(graph: Graph) -> list[str]:
    """What will surprise on a phone, loudest first."""
    warnings = []
    flex = sorted({op.name for op in graph.operators if op.flex})
    custom = sorted({op.name for op in graph.operators if op.custom and not op.flex})
    if flex:
        warnings.append(f"FLEX OPERATORS {', '.join(flex)}: loads only with TensorFlow's Flex delegate")
    if custom:
        warnings.append(f"CUSTOM OPERATORS {', '.join(custom)}: no stock runtime loads this")
    warnings += [f"WRONG ON AN ACCELERATOR: {sentence}" for sentence in miscomputed(graph)]
    if any(graph.tensors[i].dynamic for i in graph.inputs):
        warnings.append("dynamic input shape: every count here is for the placeholder shape in the file")
    if graph.subgraphs > max(graph.entries, 1):
        warnings.append(f"{graph.subgraphs} subgraphs: only those with a signature are counted")
    if graph.reduced_precision == FP16_ARITHMETIC:
        warnings += [
            f"BATCH_MATMUL #{op.index} has a constant left side: marked for FP16 arithmetic, the file "
            "fails to load on FP16 ARM hardware"
            for op in graph.operators
            if op.name == "BATCH_MATMUL" and graph.tensors[op.inputs[0]].constant
        ]
    return warnings


def inspect_each(graphs: Sequence[Graph]) -> list[dict[str, Any]]:
    """What the signatures of a file with several cost, one for each; the file's own facts left out."""
    each = [(graph.signatures[0].key, inspect(graph)) for graph in graphs if graph.signatures]
    return [
        {"signature": key, **{name: inspected[name] for name in OF_A_SIGNATURE}} for key, inspected in each
    ]


def table(inspected: dict[str, Any]) -> list[str]:
    """The lines for people."""
    lines = [
        *(f"!! {warning}" for warning in inspected["warnings"]),
        *_head(inspected),
        "",
        *_operators(inspected),
        "",
        *_delegation(inspected),
        *_memory(inspected),
        *_signatures(inspected),
        *_checked(inspected),
        *(gpu_check.in_words(signature) for signature in inspected.get("gpu", [])),
        *([inspected["noted"]] if "noted" in inspected else []),
    ]
    return [printable(line) for line in lines]


def _head(inspected: dict[str, Any]) -> list[str]:
    return [
        f"{inspected['file']}: {_si(inspected['file_bytes'], 'B')}, {_si(inspected['parameters'], 'parameters')}, "
        f"{_si(inspected['macs'], 'MACs')}",
        _model_line(inspected),
        *(f"{kind[:-1]} {t['name']}: {_shape(t)}" for kind in ("inputs", "outputs") for t in inspected[kind]),
    ]


def _operators(inspected: dict[str, Any]) -> list[str]:
    row = "{:<24}{:>7}{:>11}{:>12}{:>12}".format
    body = [
        row(name, n["count"], n["delegated"], _si(n["macs"]), _si(n["values"]))
        for name, n in inspected["ops"].items()
    ]
    total = sum(n["values"] for n in inspected["ops"].values())
    return [
        row("operator", "count", "delegated", "MACs", "values"),
        *body,
        row("all", inspected["operators"], inspected["delegated"], _si(inspected["macs"]), _si(total)),
    ]


def _delegation(inspected: dict[str, Any]) -> list[str]:
    sizes = inspected["partitions"]
    of = f" of {', '.join(map(str, sizes))} operators" if sizes else ""
    return [
        f"XNNPACK: {len(sizes)} partition{'' if len(sizes) == 1 else 's'}{of}",
        *(
            f"  not delegated: {r['count']} x {r['op']} (first #{r['first']}): {r['reason']}"
            for r in inspected["refusals"]
        ),
    ]


def _memory(inspected: dict[str, Any]) -> list[str]:
    at = inspected["peak_at"] or {"op": "no operator", "index": -1}
    size = _si(inspected["peak_activation_bytes"], "B")
    return [
        f"peak activations: {size} at {at['op']} #{at['index']}; the largest then:",
        *(
            f"  {_si(t['bytes'], 'B'):>10}  {_shape(t):<28} {t['name'][:60]}"
            for t in inspected["peak_tensors"]
        ),
    ]


def _signatures(inspected: dict[str, Any]) -> list[str]:
    """One row for each signature of a file with several; the tables above are of the first."""
    if "signatures" not in inspected:
        return []
    row = "{:<20}{:<24}{:>9}{:>11}{:>12}{:>12}{:>18}".format
    return [
        "",
        row("signature", "input", "operators", "delegated", "partitions", "MACs", "peak activations"),
        *(
            row(
                s["signature"], _shape(s["inputs"][0]) if s["inputs"] else "-", s["operators"],
                s["delegated"], len(s["partitions"]),
                _si(s["macs"]), _si(s["peak_activation_bytes"], "B"),
            )
            for s in inspected["signatures"]
        ),
    ]  # fmt: skip


def _checked(inspected: dict[str, Any]) -> list[str]:
    if "check" not in inspected:
        return []
    return [
        "check: the runtime delegates as forecast" if inspected["check"]["agrees"] else "check: FAILED",
        *(f"  {difference}" for difference in inspected["check"]["differences"]),
    ]


def _shape(tensor: dict[str, Any]) -> str:
    return f"{'x'.join(map(str, tensor['shape'])) or 'scalar'} {tensor['dtype']}"


def _si(amount: float, unit: str = "") -> str:
    """Two decimals and a prefix: "1.59 MB", "1.59 M parameters", "12"."""
    joined = unit if unit in ("", "B") else f" {unit}"  # MB, but M parameters
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= scale:
            return f"{amount / scale:.2f} {prefix}{joined}"
    return f"{amount:.0f} {unit}".rstrip()


def _model_line(inspected: dict[str, Any]) -> str:
    arithmetic = "FP16 arithmetic allowed" if inspected["fp16_capable"] else "FP32 arithmetic only"
    if inspected["model"] is None:
        return f"no model metadata; {arithmetic}"
    state = ", untrained: for latency and parity only" if inspected["untrained"] else ""
    return f"model {inspected['model']} ({inspected['precision']}{state}); {arithmetic}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0 done, 1 when --check found a difference, 2 for a file that cannot be read."""
    args = parser(
        "What a .tflite file will cost on a phone.",
        "python -m convert.inspect mobilenet-iqa.fp16.tflite --check",
    )
    args.add_argument("file", type=Path, metavar="FILE.tflite")
    args.add_argument("--check", action="store_true", help="compare the forecast with ai-edge-litert itself")
    args.add_argument(
        "--gpu", action="store_true", help="run it on LiteRT's GPU accelerator too, and compare with the CPU"
    )
    return command(args, _inspect, argv)


def _inspect(args: argparse.Namespace) -> int:
    if args.file.is_file():
        verify(args.file)
    graphs = [graph for graph in read_graphs(args.file) if graph.signatures or graph.index == 0]
    inspected = inspect(graphs[0])
    if len(graphs) > 1:
        inspected["signatures"] = inspect_each(graphs)
    if args.check:
        inspected["check"] = _check(graphs)
    if args.gpu:
        checks = gpu_check.check(args.file)
        inspected["gpu"] = [gpu_check.to_json(signature) for signature in checks]
        inspected["noted"] = verified.note_check(args.file, checks)
    say("\n".join(table(inspected)))
    emit(inspected)
    agrees = inspected.get("check", {}).get("agrees", True)
    return 0 if agrees and all(signature["passed"] for signature in inspected.get("gpu", [])) else 1


def _check(graphs: Sequence[Graph]) -> dict[str, Any]:
    """The first signature's check, with what differs in the others."""
    first, *others = (check(graph) for graph in graphs)
    for graph, other in zip(graphs[1:], others, strict=True):
        first["agrees"] &= other["agrees"]
        first["differences"] += [f"{graph.signatures[0].key}: {each}" for each in other["differences"]]
    return first


if __name__ == "__main__":
    raise SystemExit(main())
