"""The import rules, seen from outside: what each package pulls in, and how fast each command answers --help."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mobileiqa.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TFLITE_OR_ONNX = (
    "ai_edge_litert",
    "litert_torch",
    "ai_edge_quantizer",
    "onnx",
    "onnxruntime",
    "tflite_runtime",
    "tensorflow",
)
HEAVY = ("torch", "torchvision", "timm", "scipy", "matplotlib", *TFLITE_OR_ONNX)
FORBIDDEN = {
    "mobileiqa": ("convert", "calibration", "android_bench"),
    "calibration": ("torch", "timm", "convert", "android_bench"),
    "android_bench": ("mobileiqa.preprocess", "convert", "calibration", "torch", "timm", "PIL"),
    "convert": ("android_bench.runners.host", "android_bench.cli", "android_bench.results.summary"),
}

SHARED = {
    "mobileiqa",
    "mobileiqa.files",
    "mobileiqa.errors",
    "mobileiqa.cli",
    "mobileiqa.progress",
    "mobileiqa.files.integrity",
    "mobileiqa.files.tflite",
    "mobileiqa.typed_json",
    "mobileiqa.text",
    "mobileiqa.svg",
    "mobileiqa.html_page",
    "mobileiqa.files.interruption",
    "mobileiqa.files.claims",
    "mobileiqa.files.outputs",
}  # what android_bench may take of mobileiqa


def modules(package: str) -> list[str]:
    """Every module of a package that can be imported without running anything."""
    files = [f.relative_to(ROOT).with_suffix("") for f in (ROOT / package).rglob("*.py")]
    skip = ("__main__", "child", "runtime_child", "runtime_probe")
    return sorted(".".join(f.parts).removesuffix(".__init__") for f in files if f.name not in skip)


def loaded_after(names: list[str]) -> set[str]:
    """sys.modules of a fresh interpreter that imported `names`."""
    code = (
        f"import importlib, json, sys\nfor n in {names!r}: importlib.import_module(n)\n"
        "print(json.dumps(list(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_nothing_it_must_not(package: str) -> None:
    loaded = loaded_after(modules(package))
    assert package in loaded
    assert not loaded & set(FORBIDDEN[package])


def test_android_bench_takes_of_mobileiqa_only_what_needs_nothing() -> None:
    loaded = {name for name in loaded_after(modules("android_bench")) if name.split(".")[0] == "mobileiqa"}
    assert loaded <= SHARED


@pytest.mark.parametrize("package", ["mobileiqa", "convert", "calibration", "android_bench"])
def test_frameworks_load_only_where_they_are_used(package: str) -> None:
    # Files that define nn.Modules, train or distort are imported by functions that already need torch or OpenCV.
    heavy = ("layers", "models", "training", "distortions")
    inner = (*(f"mobileiqa.{name}." for name in heavy), "convert.rewrites.")
    light = [n for n in modules(package) if not n.startswith(inner)]
    assert not loaded_after(light) & set(HEAVY)


def test_the_check_above_can_fail() -> None:
    assert "torch" in loaded_after(["mobileiqa.layers.mobile_iqa"])


@pytest.mark.parametrize("command", [command.typed for command in COMMANDS.values()])
def test_help_answers_within_a_second_and_shows_an_example(command: str) -> None:
    times = []
    for _ in range(3):  # the best of three, in CPU time: other tests run beside this one
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            [sys.executable, "-m", command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if times[-1] < 1:
            break
    assert min(times) < 1
    assert f"python -m {command}" in run.stdout


def test_linter_enforces_the_rules(tmp_path: Path) -> None:
    for package in FORBIDDEN:
        config = (ROOT / package / "ruff.toml").read_text(encoding="utf-8")
        banned = FORBIDDEN[package][0]
        assert f'"{banned}".msg' in config
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--stdin-filename",
        "mobileiqa/new.py",
        "--output-format",
        "concise",
        "-",
    ]
    run = subprocess.run(
        ruff, cwd=ROOT, input='"""New."""\n\nimport torch\n\nimport convert\n', capture_output=True, text=True
    )
    assert "TID251" in run.stdout and "TID253" in run.stdout
