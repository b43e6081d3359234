"""The command: what it chooses, what it leaves out, what it writes, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from calibration.select import main
from calibration.sets import GENERATED, MANIFEST, load
from mobileiqa.zoo import UNTRAINED

MODEL = ("--model", "mobilenet-iqa", "--size", "64x48")


def manifest(out: Path) -> dict:
    return json.loads((out / MANIFEST).read_text())


def chosen_ids(out: Path) -> list[str]:
    return [image["id"] for image in manifest(out)["images"]]


def test_selects_of_every_kind_deterministically_and_loads(library, spec, tmp_path, run):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        code, text, last = run(
            main, "--images", library, *MODEL, "--count", 10, "--seed", seed, "--out", tmp_path / name
        )
        assert code == 0 and last["images"] == 10 and last["candidates"] == 40 and not last["generated"]
    assert "10 images are few: 32 or more are advised" in text
    a, b, c = (manifest(tmp_path / name) for name in "abc")
    assert a["sha256"] == b["sha256"] != c["sha256"]
    assert set(a["coverage"]["luminance"]) == set(a["candidate_coverage"]["luminance"])
    assert min(a["coverage"]["luminance"].values()) >= 2
    result = load(tmp_path / "a", spec)
    assert (
        len(list(result.prepared())) == 10
        and result.sha256 == a["sha256"] == manifest(tmp_path / "b")["sha256"]
    )


def test_copies_and_near_copies_are_not_chosen_or_reported(make_photos, tmp_path, run):
    folder = make_photos(tmp_path / "photos", 8)
    shutil.copy(folder / "p01.png", folder / "q01.png")
    Image.open(folder / "p03.png").save(folder / "q03.bmp")
    Image.open(folder / "p05.png").save(folder / "q05.jpg", quality=80)
    code, text, last = run(main, "--images", folder, *MODEL, "--count", 9, "--out", tmp_path / "out")
    assert code == 0 and last["left_out"] == {"file": 1, "pixels": 1} and last["near_duplicates"] == 1
    assert "left out: q01.png is the same file as p01.png" in text
    assert "chosen, but q05.jpg looks nearly the same as p05.png" in text
    assert not {"q01.png", "q03.bmp"} & set(chosen_ids(tmp_path / "out"))


def test_scores_make_strata_and_the_untrained_note_travels(library, tmp_path, run):
    scores = tmp_path / "scores.csv"
    rows = [f"{library}/p{i:02d}.png,{0.9 if i == 7 else 0.1 + i / 1000},,{UNTRAINED}" for i in range(40)]
    scores.write_text("\n".join(["image,score,error,note", *rows]))
    for seed in range(4):  # the one good image is always among the first chosen
        out = tmp_path / f"out{seed}"
        args = ("--images", library, *MODEL, "--count", 6, "--seed", seed, "--scores", scores, "--out", out)
        code, text, _ = run(main, *args)
        assert code == 0 and "p07.png" in chosen_ids(out)
    assert f"note: scores of scores.csv: {UNTRAINED}" in text
    assert manifest(out)["coverage"]["score"]["0.74..0.9"] == 1


def test_labels_give_distortions_and_hold_out_the_test_split(make_photos, tmp_path, run):
    folder = make_photos(tmp_path / "set" / "images", 12)
    shutil.copy(folder / "p11.png", folder / "same.png")  # a test image under another name
    rows = ["image,score,split,reference,distortion"]
    for i in range(12):
        side = "test" if i >= 9 else "train"
        rows.append(f"images/p{i:02d}.png,{i},{side},r{i},{1 + (i == 2)}")
    rows.append("images/same.png,11,train,r12,1")
    labels = tmp_path / "set" / "labels.csv"
    labels.write_text("\n".join(rows))
    shutil.copy(folder / "p00.png", folder / "sheet.png")  # of which the labels say nothing
    args = ("--images", folder, *MODEL, "--labels", labels)
    code, text, last = run(main, *args, "--count", 9, "--out", tmp_path / "out")
    assert code == 0 and last["left_out"] == {"file": 1, "split": 3, "unlisted": 1}
    assert "left out: same.png is the same file as p11.png" in text
    assert f"left out: sheet.png is not listed in {labels}" in text
    assert chosen_ids(tmp_path / "out") != [] and max(chosen_ids(tmp_path / "out")) == "p08.png"
    assert manifest(tmp_path / "out")["coverage"]["distortion"] == {"1": 8, "2": 1}


def test_the_test_split_is_never_chosen(library, make_photos, tmp_path, run, refused):
    test = tmp_path / "test"
    test.mkdir()
    shutil.copy(library / "p03.png", test / "renamed.png")
    Image.open(library / "p04.png").save(test / "again.jpg", quality=70)
    make_photos(tmp_path / "other", 1, first_seed=500)
    shutil.copy(tmp_path / "other" / "p00.png", test / "p05.png")  # the same name only
    args = ("--images", library, *MODEL, "--test-split", test, "--out", tmp_path / "out")
    code, _, last = run(main, *args, "--count", 37)
    assert code == 0 and last["left_out"] == {"file": 1, "name": 1, "near": 1}
    assert not {"p03.png", "p04.png", "p05.png"} & set(chosen_ids(tmp_path / "out"))
    line = refused(main, *args, "--count", 38, "--force")
    assert "found 37 (1 left out: file, 1 left out: name, 1 left out: near)" in line


def test_without_images_the_set_is_generated_and_says_so_everywhere(spec, tmp_path, run):
    code, text, last = run(main, *MODEL, "--count", 7, "--out", tmp_path)
    assert code == 0 and last["generated"] and last["warning"] == GENERATED and GENERATED in text
    assert manifest(tmp_path)["warning"] == GENERATED and manifest(tmp_path)["images_folder"] is None
    assert load(tmp_path, spec).warning == GENERATED


def test_copied_images_make_the_set_independent_of_the_folder(make_photos, spec, tmp_path, run, refused):
    folder = make_photos(tmp_path / "photos" / "deep", 9).parent
    args = ("--images", folder, *MODEL, "--count", 8, "--copy", "--out")
    assert run(main, *args, tmp_path / "out")[0] == 0
    run(main, *args[:-2], "--out", tmp_path / "referenced")
    shutil.rmtree(folder)
    result = load(tmp_path / "out", spec)
    assert result.sha256 == manifest(tmp_path / "referenced")["sha256"]
    assert sorted(p.name for p in (tmp_path / "out" / "images" / "deep").iterdir()) == sorted(
        Path(name).name for name in result.ids
    )


def test_an_unreadable_image_stops_the_run_unless_skipped(make_photos, tmp_path, run, refused):
    folder = make_photos(tmp_path / "photos", 9)
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    args = ("--images", folder, *MODEL, "--count", 8, "--out", tmp_path / "out")
    assert "found 1 that cannot (cut.jpg)" in refused(main, *args)
    assert not (tmp_path / "out").exists()
    code, _, last = run(main, *args, "--skip-unreadable")
    assert code == 0 and last["unreadable"] == 1
    assert manifest(tmp_path / "out")["unreadable"][0]["id"] == "cut.jpg"


def test_a_photo_of_an_unread_format_stops_the_run_unless_skipped(make_photos, tmp_path, run, refused):
    folder = make_photos(tmp_path / "photos", 9)
    (folder / "raw.DNG").write_bytes(b"II*\0")
    args = ("--images", folder, *MODEL, "--count", 8, "--out", tmp_path / "out")
    error = refused(main, *args)
    assert "10 images that can be read" in error and "found 1 that cannot (raw.DNG)" in error
    code, _, last = run(main, *args, "--skip-unreadable")
    assert code == 0 and last["unreadable"] == 1


def test_images_of_other_modes_and_sizes_are_chosen_like_any(make_photos, photo, spec, tmp_path, run):
    folder = make_photos(tmp_path / "photos", 4)
    photo(50, 300, 7).convert("L").save(folder / "strip.png")
    photo(51, 50, 50).convert("CMYK").save(folder / "cmyk.tiff")
    photo(52, 40, 40).convert("RGBA").save(folder / "alpha.png")
    photo(53, 1, 1).save(folder / "dot.png")
    assert run(main, "--images", folder, *MODEL, "--count", 8, "--out", tmp_path / "out")[0] == 0
    assert {i["image"].shape for i in load(tmp_path / "out", spec).prepared()} == {(1, 3, 48, 64)}


def test_bad_input_is_one_line_and_writes_nothing(library, tmp_path, refused):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    good = {"--images": library, "--model": "mobilenet-iqa", "--count": 8, "--out": out}
    cases = [
        ({"--images": tmp_path / "empty"}, "at least one image"),
        ({"--images": tmp_path / "nowhere"}, "nothing at"),
        ({"--images": library / "p00.png"}, "found a file"),
        ({"--count": 41}, "expected 41 images to choose from; found 40"),
        ({"--count": 0}, "--count of 1 or more"),
        ({"--seed": -1}, "--seed of 0 or more"),
        ({"--model": "resnet"}, "one of mobilenet-iqa"),
        ({"--size": "64"}, "--size"),
        ({"--scores": tmp_path / "no.csv"}, "no.csv"),
        ({"--test-split": tmp_path / "no"}, "nothing at"),
        ({"--test-split": library}, "found 0 (40 left out: file)"),
    ]
    for change, words in cases:
        args = [str(part) for pair in (good | change).items() for part in pair]
        assert words in refused(main, *args)
    assert not out.exists()


@pytest.mark.parametrize("flag", ["--scores", "--labels", "--test-split"])
def test_flags_about_images_need_images(tmp_path, refused, flag: str):
    assert f"expected --images with {flag}" in refused(main, *MODEL, flag, "x.csv", "--out", tmp_path / "o")


def test_an_earlier_selection_is_kept_without_force(library, tmp_path, run, refused):
    args = ("--images", library, *MODEL, "--count", 8, "--out", tmp_path)
    assert run(main, *args)[0] == 0
    before = (tmp_path / MANIFEST).read_bytes()
    assert "--force" in refused(main, *args, "--seed", 1)
    assert (tmp_path / MANIFEST).read_bytes() == before
    assert run(main, *args, "--seed", 1, "--force")[0] == 0
    assert (tmp_path / MANIFEST).read_bytes() != before
    inside = ("--images", library, *MODEL, "--count", 8, "--copy", "--out", library / "calib")
    assert "--out outside --images" in refused(main, *inside)
