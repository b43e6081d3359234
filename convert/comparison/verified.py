"""The accelerators on which a converted file's outputs were checked: the list `accelerators` in FILE.json.

`inspect --gpu` writes it, and so do `parity` and `check` with the runtime gpu. `mobileiqa app` reads it, and the same
list in the file's own metadata, for who checks elsewhere: its libraries never try the GPU with one that failed there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.comparison.compare import ParityReport
from convert.delegation.accelerators import miscomputed
from convert.delegation.gpu_check import SignatureCheck
from convert.flatbuffer.reader import read_graph, read_graphs
from convert.output_file import read_sidecar, sidecar_path
from mobileiqa import cli, typed_json
from mobileiqa.files.integrity import sha256

CPU, GPU = "cpu", "gpu"
RUNTIME_OF = {CPU: "litert", GPU: "gpu"}  # of convert.runtimes


@dataclass(frozen=True)
class _Verified:
    accelerators: tuple[str, ...]


def note(path: Path, accelerators: Iterable[str]) -> str:
    """Writes the list into FILE.json, where that is of this file; returns one line that says so, or why not."""
    sidecar, names = sidecar_path(path), list(accelerators)
    if not sidecar.is_file():
        return f"not noted: no {sidecar.name}"
    content = typed_json.parse_object(typed_json.content_of(sidecar), f"a sidecar at {sidecar}")
    if content.get("sha256") != sha256(path):
        return f"not noted: {sidecar.name} is of another file"
    try:
        cli.write_json(sidecar, {**content, "accelerators": names})
    except OSError as error:
        return f"not noted: {sidecar.name}: {error.strerror}"
    return f"noted in {sidecar.name}: verified for {', '.join(names) or 'no accelerator'}"


def note_check(path: Path, checks: Sequence[SignatureCheck]) -> str:
    """`note` of what `gpu_check.check` says. A difference without a wrong operator is rounding, and decides nothing."""
    if all(check.passed for check in checks):
        return note(path, (CPU, GPU))
    rounds = read_graph(path).description.get("precision") == "int8"
    failed = [check for check in checks if not check.passed]
    if all(check.on_cpu == 0 and (rounds or check.wrong is None) for check in failed):
        return "not noted: it may be rounding, and parity with --runtimes gpu decides by the score"
    return note(path, (CPU,))


def note_reports(paths: Iterable[Path], reports: Sequence[ParityReport]) -> Iterator[str]:
    """`note` of parity's reports, for each file that the runtime gpu ran."""
    for path in paths:
        own = [report for report in reports if report.candidate in (str(path), f"{path}, reasons")]
        if any(report.runtime == RUNTIME_OF[GPU] for report in own):
            failed = {report.runtime for report in own if not report.passed}
            yield note(path, [name for name, runtime in RUNTIME_OF.items() if runtime not in failed])


def gpu_refused(path: Path) -> str:
    """Why the file may not run on a GPU: it was verified for other accelerators, or has operators known to fail.

    Empty: nothing speaks against it. Raises UserError for a list that is none.
    """
    sidecar = read_sidecar(path)
    noted = sidecar.accelerators if sidecar else None
    embedded = read_graph(path).description.get("accelerators")
    if embedded is not None:
        source = f"the metadata of {path}"
        embedded = typed_json.decode(_Verified, {"accelerators": embedded}, source).accelerators
    for accelerators in (noted, embedded):
        if accelerators is not None and GPU not in accelerators:
            return f"{path.name} was verified for {', '.join(accelerators) or 'no accelerator'}"
    sentences = [sentence for graph in read_graphs(path) for sentence in miscomputed(graph)]
    return f"{path.name}: {sentences[0]}" if sentences else ""
