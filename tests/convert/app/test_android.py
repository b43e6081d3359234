"""The Android library: its AAR is what the format asks for, and the library itself runs, on a JVM as the phone."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from convert.app import android, golden_photos
from convert.app.__main__ import main
from convert.flatbuffer import model as fb
from mobileiqa.errors import UserError
from mobileiqa.loaded_model import load_scorer
from mobileiqa.photos.color_profiles import CODED_PRIMARIES, D65, ColorTags, matrix_profile, to_srgb
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.photos.loading import load_image
from tests.convert.app.bursts import burst_photos, check_ranking, expected, rows_of
from tests.convert.app.conftest import (
    PROGRAMS,
    REASONS,
    check_view_cases,
    large,
    view_cases,
    write_two_views,
    write_view_cases,
    yuv_frame,
)
from tests.convert.conftest import FlatbufferBuilder
from tests.convert.programs import run, tool

PARITY = 2e-3  # of the score, the decoders' difference included
DECODED = 1e-6  # from the same decoded pixels
DECODERS = 5e-3  # of a burst's figures: the JVM's JPEG decoder has single grey levels otherwise


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_views(FlatbufferBuilder(), tmp_path_factory.mktemp("model") / "two-views.tflite")


@pytest.fixture(scope="module")
def project(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Gradle project with AAR and POM; skips where no Kotlin compiler is."""
    try:
        android.compiler()
    except UserError as error:
        pytest.skip(f"no Kotlin compiler: {error}")
    tool("javac")
    out = tmp_path_factory.mktemp("out") / "app"
    assert main([str(model), "--platform", "android", "--out", str(out)]) == 0
    return out / "android"


@pytest.fixture(scope="module")
def archive(project: Path) -> zipfile.ZipFile:
    (path,) = (project / "maven").rglob("*.aar")
    return zipfile.ZipFile(path)


def check_that_the_aar_is_what_the_format_asks_for(archive: zipfile.ZipFile, model: Path) -> None:
    names = archive.namelist()
    assert {"AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"} <= set(names)
    manifest = ElementTree.fromstring(archive.read("AndroidManifest.xml"))
    namespace = "{http://schemas.android.com/apk/res/android}"
    assert manifest.get("package") == "io.mobileiqa"
    assert manifest.find("uses-sdk").get(f"{namespace}minSdkVersion") == "24"
    assert archive.read("assets/mobileiqa/two-views.tflite") == model.read_bytes()
    assert archive.getinfo("assets/mobileiqa/two-views.tflite").compress_type == zipfile.ZIP_STORED
    assert (
        "assets/mobileiqa/golden/turned.jpg" in names
        and "-keep class com.google" in archive.read("proguard.txt").decode()
    )
    with archive.open("classes.jar") as jar, zipfile.ZipFile(jar) as classes:
        inside = classes.namelist()
        notice = classes.read("META-INF/mobileiqa/NOTICE").decode()
    assert "io/mobileiqa/PhotoScorer.class" in inside and "META-INF/mobileiqa/LICENSE" in inside
    assert not [name for name in inside if name.startswith(("android/", "com/", "androidx/", "kotlin/"))]
    assert "licence: CC BY-SA 4.0" in notice and "origin: a test" in notice


def check_that_the_pom_names_coordinates_licences_and_dependencies(project: Path) -> None:
    (path,) = (project / "maven").rglob("*.pom")
    pom, space = ElementTree.parse(path).getroot(), "{http://maven.apache.org/POM/4.0.0}"
    text = {name: pom.findtext(space + name) for name in ("groupId", "artifactId", "version", "packaging")}
    assert (
        text["groupId"] == "io.mobileiqa" and text["artifactId"] == "two-views" and text["packaging"] == "aar"
    )
    folder = "/".join((*text["groupId"].split("."), text["artifactId"], text["version"]))
    assert path.relative_to(project / "maven") == Path(folder, f"two-views-{text['version']}.pom")
    licences = [each.findtext(f"{space}name") for each in pom.iter(f"{space}license")]
    assert licences == ["Apache-2.0", "CC BY-SA 4.0"]
    rows = [[each.findtext(space + name) for name in ("groupId", "artifactId", "version", "optional")]
            for each in pom.iter(f"{space}dependency")]  # fmt: skip
    assert ["com.google.ai.edge.litert", "litert", "2.3.2", None] in rows
    assert ["com.google.ai.edge.litert", "litert-gpu", "2.3.2", "true"] in rows
    assert ["org.jetbrains.kotlin", "kotlin-stdlib", "2.4.20", None] in rows


