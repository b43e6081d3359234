"""What is measured: one signature of a .tflite file. Most files have one; a packaged file has one for each size.

Signatures of a file share its weights, and each has a subgraph of its own, so each is a measurement of its own. All
of them are measured unless one is named, and a result always says which one ran.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.results.tflite_file import Signature, TfliteFile, read
from mobileiqa.errors import UserError
from mobileiqa.text import printable

SERVING_DEFAULT = "serving_default"  # what converters call a file's only signature
OPTION = "--signature"
HELP = "of files that have several signatures, such as one for each camera size: this one"


@dataclass(frozen=True)
class FileSignature:
    """One signature of a file."""

    file: TfliteFile
    signature: Signature

    @property
    def name(self) -> str:
        """For people: the file's name, and the signature's where it says something."""
        return labelled(self.file.path.name, self.signature.name)

    @property
    def location(self) -> str:
        """The same with the file's whole path."""
        return labelled(str(self.file.path), self.signature.name)

    @property
    def runtime_name(self) -> str:
        """What a runtime has to be told: the signature's name, "" where the file has no other."""
        return self.signature.name if len(self.file.signatures) > 1 else ""

    def identity(self) -> dict[str, Any]:
        """The fields of a result that say what ran, JSON-ready."""
        return {
            "file": printable(str(self.file.path)),
            "artifact_sha256": self.file.sha256,
            "size_bytes": self.file.size_bytes,
            "fp16_capable": self.file.fp16_capable,
            "file_precision": self.file.precision,
            "signature": self.signature.name,
            "input_types": self.signature.input_types,
            "input_shapes": self.signature.input_shapes,
        }


def labelled(name: str, signature: str) -> str:
    """`name`, and the signature behind it where it is not the usual one."""
    return name if signature in ("", SERVING_DEFAULT) else f"{name} {signature}"


def read_signatures(paths: Sequence[Path | str], signature: str | None = None) -> list[FileSignature]:
    """Every signature of every file; of files that have several only `signature`, where that is given.

    Raises UserError for a file that `read` refuses, and for a signature that no file has, or that one of those
    with several does not have.
    """
    files = [read(path) for path in paths]
    if signature is not None:
        _require(signature, files)
    return [
        FileSignature(file, each)
        for file in files
        for each in file.signatures
        if signature in (None, each.name) or len(file.signatures) == 1
    ]


def _require(signature: str, files: Sequence[TfliteFile]) -> None:
    """UserError, with the choices that there are, where `signature` would be measured in vain."""
    wanting = [file for file in files if signature not in (each.name for each in file.signatures)]
    several = [file for file in wanting if len(file.signatures) > 1]
    if several or len(wanting) == len(files):
        choices = "; ".join(f"{_choices(file)} in {file.path.name}" for file in several or wanting)
        raise UserError(f"the signature {signature!r}", choices, f"correct {OPTION}, or leave it out")


def read_signature(path: Path | str, signature: str | None = None) -> FileSignature:
    """The one signature of a file, or `signature` of several. Raises UserError when several are left."""
    signatures = read_signatures([path], signature)
    if len(signatures) > 1:
        raise UserError(
            f"one signature of {path}", _choices(signatures[0].file), f"name one of these with {OPTION}"
        )
    return signatures[0]


def _choices(file: TfliteFile) -> str:
    return " and ".join(each.name or "none with a name" for each in file.signatures)
