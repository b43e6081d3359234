"""The search on a small network with one layer that 8 bits ruin; real files, recorded latencies."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from calibration import select
from calibration.photos import read_photos
from calibration.sets import CalibrationSet
from convert.flatbuffer import model as fb
from convert.flatbuffer import passes
from convert.int8.calibration import CalibrationStatistics
from convert.int8.quantize import apply_recipe
from convert.int8.recipe import Recipe, plan, read
from convert.int8.search import candidates, sensitivity
from convert.int8.search import search as auto
from convert.int8.search.pareto_front import Budget, OverBudgetError
from convert.int8.search.search import Search, search
from convert.int8.search.validation_split import ValidationSplit, split_scenes
from convert.runtimes.latency import FileLatency, Session, Timing
from convert.tflite import main
from mobileiqa.checkpoint import sha256
from mobileiqa.distortions.kadid10k import distort
from mobileiqa.errors import UserError
from mobileiqa.spec import InputSpec, ModelSpec
from mobileiqa.zoo import TRUNK
from tests.convert.int8.networks import bending, quantize_file

SHARED = Path(__file__).resolve().parents[4].parent / "shared"
SPEC = ModelSpec("small", (InputSpec("image", 16, 16),), trained_on="nothing")


class Ruined(nn.Module):
    """`second` weighs a channel that is always zero 300 times as much as the others: they round to nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.hidden, self.last = nn.Linear(8, 16), nn.Linear(16, 1)
        with torch.no_grad():
            self.first.weight[0], self.first.bias[0] = 0, -1
            self.second.weight[:, 0] = 300 * self.second.weight.abs().max()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(image))))
        x = torch.relu(self.third(x)).mean((2, 3))
        return 3 * self.last(torch.relu(self.hidden(x))).squeeze(1)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from convert.export.tflite_file import export_tflite

    path = tmp_path_factory.mktemp("fp32") / "fp32.tflite"
    model = fb.unpack(export_tflite(Ruined(), SPEC))
    passes.shorten_names(model)
    fb.name_signature(model, ["image"])
    fb.write(model, path)
    return path


