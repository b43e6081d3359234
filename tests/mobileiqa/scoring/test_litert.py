import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from convert.flatbuffer import model as flatbuffer
from mobileiqa.errors import UserError
from mobileiqa.files import tflite
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from tests.convert.conftest import FlatbufferBuilder


@pytest.fixture
def inputs(tiny, photos: Path) -> dict[str, np.ndarray]:
    return prepare(photos / "photo0.png", tiny[1])


@pytest.fixture
def bare(tiny, with_metadata, tmp_path: Path) -> Path:
    """The same model as another converter would write it: no entry of ours, but one of its own."""
    content = tiny[2].read_bytes().replace(b"mobileiqa", b"elsewhere")
    path = tmp_path / "bare.tflite"
    path.write_bytes(with_metadata(content, "other", b"\0\1"))
    return path


def test_scores_are_torchs_for_one_image_and_for_many(tiny, photos: Path):
    module, spec, path = tiny
    run = litert.runner(path)
    prepared = [prepare(photo, spec) for photo in sorted(photos.iterdir())]
    together = {name: np.concatenate([one[name] for one in prepared]) for name in prepared[0]}
    with torch.inference_mode():
        expected = (
            module(*(torch.from_numpy(together[target.name]) for target in spec.inputs)).double().numpy()
        )
    assert np.ptp(expected) > 1e-3, "the photos must tell a difference"
    scores = run(together)
    assert (scores.dtype, scores.shape) == (np.float64, (4,))
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([run(one) for one in prepared]), scores)


def test_inputs_are_matched_by_name_not_by_order(tiny, inputs):
    run = litert.runner(tiny[2], threads=2)
    np.testing.assert_array_equal(run(dict(reversed(inputs.items()))), run(inputs))


def test_nan_is_passed_on(tiny, inputs):
    inputs["synthetic"][0, 0, 5, 5] = np.nan
    assert np.isnan(litert.runner(tiny[2])(inputs)).all()


def test_inputs_that_are_not_the_files_are_refused(tiny, inputs):
    run = litert.runner(tiny[2])
    good = inputs["authentic"]
    for bad in (
        good.transpose(0, 2, 3, 1),
        good.astype(np.float64),
        good[:0],
        good[0],
        np.concatenate([good, good]),
    ):
        with pytest.raises(UserError, match=r"input '(authentic|synthetic)'"):
            run({**inputs, "authentic": bad})
    with pytest.raises(UserError, match=r"found \['authentic'\]"):
        run({"authentic": good})
    with pytest.raises(UserError, match="'image'"):
        run({**inputs, "image": good})


def test_more_images_than_the_files_batch_must_be_a_multiple_of_it():
    shapes = {"crops": (2, 3, 4, 4)}
    assert litert._check_inputs({"crops": np.zeros((6, 3, 4, 4), np.float32)}, shapes) == 6
    with pytest.raises(UserError, match="multiple of that batch"):
        litert._check_inputs({"crops": np.zeros((5, 3, 4, 4), np.float32)}, shapes)


def test_a_damaged_table_is_not_read_for_minutes(tiny, monkeypatch):
    monkeypatch.setattr(tflite, "MAX_TABLES", 1)
    with pytest.raises(UserError, match=r"damaged one \(a vector of \d+ tables\)"):
        litert.read_metadata(tiny[2])


def test_metadata_and_spec(tiny):
    assert litert.read_metadata(tiny[2])["precision"] == "fp32"
    assert litert.load_spec(tiny[2]) == tiny[1]


def test_a_file_without_our_entry_may_have_it_beside_it(tiny, bare: Path):
    with pytest.raises(UserError, match=r"found none; .*convert\.tflite"):
        litert.read_metadata(bare)
    with pytest.raises(UserError, match=r"bare\.tflite\.json; found neither"):
        litert.load_spec(bare)
    sidecar = bare.with_name("bare.tflite.json")
    sidecar.write_text(json.dumps({"spec": tiny[1].to_json()}))
    assert litert.load_spec(bare) == tiny[1]
    for content in ("{", "[]", '{"sha256": ""}', '{"spec": {"name": "x"}}'):
        sidecar.write_text(content)
        with pytest.raises(UserError):
            litert.load_spec(bare)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"{}"])