def wrong_in_one_operator(model: Path, path: Path) -> Path:
    """The file with one convolution's bias changed: an accelerator that is wrong in one operator."""
    changed = fb.read(model)
    sized = [b for b in changed.buffers if b.data is not None and len(b.data) == 32]
    sized[0].data = (np.frombuffer(bytes(sized[0].data), np.float32) + np.float32(0.5)).view(np.uint8)
    fb.write(changed, path)
    return path


@pytest.fixture(scope="module")
def answers(project: Path, archive: zipfile.ZipFile, model: Path, tmp_path_factory) -> dict[str, list[str]]:
    """What the driver prints, by the first word of each line; its photos and cases are in `answers["folder"]`."""
    folder = tmp_path_factory.mktemp("jvm")
    (folder / "classes.jar").write_bytes(archive.read("classes.jar"))
    library, kotlin = folder / "classes.jar", android.compiler()
    stdlib = next(Path(word) for word in kotlin if str(word).endswith("kotlin-preloader.jar")).with_name(
        "kotlin-stdlib.jar"
    )
    phone, driver, signatures = folder / "phone", folder / "driver", folder / "signatures"
    run([tool("javac"), "-nowarn", "-d", signatures, *sorted(android.STUBS.rglob("*.java"))])
    run(
        [
            tool("javac"),
            "-nowarn",
            "-d",
            phone,
            "-cp",
            signatures,
            *sorted((PROGRAMS / "phone").rglob("*.java")),
        ]
    )
    caller = PROGRAMS / "jvm/Caller.java"
    sample = project / "sample/src/main/kotlin/io/mobileiqa/sample/MainActivity.kt"
    on_device = project / "library/src/androidTest/kotlin/io/mobileiqa/SelfTestOnDevice.kt"
    run(
        [
            tool("javac"),
            "-Xlint:all",
            "-Werror",
            "-d",
            driver,
            "-cp",
            f"{library}:{signatures}:{stdlib}",
            caller,
        ]
    )
    path = f"{library}:{phone}:{signatures}:{driver}"
    run([*kotlin, "-no-reflect", "-jvm-target", "11", f"-Xfriend-paths={library}", "-module-name", "driver",
         "-cp", path, "-d", driver, PROGRAMS / "jvm/Phone.kt", sample, on_device])  # fmt: skip
    wrong = wrong_in_one_operator(model, folder / "wrong.tflite")
    cases = write_view_cases(view_cases(), folder)
    assets = project / "library/src/main/assets"
    command = [tool("java"), "-Xmx1g", "-cp", f"{path}:{stdlib}", "io.mobileiqa.PhoneKt", cases, assets,
               write_photos(folder), wrong, sys.executable, PROGRAMS / "litert_child.py"]  # fmt: skip
    lines = run(command, folder).splitlines()
    words = [line.partition(" ") for line in lines]
    return {
        "folder": [str(folder)],
        **{key: [rest for k, _, rest in words if k == key] for key, _, _ in words},
    }


