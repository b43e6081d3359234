"""The standard TFLite metadata: what Android Studio, the Task Library and Netron show of a file.

A flatbuffer of its own (identifier M001, schema 1.1.0: tflite-support's metadata_schema.fbs) in the metadata
entry TFLITE_METADATA. The package that writes it would be one more dependency, for nine tables: they are written
field by field here, and the numbers below are the schema's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mobileiqa.scoring.embedded_preprocessing import Size
from mobileiqa.spec import ModelSpec

ENTRY = "TFLITE_METADATA"
IDENTIFIER = b"M001"

# Values of the schema's enums and unions.
IMAGE_PROPERTIES, FEATURE_PROPERTIES, NORMALIZATION, RGB = 2, 1, 1, 1


@dataclass(frozen=True)
class Scalar:
    """A number of one of flatbuffers' types: Int8, Uint8, Uint32."""

    kind: str
    value: int


@dataclass(frozen=True)
class Table:
    """A table with `size` fields in the schema, of which `fields` are written: number -> value.

    Values are Scalar, str, Table, and lists of float, str or Table.
    """

    size: int
    fields: dict[int, Any]


def model_metadata(spec: ModelSpec, description: str, version: str, sizes: Sequence[Size]) -> bytes:
    """The entry's content for a file with one RGB image in and the spec's outputs, a subgraph for each of `sizes`."""
    import flatbuffers

    fields = {
        0: spec.name,
        1: description,
        2: version,
        3: [
            Table(7, {0: _graph_name(spec, size, sizes), 2: [_image(size)], 3: _outputs(spec)})
            for size in sizes
        ],
        4: spec.origin,
        5: spec.license,
        7: "1.0.0",
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, Table(8, fields)), IDENTIFIER)
    return bytes(builder.Output())


def _graph_name(spec: ModelSpec, size: Size, sizes: Sequence[Size]) -> str:
    """The model's name, or the signature where there are several."""
    return spec.name if len(sizes) == 1 else size.signature


def _image(size: Size) -> Table:
    pixels = Table(2, {0: Scalar("Uint32", size.width_px), 1: Scalar("Uint32", size.height_px)})
    normalization = Table(2, {0: Scalar("Uint8", NORMALIZATION), 1: Table(2, {0: [0.0], 1: [1.0]})})
    return _tensor(
        "image",
        f"The photo, upright: RGB, 8 bits, {size}. No other preprocessing: it is in the graph.",
        IMAGE_PROPERTIES,
        Table(2, {0: Scalar("Int8", RGB), 1: pixels}),
        {4: [normalization], 5: Table(2, {0: [255.0], 1: [0.0]})},
    )


def _outputs(spec: ModelSpec) -> list[Table]:
    """The score's metadata and, of a model that gives them, the reasons'."""
    return [_score(spec), *([_reasons(spec)] if spec.reasons else [])]


def _reasons(spec: ModelSpec) -> Table:
    return _tensor(
        "reasons",
        f"Probabilities, 0 to 1, of what lowers the quality, in this order: {', '.join(spec.reasons)}.",
        FEATURE_PROPERTIES,
        Table(0, {}),
        {5: Table(2, {0: [1.0], 1: [0.0]})},
    )


def _score(spec: ModelSpec) -> Table:
    low, high = spec.score_range
    better = "higher" if spec.higher_is_better else "lower"
    return _tensor(
        "score",
        f"Quality, {low:g} to {high:g}; {better} is better.",
        FEATURE_PROPERTIES,
        Table(0, {}),
        {5: Table(2, {0: [high], 1: [low]})},
    )


def _tensor(name: str, description: str, kind: int, properties: Table, more: dict[int, Any]) -> Table:
    """TensorMetadata."""
    content = Table(3, {0: Scalar("Uint8", kind), 1: properties})
    return Table(7, {0: name, 1: description, 3: content, **more})


def _write(builder: Any, value: Any) -> int:
    """Writes a string, a table or a vector; returns its offset. What it refers to is written before it."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        return _vector(builder, value)
    offsets = {n: _write(builder, v) for n, v in value.fields.items() if not isinstance(v, Scalar)}
    builder.StartObject(value.size)
    for number, field in value.fields.items():
        if isinstance(field, Scalar):
            getattr(builder, f"Prepend{field.kind}Slot")(number, field.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, offsets[number], 0)
    return builder.EndObject()


def _vector(builder: Any, values: list[Any]) -> int:
    floats = isinstance(values[0], float)
    items = values if floats else [_write(builder, value) for value in values]
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        (builder.PrependFloat32 if floats else builder.PrependUOffsetTRelative)(item)
    return builder.EndVector()
