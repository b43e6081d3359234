"""Pictures: PNG chunks, JPEG segments, TIFF directories, RIFF chunks, ISO boxes, header fields; and blind damage.

What is known before a command sees the file: a PNG whose critical chunk has a wrong CRC is damaged, and a chunk or a
segment that no decoder reads changes no pixel.
"""

import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.fuzz.case import INPUT, SEEDS, Case, Expectation, Step
from tools.fuzz.damage import Mutation, damage, number, put, tried

PNG = b"\x89PNG\r\n\x1a\n"
SCORE = Step(
    "mobileiqa.score", (f"{INPUT}/{{main}}", "--model", f"{SEEDS}/models/tiny.tflite", "--format", "json")
)
COMMON = 0.6  # of the cases start from the formats that photos come in
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT")
_TIFF_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 330, 338, 339,
              34665, 34675, 50706)  # fmt: skip
_Operation = Callable[[bytes, random.Random], Mutation]


class Images:
    """Cases of altered pictures."""

    kind = "images"

    def __init__(self, corpus: Path) -> None:
        folder = corpus / "pictures"
        self.seeds = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.common = [name for name in self.seeds if name.startswith(("png", "jpeg_", "tiff", "webp"))]
        self.scores: dict[str, float] = json.loads((corpus / "scores.json").read_text())

    def case(self, rng: random.Random) -> Case:
        """One picture and one to three mutations of it."""
        name = rng.choice(self.common if rng.random() < COMMON else list(self.seeds))
        content, seed = self.seeds[name], self.seeds[name]
        if rng.random() < 0.15 and (harmless := unread(content, rng)) is not None:
            expectation = Expectation.SAME if name in self.scores else Expectation.ANY
            return self._case(name, *harmless, expectation)
        words = []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            content, text = self._mutated(content, rng)
            words.append(text)
        refused = content != seed and has_wrong_crc(content) and not has_wrong_crc(seed)
        expectation = Expectation.REFUSED if refused else Expectation.ANY
        return self._case(name, content, "; ".join(words), expectation)

    def _mutated(self, content: bytes, rng: random.Random) -> Mutation:
        known = _operations(content)
        if known and rng.random() < 0.7:
            return tried(rng.choice(known), content, rng)
        return damage(content, rng, list(self.seeds.values()))

    def _case(self, name: str, content: bytes, text: str, expectation: Expectation) -> Case:
        score = self.scores.get(name) if expectation is Expectation.SAME else None
        step = Step(SCORE.module, tuple(a.replace("{main}", name) for a in SCORE.arguments))
        return Case(self.kind, name, text, {name: content}, name, (step,), expectation, score)


def unread(content: bytes, rng: random.Random) -> Mutation | None:
    """The same picture with something in it that no decoder looks at; None for a format without room for that."""
    filler = rng.randbytes(rng.randrange(1, 200))
    if content.startswith(PNG):
        chunks = list(png_chunks(content))
        chunk = rng.choice((b"fuZz", b"prVt"))
        chunks.insert(rng.randrange(1, len(chunks)) if _one_idat(chunks) else 1, (chunk, filler))
        return png(chunks), f"an unknown chunk {chunk.decode()}"
    if content.startswith(b"\xff\xd8"):
        marker = rng.choice((0xE4, 0xE9, 0xFE))
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(filler) + 2) + filler
        return content[:2] + segment + content[2:], f"a segment {marker:02X} that no decoder reads"
    if content.startswith(b"RIFF") and content[12:16] == b"VP8X":
        chunk = b"fuzz" + struct.pack("<I", len(filler)) + filler + b"\0" * (len(filler) % 2)
        whole = content + chunk
        return put(whole, 4, "<I", len(whole) - 8), "an unknown RIFF chunk"
    return None


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of each whole chunk, checksums not looked at."""
    at = len(PNG)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right checksums."""
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return PNG + b"".join(packed)


def has_wrong_crc(content: bytes) -> bool:
    """Whether a critical chunk of a PNG, before its end, has a checksum that is not its data's."""
    at = len(PNG)
    while content.startswith(PNG) and at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 8 + length
        if kind == b"IEND" or not kind.isalpha() or end + 4 > len(content):
            return False
        wrong = struct.unpack_from(">I", content, end)[0] != zlib.crc32(content[at + 4 : end])
        if wrong and kind in _CRITICAL:
            return True
        at = end + 4
    return False


def _one_idat(chunks: list[tuple[bytes, bytes]]) -> bool:
    return sum(kind in (b"IDAT", b"fdAT") for kind, _ in chunks) == 1


