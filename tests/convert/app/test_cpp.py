"""The C++ library: its views are Python's, it scores as the file does, and it sees what is wrong."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.app import facts
from convert.app.__main__ import main
from convert.app.golden_photos import outputs_of
from convert.comparison.verified import note
from convert.runtimes.gpu import vulkan_driver
from mobileiqa.errors import UserError
from mobileiqa.loaded_model import load_scorer
from mobileiqa.photos import loading
from mobileiqa.photos.color_profiles import CODED_PRIMARIES, D65, matrix_profile
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.photos.loading import load_image, read_image
from mobileiqa.spec import ColorManagement
from tests.convert.app import bursts
from tests.convert.app.bursts import burst_photos
from tests.convert.app.conftest import (
    PROGRAMS,
    REASONS,
    check_view_cases,
    large,
    view_cases,
    write_sidecar,
    write_two_views,
    write_view_cases,
    yuv_frame,
)
from tests.convert.app.test_golden_photos import divided
from tests.convert.conftest import FlatbufferBuilder
from tests.convert.programs import run, tool

STRICT = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_views(FlatbufferBuilder(), tmp_path_factory.mktemp("model") / "two-views.tflite")


@pytest.fixture(scope="module")
def library(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "app"
    assert main([str(model), "--platform", "cpp", "--out", str(out)]) == 0
    return out / "cpp"


@pytest.fixture(scope="module")
def compiled(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """compiled(facts): the program that scores, linked with a library of these facts, the text of facts.cpp."""
    import ai_edge_litert

    folder, runtime = tmp_path_factory.mktemp("objects"), Path(ai_edge_litert.__file__).parent
    compiler = [tool("c++", "g++", "clang++"), *STRICT, f"-I{library}"]
    sources = {
        "scores": PROGRAMS / "scores.cpp",
        **{n: library / f"{n}.cpp" for n in ("burst", "scorer", "views")},
    }
    for name, source in sources.items():
        run([*compiler, "-c", source, "-o", folder / f"{name}.o"])

    def link(facts: str) -> Path:
        program = folder / hashlib.sha256(facts.encode()).hexdigest()
        (folder / "facts.cpp").write_text(facts)
        objects = [folder / f"{name}.o" for name in sources]
        run([*compiler, folder / "facts.cpp", *objects, runtime / "libLiteRt.so", f"-Wl,-rpath,{runtime}",
             "-Wl,--allow-shlib-undefined", "-o", program])  # fmt: skip
        return program

    return link


@pytest.fixture(scope="module")
def program(compiled, library: Path) -> Path:
    return compiled((library / "facts.cpp").read_text())


@pytest.mark.slow
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
def test_photos_score_as_in_python(library: Path, program: Path, model: Path, tmp_path: Path) -> None:
    expect, lines, scores = outputs_of(model), [], []
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
    profile = matrix_profile(CODED_PRIMARIES[12], D65, None)
    for name, options in (("plain", {}), ("p3", {"icc_profile": profile, "subsampling": 0})):
        photo_like(5, 333, 240).save(tmp_path / f"{name}.jpg", quality=90, **options)
        photo = load_image(tmp_path / f"{name}.jpg")  # as an app's decoder gives it: in sRGB
        (tmp_path / f"{name}.raw").write_bytes(photo.tobytes())
        lines.append(f"rgb {tmp_path}/{name}.raw {photo.width} {photo.height} 1")
        scores.append(expect(photo))
    planes, frame = yuv_frame(photo_like(4, 101, 77))
    (tmp_path / "frame.raw").write_bytes(planes)
    lines.append(f"yuv {tmp_path}/frame.raw 101 77 90")
    scores.append(expect(frame.transpose(Image.Transpose.ROTATE_270)))
    burst = burst_photos()
    for number, (name, photo) in enumerate(burst.items()):
        stored = photo.transpose(Image.Transpose.ROTATE_90) if number == 1 else photo  # lies on its side
        (tmp_path / f"{name}.raw").write_bytes(stored.tobytes())
        lines.append(f"burst {tmp_path}/{name}.raw {stored.width} {stored.height} {6 if number == 1 else 1}")
    (tmp_path / "listing").write_text("\n".join(lines))
    decode_golden(library, lambda path: read_image(path, ColorManagement.SRGB))
    command = [program, library / model.name, tmp_path / "listing", "cpu", tmp_path / "weights"]
    first, wrong, *rows = run(command, library).splitlines()
    assert first == "accelerator cpu: the GPU was not asked for" and wrong == "wrong 0"
    check_burst([row for row in rows if row.startswith(("best ", "aside "))], burst, model)
    for row, expected in zip(rows[: len(scores)], scores, strict=True):
        _, score, label, reason = row.split(" ", 3)
        assert float(score) == pytest.approx(expected[0], abs=1e-6)
        assert label == ("bad", "poor", "fair", "good", "excellent")[int(expected[0] * 5)]
        assert reason == REASONS[int(expected[1:].argmax())]
    assert np.ptp([each[0] for each in scores]) > 1e-3 and (tmp_path / "weights").is_file()


def check_burst(lines: list[str], burst: dict[str, Image.Image], model: Path) -> None:
    """The program's ranking is Python's."""
    ranked, left_out = bursts.expected(burst, load_scorer(str(model)))
    rows, names = (
        bursts.rows_of([line.removeprefix("best ") for line in lines if line.startswith("best ")]),
        list(burst),
    )
    bursts.check_ranking(rows, names, ranked, 1e-6)
    aside = [line.split(" ", 2)[1:] for line in lines if line.startswith("aside ")]
    assert {names[int(index)]: reason for index, reason in aside} == left_out


MISTAKES: dict[str, tuple[str, Callable[[Path], Image.Image]]] = {
    "BGR": (
        "JPEG, 4:2:0",
        lambda path: Image.fromarray(np.asarray(read_image(path, ColorManagement.SRGB))[:, :, ::-1].copy()),
    ),
    "the profile ignored": ("JPEG in Display P3", lambda path: read_image(path, ColorManagement.AS_STORED)),
    "Exif ignored": ("JPEG that Exif turns", lambda path: _as_it_lies(path)),
}


def _as_it_lies(path: Path) -> Image.Image:
    with Image.open(path) as photo:
        pixels = photo.convert("RGB")
        pixels.info = {name: photo.info[name] for name in ("icc_profile",) if name in photo.info}
    return read_image(pixels, ColorManagement.SRGB)


def decode_golden(library: Path, decode: Callable[[Path], Image.Image]) -> None:
    """What the program's decoder finds beside each golden photo."""
    for path in (library / "golden").glob("*.*"):
        if path.suffix not in (".rgb", ".txt", ".ppm"):
            photo = decode(path)
            path.with_name(f"{path.name}.rgb").write_bytes(photo.tobytes())
            path.with_name(f"{path.name}.txt").write_text(f"{photo.width} {photo.height} 1")


