"""Which photos a command is given: paths, folders, patterns, lists, URIs, and what a pipe says.

A list is a text file of one photo a line, or a CSV, JSONL or Parquet file with a column of them. Its relative paths
start from the current folder, as those of a pipe do. A URI is read by fsspec (s3://, gs://, hf://, memory://...), and
http:// by Python itself. Each photo counts once, in the order in which it was named.
"""

import csv
import glob
import io
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileiqa import typed_json
from mobileiqa.errors import UserError, install_command
from mobileiqa.photos.formats import image_suffixes
from mobileiqa.photos.search import NOTHING_SEARCHED, ImageSearch, search_images
from mobileiqa.text import csv_name

PIPE = "-"
COLUMNS = ("image", "uri", "url", "path", "file", "filename")  # of a list, in this order
LISTS = frozenset({".txt", ".csv", ".jsonl", ".parquet"})
MAX_BYTES = 1 << 30  # of one photo behind a URI
TIMEOUT_S = 60.0
TRIES, PAUSE_S = 3, 0.5  # where a server is busy or the line broke
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_PATTERN = re.compile(r"[*?\[]")
_SHARD = re.compile(r"([0-9]+)/([0-9]+)")


@dataclass(frozen=True)
class PhotoList:
    """Paths and URIs, each once; which of them were named by themselves; what the folders hold that is left out."""

    photos: list[str]
    named: frozenset[str]
    search: ImageSearch = NOTHING_SEARCHED

    def shard(self, number: int, count: int) -> "PhotoList":
        """Every `count`-th photo from `number` (1..count) on; none where there are fewer."""
        return PhotoList(self.photos[number - 1 :: count], self.named, self.search)


def parse_shard(text: str) -> tuple[int, int]:
    """`3/64` as (3, 64). Raises UserError for anything else."""
    match = _SHARD.fullmatch(text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UserError("--shard NUMBER/COUNT, such as 3/64", repr(text), "number the shards from 1")
    return number, count


def is_uri(text: str) -> bool:
    """Whether it begins as a URI does: s3://bucket/photo.jpg."""
    return _URI.match(text) is not None


def list_photos(words: Iterable[str]) -> PhotoList:
    """What the words of a command line mean. Raises UserError where one leads to no photo."""
    photos: dict[str, None] = {}
    named: list[str] = []
    plain: list[str] = []
    searches: list[ImageSearch] = []

    def search() -> None:
        if plain:
            searches.append(search_images(plain))
            photos.update(dict.fromkeys(map(str, searches[-1].images)))
            plain.clear()

    for word in words:
        if not (listed := _listed(word)):
            plain.append(word)
            named.append(str(Path(word)))
            continue
        search()
        photos.update(dict.fromkeys(listed))
        named += listed if listed == [word] else []
    search()
    return PhotoList(list(photos), frozenset(named), _merged(searches))


def content_of(uri: str) -> bytes:
    """The bytes behind a URI. Raises UserError, naming it, where they cannot be had."""
    try:
        content = _from_web(uri) if uri.lower().startswith(("http://", "https://")) else _from_store(uri)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"a driver for {uri}", str(error), "install what it names") from error
    except Exception as error:
        reason = typed_json.shortened(str(error), 300) or type(error).__name__
        raise UserError(f"a photo at {uri}", reason, "check the address and the rights") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"at most {MAX_BYTES >> 20} MB at {uri}", "more", "give a photo")
    return content


def _listed(word: str) -> list[str]:
    """The photos of a pipe, a list, a pattern or a URI; none where it is a file or a folder."""
    if word == PIPE:
        return _lines(sys.stdin if sys.stdin is not None else (), "stdin")
    if is_uri(word):
        return _of_list(word, content_of(word)) if Path(word).suffix.lower() in LISTS else _in_store(word)
    if Path(word).suffix.lower() in LISTS and Path(word).is_file():
        return _of_list(word, Path(word).read_bytes())
    if _PATTERN.search(word) and not Path(word).exists():
        return _some(sorted(p for p in glob.glob(word, recursive=True) if Path(p).is_file()), word)
    return []