def _operations(content: bytes) -> list[_Operation]:
    """The mutations that know the format of this content."""
    heads = {PNG: [_png_chunk, _png_field, _png_unchecked, _png_stale], b"\xff\xd8": [_jpeg_segment, _jpeg_field],
             b"II*\0": [_tiff_entry, _tiff_new_entry], b"MM\0*": [_tiff_entry, _tiff_new_entry],
             b"RIFF": [_riff_chunk], b"BM": [_header_field], b"GIF8": [_header_field], b"DDS ": [_header_field],
             b"qoif": [_header_field], b"P": [_text_header]}  # fmt: skip
    known = next((each for head, each in heads.items() if content.startswith(head)), [])
    return known or ([_iso_box] if content[4:8] in (b"ftyp", b"jP  ") else [_header_field])


def _png_chunk(content: bytes, rng: random.Random) -> Mutation:
    """Chunks dropped, doubled, moved or of another type, checksums right."""
    chunks = list(png_chunks(content))
    if not chunks:
        return damage(content, rng)
    at, word = rng.randrange(len(chunks)), rng.choice(("dropped", "doubled", "moved", "renamed", "emptied"))
    kind, data = chunks.pop(at)
    if word == "renamed":
        names = (
            b"tRNS",
            b"gAMA",
            b"iCCP",
            b"eXIf",
            b"acTL",
            b"fcTL",
            b"zTXt",
            b"iTXt",
            b"PLTE",
            b"sBIT",
            b"IEND",
        )
        chunks.insert(at, (rng.choice(names), data))
    elif word != "dropped":
        places = {"doubled": (at, at), "moved": (rng.randrange(len(chunks) + 1),), "emptied": (at,)}[word]
        for place in places:
            chunks.insert(place, (kind, b"" if word == "emptied" else data))
    return png(chunks), f"chunk {kind!r} {word}"


def _png_field(content: bytes, rng: random.Random) -> Mutation:
    """A byte or a number of one chunk's data, its checksum made right again."""
    chunks = list(png_chunks(content))
    if not chunks:
        return damage(content, rng)
    at = rng.randrange(len(chunks)) if rng.random() < 0.6 else 0
    kind, data = chunks[at]
    data, text = damage(data, rng)
    chunks[at] = kind, data
    return png(chunks), f"chunk {kind!r}: {text}, checksum right"


def _png_unchecked(content: bytes, rng: random.Random) -> Mutation:
    """One bit of a chunk's data, the checksum left alone."""
    spans, at = [], len(PNG)
    for kind, data in png_chunks(content):
        spans += [(kind, at + 8, len(data))] if data else []
        at += 12 + len(data)
    if not spans:
        return damage(content, rng)
    kind, start, length = rng.choice(spans)
    at = min(start + rng.randrange(length), len(content) - 1)
    return put(content, at, "<B", content[at] ^ 1 << rng.randrange(8)), f"one bit of {kind!r} at byte {at}"


def _png_stale(content: bytes, rng: random.Random) -> Mutation:
    """Other pixels, soundly compressed, under the checksum of those that were there."""
    at = content.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", content, at)
    pixels = bytearray(zlib.decompress(content[at + 8 : at + 8 + length]))
    for _ in range(rng.randrange(1, 50)):
        pixels[rng.randrange(len(pixels))] ^= 1 << rng.randrange(8)
    data = zlib.compress(bytes(pixels))
    checksum = content[at + 8 + length : at + 12 + length]
    chunk = struct.pack(">I", len(data)) + b"IDAT" + data + checksum
    return content[:at] + chunk + content[at + 12 + length :], "other pixels under the old checksum"


def _jpeg_segments(content: bytes) -> list[tuple[int, int]]:
    """(start, end) of each segment before the first scan's data."""
    spans, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        spans.append((at, min(end, len(content))))
        if content[at + 1] == 0xDA:
            break
        at = end
    return spans


def _jpeg_segment(content: bytes, rng: random.Random) -> Mutation:
    spans = _jpeg_segments(content)
    if not spans:
        return damage(content, rng)
    start, end = rng.choice(spans)
    piece, word = content[start:end], rng.choice(("dropped", "doubled", "moved", "renamed"))
    rest = content[:start] + content[end:]
    if word == "doubled":
        rest = content[:end] + piece + content[end:]
    elif word == "moved":
        rest = rest[:2] + piece + rest[2:]
    elif word == "renamed":
        rest = put(
            content, start + 1, "<B", rng.choice((0xC0, 0xC2, 0xC4, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE))
        )
    return rest, f"segment {piece[1]:02X} {word}"