@pytest.mark.slow
def test_golden_photos_find_a_wrong_decoder(
    library: Path, program: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").write_text("")
    for name, (photo, decode) in MISTAKES.items():
        decode_golden(library, decode)
        output = run([program, library / model.name, tmp_path / "none", "cpu", ""], library)
        assert output.startswith("refused the self-test fails: ") and (name == "BGR" or photo in output), (
            output
        )


@pytest.mark.slow
def test_a_flipped_byte_and_golden_scores_of_another_model(
    library: Path, compiled, program: Path, model: Path, tmp_path: Path
) -> None:
    listing, broken, content = tmp_path / "none", tmp_path / "broken.tflite", bytearray(model.read_bytes())
    listing.write_text("")
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    assert "refused expected SHA-256 " in run([program, broken, listing, "cpu", ""])
    text, drawn = (library / "facts.cpp").read_text(), facts.read_facts(model).drawn[0].expected[0]
    assert repr(drawn) in text
    other = compiled(text.replace(repr(drawn), repr(drawn + 0.01)))
    assert "refused the self-test fails: ramp: " in run([other, library / model.name, listing, "cpu", ""])


@pytest.mark.slow
def test_a_file_verified_elsewhere_is_refused_for_the_gpu(compiled, tmp_path: Path) -> None:
    path = write_two_views(FlatbufferBuilder(), tmp_path / "two-views.tflite")
    write_sidecar(path)
    assert note(path, ("cpu",)) == "noted in two-views.tflite.json: verified for cpu"
    assert main([str(path), "--platform", "cpp", "--out", str(tmp_path / "app")]) == 0
    (tmp_path / "none").write_text("")
    program = compiled((tmp_path / "app/cpp/facts.cpp").read_text())
    output = run([program, path, tmp_path / "none", "gpu", ""])
    assert output.startswith("accelerator cpu: two-views.tflite was verified for cpu\n")


@pytest.mark.slow
def test_the_gpu_is_chosen_where_it_passes_and_not_where_one_operator_is_wrong(
    library: Path, program: Path, compiled, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ai_edge_litert

    try:
        driver = vulkan_driver()
    except UserError as error:
        pytest.skip(str(error))
    if driver:
        monkeypatch.setenv("VK_DRIVER_FILES", str(driver))
        monkeypatch.setenv("VK_ICD_FILENAMES", str(driver))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "none").write_text("")
    decode_golden(library, lambda path: read_image(path, ColorManagement.SRGB))
    gpu = (tmp_path / "none", "gpu", "")
    absent = run([program, model, *gpu], library)
    assert absent.startswith("accelerator cpu: the GPU does not run the file: compiling the model failed")
    beside = Path(ai_edge_litert.__file__).parent  # where the accelerator is
    monkeypatch.setenv("LD_LIBRARY_PATH", str(beside))
    assert run([program, model, *gpu], library).endswith("accelerator gpu: \nwrong 0\n")
    path = divided(FlatbufferBuilder(), tmp_path / "divided.tflite")
    assert main([str(path), "--platform", "cpp", "--out", str(tmp_path / "app")]) == 0
    text = (tmp_path / "app/cpp/facts.cpp").read_text()
    refused = "".join(each for each in text.split('"') if "division by a constant" in each)
    assert refused
    # Were the sequence not known, the golden images would find it:
    decode_golden(tmp_path / "app/cpp", lambda path: read_image(path, ColorManagement.SRGB))
    output = run([compiled(text.replace(refused, "")), path, *gpu], tmp_path / "app/cpp")
    assert "accelerator cpu: the GPU fails the self-test: " in output, output


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
