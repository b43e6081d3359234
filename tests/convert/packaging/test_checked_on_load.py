"""Every command checks the hashes at hand: no score, page or figure of a file with a changed byte."""

import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from convert.output_file import sidecar_path, write_sidecar
from convert.packaging.packaged_file import embed_preprocessing
from convert.selftest import selftest
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.score import load_scorer
from mobileiqa.scoring import first_run, litert
from tests.convert.packaging.conftest import TINY, write_tiny

# What each command is called with: FILE is the converted file, PHOTO a picture, OUT a name that is free.
COMMANDS = {
    "mobileiqa.score": ["PHOTO", "--model", "FILE"],
    "mobileiqa.evaluate": ["FILE", "--data", "folder", "LABELLED"],
    "convert.package": ["FILE", "--out", "OUT"],
    "convert.parity": ["lar-iqa-lite", "FILE", "--images", "LABELLED"],
    "convert.accuracy": ["FILE", "OTHER", "--images", "LABELLED"],
    "convert.inspect": ["FILE"],
    "convert.report.__main__": ["FILE", "--out", "OUT"],
    "convert.app.__main__": ["FILE", "--out", "OUT"],
    "convert.snippets.__main__": ["FILE", "--out", "OUT"],
    "android_bench.cli": ["FILE"],
    "android_bench.profile": ["FILE"],
}


@pytest.fixture
def camera(flatbuffer, tmp_path: Path) -> Path:
    path = tmp_path / "camera.tflite"
    embed_preprocessing(write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY), path, [(90, 70)])
    return path


@pytest.fixture
def run(tmp_path: Path, photo, capsys) -> Callable[[str, Path], tuple[int, str]]:
    """run(command, file): its exit code and what it wrote on stderr."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    for seed in range(4):
        photo(seed, 90, 70).save(folder / f"{seed}.png")
    rows = [f"{seed}.png,{seed / 4},test" for seed in range(4)]
    (folder / "labels.csv").write_text("\n".join(["image,score,split", *rows]) + "\n")

    def call(command: str, file: Path) -> tuple[int, str]:
        other = file.with_name("other.tflite")
        other.write_bytes(file.read_bytes())
        names = {
            "FILE": file,
            "OTHER": other,
            "PHOTO": folder / "0.png",
            "LABELLED": folder,
            "OUT": tmp_path / "out.tflite",
        }
        code = import_module(command).main([str(names.get(word, word)) for word in COMMANDS[command]])
        return code, capsys.readouterr().err

    return call


def with_changed_weight(path: Path, content: bytes) -> Path:
    """The file with one bit of its largest weights changed: sound as a flatbuffer, wrong as a model."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1 << 6
    path.write_bytes(changed)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_packaged_file_with_one_changed_byte(command: str, camera: Path, run, tmp_path: Path) -> None:
    path = with_changed_weight(tmp_path / "changed.tflite", camera.read_bytes())
    code, error = run(command, path)
    assert (code, error.count("\n")) == (2, 1), error
    assert "changed.tflite as it was packaged" in error and "selftest" in error
    assert not (tmp_path / "out.tflite").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_sidecar_of_another_file(command: str, flatbuffer, run, tmp_path: Path) -> None:
    path = write_tiny(flatbuffer, tmp_path / "float.tflite", TINY)
    sidecar_path(path).write_text(json.dumps({"spec": TINY.to_json(), "sha256": "ab" * 32}))
    code, error = run(command, path)
    assert (code, error.count("\n")) == (2, 1), error
    assert "float.tflite.json describes" in error


def test_a_file_changed_after_its_sidecar(flatbuffer, tmp_path: Path) -> None:
    path = write_tiny(flatbuffer, tmp_path / "float.tflite", TINY)
    sidecar_path(path).write_text(json.dumps({"sha256": integrity.sha256(path)}))
    litert.runner(path)
    with_changed_weight(path, path.read_bytes())
    for load in (litert.runner, litert.load_spec, litert.read_metadata, litert.inputs_of):
        with pytest.raises(UserError, match=r"float\.tflite\.json describes"):
            load(path)


@pytest.mark.parametrize("value", [3, None, "", "xy" * 32, ["ab" * 32], "ab" * 33])
def test_a_sidecar_with_another_hash_than_sha256(value: object, flatbuffer, tmp_path: Path) -> None:
    path = write_tiny(flatbuffer, tmp_path / "float.tflite", TINY)
    sidecar_path(path).write_text(json.dumps({"sha256": value}))
    if value is None:  # says nothing
        litert.runner(path)
        return
    with pytest.raises(UserError, match="64 hex digits"):
        litert.runner(path)


def test_whatever_byte_is_hit_no_score_is_given(camera: Path, tmp_path: Path) -> None:
    """The mark, the entry's name, the digest, our JSON and its word for a packaged file among them."""
    content, path = camera.read_bytes(), tmp_path / "hit.tflite"
    names = (integrity.MARK, integrity.ENTRY.encode(), b'"delivery"', b'"spec"', b"TFL3")
    special = [content.index(name) + 3 for name in names] + [
        integrity.read_checksum(camera).at,
        len(content) - 1,
    ]
    for position in [*special, *np.random.default_rng(0).integers(0, len(content), 40)]:
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(UserError):
            litert.runner(path)


