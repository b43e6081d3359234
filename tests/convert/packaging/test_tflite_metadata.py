"""The standard metadata, read back by the field numbers of tflite-support's metadata_schema.fbs (M001)."""

from typing import Any

import flatbuffers
from flatbuffers import number_types as types
from flatbuffers.table import Table

from convert.packaging.tflite_metadata import model_metadata
from mobileiqa.scoring.embedded_preprocessing import Size
from mobileiqa.spec import InputSpec, ModelSpec

SPEC = ModelSpec(
    "lar",
    (InputSpec("image", 8, 8),),
    score_range=(0.0, 5.0),
    higher_is_better=False,
    license="MIT",
    origin="a paper",
)


class Reader:
    """One table: fields by number."""

    def __init__(self, content: bytes, position: int) -> None:
        self.table = Table(content, position)

    def _at(self, number: int) -> int:
        offset = self.table.Offset(4 + 2 * number)
        assert offset, f"field {number} is missing"
        return offset

    def text(self, number: int) -> str:
        return self.table.String(self.table.Pos + self._at(number)).decode()

    def child(self, number: int) -> "Reader":
        return Reader(self.table.Bytes, self.table.Indirect(self.table.Pos + self._at(number)))

    def children(self, number: int) -> list["Reader"]:
        start = self.table.Vector(self._at(number))
        count = self.table.VectorLen(self._at(number))
        return [Reader(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(count)]

    def floats(self, number: int) -> list[float]:
        start, count = self.table.Vector(self._at(number)), self.table.VectorLen(self._at(number))
        return [self.table.Get(types.Float32Flags, start + 4 * i) for i in range(count)]

    def number(self, number: int, flags: Any) -> int:
        return self.table.Get(flags, self.table.Pos + self._at(number))


def root(content: bytes) -> Reader:
    return Reader(content, flatbuffers.encode.Get(types.UOffsetTFlags.packer_type, content, 0))


def test_every_field_is_where_the_schema_has_it() -> None:
    content = model_metadata(SPEC, "what it is", "0.1.0", [Size("serving_default", 4032, 3024)])
    assert flatbuffers.util.BufferHasIdentifier(content, 0, b"M001")
    model = root(content)
    assert [model.text(n) for n in (0, 1, 2, 4, 5)] == ["lar", "what it is", "0.1.0", "a paper", "MIT"]
    (graph,) = model.children(3)
    assert graph.text(0) == "lar"
    (image,), (score,) = graph.children(2), graph.children(3)
    assert image.text(0) == "image" and "4032x3024" in image.text(1)
    assert image.child(3).number(0, types.Uint8Flags) == 2  # ImageProperties
    properties = image.child(3).child(1)
    assert properties.number(0, types.Int8Flags) == 1  # RGB
    assert [properties.child(1).number(n, types.Uint32Flags) for n in (0, 1)] == [4032, 3024]
    (unit,) = image.children(4)
    assert unit.number(0, types.Uint8Flags) == 1  # NormalizationOptions
    assert (unit.child(1).floats(0), unit.child(1).floats(1)) == ([0.0], [1.0])
    assert (image.child(5).floats(0), image.child(5).floats(1)) == ([255.0], [0.0])  # max, min
    assert score.text(0) == "score" and "lower is better" in score.text(1)
    assert score.child(3).number(0, types.Uint8Flags) == 1  # FeatureProperties
    assert (score.child(5).floats(0), score.child(5).floats(1)) == ([5.0], [0.0])


def test_each_size_is_a_subgraph() -> None:
    sizes = [Size("score_40x30", 40, 30), Size("score_30x40", 30, 40)]
    graphs = root(model_metadata(SPEC, "what it is", "0.1.0", sizes)).children(3)
    assert [graph.text(0) for graph in graphs] == ["score_40x30", "score_30x40"]
    results = [graph.children(2)[0].child(3).child(1).child(1) for graph in graphs]
    assert [[size.number(n, types.Uint32Flags) for n in (0, 1)] for size in results] == [[40, 30], [30, 40]]
    assert all(graph.children(3)[0].text(0) == "score" for graph in graphs)