def test_metadata_that_is_not_ours_inside(bare: Path, with_metadata, content: bytes):
    bare.write_bytes(with_metadata(bare.read_bytes(), "mobileiqa", content))
    with pytest.raises(UserError, match=r"bare\.tflite"):
        litert.load_spec(bare)


def test_files_that_are_not_tflite(tmp_path: Path):
    for name, content in {
        "empty": b"",
        "text": b"hello, world",
        "short": b"\0\0\0\0TFL",
        "head": b"\x1c\0\0\0TFL3",
    }.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        for read in (litert.read_metadata, litert.load_spec, litert.runner):
            with pytest.raises(UserError, match=rf"{name}\.tflite"):
                read(path)
    for path in (tmp_path / "missing.tflite", tmp_path):
        with pytest.raises(UserError, match=r"a \.tflite file"):
            litert.runner(path)


def test_a_cut_or_damaged_file_never_crashes(tiny, tmp_path: Path):
    whole = tiny[2].read_bytes()
    path = tmp_path / "cut.tflite"
    for length in np.linspace(8, len(whole) - 1, 50, dtype=int):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.tflite"):
            litert.runner(path)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(8, len(whole), 30)] = rng.integers(0, 256, 30)
        path.write_bytes(damaged.tobytes())
        try:
            litert.load_spec(path)
        except UserError as error:
            assert "cut.tflite" in str(error) or "model spec" in str(error)


def test_a_file_with_another_output_is_refused(tiny, tmp_path: Path):
    path = tmp_path / "named.tflite"
    path.write_bytes(tiny[2].read_bytes().replace(b"score\0", b"other\0"))
    with pytest.raises(UserError, match="one output named 'score'"):
        litert.runner(path)


def test_a_name_that_is_not_utf8_is_a_name(tiny, inputs, tmp_path: Path):
    path = tmp_path / os.fsdecode(b"caf\xe9.tflite")
    try:
        path.write_bytes(tiny[2].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only; run on another to test others")
    np.testing.assert_array_equal(litert.runner(path)(inputs), litert.runner(tiny[2])(inputs))


def test_two_entries_of_our_name_are_refused(tiny, with_metadata, tmp_path: Path):
    """One of them would win: another preprocessing scores otherwise."""
    entry = json.dumps(litert.read_metadata(tiny[2])).encode()
    path = tmp_path / "two.tflite"
    path.write_bytes(with_metadata(tiny[2].read_bytes(), litert.METADATA_NAME, entry))
    for load in (litert.load_spec, litert.runner):
        with pytest.raises(UserError, match="2 metadata entries 'mobileiqa'"):
            load(path)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("scale", [None, (0.25, -2)])
def test_one_score_of_any_shape_float_or_quantized(
    shape: tuple[int, ...], scale: tuple[float, int] | None, tmp_path: Path
):
    """As other converters write it: Keras' Dense layers give (1, 1), fully quantized files int8."""
    b = FlatbufferBuilder()
    image = b.input(1, 3, 4, 4)
    mean = b.op("MEAN", [image, b.constant([0, 1, 2, 3])], [b.tensor()], "ReducerOptions")
    output = b.op("RESHAPE", [mean, b.constant(np.array(shape, np.int32))], [b.tensor(*shape)])
    if scale:
        output = b.op("QUANTIZE", [output], [b.tensor(*shape, dtype="int8", scale=scale)])
    path = tmp_path / "foreign.tflite"
    path.write_bytes(b.build(output))
    model = flatbuffer.read(path)
    flatbuffer.name_signature(model, ["image"])
    flatbuffer.write(model, path)
    run = litert.runner(path)
    assert run({"image": np.full((1, 3, 4, 4), 3.0, np.float32)}) == pytest.approx([3.0])
