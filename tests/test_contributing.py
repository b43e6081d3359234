"""The steps of CONTRIBUTING.md are true: what they name exists, and two of the lists, followed, do what they say.

A step is "N. `path`: words". The two that are followed take their paths and names from the page, in a copy of the tree.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from mobileiqa.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = ("mobileiqa", "convert", "calibration", "android_bench")
LISTS = re.findall(r"^## (Add .*)$", PAGE, re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One numbered line: where, and the words in backticks that follow."""

    path: str
    spans: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names and options, which must stand in the file."""
        return [span for span in self.spans if re.fullmatch(r"[A-Za-z_]\w+|--[a-z-]+", span)]

    @property
    def command(self) -> list[str]:
        """The words after `python -m`, where the step has such a command."""
        (command,) = (span for span in self.spans if span.startswith("python -m "))
        return command.split()[2:]


def steps(title: str) -> list[Step]:
    """The numbered lines below a heading of CONTRIBUTING.md."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^(\d)\. `([^`]+)`(.*)$", section, re.MULTILINE)
    assert [number for number, _, _ in lines] == list("12345"), f"{title}: five numbered lines"
    return [Step(path, tuple(re.findall(r"`([^`]+)`", words))) for _, path, words in lines]


def test_the_page_says_how_to_add_what_there_is() -> None:
    kinds = ("a model", "a rewrite", "a flatbuffer pass", "an INT8 step", "a runtime", "a phone runner",
             "a data set", "a command")  # fmt: skip
    assert [f"Add {kind}" for kind in kinds] == LISTS


@pytest.mark.parametrize("title", LISTS)
def test_every_file_and_name_exists(title: str) -> None:
    """A new file's names are looked for in the files that lie beside it."""
    for step in steps(title):
        new = "NAME" in step.path
        place = ROOT / (Path(step.path).parent if new else step.path)
        assert place.exists(), f"{title}: {step.path}"
        files = [place] if place.is_file() else [*place.glob("*.py"), place.parent / "conftest.py"]
        text = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        for name in step.names:
            assert re.search(rf"(?<![\w-]){name}\b", text), f"{title}: no {name} in {step.path}"
        for span in step.spans:
            if span.endswith((".py", ".md")):
                assert (ROOT / span).exists() or (place.parent / span).exists(), f"{title}: {span}"
            elif span.startswith("python -m "):
                assert span.split()[2] in {command.typed for command in COMMANDS.values()}, f"{title}: {span}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code and of the tests' fixtures, to add things to."""
    skip = shutil.ignore_patterns("__pycache__", "test_*", "data", "recorded", "small_phone")
    for folder in (*CODE, "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def run(tree: Path) -> Callable[..., subprocess.CompletedProcess]:
    """run(*words): `python -m` with the copy's code."""

    def call(*words: str | Path) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        return subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
        )

    return call


def write(tree: Path, step: Step, name: str, text: str) -> str:
    """Makes the step's new file; returns its dotted name."""
    path = step.path.replace("NAME", name)
    assert not (tree / path).exists()
    (tree / path).write_text(text)
    return path.removesuffix(".py").replace("/", ".")


def insert(tree: Path, step: Step, after: str, text: str) -> None:
    """Puts `text` behind the one match of `after` in the step's file."""
    path = tree / step.path
    old = path.read_text(encoding="utf-8")
    (match,) = re.finditer(after, old, re.MULTILINE)
    path.write_text(old[: match.end()] + text + old[match.end() :], encoding="utf-8")


TOY_MODEL = """
import torch
from torch import nn


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 1)

    def {0}(self, image):
        return torch.relu(self.body(image)).mean((2, 3))

    def {1}(self, features):
        return torch.sigmoid(self.head(features)).flatten()

    def {2}(self, image):
        return self.{1}(self.{0}(image))
"""


