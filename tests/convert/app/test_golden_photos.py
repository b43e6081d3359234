"""Encoded photos find what drawn images do not: a decoder, a colour engine or an accelerator that is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.app import golden_photos
from convert.app.golden_photos import BGR, FAR, STORED, write
from convert.flatbuffer import model as fb
from convert.packaging import packaged_file
from convert.runtimes.gpu import vulkan_driver
from convert.selftest import choose_accelerator, main, selftest
from mobileiqa.errors import UserError
from mobileiqa.photos.loading import read_image
from mobileiqa.scoring import litert
from mobileiqa.spec import ColorManagement
from mobileiqa.zoo import PACKAGED
from tests.convert.packaging.conftest import TINY, write_tiny

SRGB = ColorManagement.SRGB


@pytest.fixture
def app(flatbuffer: Any, tmp_path: Path) -> Path:
    """A small file of ours with its golden photos beside it."""
    path = write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY)
    (tmp_path / "golden").mkdir()
    write(path, tmp_path / "golden")
    return path


def failed(path: Path, decode: Callable[[Path], Image.Image] | None = None) -> set[str]:
    return {check.name for check in selftest(path, path.parent / "golden", decode) if not check.passed}


def stored(path: Path) -> Image.Image:
    """A decoder that looks at no tag."""
    with Image.open(path) as image:
        return Image.fromarray(np.asarray(image.convert("RGB")))


def without(tag: str) -> Callable[[Path], Image.Image]:
    """A decoder that ignores the profile or the orientation alone."""

    def decode(path: Path) -> Image.Image:
        with Image.open(path) as image:
            pixels = Image.fromarray(np.asarray(image.convert("RGB")))
            if tag == "profile":
                pixels.getexif().update(image.getexif())
            elif "icc_profile" in image.info:
                pixels.info["icc_profile"] = image.info["icc_profile"]
        return read_image(pixels, SRGB)

    return decode


def bgr(path: Path) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(np.asarray(read_image(path, SRGB))[:, :, ::-1]))


def test_the_decoder_of_every_command_passes(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(app)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = [photo.file for photo in golden_photos.read(app.parent / "golden")]
    assert result["passed"] and names[:3] == ["plain.jpg", "p3.jpg", "turned.jpg"]
    assert [check["name"] for check in result["checks"]] == [
        "file",
        *(f"golden photo {name}" for name in names),
    ]


def test_mistakes_of_apps_are_found(app: Path) -> None:
    everything = {f"golden photo {photo.file}" for photo in golden_photos.read(app.parent / "golden")}
    assert failed(app, bgr) == everything
    assert failed(app, without("orientation")) == {"golden photo turned.jpg"}
    assert failed(app, without("profile")) == {"golden photo p3.jpg"}
    assert failed(app, stored) == {"golden photo turned.jpg", "golden photo p3.jpg"}


def test_a_flipped_byte_is_found(app: Path) -> None:
    photo = app.parent / "golden" / "plain.jpg"
    content = bytearray(photo.read_bytes())
    content[len(content) // 2] ^= 4
    photo.write_bytes(content)
    assert failed(app) == {"golden photo plain.jpg"}
    model = bytearray(app.read_bytes())
    model[len(model) // 2] ^= 1
    app.write_bytes(model)
    assert failed(app) == {"file"}


def test_another_models_photos_fail(app: Path, flatbuffer: Any, tmp_path: Path) -> None:
    """By the file's hash; where a listing says none, by the scores."""
    other = tmp_path / "other" / "other.tflite"
    other.parent.mkdir()
    model = fb.read(app)
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) == 4 * 8 * 27:  # the filters
            buffer.data = (np.frombuffer(bytes(buffer.data), np.float32) * 0.9).view(np.uint8)
    fb.write(model, other)
    shutil.copytree(app.parent / "golden", other.parent / "golden")
    assert failed(other) == {"file"}
    listing = other.parent / "golden" / "golden.json"
    rows = json.loads(listing.read_text())
    own = json.dumps([{**row, "model_sha256": golden_photos.sha256(other)} for row in rows])
    listing.write_text(own)
    assert len(failed(other)) == len(rows)


def test_photos_of_a_packaged_file_have_its_size(app: Path, tmp_path: Path) -> None:
    path = tmp_path / "packaged" / "packaged.tflite"
    (path.parent / "golden").mkdir(parents=True)
    packaged_file.embed_preprocessing(app, path, [(120, 90), (90, 120)])
    photos = write(path, path.parent / "golden")
    assert not failed(path) and failed(path, bgr) and failed(path, without("orientation"))
    assert {read_image(path.parent / "golden" / photo.file, SRGB).size for photo in photos} == {(120, 90)}


