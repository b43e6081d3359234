"""Every gate of the audit, passing on a good set and failing on one made to fail it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration import checks
from calibration.audit import main
from calibration.checks import Status
from calibration.select import main as select
from calibration.sets import GENERATED, MANIFEST, generated, save
from mobileiqa import preprocess
from mobileiqa.spec import Resample


@pytest.fixture(scope="session")
def good(library, tmp_path_factory) -> Path:
    """The folder of a sound set of 32 images; read only."""
    out = tmp_path_factory.mktemp("good")
    args = ["--images", library, "--model", "mobilenet-iqa", "--size", "64x48", "--count", 32, "--out", out]
    assert select([str(arg) for arg in args]) == 0
    return out


@pytest.fixture
def gates(run, tmp_path):
    """gates(set folder, *args): exit code, and gate -> (status, detail), from --json's file."""

    def call(folder: Path, *args: object) -> tuple[int, dict[str, tuple[str, str]]]:
        code, text, last = run(main, folder, "--json", tmp_path / "audit.json", "--force", *args)
        written = json.loads((tmp_path / "audit.json").read_text())
        assert {key: written[key] for key in last} == last and last["passed"] is (code == 0)
        assert ("FAIL: " in text.splitlines()[-1]) is (code == 1)
        return code, {f["gate"]: (f["status"], f["detail"]) for f in written["findings"]}

    return call


def failed(result: dict[str, tuple[str, str]]) -> list[str]:
    return [gate for gate, (status, _) in result.items() if status == Status.FAIL]


def test_a_sound_set_passes_every_gate(good, make_photos, gates, run, tmp_path):
    test = make_photos(tmp_path / "held", 3, first_seed=900)
    for path in sorted(test.iterdir()):
        path.rename(path.with_name(f"t{path.name}"))
    code, actual = gates(good, "--test-split", test)
    assert code == 0 and failed(actual) == []
    assert actual["leakage"] == (Status.OK, "nothing in common with 3 test images")
    assert actual["count"][0] == actual["files"][0] == actual["prepared inputs"][0] == Status.OK
    _, text, last = run(main, good)
    assert last["not_checked"] == ["leakage"] and "not checked  give the test images" in text
    assert "  dark " in text and "candidates" in text and "most saturated" in text


def test_json_holds_the_histograms_and_every_images_saturation(good, run, tmp_path):
    run(main, good, "--json", tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text())
    assert sum(written["coverage"]["luminance"].values()) == len(written["saturation"]) == 32
    assert sum(written["candidate_coverage"]["luminance"].values()) == 40
    worst = written["saturation"][0]
    manifest = json.loads((good / MANIFEST).read_text())
    with Image.open(good / manifest["images_folder"] / worst["image"]) as image:
        assert worst["white"] == pytest.approx(float((np.asarray(image) == 255).mean()), abs=1e-4)


@pytest.mark.parametrize(("count", "status"), [(7, Status.FAIL), (8, Status.WARN), (31, Status.WARN)])
def test_too_few_images_fail_and_few_warn(set_of, make_photos, gates, tmp_path, count: int, status: Status):
    save(set_of(make_photos(tmp_path / "photos", count)), tmp_path / "set", {})
    code, actual = gates(tmp_path / "set")
    assert actual["count"][0] == status and code == int(status is Status.FAIL)


def test_missing_and_changed_files_fail(good, library, gates, tmp_path):
    images = Path(shutil.copytree(library, tmp_path / "photos"))
    first, second = (image["id"] for image in json.loads((good / MANIFEST).read_text())["images"][:2])
    (images / first).unlink()
    (images / second).write_bytes(b"no image")
    code, actual = gates(good, "--images", images)
    assert code == 1 and failed(actual) == ["files", "prepared inputs"]
    assert "no file at" in actual["files"][1] and f"{second} has changed" in actual["files"][1]


def test_a_set_for_another_size_or_model_fails(good, tiny, gates):
    code, actual = gates(good, "--model", tiny[2])
    assert code == 1 and failed(actual) == ["preprocessing"]
    code, actual = gates(good, "--model", "lar-iqa-kan")
    assert "inputs: image stored, authentic, synthetic wanted" in actual["preprocessing"][1]


def test_a_model_whose_preprocessing_changed_since_fails(set_of, library, spec, gates, tmp_path):
    bilinear = replace(spec, inputs=(replace(spec.inputs[0], resample=Resample.BILINEAR),))
    save(set_of(library, bilinear), tmp_path / "set", {})
    code, actual = gates(tmp_path / "set")
    assert code == 1 and failed(actual) == ["preprocessing"]
    assert actual["preprocessing"][1] == "image.resample: bilinear stored, bicubic wanted"


def test_preprocessing_code_that_changed_since_fails(good, gates, monkeypatch):
    monkeypatch.setitem(preprocess._FILTERS, Resample.BICUBIC, Image.Resampling.BILINEAR)
    code, actual = gates(good)
    assert code == 1 and failed(actual) == ["prepared inputs"]
    assert "is prepared otherwise than when it was selected" in actual["prepared inputs"][1]


def test_a_model_that_nobody_knows_is_not_checked(set_of, library, spec, gates, tmp_path):
    save(set_of(library, replace(spec, name="mine")), tmp_path / "set", {})
    assert gates(tmp_path / "set")[1]["preprocessing"][0] == Status.NOT_CHECKED