@pytest.mark.slow
def test_a_model_that_is_added_by_these_steps_converts_and_scores(tree: Path, run: Callable) -> None:
    model, zoo, _, _, last = steps("Add a model")
    module = write(tree, model, "toy_iqa", TOY_MODEL.format(*model.names))
    entry, table, spec = zoo.names
    row = (
        f'"toy-iqa": {entry}({spec}("toy-iqa", (InputSpec("image", 40, 48),)),\n'
        f'        lambda: __import__("importlib").import_module("{module}").Toy(), lambda: {{"": ""}}, ()),\n'
    )
    insert(tree, zoo, rf"^{table}\b.* = \{{\n", row)
    command = ["toy-iqa" if word == "NAME" else word for word in last.command]
    converted = run(*command, "--out", "toy.tflite")
    assert converted.returncode == 0, converted.stderr
    Image.effect_noise((90, 70), 50).convert("RGB").save(tree / "photo.png")
    scored = run("mobileiqa.score", "photo.png", "--model", "toy.tflite", "--format", "json")
    assert scored.returncode == 0, scored.stderr
    result = json.loads(scored.stdout.splitlines()[-1])
    assert 0 < result["results"][0]["score"] < 1


TOY_PASS = """
from convert.flatbuffer import model as fb


def drop_double_negations(model):
    count = 0
    for graph in model.subgraphs:
        writers = {int(o.outputs[0]): o for o in graph.operators}
        for operator in [o for o in graph.operators if fb.kind(model, o) == "NEG"]:
            first = writers.get(int(operator.inputs[0]))
            if first is not None and fb.kind(model, first) == "NEG":
                graph.operators = [o for o in graph.operators if o is not first and o is not operator]
                for reader in graph.operators:
                    reader.inputs = [
                        first.inputs[0] if i == operator.outputs[0] else i for i in reader.inputs
                    ]
                count += 2
    return count
"""
TOY_PASS_TEST = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from convert.flatbuffer import model as fb
from {tuple_module} import {passes}
from {pass_module} import drop_double_negations


def scores(path):
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.float32([[1, -2, 3, -4]]))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_the_pass(flatbuffer, save, operators, tmp_path):
    b, weights = flatbuffer, flatbuffer.constant(np.arange(8.0).reshape(2, 4))
    image = b.input(1, 4)
    twice = b.op("NEG", [b.op("NEG", [image], [b.tensor(1, 4)])], [b.tensor(1, 4)])
    out = b.op("FULLY_CONNECTED", [twice, weights], [b.tensor(1, 2)], "FullyConnectedOptions")
    path, changed = save(b.build(out)), tmp_path / "changed.tflite"
    model = fb.read(path)
    assert drop_double_negations in {passes}
    counts = [edit(model) for edit in {passes}]
    assert 2 in counts
    fb.write(model, changed)
    assert (operators(path)["NEG"], operators(changed)["NEG"], operators(changed)["FULLY_CONNECTED"]) == (2, 0, 1)
    assert np.array_equal(scores(changed), scores(path))
"""


def test_a_flatbuffer_pass_that_is_added_by_these_steps_runs(tree: Path, run: Callable) -> None:
    code, order, test, _, _ = steps("Add a flatbuffer pass")
    module = write(tree, code, "double_negation", TOY_PASS)
    (passes,) = order.names
    insert(tree, order, rf"^{passes}\b.* = \(\n", "    drop_double_negations,\n")
    insert(tree, order, r"\A(?s:.*?)\n(?=from convert)", f"from {module} import drop_double_negations\n")
    words = {"passes": passes, "pass_module": module}
    tuple_module = order.path.removesuffix(".py").replace("/", ".")
    name = "double_negation"
    write(tree, test, name, TOY_PASS_TEST.format(**words, tuple_module=tuple_module))
    assert test.names == ["flatbuffer"]
    tested = run("pytest", "-q", "-p", "no:cacheprovider", test.path.replace("NAME", name))
    assert tested.returncode == 0, tested.stdout + tested.stderr  # 5 where nothing was collected
