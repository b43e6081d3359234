"""Lists, pipes, patterns and URIs: which photos are meant, and their bytes from a real server."""

import csv
import functools
import http.server
import io
import json
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import ClassVar

import pytest

from mobileiqa import score
from mobileiqa.errors import UserError
from mobileiqa.photos import sources
from mobileiqa.photos.sources import content_of, list_photos, parse_shard
from mobileiqa.text import csv_text

NAMES = ["photos/b.jpg", "s3://bucket/ü.jpg", "=1.jpg", "a b.jpg"]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; busy.png is there on the second try only, and never.png never."""

    asked: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        count = self.asked[self.path] = self.asked.get(self.path, 0) + 1
        if "never" in self.path or ("busy" in self.path and count == 1):
            self.send_error(503)
            return
        super().do_GET()

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real HTTP server over the generated photos."""
    monkeypatch.setattr(sources, "PAUSE_S", 0.0)
    Handler.asked = {}
    handler = functools.partial(Handler, directory=str(photos))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl", "parquet"])
def test_a_list_names_photos_in_its_order_each_once(suffix: str, tmp_path: Path) -> None:
    path, names = tmp_path / f"list.{suffix}", [*NAMES, NAMES[0]]
    if suffix == "txt":
        path.write_text("\n".join(names) + "\n\n", "utf-8")
    elif suffix == "csv":
        path.write_text(csv_text([("score", "Image"), *((1, name) for name in names)]), "utf-8")
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"uri": name}) + "\n" for name in names))
    else:
        pa = pytest.importorskip("pyarrow", reason="pip install pyarrow to read Parquet")
        from pyarrow import parquet

        parquet.write_table(pa.table({"n": [1] * 5, "path": names}), path)
    listed = list_photos([str(path)])
    assert listed.photos == NAMES and not listed.named


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\n \n", "none in"),
        ("a.csv", b"score,mos\n1,2\n", "found score, mos"),
        ("a.csv", b"", "no columns"),
        ("a.jsonl", b'{"x": 1}\n', "found x"),
        ("a.jsonl", b"{\n", "JSON"),
        ("a.jsonl", b"[1]\n", "no columns"),
        ("a.parquet", b"words", "Parquet file"),
    ],
)
def test_a_list_without_photos_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        list_photos([str(tmp_path / name)])


def test_a_pipe_a_pattern_and_a_folder_are_read_together(photos: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("x.jpg\n\nhttps://a/b.png\n"))
    first = str(photos / "photo0.png")
    listed = list_photos([first, "-", f"{photos}/*.jpg", str(photos)])
    jpegs = [str(photos / "photo1.jpg"), str(photos / "photo3.jpg")]
    assert listed.photos == [first, "x.jpg", "https://a/b.png", *jpegs, str(photos / "photo2.png")]
    assert first in listed.named and "x.jpg" not in listed.named
    with pytest.raises(UserError, match="none in"):
        list_photos([f"{photos}/*.tif"])


def test_shards_are_all_photos_once() -> None:
    listed = sources.PhotoList([str(n) for n in range(10)], frozenset())
    shards = [listed.shard(n, 4).photos for n in (1, 2, 3, 4)]
    assert sorted(chain(*shards)) == listed.photos and max(map(len, shards)) == 3
    assert listed.shard(12, 12).photos == []


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/4/2", "-1/4", ""])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="--shard NUMBER/COUNT"):
        parse_shard(text)


def test_a_server_sends_photos(server: str, photos: Path) -> None:
    (photos / "busy.png").write_bytes(content := (photos / "photo0.png").read_bytes())
    try:
        assert content_of(f"{server}/photo0.png") == content == content_of(f"{server}/busy.png")
    finally:
        (photos / "busy.png").unlink()
    for name, reason in (("missing.png", "404"), ("never.png", "503")):
        with pytest.raises(UserError, match=f"{name}; found .*{reason}"):
            content_of(f"{server}/{name}")
    assert Handler.asked["/never.png"] == sources.TRIES and Handler.asked["/missing.png"] == 1


def test_a_server_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setattr(sources, "PAUSE_S", 0.0)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/a\.jpg"):
        content_of("http://127.0.0.1:9/a.jpg")


def test_uris_are_scored_as_the_files_are(server: str, photos: Path, tiny, tmp_path: Path, capsys) -> None:
    fsspec = pytest.importorskip("fsspec", reason="pip install fsspec for URIs")
    memory = fsspec.filesystem("memory")
    memory.pipe("/album/a.png", (photos / "photo0.png").read_bytes())
    memory.pipe("/album/notes.txt", b"words")
    words = ["memory://album/", f"{server}/photo1.jpg", (photos / "photo2.png").as_uri(), f"{server}/no.png"]
    model = ["--model", str(tiny[2]), "--format", "csv"]
    assert score.main([*words, *model]) == 2, "no.png was named by itself"
    by_uri = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert score.main([*(str(photos / n) for n in ("photo0.png", "photo1.jpg", "photo2.png")), *model]) == 0
    by_path = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["score"] for row in by_uri] == [*(row["score"] for row in by_path), ""]
    assert [row["image"] for row in by_uri] == ["memory:///album/a.png", *words[1:]]
    assert "404" in by_uri[-1]["error"]
    (tmp_path / "list.txt").write_text("\n".join(words[1:]))
    assert score.main([str(tmp_path / "list.txt"), *model]) == 0, "not by itself: a row of a list"
    assert score.main(["memory://album/", *model, "--workers", "2"]) == 2
    assert "no other process sees" in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["nonsense://a/b.jpg", "s3://bucket/a.jpg", "memory://nothing/*.jpg"])
def test_a_uri_that_leads_nowhere(uri: str) -> None:
    pytest.importorskip("fsspec", reason="pip install fsspec for URIs")
    with pytest.raises(UserError):
        content_of(list_photos([uri]).photos[0])
