"""The snippets are compiled and run: each scores as the file does in Python, and sees a file that does not."""

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import read_graph
from convert.packaging import golden_vectors, packaged_file
from convert.packaging.packaged_file import embed_preprocessing
from convert.snippets.__main__ import main
from convert.snippets.render import render
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.scoring import litert
from tests.convert.packaging.conftest import TINY, write_tiny
from tests.convert.programs import run, tool

PROGRAMS = Path(__file__).with_name("programs")
STUBS = sorted((PROGRAMS / "stubs").rglob("*.java"))
SIZES = ((90, 70), (70, 90))
FILES = ("CameraScorer.kt", "CameraScorer.java", "CameraScorer.swift",
         "camera_scorer.hpp", "camera_scorer.cpp", "camera_scorer.py")  # fmt: skip


@pytest.fixture
def camera(flatbuffer, tmp_path: Path) -> Path:
    path = tmp_path / "camera.tflite"
    embed_preprocessing(write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY), path, SIZES)
    return path


@pytest.fixture
def other(camera: Path, tmp_path: Path) -> Path:
    """The same file with its score turned round: its own golden scores are wrong now."""
    model = fb.read(camera)
    weights = max((b for b in model.buffers if b.data is not None), key=lambda b: _size(model, b))
    weights.data = (-np.frombuffer(bytes(weights.data), np.float32)).view(np.uint8)
    path = tmp_path / "other.tflite"
    fb.write(model, path)
    return path


def _size(model, buffer) -> int:
    """Bytes of a buffer that holds convolution weights, (8, 3, 3, 3); 0 for others."""
    index = model.buffers.index(buffer)
    shapes = [list(t.shape) for g in model.subgraphs for t in g.tensors if t.buffer == index]
    return len(buffer.data) if [8, 3, 3, 3] in shapes else 0