def _jpeg_field(content: bytes, rng: random.Random) -> Mutation:
    spans = _jpeg_segments(content)
    if not spans:
        return damage(content, rng)
    start, end = rng.choice(spans)
    at = rng.randrange(start + 2, max(end, start + 3))
    return put(
        content, at, rng.choice(("<B", ">H")), number(rng)
    ), f"a field of segment {content[start + 1]:02X}"


def _tiff_entries(content: bytes) -> tuple[str, list[int]]:
    """Byte order, and where the entries of the directories lie."""
    order, places, seen = "<" if content[:2] == b"II" else ">", [], set()
    at = struct.unpack_from(f"{order}I", content, 4)[0] if len(content) >= 8 else 0
    while at and at + 2 <= len(content) and at not in seen:
        seen.add(at)
        count = min(struct.unpack_from(f"{order}H", content, at)[0], 200)
        places += [at + 2 + 12 * i for i in range(count) if at + 14 + 12 * i <= len(content)]
        end = at + 2 + 12 * count
        at = struct.unpack_from(f"{order}I", content, end)[0] if end + 4 <= len(content) else 0
    return order, places


def _tiff_entry(content: bytes, rng: random.Random) -> Mutation:
    """Tag, type, count or value of one entry."""
    order, places = _tiff_entries(content)
    if not places:
        return damage(content, rng)
    at = rng.choice(places)
    (tag,) = struct.unpack_from(f"{order}H", content, at)
    part = rng.choice(("tag", "type", "count", "value", "value", "value"))
    value = {"tag": rng.choice(_TIFF_TAGS), "type": rng.randrange(20)}.get(part, number(rng))
    offset, layout = {"tag": (0, "H"), "type": (2, "H"), "count": (4, "I"), "value": (8, rng.choice("HI"))}[
        part
    ]
    return put(content, at + offset, order + layout, value), f"TIFF tag {tag}: {part} {value}"


def _tiff_new_entry(content: bytes, rng: random.Random) -> Mutation:
    """One entry turned into another tag with a value of its own: what a camera's file has and Pillow's has not."""
    order, places = _tiff_entries(content)
    if not places:
        return damage(content, rng)
    at, tag = rng.choice(places), rng.choice(_TIFF_TAGS)
    entry = struct.pack(f"{order}HHIHH", tag, rng.choice((3, 4)), 1, rng.randrange(5), 0)
    return content[:at] + entry + content[at + 12 :], f"an entry became tag {tag}"


def _riff_chunk(content: bytes, rng: random.Random) -> Mutation:
    return _nested(content, 12, "<I", 4, 0, rng)


def _iso_box(content: bytes, rng: random.Random) -> Mutation:
    return _nested(content, 0, ">I", 0, 4, rng)


def _nested(
    content: bytes, start: int, layout: str, length_at: int, kind_at: int, rng: random.Random
) -> Mutation:
    """One chunk of a length-prefixed format: its length, its name, a field; or it is gone or there twice."""
    spans, at = [], start
    while at + 8 <= len(content):
        (length,) = struct.unpack_from(layout, content, at + length_at)
        end = at + (length if layout == ">I" else 8 + length + length % 2)
        spans.append((at, min(max(end, at + 8), len(content))))
        at = spans[-1][1]
    if not spans:
        return damage(content, rng)
    at, end = rng.choice(spans)
    name, word = (
        content[at + kind_at : at + kind_at + 4],
        rng.choice(("length", "name", "dropped", "twice", "field")),
    )
    changed = {
        "length": lambda: put(content, at + length_at, layout, number(rng)),
        "name": lambda: put(content, at + kind_at, ">I", rng.getrandbits(32)),
        "dropped": lambda: content[:at] + content[end:],
        "twice": lambda: content[:end] + content[at:],
        "field": lambda: put(content, rng.randrange(at + 8, max(end, at + 9)), rng.choice(("<B", ">H")), number(rng)),
    }[word]()  # fmt: skip
    return changed, f"chunk {name!r}: {word}"


def _header_field(content: bytes, rng: random.Random) -> Mutation:
    """A number in the first 64 bytes, as formats with a fixed header have them."""
    at = rng.randrange(min(len(content), 64))
    value = number(rng)
    return put(content, at, rng.choice(("<B", "<H", "<I", ">H", ">I")), value), f"header byte {at}: {value}"


def _text_header(content: bytes, rng: random.Random) -> Mutation:
    """A word of a PPM's header."""
    words = content[:40].split(b" " if b" " in content[:12] else b"\n")
    words[rng.randrange(min(len(words), 4))] = rng.choice(
        (b"0", b"-1", b"65536", b"9" * 12, b"1e9", b"", b"#", b"P7")
    )
    return b"\n".join(words) + content[40:], "a word of the header"