def test_the_selftest_names_a_sidecar_of_another_file(camera: Path) -> None:
    write_sidecar(camera, precision="fp32", via="litert", spec=TINY, checkpoint_sha256=None,
                  calibration_sha256=None, fp16_arithmetic_allowed=False, rewrites={})  # fmt: skip
    checks = selftest(camera)
    assert all(check.passed for check in checks) and "sidecar" in [check.name for check in checks]
    content = json.loads(sidecar_path(camera).read_text())
    sidecar_path(camera).write_text(json.dumps({**content, "sha256": "0" * 64}))
    assert [check.name for check in selftest(camera) if not check.passed] == ["sidecar"]


def test_a_file_that_passed_is_hashed_once_per_process(
    camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checksum inside and a sidecar: another process later reads its bytes once, whatever it does with it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sidecar_path(camera).write_text(json.dumps({"sha256": integrity.sha256(camera)}))
    monkeypatch.setattr(first_run, "_passed", set())
    time.sleep(0.06)  # a file changed this moment is hashed again
    load_scorer(str(camera))
    monkeypatch.setattr(first_run, "_passed", set())
    integrity._remembered.cache_clear()
    hashed: list[str] = []
    for name in ("_sha256", "_check_inside"):
        measure = getattr(integrity, name)
        monkeypatch.setattr(
            integrity, name, lambda path, name=name, measure=measure: hashed.append(name) or measure(path)
        )
    load_scorer(str(camera))
    assert hashed == ["_sha256"]


def test_a_changed_file_with_a_sidecar_of_its_own_is_refused_though_it_passed_before(
    camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load_scorer(str(camera))
    with_changed_weight(camera, camera.read_bytes())
    sidecar_path(camera).write_text(json.dumps({"sha256": integrity.sha256(camera)}))
    for _ in range(2):
        with pytest.raises(UserError, match=r"camera\.tflite as it was packaged"):
            load_scorer(str(camera))


def test_a_file_replaced_while_it_is_loaded_is_refused(
    camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a conversion beside: the spec of one file and the weights of the other would score."""
    original = litert.outputs_runner

    def replaced(path: str, *arguments: object) -> litert.OutputsRunner:
        other = tmp_path / "other.tflite"
        other.write_bytes(camera.read_bytes())
        other.replace(path)
        return original(path, *arguments)

    monkeypatch.setattr(litert, "outputs_runner", replaced)
    with pytest.raises(UserError, match=r"one file at .*camera\.tflite while it is loaded"):
        load_scorer(str(camera))


@pytest.fixture
def loaded_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bool]:
    """Whether each load built LiteRT's interpreter while the file was hashed; nothing is known from other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(first_run, "_passed", set())
    monkeypatch.setattr(first_run, "_familiar", set())
    monkeypatch.setattr(integrity, "_hashed_meanwhile", {})
    early: list[bool] = []
    original = litert.open_familiar
    monkeypatch.setattr(
        litert, "open_familiar", lambda *args: early.append((i := original(*args)) is not None) or i
    )
    return early


def test_a_file_that_passed_before_is_hashed_while_it_is_loaded(
    camera: Path, loaded_early: list[bool]
) -> None:
    digest = integrity.sha256(camera)
    time.sleep(0.06)  # a file changed this moment is hashed again
    photo = np.zeros((1, 70, 90, 3), np.uint8)
    scores = [load_scorer(str(camera)).run({"image": photo}) for _ in range(3)]
    assert loaded_early == [False, True, True]
    assert scores[0] == scores[1] == scores[2]
    assert integrity._hashed_meanwhile == {integrity.file_identity(camera): digest}
    camera.write_bytes(camera.read_bytes())  # the same bytes, but who knows
    load_scorer(str(camera))
    assert loaded_early[3:] == [False]


@pytest.mark.parametrize("at", [0.3, 0.6, 0.99])
def test_a_changed_byte_is_refused_though_the_file_looks_as_it_was(
    at: float, camera: Path, loaded_early: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a failing disk changes it, which no time in a folder tells."""
    load_scorer(str(camera))
    content = bytearray(camera.read_bytes())
    content[int(at * len(content))] ^= 1
    camera.write_bytes(content)
    monkeypatch.setattr(first_run, "is_familiar", lambda path: True)
    time.sleep(0.06)
    for _ in range(2):
        with pytest.raises(UserError, match=r"camera\.tflite as it was packaged"):
            load_scorer(str(camera))


def test_a_file_that_goes_while_it_is_hashed_is_said(camera: Path) -> None:
    with integrity.hashed_meanwhile(camera):
        pass
    with pytest.raises(FileNotFoundError), integrity.hashed_meanwhile(camera.with_name("none.tflite")):
        pass
    camera.write_bytes(b"")
    with integrity.hashed_meanwhile(camera):
        pass
    assert integrity.sha256(camera).startswith("e3b0c44298fc")