def test_duplicates_fail_and_near_duplicates_warn(set_of, make_photos, gates, tmp_path):
    folder = make_photos(tmp_path / "photos", 32)
    Image.open(folder / "p05.png").save(folder / "p05_again.jpg", quality=80)
    save(set_of(folder), tmp_path / "near", {})
    code, actual = gates(tmp_path / "near")
    assert (
        code == 0
        and actual["near duplicates"][0] == Status.WARN
        and "p05_again" in actual["near duplicates"][1]
    )
    Image.open(folder / "p06.png").save(folder / "p06_again.bmp")
    save(set_of(folder), tmp_path / "same", {})
    code, actual = gates(tmp_path / "same")
    assert code == 1 and failed(actual) == ["duplicates"]
    assert "p06_again.bmp shows the same pixels as p06.png" in actual["duplicates"][1]
    assert "p06" not in actual["near duplicates"][1]


def test_test_images_in_the_set_fail(good, library, gates, tmp_path):
    first = json.loads((good / MANIFEST).read_text())["images"][0]["id"]
    (tmp_path / "test").mkdir()
    Image.open(library / first).save(tmp_path / "test" / "held_out.webp", quality=80)
    code, actual = gates(good, "--test-split", tmp_path / "test")
    assert code == 1 and failed(actual) == ["leakage"]
    assert actual["leakage"][1] == f"{first} looks nearly the same as held_out.webp"


@pytest.mark.parametrize(("gain", "name"), [(0.05, "dark"), (6, "bright")])
def test_sets_of_one_brightness_fail(set_of, make_photos, gates, tmp_path, gain: float, name: str):
    folder = make_photos(tmp_path / "photos", 32, gains=(gain,))
    save(set_of(folder), tmp_path / "set", {})
    code, actual = gates(tmp_path / "set")
    assert code == 1 and "brightness" in failed(actual)
    assert actual["brightness"][1] == f"100% of the images are {name}"
    assert f"one luminance only: {name}" in actual["coverage"][1]


def test_saturated_images_warn_and_a_saturated_set_fails(set_of, make_photos, gates, tmp_path):
    folder = make_photos(tmp_path / "photos", 32, gains=(0.5, 0.8, 1))
    clipped = sorted(folder.iterdir())
    for path in clipped[:2]:
        _clip(path)
    save(set_of(folder), tmp_path / "few", {})
    code, actual = gates(tmp_path / "few")
    assert code == 0 and actual["saturation"][0] == Status.WARN
    assert actual["saturation"][1].startswith("2 of 32 images have more than 25% of samples at 0 or 255: p0")
    for path in clipped[2:16]:
        _clip(path)
    save(set_of(folder), tmp_path / "half", {})
    code, actual = gates(tmp_path / "half")
    assert code == 1 and failed(actual) == ["saturation"]


def _clip(path: Path) -> None:
    """Rows 0 to 14 become white, 15 to 29 black."""
    pixels = np.array(Image.open(path))
    pixels[:15], pixels[15:30] = 255, 0
    Image.fromarray(pixels).save(path)


def test_a_grey_set_fails(set_of, make_photos, gates, tmp_path):
    folder = make_photos(tmp_path / "photos", 32)
    for path in folder.iterdir():
        Image.open(path).convert("L").save(path)
    save(set_of(folder), tmp_path / "set", {})
    code, actual = gates(tmp_path / "set")
    assert code == 1 and failed(actual) == ["colour"]


def test_a_kind_that_the_candidates_have_and_the_set_lacks_warns(set_of, make_photos, tmp_path):
    photos = set_of(make_photos(tmp_path / "photos", 20)).images
    offered = {"luminance": {"dark": 30, "dim": 1, "bright": 30, "middle": 2, "light": 40}}
    lacking = [photo for photo in photos if photo.luminance >= 0.2]
    result = checks.check_coverage(lacking, offered)
    assert result.status is Status.WARN and "no luminance dark, 30 of 103 candidates are" in result.detail
    assert "no luminance" not in checks.check_coverage(photos, offered).detail


def test_images_smaller_than_the_input_warn(set_of, library, spec, tiny):
    photos = set_of(library).images  # 80x60 and 48x72
    assert checks.check_enlarged(photos, spec.resized(64, 48)).status is Status.OK
    assert "20 of 40" in checks.check_enlarged(photos, spec.resized(64, 64)).detail
    toy = tiny[1]  # 32x24 resized, and a 40x40 crop
    assert checks.check_enlarged(photos, toy).status is Status.OK
    crop = replace(toy, inputs=(replace(toy.inputs[1], width_px=80, height_px=40),))
    assert checks.check_enlarged(photos, crop).detail.startswith("20 of 40 images must be enlarged or padded")


def test_a_generated_set_warns_everywhere(spec, gates, run, tmp_path):
    save(generated(8, 0, spec), tmp_path / "set", {})
    code, actual = gates(tmp_path / "set")
    assert code == 0 and actual["origin"] == (Status.WARN, GENERATED)
    _, text, last = run(main, tmp_path / "set")
    assert GENERATED in text and last["warning"] == GENERATED


def test_bad_input_is_one_line(good, tmp_path, refused):
    (tmp_path / "test").mkdir()
    cases = [
        ((tmp_path / "none",), "nothing at"),
        ((good, "--images", tmp_path / "none"), "no folder at"),
        ((good, "--test-split", tmp_path / "test"), "at least one image"),
        ((good, "--model", "resnet"), "one of mobilenet-iqa"),
        ((good, "--json", good / MANIFEST), "--force"),
    ]
    for args, words in cases:
        assert words in refused(main, *args)
    (tmp_path / "test" / "cut.png").write_bytes(b"\x89PNG")
    assert "found 1 that cannot" in refused(main, good, "--test-split", tmp_path / "test")
