"""The C++ library: its views are Python's, it scores as the file does, and it sees what is wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.app import facts
from convert.app.__main__ import main
from mobileiqa.photos import loading
from mobileiqa.photos.generated_images import photo_like
from tests.convert.app.conftest import (
    PROGRAMS,
    REASONS,
    check_view_cases,
    large,
    run,
    tool,
    view_cases,
    write_two_views,
    write_view_cases,
    yuv_frame,
)

STRICT = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror")


@pytest.fixture
def library(model: Path, tmp_path: Path) -> Path:
    out = tmp_path / "app"
    assert main([str(model), "--platform", "cpp", "--out", str(out)]) == 0
    return out / "cpp"


@pytest.fixture
def compiled(library: Path, tmp_path: Path) -> Callable[[], Path]:
    """compiled(): the program that scores, linked with the library as it is now."""

    def build() -> Path:
        import ai_edge_litert

        runtime, program = Path(ai_edge_litert.__file__).parent, tmp_path / "scores"
        sources = [library / f"{name}.cpp" for name in ("scorer", "views", "facts")]
        run([tool("c++", "g++", "clang++"), *STRICT, f"-I{library}", PROGRAMS / "scores.cpp", *sources,
             runtime / "libLiteRt.so", f"-Wl,-rpath,{runtime}", "-Wl,--allow-shlib-undefined",
             "-o", program])  # fmt: skip
        return program

    return build


def test_views_are_pythons_to_the_last_bit(library: Path, tmp_path: Path) -> None:
    cases, program = view_cases(), tmp_path / "views"
    command = [
        tool("c++", "g++", "clang++"),
        *STRICT,
        f"-I{library}",
        PROGRAMS / "views.cpp",
        library / "views.cpp",
    ]
    run([*command, "-o", program])
    run([program, write_view_cases(cases, tmp_path)])
    check_view_cases(cases, tmp_path)


@pytest.mark.slow
def test_photos_score_as_in_python(library: Path, compiled, model: Path, tmp_path: Path) -> None:
    expect, lines, scores = facts.outputs_of(model), [], []
    stored = [
        (photo_like(1, 320, 240), 1),
        (photo_like(2, 240, 333), 6),
        (large(3, 1024, 768, 8), 8),
    ]  # 50 MP
    for number, (photo, orientation) in enumerate(stored):
        (tmp_path / f"{number}.raw").write_bytes(photo.tobytes())
        lines.append(f"rgb {tmp_path}/{number}.raw {photo.width} {photo.height} {orientation}")
        turn = loading._UPRIGHT.get(orientation)
        scores.append(expect(photo if turn is None else photo.transpose(turn)))
    planes, frame = yuv_frame(photo_like(4, 101, 77))
    (tmp_path / "frame.raw").write_bytes(planes)
    lines.append(f"yuv {tmp_path}/frame.raw 101 77 90")
    scores.append(expect(frame.transpose(Image.Transpose.ROTATE_270)))
    (tmp_path / "listing").write_text("\n".join(lines))
    program = compiled()
    for cache in ("", str(tmp_path / "weights")):
        first, wrong, *rows = run(
            [program, library / model.name, tmp_path / "listing", "cpu", cache]
        ).splitlines()
        assert first == "accelerator cpu: the GPU was not asked for" and wrong == "wrong 0"
        for row, expected in zip(rows, scores, strict=True):
            _, score, label, reason = row.split(" ", 3)
            assert float(score) == pytest.approx(expected[0], abs=1e-6)
            assert label == ("bad", "poor", "fair", "good", "excellent")[int(expected[0] * 5)]
            assert reason == REASONS[int(expected[1:].argmax())]
    assert np.ptp([each[0] for each in scores]) > 1e-3
    _refusals(library, compiled, model, tmp_path)


def _refusals(library: Path, compiled, model: Path, tmp_path: Path) -> None:
    """A flipped byte, a file that may not run on a GPU, another model's golden scores."""
    program, listing = compiled(), tmp_path / "none"
    listing.write_text("")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(content)
    assert "refused expected SHA-256 " in run([program, broken, listing, "cpu", ""])
    said = run([program, library / model.name, listing, "gpu", ""])
    assert said.startswith(("accelerator cpu: the GPU does not run the file", "accelerator gpu"))
    source = library / "facts.cpp"
    text = source.read_text()
    drawn = facts.read_facts(model).drawn[0].expected[0]
    assert repr(drawn) in text
    source.write_text(text.replace(repr(drawn), repr(drawn + 0.01)))
    assert "refused the self-test fails: ramp: " in run(
        [compiled(), library / model.name, listing, "cpu", ""]
    )


@pytest.mark.slow
def test_a_file_verified_elsewhere_is_refused_for_the_gpu(
    flatbuffer, tmp_path: Path, compiled, library: Path
) -> None:
    path = write_two_views(flatbuffer, tmp_path / "two-views.tflite", accelerators=("cpu",))
    assert main([str(path), "--platform", "cpp", "--out", str(library.parent), "--force"]) == 0
    (tmp_path / "none").write_text("")
    said = run([compiled(), library / path.name, tmp_path / "none", "gpu", ""])
    assert said.startswith("accelerator cpu: two-views.tflite was verified for cpu\n")


def test_files_of_a_camera_size_and_odd_names_are_one_line(model: Path, tmp_path: Path, capsys) -> None:
    from convert.packaging.packaged_file import embed_preprocessing

    camera = tmp_path / "camera.tflite"
    embed_preprocessing(model, camera, [(320, 240)])
    odd = tmp_path / "a b.tflite"
    shutil.copy(model, odd)
    for path, words in ((camera, "packaged for 320x240"), (odd, "rename the file"), (tmp_path / "no", "")):
        assert main([str(path), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1 and not (tmp_path / "out").exists()
    assert main([str(model), "--platform", "cpp,amiga", "--out", str(tmp_path / "out")]) == 2
    assert "'amiga'" in capsys.readouterr().err
