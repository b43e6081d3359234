"""The self-test on a phone: the C++ library for ARM, pushed and run by the real adb, under qemu. Needs `-m slow`."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.app.__main__ import main
from tests.android_bench.phone.build import compile_cpp
from tests.android_bench.phone.small_phone import booted, why_not
from tests.convert.app.conftest import write_two_views
from tests.convert.conftest import FlatbufferBuilder

pytestmark = pytest.mark.slow
FOLDER = "/data/local/tmp/mobileiqa"
ON_CPU = "runs on cpu: the GPU was not asked for\n"
PASSED = "3 drawn images, 4 of 4 golden photos\n"
Adb = Callable[..., tuple[int, str]]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    if reason := why_not():
        pytest.skip(reason)
    model = write_two_views(FlatbufferBuilder(), tmp_path / "two-views.tflite")
    assert main([str(model), "--platform", "cpp", "--out", str(tmp_path / "app")]) == 0
    folder = tmp_path / "app/cpp"
    compile_cpp(
        f"-I{folder}", folder / "selftest/main.cpp", *sorted(folder.glob("*.cpp")), "-o", folder / "run"
    )
    return folder


@pytest.fixture
def adb(library: Path, tmp_path: Path) -> Iterator[Adb]:
    """adb(words...): exit status and stdout; program, file and golden photos are on the phone."""
    (tmp_path / "client").mkdir()
    with booted(tmp_path / "client") as phone:

        def run(*words: Path | str) -> tuple[int, str]:
            result = subprocess.run([phone.adb, *words], capture_output=True, text=True, timeout=300)
            return result.returncode, result.stdout

        run("shell", f"mkdir {FOLDER}")
        for name in ("run", "two-views.tflite", "golden"):
            assert run("push", library / name, FOLDER)[0] == 0
        yield run


def test_the_self_test_on_a_phone_sees_what_is_wrong(library: Path, adb: Adb, tmp_path: Path) -> None:
    def self_test(words: str = "") -> tuple[int, str]:
        return adb("shell", f"cd {FOLDER} && ./run {words}")

    assert self_test() == (0, ON_CPU + PASSED)
    status, words = self_test("gpu")
    assert status == 0 and words.startswith("runs on cpu: the GPU does not run the file: "), words

    photo = library / "golden/plain.jpg.ppm"
    bgr = tmp_path / photo.name
    Image.fromarray(np.asarray(Image.open(photo))[:, :, ::-1].copy()).save(bgr)
    adb("push", bgr, f"{FOLDER}/golden")
    assert self_test()[0] == 1 and "wrong: the self-test fails: JPEG, 4:2:0" in self_test()[1]
    adb("shell", f"rm {FOLDER}/golden/{photo.name}")
    assert self_test() == (
        1,
        f"{ON_CPU}{PASSED.replace('4 of', '3 of')}wrong: golden/*.ppm are not all there, or damaged\n",
    )
    adb("push", photo, f"{FOLDER}/golden")
    assert self_test()[0] == 0

    flipped = bytearray((library / "two-views.tflite").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "two-views.tflite").write_bytes(flipped)
    adb("push", tmp_path / "two-views.tflite", FOLDER)
    assert self_test()[0] == 1 and self_test()[1].startswith("wrong: expected SHA-256 ")
