"""The wheel: what is in it, and that its commands work where there is no repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from mobileiqa.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
TOP = sorted({name.partition(".")[0] for name in PACKAGES})
BUILT_IN_A_CHECKOUT = "android_bench/native/"  # C sources, for `make arm`
UNPACKED = ("pyproject.toml", "README.md", "LICENSE")


def test_every_package_is_listed() -> None:
    """A package that is not listed is in nobody's wheel; tests and benchmarks never are."""
    result = {
        ".".join(f.parent.relative_to(ROOT).parts) for top in TOP for f in (ROOT / top).rglob("__init__.py")
    }
    assert result == set(PACKAGES) and {"tests", "benchmarks", "tools"}.isdisjoint(TOP)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves a build folder in what it builds."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in UNPACKED:
        shutil.copy(ROOT / name, source)
    for name in TOP:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip(["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source)])
    (result,) = out.glob("mobileiqa-*.whl")
    return result


def environment(folder: Path, wheel: Path) -> Path:
    """The site-packages of a fresh environment with the wheel alone."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip(["--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel)])
    (site,) = folder.glob("lib/python*/site-packages")
    return site


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment with the wheel and, beside it, this one's packages but not the project."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    # A plain path: the editable install's own .pth is not read from there.
    (environment(folder, wheel) / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


@pytest.fixture(scope="module")
def base_install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment with the wheel and what it requires, and what that requires."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    site = environment(folder, wheel)
    for package in required("mobileiqa"):
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(package.locate_file(top))
    return folder / "bin"


def required(name: str) -> list[Distribution]:
    """The distributions that `name` needs without extras, and what they need."""
    todo, names = [name], {name}
    for each in todo:
        requirements = map(Requirement, distribution(each).requires or ())
        more = {r.name.lower() for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})}
        todo += sorted(more - names)
        names |= more
    return [distribution(each) for each in todo[1:]]


def pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MOBILEIQA"))
    }
    return subprocess.run([str(program), *arguments], cwd=cwd, env=variables, capture_output=True, text=True)


@pytest.mark.slow
def test_the_wheel_holds_what_commands_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(f.relative_to(ROOT)) for top in TOP for f in (ROOT / top).rglob("*.py")}
    assert sources <= names
    assert {
        f"mobileiqa/reference/reference.{end}"
        for end in ("safetensors", "safetensors.json", "tflite", "tflite.json")
    } <= names
    others = {n.partition("/")[0] for n in names} - {*TOP}
    assert all(name.endswith(".dist-info") for name in others)


@pytest.mark.slow
def test_no_file_and_no_wheel_is_too_large(wheel: Path) -> None:
    sizes = {entry.filename: entry.file_size for entry in zipfile.ZipFile(wheel).infolist()}
    assert max(sizes.values()) < 16e6 and wheel.stat().st_size < 30e6


@pytest.mark.slow
def test_the_base_install_scores_a_photo(
    base_install: Path, photo: Callable[[int, int, int], Image.Image], tmp_path: Path
) -> None:
    """numpy, Pillow, tqdm and LiteRT: no PyTorch, and no first run of a file that the wheel brought."""
    photo(3, 1200, 900).save(tmp_path / "photo.jpg", quality=95)
    actual = (
        "import importlib.util as u; print([n for n in ('torch', 'scipy', 'cv2', 'timm') if u.find_spec(n)])"
    )
    assert run(base_install / "python", "-c", actual, cwd=tmp_path).stdout == "[]\n"
    result = last_line(base_install / "mobileiqa", "score", "photo.jpg", cwd=tmp_path)
    assert (result["scored"], result["runtime"], result["note"]) == (1, "litert", "")
    assert 0 <= result["mean"] <= 1
    for command in (
        "convert --fp32 --out x.tflite",
        "evaluate --data folder .",
        "score photo.jpg --model reference",
    ):
        process = run(base_install / "mobileiqa", *command.split(), cwd=tmp_path)
        assert process.returncode == 2 and len(process.stderr.splitlines()) == 1, command
        assert "pip install torch torchvision" in process.stderr, command


@pytest.mark.slow
def test_the_repository_is_not_there(bin_folder: Path, tmp_path: Path) -> None:
    names = ", ".join(TOP)
    code = f"import json, sys, {names}\nprint(json.dumps([sys.path, [m.__file__ for m in ({names})]]))"
    process = run(bin_folder / "python", "-c", code, cwd=tmp_path)
    path, files = json.loads(process.stdout)
    assert str(ROOT) not in path
    assert all(Path(f).is_relative_to(bin_folder.parent) for f in files)


@pytest.mark.slow
def test_every_command_answers(bin_folder: Path, tmp_path: Path) -> None:
    for name in COMMANDS:
        process = run(bin_folder / "mobileiqa", name, "--help", cwd=tmp_path)
        assert process.returncode == 0 and "example:" in process.stdout, (name, process.stderr)
    process = run(bin_folder / "mobileiqa", "--version", cwd=tmp_path)
    assert process.stdout == f"mobileiqa {PROJECT['project']['version']}\n"
    assert list(tmp_path.iterdir()) == []


def last_line(program: Path, *arguments: str, cwd: Path) -> dict:
    process = run(program, *arguments, cwd=cwd)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def small(bin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that the wheel converted, in a folder of its own."""
    folder = tmp_path_factory.mktemp("converted")
    arguments = ["--model", "lar-iqa-single", "--size", "64x64", "--fp16", "--out", "small.tflite"]
    output = last_line(bin_folder / "mobileiqa", "convert", *arguments, cwd=folder)
    assert output["passed"] and output["path"] == "small.tflite"
    return folder / "small.tflite"


@pytest.mark.slow
def test_a_model_is_converted_scored_and_inspected(
    bin_folder: Path, small: Path, photos: Path, tmp_path: Path
) -> None:
    def last(*arguments: str) -> dict:
        return last_line(bin_folder / "mobileiqa", *arguments, cwd=tmp_path)

    photo = tmp_path / "photo.png"
    Image.open(next(photos.glob("*.png"))).save(photo)
    assert last("score", "photo.png")["note"] == ""  # the reference model is in the wheel
    command = json.loads(small.with_name("small.tflite.json").read_text())["command"]
    assert command.startswith("mobileiqa convert --model lar-iqa-single")
    assert last("score", "photo.png", "--model", str(small))["runtime"] == "litert"
    assert last("inspect", str(small), "--check")["check"]["agrees"]
    assert last("report", str(small), "--out", "report.html")["files"][0]["label"] == "small.tflite"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["parity", "lar-iqa-single", "{small}", "--runtimes", "legacy"],
            "run `make legacy-runtime` in a checkout",
        ),
        (
            ["bench", "count", "{small}"],
            "run `make arm` in a checkout, or set MOBILEIQA_ARM",
        ),
    ],
)
def test_what_needs_a_checkout_says_so(
    arguments: list[str], words: str, bin_folder: Path, small: Path, tmp_path: Path
) -> None:
    process = run(bin_folder / "mobileiqa", *(text.format(small=small) for text in arguments), cwd=tmp_path)
    lines = [line for line in process.stderr.splitlines() if "an older name" not in line]
    assert process.returncode == 2 and len(lines) == 1 and words in lines[0]