@pytest.fixture(scope="module")
def pictures(photo: Any, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    """Thirty-six pictures of different contrast."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(36):
        photo(i, 40, 32).point(lambda v, i=i: 128 + (v - 128) * (i % 7 + 1) // 7).save(
            folder / f"p{i:02}.png"
        )
    return CalibrationSet(SPEC, 0, tuple(read_photos(sorted(folder.iterdir()), folder, "")[0]), folder)


@pytest.fixture(scope="module")
def split(pictures: CalibrationSet) -> ValidationSplit:
    return split_scenes(pictures)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """Every recipe that was really quantized."""
    output: list[Recipe] = []

    def applying(statistics: CalibrationStatistics, recipe: Recipe) -> Any:
        output.append(recipe)
        return apply_recipe(statistics, recipe)

    monkeypatch.setattr(candidates, "apply_recipe", applying)
    return output


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Latencies by size: what is kept in float is slower. Returns how many files each session timed."""
    sessions: list[int] = []

    def measure(files: list[Path], todo: str) -> Session:
        sessions.append(len(files))
        timings = [Timing((f.stat().st_size / 1e3,), False) for f in files]
        rows = [
            FileLatency(sha256(f), t, t.ms, t.ms, t.ms, t.ms, 1.0)
            for f, t in zip(files, timings, strict=True)
        ]
        return Session(tuple(rows), {"runtime": "recorded"}, "recorded")

    monkeypatch.setattr(candidates, "measure", measure)
    return sessions


def second(fp32: Path) -> str:
    """The name of the ruined layer's output."""
    model = fb.read(fp32)
    graph = model.subgraphs[0]
    names = [
        graph.tensors[o.outputs[0]].name.decode() for o in graph.operators if fb.kind(model, o) == "CONV_2D"
    ]
    return names[1]


@pytest.mark.slow
def test_the_ruined_layer_is_the_most_sensitive(fp32: Path, split: ValidationSplit, tmp_path: Path) -> None:
    recipe, out = Recipe("static", "mse", float_first=0), tmp_path / "int8.tflite"
    quantize_file(fp32, recipe, split.calibration_inputs(), out)
    model = fb.read(fp32)
    result = sensitivity.layers(model, plan(model, recipe).static)
    ratios = sensitivity.noise(fp32, out, result, list(split.calibration_inputs())[:4])
    assert set(ratios) >= {name for layer in result for name in layer.names}, "tensors keep their names"
    first = sensitivity.order([tuple(result)], ratios, [1.0])[0]
    assert first[0].names == (second(fp32),)


def test_a_network_with_hard_swish_is_searched_whole(flatbuffer, save) -> None:
    """Depthwise convolutions and all base_recipes: 8 bits do not end at a hard-swish."""
    model = fb.read(save(bending(flatbuffer)))
    kinds = {
        model.subgraphs[0].tensors[o.outputs[0]].name.decode(): fb.kind(model, o)
        for o in model.subgraphs[0].operators
    }
    base_recipes = auto._base_recipes(model, "mse")
    result = sensitivity.layers(model, base_recipes[0][1])
    assert "DEPTHWISE_CONV_2D" in {kinds[name] for layer in result for name in layer.names}
    assert [(recipe.mode, recipe.float_first) for recipe, _ in base_recipes] == [
        *(("static", count) for count in (0, 1, 2, 3, 5)), ("dynamic", 3), ("weights", 3),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_search(
    fp32: Path, split: ValidationSplit, tmp_path: Path, counted: list[Recipe], recorded: list[int]
) -> None:
    """Finds a recipe inside the budget; again, elsewhere, the same; again, here, without any work."""
    expected = Search(Budget(), split, tmp_path / "one.search")
    selection = search(fp32.read_bytes(), SPEC, expected)
    model = fb.read(fp32)
    planned = plan(model, selection)
    assert len(planned.static) + len(planned.dynamic) + len(planned.weights) >= 2, "and no more than it must"
    assert read(expected.folder / "recipe.json") == selection
    front = json.loads((expected.folder / "front.json").read_text())
    (best,) = [row for row in front["candidates"] if row["chosen"]]
    inside = [row for row in front["candidates"] if row["budget"] == "inside"]
    ruined = [row["budget"] for row in front["candidates"] if row["recipe"]["mode"] != "static"
              and not any("second" in name for name in row["recipe"]["keep_float"])]  # fmt: skip
    assert ruined and "inside" not in ruined, (
        "equalization mends the layer; without it, it has to stay in float"
    )
    assert best in inside and best["latency_ms"] <= 1.03 * min(row["latency_ms"] for row in inside)
    assert (
        0 < len(inside) < len(front["candidates"]) and (expected.folder / "front.png").stat().st_size > 5000
    )

    out = tmp_path / "again.tflite"
    quantize_file(fp32, read(expected.folder / "recipe.json"), split.calibration_inputs(), out)
    assert sha256(out) == best["sha256"], "the recipe's file makes the file that was measured"

    output = len(counted)
    assert output == len({str(recipe) for recipe in counted})
    assert search(fp32.read_bytes(), SPEC, expected) == selection and (len(counted), len(recorded)) == (
        output,
        1,
    )
    assert search(fp32.read_bytes(), SPEC, Search(Budget(), split, tmp_path / "two.search")) == selection
    assert len(counted) == 2 * output


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(
    fp32: Path, split: ValidationSplit, tmp_path: Path, counted: list[Recipe], recorded: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    expected, result = Search(Budget(), split, tmp_path / "x.search"), candidates.apply_recipe

    def killed(statistics: CalibrationStatistics, recipe: Recipe) -> Any:
        if len(counted) == 5:
            raise KeyboardInterrupt
        return result(statistics, recipe)

    monkeypatch.setattr(candidates, "apply_recipe", killed)
    with pytest.raises(KeyboardInterrupt):
        search(fp32.read_bytes(), SPEC, expected)
    assert len(counted) == 5 and not list(expected.folder.glob("*.tmp"))
    monkeypatch.setattr(candidates, "apply_recipe", result)
    search(fp32.read_bytes(), SPEC, expected)
    assert len(counted) > 5 and len(counted) == len({str(recipe) for recipe in counted}), (
        "none was made twice"
    )


def test_another_image_or_file_or_recipe_is_another_candidate(
    pictures: CalibrationSet, tmp_path: Path
) -> None:
    def key(recipe: Recipe = Recipe("weights"), content: bytes = b"one", images: int = 36) -> Path:  # noqa: B008
        part = split_scenes(dataclasses.replace(pictures, images=pictures.images[:images]))
        return candidates.open_folder(content, SPEC, part, tmp_path / "x.search")._path(recipe, ".json")

    assert key() == key()
    assert len({key(), key(Recipe("dynamic")), key(content=b"two"), key(images=35)}) == 4


@pytest.mark.slow
def test_no_recipe_keeps_to_the_budget(
    fp32: Path, split: ValidationSplit, tmp_path: Path, recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may move, and no layer may go back to float: the closest are named, nothing is timed."""
    monkeypatch.setattr(auto, "KEPT", (0,))
    expected = Search(Budget(0.0, max_shift=1e-9), split, tmp_path / "x.search")
    with pytest.raises(OverBudgetError, match=r"1 - SRCC <= 0 and a mean shift <= 1e-09") as caught:
        search(fp32.read_bytes(), SPEC, expected)
    result = caught.value.rows
    assert len(result) > 2 and not any(row["chosen"] or row["budget"] == "inside" for row in result)
    ranked = [row["mean_abs"] for row in result if row["srcc"] is not None]
    assert ranked == sorted(ranked) and result[0]["srcc"] is not None
    assert recorded == [] and not (expected.folder / "recipe.json").exists()


def test_a_folder_of_others_is_left_alone(split: ValidationSplit, tmp_path: Path) -> None:
    folder = tmp_path / "x.search"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="a search's folder or nothing"):
        candidates.open_folder(b"", SPEC, split, folder)
    candidates.remove(folder)
    assert (folder / "thesis.txt").exists()


@pytest.mark.slow
def test_a_candidate_that_the_runtime_refuses_is_no_end(
    fp32: Path, split: ValidationSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any, out: Path) -> None:
        out.write_bytes(b"\0\0\0\0TFL3 and no more")

    monkeypatch.setattr(candidates.fb, "write", broken)
    result = candidates.open_folder(fp32.read_bytes(), SPEC, split, tmp_path / "x.search").measure(Recipe())
    assert result.srcc is None and "a whole TFLite file" in Budget().broken(result)


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*arguments])
    return code, json.loads(out.getvalue().strip().splitlines()[-1])


@pytest.mark.slow
def test_a_budget_that_nothing_keeps_ends_in_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(auto, "KEPT", (0,))
    monkeypatch.setattr(auto, "FIRST", (0,))
    path = tmp_path / "x.tflite"
    code, result = run("--model", "lar-iqa-single", "--size", "64x80", "--int8", "auto", "--max-srcc-drop", "0",
                       "--out", str(path))  # fmt: skip
    assert code == 1 and not result["passed"] and "no recipe keeps to 1 - SRCC <= 0" in result["reason"]
    assert [row["recipe"]["mode"] for row in result["closest"]].count("static") >= 2
    assert [p.name for p in tmp_path.iterdir()] == ["x.search"], "nothing under the name that was asked for"
    assert "x.search holds what was measured" in capsys.readouterr().err


@pytest.fixture(scope="module")
def distorted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos to calibrate and others to judge, each with another distortion: from best to worst."""
    folders = {}
    for part, count in (("train", 24), ("val", 24)):
        result = sorted((SHARED / "data" / "pristine" / part).glob("*.*"))[:count]
        if len(result) < count:
            pytest.skip("no ../shared/data/pristine beside the checkout; a small network stands in above")
        folders[part] = tmp_path_factory.mktemp(part)
        for i, path in enumerate(result):
            pixels = distort(np.asarray(Image.open(path).convert("RGB")), 1 + (7 * i) % 25, 1 + i % 5, 0)
            Image.fromarray(pixels).save(folders[part] / f"{path.stem}.png")
    return folders


@pytest.mark.slow
def test_a_trained_model(distorted: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches a part of the front, publishes, and the recipe beside the file makes the same bytes again."""
    monkeypatch.setattr(auto, "KEPT", (0, 2))
    monkeypatch.setattr(auto, "FIRST", (0, 3))
    size, calibration, path = ("--size", "256x256"), tmp_path / "set", tmp_path / "x.tflite"
    images = ("--images", str(distorted["val"]))
    assert (
        select.main(
            [
                "--model",
                str(TRUNK),
                "--images",
                str(distorted["train"]),
                *size,
                "--count",
                "24",
                "--out",
                str(calibration),
            ]
        )
        == 0
    )
    code, result = run(str(TRUNK), "--int8", "auto", str(calibration), *size, *images, "--out", str(path))
    assert code == 0 and result["passed"] and result["latency_ms"] < result["fp32_latency_ms"]
    names = {"set", "x.tflite", "x.tflite.json", "x.recipe.json", "x.front.json", "x.front.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    front = json.loads((tmp_path / "x.front.json").read_text())
    assert front["candidates"][0]["chosen"] and 1 - front["candidates"][0]["srcc"] <= 0.005
    again = tmp_path / "again.tflite"
    assert (
        run(
            str(TRUNK),
            "--int8",
            str(tmp_path / "x.recipe.json"),
            str(calibration),
            *size,
            *images,
            "--out",
            str(again),
        )[0]
        == 0
    )
    assert sha256(again) == sha256(path)
    sidecars = [json.loads(p.with_name(p.name + ".json").read_text()) for p in (path, again)]
    assert sidecars[0]["calibration_sha256"] == sidecars[1]["calibration_sha256"]
