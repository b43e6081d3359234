import hashlib
import random

import pytest

from android_bench.results.tflite_file import Signature, read
from mobileiqa.errors import UserError
from tests.android_bench.conftest import edited


def test_reads_identity_and_precision(tiny, mark_fp16):
    plain, marked = read(tiny.path), read(mark_fp16(tiny.path))
    assert plain.sha256 == hashlib.sha256(tiny.path.read_bytes()).hexdigest()
    assert plain.size_bytes == tiny.path.stat().st_size
    assert (plain.fp16_capable, marked.fp16_capable) == (False, True)


@pytest.mark.parametrize("part", [0.001, 0.01, 0.3, 0.7, 0.99])
def test_notices_a_truncated_file(tiny, tmp_path, part):
    whole = tiny.path.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[: max(8, int(len(whole) * part))])
    with pytest.raises(UserError, match=r"a whole TFLite model in .*cut.tflite"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"hello, this is text", b"\x89PNG\r\n\x1a\n" * 4])
def test_refuses_other_files(tmp_path, content):
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match="a TFLite model"):
        read(path)


def test_refuses_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "missing.tflite")
    with pytest.raises(UserError, match="a folder"):
        read(tmp_path)


def test_damaged_bytes_never_end_in_another_error(tiny, tmp_path):
    whole, dice, refused = tiny.path.read_bytes(), random.Random(0), 0
    path = tmp_path / "damaged.tflite"
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(20):
            damaged[dice.randrange(8, 4000)] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except UserError:
            refused += 1
    assert refused > 30


def test_reads_input_shapes_in_the_graphs_order(tiny, large):
    assert read(tiny.path).signatures == (Signature("serving_default", ("float32",), ((1, 3, 32, 48),)),)
    assert read(large.path).signatures[0].input_shapes == ((1, 3, 768, 768),)


def test_reads_every_signature(camera, unsigned):
    wide, tall = read(camera).signatures
    assert (wide.name, wide.takes) == ("score_96x80", "uint8 1x80x96x3")
    assert (tall.name, tall.takes) == ("score_80x96", "uint8 1x96x80x3")
    assert read(unsigned).signatures == (Signature("", ("float32",), ((1, 3, 32, 48),)),)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"precision": "int8", "spec": {"name": "' + b"x" * 2000 + b'"}}', "int8"),
        (b'{"precision": 8}', ""),
        (b"[]", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_reads_the_precision_that_our_converter_wrote(tiny, tmp_path, with_metadata, content, expected):
    path = tmp_path / "marked.tflite"
    path.write_bytes(with_metadata(tiny.path.read_bytes(), "mobileiqa", content))
    assert read(path).precision == expected
    assert read(tiny.path).precision == ""


@pytest.mark.parametrize(
    "name", ["a; touch X; : #", "a b", "a\nb", "\x1b[2J", "'", "$(x)", "x" * 257, "\u202ea", "a\x00"]
)
def test_a_signature_that_is_no_word_is_refused(tiny, tmp_path, name):
    path = edited(tiny.path, tmp_path / "named.tflite", lambda model: rename(model, name))
    with pytest.raises(UserError, match="signature names of letters") as error:
        read(path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["serving_default", "decode.1/b:0", "größe_90x70", "-x"])
def test_words_of_other_converters_are_names(tiny, tmp_path, name):
    path = edited(tiny.path, tmp_path / "named.tflite", lambda model: rename(model, name))
    assert read(path).signatures[0].name == name


def rename(model, name):
    model.signatureDefs[0].signatureKey = name.encode()