def write_photos(folder: Path) -> Path:
    """A photo of each kind, and the listing that the driver reads."""
    photo = photo_like(1, 320, 240)
    photo.save(folder / "plain.jpg", quality=92)
    exif = Image.Exif()
    exif[0x112] = 6
    photo.save(folder / "turned.jpg", quality=92, exif=exif)
    photo.save(
        folder / "p3.jpg",
        quality=92,
        subsampling=0,
        icc_profile=matrix_profile(CODED_PRIMARIES[12], D65, None),
    )
    large(3, 1024, 768, 8).save(folder / "large.jpg", quality=90)  # 50 MP
    planes, _ = yuv_frame(photo_like(4, 101, 77))
    (folder / "frame.yuv").write_bytes(planes)
    lines = [f"file {folder / name}.jpg" for name in ("plain", "turned", "p3", "large")]
    lines.append(f"hardware {folder}/plain.jpg")
    for name in ("plain", "p3", "turned"):
        pixels = load_image(folder / f"{name}.jpg")
        (folder / f"{name}.rgb").write_bytes(pixels.tobytes())
        lines.append(f"rgb {folder}/{name}.rgb {pixels.width} {pixels.height} 1")
    lines.append(f"yuv {folder}/frame.yuv 101 77 90")
    (folder / "photos.txt").write_text("\n".join(lines) + "\n")
    turned, paths = Image.Exif(), []
    turned[0x112] = 8
    for number, (name, each) in enumerate(burst_photos().items()):
        options = {"quality": 97, "subsampling": 0}
        if number == 1:  # lies on its side
            each.transpose(Image.Transpose.ROTATE_270).save(folder / f"{name}.jpg", exif=turned, **options)
        else:
            each.save(folder / f"{name}.jpg", **options)
        paths.append(folder / f"{name}.jpg")
    (folder / "burst.txt").write_text("\n".join(map(str, [*paths, folder / "nothing.jpg"])) + "\n")
    return folder / "photos.txt"


def check_that_views_are_pythons_to_the_last_bit(answers: dict[str, list[str]]) -> None:
    check_view_cases(view_cases(), Path(answers["folder"][0]))


def check_that_photos_score_as_in_python(answers: dict[str, list[str]], model: Path) -> None:
    """Files decoded by the JVM within PARITY; the same pixels, and a camera's frame, within DECODED."""
    folder, expect = Path(answers["folder"][0]), golden_photos.outputs_of(model)
    names = ("plain", "turned", "p3", "large", "plain", "plain", "p3", "turned")
    photos = [load_image(folder / f"{name}.jpg") for name in names]
    _, frame = yuv_frame(photo_like(4, 101, 77))
    photos.append(frame.transpose(Image.Transpose.ROTATE_270))
    rows = [row.split(" ", 3) for row in answers["score"]]
    tolerances = [PARITY] * 5 + [DECODED] * 4
    regions = []
    for (score, label, bands, reason), photo, tolerance in zip(rows, photos, tolerances, strict=True):
        expected = expect(photo)
        assert float(score) == pytest.approx(expected[0], abs=tolerance)
        assert label == ("bad", "poor", "fair", "good", "excellent")[int(expected[0] * 5)]
        assert reason == REASONS[int(expected[1:].argmax())]
        regions.append(int(bands))
    assert regions[3] == 4 and sum(regions) == 4, "only the 50 megapixels are decoded in bands"
    assert answers["accelerator"] == ["cpu: the GPU was not asked for"] and answers["wrong"] == ["[]"]
    assert answers["options"][0].startswith("CPU 2 mobileiqa-")
    blocking, label, later = answers["java"][0].split()
    assert blocking == rows[0][0] and later == rows[0][0]
    assert "FileNotFoundException" in answers["missing"][0]


def check_that_a_burst_is_ranked_as_in_python(answers: dict[str, list[str]], model: Path) -> None:
    folder, names = Path(answers["folder"][0]), list(burst_photos())
    photos = {name: load_image(folder / f"{name}.jpg") for name in names}
    ranked, left_out = expected(photos, load_scorer(str(model)))
    check_ranking(rows_of(answers["best"]), names, ranked, PARITY, DECODERS)
    aside = dict(each.split(" ", 1) for each in answers["aside"][0].split("|"))
    assert aside.pop(str(len(names))).startswith("not read: ")
    assert {names[int(index)]: reason for index, reason in aside.items()} == left_out
    alone = answers["alone"][0]
    assert alone.startswith("IllegalArgumentException: expected two or more photos of one scene; found ")
    assert answers["keeper"] == ["1"], "the second of the first two is the sharp one"