def test_equal_models_have_equal_photos(app: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    write(app, tmp_path / "again")
    for file in (tmp_path / "again").iterdir():
        assert file.read_bytes() == (tmp_path / "golden" / file.name).read_bytes()


@pytest.mark.parametrize("text", ["[]", "{}", '[{"file": "x.jpg"}]', "no JSON"])
def test_a_broken_listing_is_one_line(app: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (app.parent / "golden" / "golden.json").write_text(text)
    assert main([str(app)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_path_out_of_the_folder_is_not_read(app: Path) -> None:
    listing = app.parent / "golden" / "golden.json"
    rows = json.loads(listing.read_text())
    listing.write_text(json.dumps([{**rows[0], "file": "../golden/plain.jpg"}]))
    assert failed(app) == {"golden photo ../golden/plain.jpg"}


@pytest.mark.slow
def test_photos_of_the_reference_catch_every_mistake(tmp_path: Path) -> None:
    for photo in write(PACKAGED, tmp_path):
        assert min(photo.catches.values()) >= FAR * photo.tolerance, photo
        assert BGR in photo.catches and (STORED in photo.catches) == (photo.file in ("p3.jpg", "turned.jpg"))


def divided(b: Any, path: Path) -> Path:
    """A file whose DIV by constants before a PAD the GPU accelerator computes wrong (see accelerators.py)."""
    from convert.flatbuffer.reader import METADATA_ENTRY
    from convert.output_file import embedded_metadata

    rng = np.random.default_rng(0)
    turned = b.op(
        "TRANSPOSE",
        [b.input(1, 3, 48, 64), b.constant([0, 2, 3, 1])],
        [b.tensor(1, 48, 64, 3)],
        "TransposeOptions",
    )
    scaled = b.op(
        "DIV", [turned, b.constant(np.array([0.58, 0.57, 0.55]))], [b.tensor(1, 48, 64, 3)], "DivOptions"
    )
    padded = b.op(
        "PAD", [scaled, b.constant([[0, 0], [1, 1], [1, 1], [0, 0]])], [b.tensor(1, 50, 66, 3)], "PadOptions"
    )
    filters = [padded, b.constant(rng.normal(0, 0.3, (8, 3, 3, 3))), b.constant(rng.normal(0, 0.3, 8))]
    strides: dict[str, Any] = {"padding": 1, "strideW": 1, "strideH": 1}
    mapped = b.op("CONV_2D", filters, [b.tensor(1, 48, 64, 8)], "Conv2DOptions", **strides)
    gelu = b.op("GELU", [mapped], [b.tensor(1, 48, 64, 8)], "GeluOptions")
    pooled = b.op("MEAN", [gelu, b.constant([1, 2])], [b.tensor(1, 8)], "ReducerOptions")
    head = [pooled, b.constant(rng.normal(0, 0.3, (1, 8))), b.constant(np.array([0.5]))]
    linear = b.op("FULLY_CONNECTED", head, [b.tensor(1, 1)], "FullyConnectedOptions")
    b.note(METADATA_ENTRY, json.dumps(embedded_metadata(TINY, "fp32", "ab" * 32)).encode())
    path.write_bytes(
        b.build(b.op("RESHAPE", [linear, b.constant([1])], [b.tensor(1)], "ReshapeOptions", newShape=[1]))
    )
    model = fb.read(path)
    fb.name_signature(model, [TINY.inputs[0].name])
    fb.write(model, path)
    return path


def test_an_accelerator_that_is_wrong_in_one_operator_is_not_chosen(
    app: Path, tmp_path: Path, flatbuffer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        vulkan_driver()
    except UserError as error:
        pytest.skip(str(error))
    selection = choose_accelerator(app, app.parent / "golden")
    assert selection.runs_on == "gpu" and selection.why_not == "" and selection.adapter
    path = divided(type(flatbuffer)(), tmp_path / "divided.tflite")
    write(path, tmp_path / "golden")
    assert main([str(path), "--gpu"]) == 0
    *lines, result = capsys.readouterr().out.splitlines()
    accelerator = json.loads(result)["accelerator"]
    assert accelerator["runs_on"] == "cpu" and "plain.jpg" in accelerator["why_not"]
    assert lines[-1].startswith("runs on the CPU, not on the GPU: ")


def test_where_there_is_no_gpu_the_cpu_is_chosen_and_says_why(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILEIQA_VULKAN", str(app.parent / "none.json"))
    accelerator = choose_accelerator(app, app.parent / "golden")
    assert accelerator.runs_on == "cpu" and "MOBILEIQA_VULKAN" in accelerator.why_not


def test_gpu_needs_golden_photos(flatbuffer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny(flatbuffer, tmp_path / "alone.tflite", TINY)
    assert main([str(path), "--gpu"]) == 2
    assert "--golden" in capsys.readouterr().err
    assert litert.preprocessing_of(path) is None
