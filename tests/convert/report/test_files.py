"""What a folder holds, by content; what is left out; and what a sidecar may not be."""

import shutil
from pathlib import Path

import pytest

from convert import output_file
from convert.report.files import find, reference
from mobileiqa.errors import UserError


def test_files_are_found_by_content_and_ordered_by_precision(net, converted: Path) -> None:
    net("a.tflite", step=1 / 250), net("b.tflite")  # names say nothing
    (converted / "notes.txt").write_text("not a model")
    files, left_out = find([converted])
    assert [(f.label, f.precision) for f in files] == [("b.tflite", "fp32"), ("a.tflite", "int8")]
    assert left_out == {} and [f.problem for f in files] == ["", ""]
    rewrites, command = files[0].origin.rewrites, files[0].origin.command
    assert (rewrites[0].name, rewrites[0].sites, rewrites[0].refused) == ("fold", 3, ("odd & even",))
    assert command == output_file.command()


def test_others_files_and_packaged_files_are_left_out_and_said(net, converted: Path, flatbuffer) -> None:
    net("fp32.tflite")
    net("camera.tflite", delivery={"input": "image", "width_px": 8, "height_px": 8, "fitted": False})
    b = flatbuffer
    image = b.input(1, 2)
    (converted / "foreign.tflite").write_bytes(b.build(b.op("ABS", [image], [b.tensor(1, 2)])))
    files, left_out = find([converted])
    assert [f.label for f in files] == ["fp32.tflite"]
    assert "convert.selftest" in left_out["camera.tflite"] and "which model" in left_out["foreign.tflite"]
    with pytest.raises(UserError, match=r"foreign\.tflite: it does not say which model"):
        find([converted / "foreign.tflite"])


def test_a_sidecar_of_another_file_is_refused(net, edit) -> None:
    path = net("fp32.tflite")
    edit(path, sha256="0" * 64)
    with pytest.raises(UserError, match=r"fp32\.tflite\.json describes.*another file"):
        find([path])


def test_a_file_that_failed_parity_stays_one(net) -> None:
    (file,), _ = find([net("int8.failed.tflite", step=1 / 250)])
    assert "failed parity" in file.problem


@pytest.mark.parametrize("fields", [{"rewrites": 3}, {"tool_versions": [1]}, {"rewrites": {"applied": [{}]}}])
def test_a_damaged_sidecar_is_said(net, edit, fields: dict) -> None:
    path = net("fp32.tflite")
    edit(path, **fields)
    with pytest.raises(UserError, match=r"a sidecar as convert writes it at .*fp32.tflite.json"):
        find([path])


def test_without_a_sidecar_there_is_no_origin(net) -> None:
    path = net("fp32.tflite")
    path.with_name("fp32.tflite.json").unlink()
    assert find([path])[0][0].origin is None


def test_equal_names_are_refused(net, tmp_path: Path) -> None:
    path = net("fp32.tflite")
    (tmp_path / "other").mkdir()
    shutil.copy(path, tmp_path / "other" / "fp32.tflite")
    assert len(find([path, path.parent])[0]) == 1  # the same file twice is one file
    with pytest.raises(UserError, match="different names"):
        find([path, tmp_path / "other"])


def test_fp32_is_found_or_named(net) -> None:
    net("int8.tflite", step=1 / 250)
    a, b = net("a.tflite"), net("b.tflite", gain=1.00001)
    files, _ = find([a.parent])
    with pytest.raises(UserError, match=r"found a\.tflite, b\.tflite; name it"):
        reference(files, None)
    fp32, others = reference(files, str(b))
    assert fp32 == str(b) and [f.label for f in others] == ["a.tflite", "int8.tflite"]
    assert len(reference(files, "reference")[1]) == 3
    with pytest.raises(UserError, match="found none; name it"):
        reference(files[2:], None)
    with pytest.raises(UserError, match="a file to compare with"):
        reference(files[:1], None)