def check_that_display_p3_becomes_srgb_as_in_python(answers: dict[str, list[str]]) -> None:
    corners = np.arange(9) * 255 // 8
    colors = (
        np.stack(np.meshgrid(corners, corners, corners, indexing="ij"), -1).reshape(1, -1, 3).astype(np.uint8)
    )
    profile = matrix_profile(CODED_PRIMARIES[12], D65, None)
    expected = np.asarray(to_srgb(Image.fromarray(colors), ColorTags(profile)), int)[0]
    words = np.array(answers["profile"][0].split(","), int)
    assert np.abs(np.stack([words >> 16 & 255, words >> 8 & 255, words & 255], 1) - expected).max() <= 1


def check_that_the_self_test_fails_for_every_mistake(answers: dict[str, list[str]]) -> None:
    problems = dict(row.split(" ", 1) for row in answers["mistake"])
    assert set(problems) == {"bgr", "p3", "exif", "byte", "model"}
    for name, words in {"bgr": "JPEG", "p3": "JPEG in Display P3", "exif": "JPEG that Exif turns"}.items():
        assert problems[name].startswith("SelfTestFailed: the self-test fails: ") and words in problems[name]
    assert problems["byte"].startswith("IOException: expected SHA-256 ")
    assert problems["model"].startswith("SelfTestFailed: the self-test fails: drawn ramp: ")
    assert answers["android7"] == ["cpu: the GPU was not asked for"], "converts Display P3 itself"


def check_that_the_accelerator_is_chosen_once_and_says_why_not(answers: dict[str, list[str]]) -> None:
    choices = dict(row.split(" ", 1) for row in answers["gpu"])
    absent = "no GPU accelerator is in the app: add com.google.ai.edge.litert:litert-gpu"
    assert choices["absent"] == f"cpu: the GPU does not run the file: {absent}"
    assert choices["none"] == "cpu: the GPU does not run the file: no GPU here"
    assert choices["right"] == "gpu" and choices["again"] == "gpu 0", "the second time without a run"
    assert choices["wrong"].startswith("cpu: the GPU fails the self-test: drawn ramp: ")
    assert choices["refused"] == "cpu: it was verified for cpu"


@pytest.mark.slow
def test_the_library_as_an_archive_and_on_a_jvm(
    project: Path, archive: zipfile.ZipFile, answers: dict[str, list[str]], model: Path
) -> None:
    """One test, so that workers of pytest-xdist never compile it twice."""
    check_that_the_aar_is_what_the_format_asks_for(archive, model)
    check_that_the_pom_names_coordinates_licences_and_dependencies(project)
    check_that_views_are_pythons_to_the_last_bit(answers)
    check_that_photos_score_as_in_python(answers, model)
    check_that_a_burst_is_ranked_as_in_python(answers, model)
    check_that_display_p3_becomes_srgb_as_in_python(answers)
    check_that_the_self_test_fails_for_every_mistake(answers)
    check_that_the_accelerator_is_chosen_once_and_says_why_not(answers)


def test_without_a_compiler_the_project_says_what_is_left_out(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path / "none"))
    assert main([str(model), "--platform", "android", "--out", str(tmp_path / "app")]) == 0
    notes = json.loads(capsys.readouterr().out.splitlines()[-1])["files"][0]["notes"]
    assert "AAR and POM left out: " in notes[1] and "make kotlin" in notes[1]
    project = tmp_path / "app/android"
    assert not (project / "maven").exists() and (project / "library/build.gradle.kts").is_file()
    texts = [path.read_text() for path in project.rglob("*.kt*")]
    assert not [text for text in texts if "@@" in text]
    assert 'noCompress += "tflite"' in (project / "library/build.gradle.kts").read_text()
    assert subprocess.run(["grep", "-rq", "litert:2.3.2", project], check=False).returncode == 0
