"""The manifest: it reloads as it was, notices every change, and prepares as inference does."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from calibration.inference import at_size_of, check_same, differences
from calibration.sets import MANIFEST, load, read_manifest, save
from mobileiqa import preprocess
from mobileiqa.errors import UserError
from mobileiqa.photos.color_profiles import CODED_PRIMARIES, D65, matrix_profile
from mobileiqa.spec import Fit
from mobileiqa.zoo import MODELS


@pytest.fixture
def saved(make_photos, set_of, tmp_path):
    """(set, folder of its manifest), the images beside it in photos/."""
    selection = set_of(make_photos(tmp_path / "photos", 4))
    save(selection, tmp_path / "calib", {"notes": []})
    return selection, tmp_path / "calib"


def edit(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_set_reloads_as_it_was(saved, spec):
    selection, out = saved
    again = load(out, spec)
    assert again.images == selection.images and again.sha256 == selection.sha256
    assert again.ids == ("p00.png", "p01.png", "p02.png", "p03.png")
    assert again.spec_name == "mobilenet-iqa" and sum(again.coverage["luminance"].values()) == 4
    content = json.loads((out / MANIFEST).read_text())
    assert content["images_folder"] == "../photos" and content["warning"] == ""
    assert str(out.parent) not in (out / MANIFEST).read_text()


def test_prepared_is_what_inference_reads(saved, spec):
    selection, out = saved
    inputs = list(load(out, spec).prepared())
    assert len(inputs) == 4 and set(inputs[0]) == {"image"}
    for name, actual in zip(selection.ids, inputs, strict=True):
        assert np.array_equal(actual["image"], preprocess.prepare(selection.folder / name, spec)["image"])


def test_the_hash_covers_what_matters_and_not_the_place(saved, tmp_path, spec):
    selection, out = saved
    moved = replace(selection, folder=tmp_path / "elsewhere")
    assert moved.sha256 == selection.sha256
    others = (
        replace(selection, seed=1),
        replace(selection, images=selection.images[::-1]),
        replace(selection, images=selection.images[:3]),
        replace(selection, spec=spec.resized(64, 64)),
        replace(selection, images=(replace(selection.images[0], luminance=0.0), *selection.images[1:])),
    )
    assert len({other.sha256 for other in others} | {selection.sha256}) == 6
    shutil.move(selection.folder, tmp_path / "moved")
    with pytest.raises(UserError, match="4 problems: no file at"):
        load(out, spec)
    assert load(out, spec, tmp_path / "moved").sha256 == selection.sha256


def test_another_spec_is_refused_and_the_field_named(saved, spec):
    _, out = saved
    with pytest.raises(UserError, match=r"image\.height_px: 48 stored, 64 wanted"):
        load(out, spec.resized(64, 64))
    (image,) = spec.inputs
    other = replace(spec, inputs=(replace(image, fit=Fit.CENTER_CROP, mean=(0, 0, 0)),))
    assert differences(spec, other) == [
        "image.fit: resize stored, center_crop wanted",
        "image.mean: (0.485, 0.456, 0.406) stored, (0.0, 0.0, 0.0) wanted",
    ]
    with pytest.raises(UserError, match="inputs: image stored, authentic, synthetic wanted"):
        check_same(spec, MODELS["lar-iqa-kan"].spec)
    check_same(spec, replace(spec, name="another", trained_on="photos"))  # prepared the same way


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_images_that_are_not_those_selected_are_refused(saved, spec, photo, damage: str):
    selection, out = saved
    victim = selection.folder / "p02.png"
    victim.unlink() if damage == "missing" else photo(99, 30, 30).save(victim)
    with pytest.raises(UserError, match=r"1 problems: (no file at .*p02|p02.png has changed)"):
        load(out, spec)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["images"][0].update(luminance=0.9), "match its sha256"),
        (lambda c: c["images"].pop(), "match its sha256"),
        (lambda c: c.update(seed=7), "match its sha256"),
        (lambda c: c["spec"]["inputs"][0].update(height_px=99), "match its sha256"),
        (lambda c: c.update(schema=2), "schema 1"),
        (lambda c: c.pop("spec"), "as it was written"),
        (lambda c: c["images"][0].pop("sha256"), "image fields"),
        (lambda c: c["images"][0].update(id="../../secret.png"), "outside the folder"),
        (lambda c: c["images"].clear(), "no images"),
    ],
)
def test_edited_manifests_are_refused(saved, change, words: str):
    edit(saved[1] / MANIFEST, change)
    with pytest.raises(UserError, match=words):
        read_manifest(saved[1])


@pytest.mark.parametrize(("text", "words"), [("{", "JSON in"), ("[]", "found list"), (None, "nothing at")])
def test_what_is_no_manifest_is_refused(tmp_path, text, words: str):
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=words):
        read_manifest(tmp_path)


def test_a_model_of_free_size_is_taken_at_the_size_of_the_set(spec):
    assert at_size_of(MODELS["mobilenet-iqa"].spec, spec) == spec
    assert at_size_of(MODELS["lar-iqa-kan"].spec, spec) == MODELS["lar-iqa-kan"].spec


def test_a_set_reads_colors_as_its_model_does(make_photos, set_of, tmp_path, spec):
    """Photos of linear light: sRGB's numbers are much larger."""
    folder = make_photos(tmp_path / "photos", 4)
    linear = matrix_profile(CODED_PRIMARIES[1], D65, 1.0)
    for path in folder.iterdir():
        with Image.open(path) as image:
            image.save(path, icc_profile=linear)
    selection = set_of(folder)
    stored = replace(selection, spec=replace(selection.spec, color_management="as_stored"))
    assert np.asarray(selection.picture(0)).mean() > np.asarray(stored.picture(0)).mean() + 20
    for each in (selection, stored):
        expected = preprocess.prepare(folder / each.ids[0], each.spec)
        assert all(np.array_equal(next(each.prepared())[name], expected[name]) for name in expected)
    assert selection.sha256 != stored.sha256
    assert differences(selection.spec, stored.spec) == ["color_management: srgb stored, as_stored wanted"]
    with pytest.raises(UserError, match="color_management"):
        check_same(selection.spec, stored.spec)