@pytest.fixture
def sources(camera: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "snippets"
    assert main([str(camera), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def portrait(photo, tmp_path: Path) -> Path:
    """The bytes of a photo of 70x90."""
    path = tmp_path / "portrait.rgb"
    path.write_bytes(photo(1, 70, 90).tobytes())
    return path


def score_of(camera: Path, portrait: Path) -> float:
    picture = Image.frombytes("RGB", (70, 90), portrait.read_bytes())
    return float(litert.runner(camera)(litert.inputs_of(camera)(picture))[0])


def check(command: Sequence[str | Path], camera: Path, other: Path, portrait: Path, *more: str | Path) -> str:
    """Runs a compiled program on the file and on the other one; returns what it says of the file."""
    output = [
        run([*command, model, portrait, "70", "90", *more, *([model] if more else [])])
        for model in (camera, other)
    ]
    lines = dict(line.split(" ", 1) for line in output[0].splitlines())
    assert lines["wrong"].startswith("0")
    assert float(lines["score"]) == pytest.approx(score_of(camera, portrait), abs=1e-6)
    assert lines["refused"] == "expected a photo of 90x70 or 70x90; found 70x89"
    assert "wrong 6" in output[1] and "noise at 70x90: " in output[1], "a file that scores otherwise"
    return output[0]


def python(sources: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("camera_scorer", sources / "camera_scorer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_python_scores_and_tests_itself(sources: Path, camera: Path, other: Path, portrait: Path) -> None:
    module = python(sources)
    scorer = module.CameraScorer(camera)
    assert scorer.self_test() == []
    picture = Image.frombytes("RGB", (70, 90), portrait.read_bytes())
    assert scorer.score(picture) == score_of(camera, portrait)
    with pytest.raises(ValueError, match="expected a photo of 90x70 or 70x90; found 70x89"):
        scorer.score(picture.crop((0, 0, 70, 89)))
    wrong = module.CameraScorer(other).self_test()
    assert len(wrong) == 6 and wrong[-1].startswith("noise at 70x90: ")


def test_python_draws_the_golden_images(sources: Path) -> None:
    for name in golden_vectors.IMAGES:
        np.testing.assert_array_equal(python(sources).draw(name, 401, 33), golden_vectors.draw(name, 401, 33))


def test_the_facts_are_the_files(sources: Path, camera: Path) -> None:
    assert sorted(path.name for path in sources.iterdir()) == sorted(FILES)
    (first, second) = json.loads(_golden(camera))["sizes"]
    for name in set(FILES) - {"camera_scorer.hpp"}:
        text = (sources / name).read_text()
        assert "@@" not in text and f"camera.tflite, SHA-256 {sha256(camera)}." in text
        assert name.endswith(".cpp") or "0 to 1, higher is better" in text
        for size in (first, second):
            assert size["signature"] in text and all(repr(score) in text for score in size["scores"].values())


def _golden(camera: Path) -> bytes:
    return read_graph(camera).metadata[golden_vectors.ENTRY]


def test_what_the_app_prepares_is_said(flatbuffer, tmp_path: Path) -> None:
    path = tmp_path / "own_2.tflite"
    embed_preprocessing(write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY), path)
    text = render(path)["Own2Scorer.java"]
    assert "Resize it to 64x48 first: bicubic, antialiased, aspect ratio not kept." in text
    assert 'new Size("serving_default", 64, 48, ' in text


@pytest.mark.parametrize("name", ["tiny.tflite", "broken.tflite", "a b.tflite"])
def test_other_files_are_one_line(name: str, camera: Path, tmp_path: Path, capsys) -> None:
    content = bytearray(camera.read_bytes())
    (tmp_path / "a b.tflite").write_bytes(content)
    content[len(content) // 2] ^= 1
    (tmp_path / "broken.tflite").write_bytes(content)
    message = {
        "tiny": "run `python -m convert.package",
        "brok": "bytes of it have changed",
        "a b.": "rename the file",
    }
    assert main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message[name[:4]] in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_existing_sources_stay_without_force(sources: Path, camera: Path, tmp_path: Path, capsys) -> None:
    (sources / "camera_scorer.py").unlink()
    (sources / "CameraScorer.java").write_text("mine")
    assert main([str(camera), "--out", str(sources)]) == 2
    assert "--force" in capsys.readouterr().err and not (sources / "camera_scorer.py").exists()
    assert main([str(camera), "--out", str(sources), "--force"]) == 0
    assert (sources / "CameraScorer.java").read_text() != "mine"
    assert main([str(camera), "--out", str(camera)]) == 2


def test_names_that_are_no_words_never_reach_the_code(camera: Path) -> None:
    """Whoever damages a file can write its checksum again: what goes into code is checked by itself."""
    model, content = fb.read(camera), litert.read_metadata(camera)
    fb.set_metadata(model, golden_vectors.ENTRY, _golden(camera).replace(b"score_90x70", b"x();evil"))
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    packaged_file._write(model, camera, content)
    with pytest.raises(UserError, match="names of letters"):
        render(camera)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"tolerance": 0.001', b'"tolerance": NaN', "NaN, which is no JSON"),
        (b'"tolerance": 0.001', b'"tolerance": 1e999', "which no float64 holds"),
        (b'"tolerance": 0.001', b'"tolerance": "x"', "tolerance: 'x', expected float"),
        (b'"width_px": 90', b'"width_px": -90', "sides of 1"),
        (b'"width_px": 90', b'"width_px": 90.5', "expected int"),
        (b"score_90x70", b"class", "no keyword"),
        (b"score_90x70", b"1abc", "names of letters"),
        (b"score_90x70", b"a\\u0000", "names of letters"),
        (b'"scores": {"ramp"', b'"scores": {"rump"', "scores of ramp, tiles, noise"),
        (b'"arithmetic"', b'"sizes": [], "arithmetic"', "twice"),
    ],
)
def test_golden_vectors_that_are_none_are_one_line(
    old: bytes, new: bytes, words: str, camera: Path, capsys
) -> None:
    model, content = fb.read(camera), litert.read_metadata(camera)
    assert _golden(camera).count(old) >= 1
    fb.set_metadata(model, golden_vectors.ENTRY, _golden(camera).replace(old, new, 1))
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    packaged_file._write(model, camera, content)
    assert main([str(camera), "--out", str(camera.with_name("out"))]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not camera.with_name("out").exists()


def test_a_hostile_precision_stays_in_its_comment(camera: Path, tmp_path: Path) -> None:
    model, content = fb.read(camera), litert.read_metadata(camera)
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    packaged_file._write(
        model, camera, {**content, "precision": "fp32\\u000a*/ int evil = 1; /*\nint worse;"}
    )
    about = "(fp32(U+005C)u000a(U+002A)/ int evil = 1; /(U+002A) int worse;): one uint8 RGB image"
    for name, source in render(camera).items():
        assert about in source and source.isascii(), name


@pytest.mark.slow
def test_cpp(sources: Path, camera: Path, other: Path, portrait: Path, tmp_path: Path) -> None:
    import ai_edge_litert

    library = Path(ai_edge_litert.__file__).parent
    program = tmp_path / "program"
    run([tool("c++", "g++", "clang++"), "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{sources}",
          PROGRAMS / "main.cpp", sources / "camera_scorer.cpp", library / "libLiteRt.so", f"-Wl,-rpath,{library}",
          "-Wl,--allow-shlib-undefined", "-o", program])  # fmt: skip
    output = check([program], camera, other, portrait)
    assert "missing loading missing.tflite failed with status" in output


@pytest.mark.slow
def test_java(sources: Path, camera: Path, other: Path, portrait: Path, tmp_path: Path) -> None:
    classes = tmp_path / "classes"
    run([tool("javac"), "-Xlint:all", "-Werror", "-d", classes, PROGRAMS / "Main.java", *STUBS,
          sources / "CameraScorer.java"])  # fmt: skip
    check(
        [tool("java"), "-cp", classes, "Main"],
        camera,
        other,
        portrait,
        sys.executable,
        PROGRAMS / "scorer.py",
    )


@pytest.mark.slow
def test_kotlin(sources: Path, camera: Path, other: Path, portrait: Path, tmp_path: Path) -> None:
    """Where a Kotlin compiler is on the path."""
    kotlinc, classes, program = tool("kotlinc"), tmp_path / "classes", tmp_path / "program.jar"
    run([tool("javac"), "-d", classes, *STUBS])
    run([kotlinc, "-Werror", "-include-runtime", "-cp", classes, "-d", program, PROGRAMS / "Main.kt",
          sources / "CameraScorer.kt"])  # fmt: skip
    command = [tool("java"), "-cp", f"{program}:{classes}", "MainKt"]
    check(command, camera, other, portrait, sys.executable, PROGRAMS / "scorer.py")