def _in_store(uri: str) -> list[str]:
    """What a pattern or a folder in a store holds; else the photo that the URI names."""
    scheme = uri.partition("://")[0]
    if scheme.lower() in ("http", "https") or not (_PATTERN.search(uri) or uri.endswith("/")):
        return [uri]
    system, place = _store(uri)
    try:
        names = system.glob(place) if _PATTERN.search(place) else system.find(place)
    except Exception as error:
        raise UserError(
            f"a folder or a pattern at {uri}", str(error), "check the address and the rights"
        ) from error
    suffixes = image_suffixes()
    is_folder = uri.endswith("/")
    names = [n for n in names if not is_folder or Path(n).suffix.lower() in suffixes]
    return _some(sorted(map(str, map(system.unstrip_protocol, names))), uri)


def _from_web(uri: str) -> bytes:
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(uri, timeout=TIMEOUT_S) as response:
                return response.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            if (error.code < 500 and error.code != 429) or attempt == TRIES:
                raise
        except OSError:
            if attempt == TRIES:
                raise
        time.sleep(PAUSE_S * attempt)
    raise AssertionError("the last try returns or raises")


def _from_store(uri: str) -> bytes:
    system, place = _store(uri)
    with system.open(place, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _store(uri: str) -> tuple[Any, str]:
    """fsspec's file system of a URI, and the place in it."""
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise UserError(f"fsspec for {uri}", "no such package", install_command("batch")) from error
    try:
        return url_to_fs(uri)
    except ValueError as error:
        raise UserError(f"a protocol that fsspec knows in {uri}", str(error), "correct the URI") from error


def _of_list(name: str, content: bytes) -> list[str]:
    """The photos in a list's content, by its suffix."""
    suffix = Path(name).suffix.lower()
    if suffix == ".parquet":
        return _some(_parquet_column(content, name), name)
    text = io.StringIO(
        content.decode("utf-8-sig", "surrogateescape"), newline="" if suffix == ".csv" else None
    )
    if suffix == ".txt":
        return _lines(text, name)
    if suffix == ".jsonl":
        return _some([_of_json(line, name) for line in text if line.strip()], name)
    reader = csv.DictReader(text)
    column = _column(reader.fieldnames or (), name)
    return _some([csv_name(row[column] or "") for row in reader], name)


def _of_json(line: str, name: str) -> str:
    """The photo in a line of JSON: text, or an object that has it in a column."""
    value = typed_json.parse(line, f"a line of {name}")
    if isinstance(value, str):
        return value
    row = value if isinstance(value, dict) else {}
    return str(row[_column(row, name)])


def _parquet_column(content: bytes, name: str) -> list[str]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UserError(f"pyarrow to read {name}", "no such package", install_command("batch")) from error
    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        column = _column(file.schema_arrow.names, name)
        return [str(value) for value in file.read([column])[column].to_pylist() if value is not None]
    except pa.ArrowException as error:
        raise UserError(f"a Parquet file in {name}", str(error), "write it again") from error


def _column(names: Iterable[str], file: str) -> str:
    """The column that holds the photos."""
    columns = {name.strip().lower(): name for name in names if isinstance(name, str)}
    column = next((columns[each] for each in COLUMNS if each in columns), None)
    if column is None:
        listed = typed_json.shortened(", ".join(columns), 200) or "no columns"
        raise UserError(
            f"a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]} in {file}", listed, "name the column so"
        )
    return column


def _lines(lines: Iterable[str], name: str) -> list[str]:
    return _some([line.rstrip("\r\n") for line in lines], name)


def _some(photos: list[str], name: str) -> list[str]:
    photos = [photo for photo in photos if photo.strip()]
    if not photos:
        raise UserError("at least one photo", f"none in {name}", "name photos, one a line or in one column")
    return photos


def _merged(searches: list[ImageSearch]) -> ImageSearch:
    if len(searches) < 2:
        return searches[0] if searches else NOTHING_SEARCHED
    ignored: dict[str, int] = {}
    for search in searches:
        for kind, count in search.ignored.items():
            ignored[kind] = ignored.get(kind, 0) + count
    images = tuple(dict.fromkeys(image for search in searches for image in search.images))
    return ImageSearch(images, tuple(dict.fromkeys(_unread(searches))), ignored)


def _unread(searches: Iterable[ImageSearch]) -> Iterator[Path]:
    for search in searches:
        yield from search.unread
