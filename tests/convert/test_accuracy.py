"""The command: files of a few operators, whose score is an image's mean, judged on images of known brightness."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.accuracy import main
from convert.accuracy_report import agreement
from convert.accuracy_report.report import FILES
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY
from convert.runtimes import latency
from mobileiqa.spec import InputSpec, ModelSpec
from mobileiqa.zoo import MODELS

N = 36
SIZE = 8
SPEC = ModelSpec(
    "brightness", (InputSpec("image", SIZE, SIZE, mean=(0, 0, 0), std=(1, 1, 1)),), trained_on="photos"
)
RNG = np.random.default_rng(5)
WEIGHTS = RNG.uniform(-3, 5, (1, 3, SIZE, SIZE)).astype(np.float32)  # mean 1: another score for most images
Net = Callable[..., str]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "RESAMPLES", 20)


@pytest.fixture
def net(flatbuffer, tmp_path: Path) -> Net:
    """net(name, step, gain): image -> [8 bits of `step`] -> times `gain` -> mean: the score. Returns the path."""

    def make(
        name: str,
        step: float | None = None,
        gain: object = 1.0,
        spec: ModelSpec = SPEC,
        checkpoint: str = "a",
    ) -> str:
        b = type(flatbuffer)()
        shape = spec.inputs[0].shape
        source = image = b.input(*shape)
        if step is not None:
            eight = b.op("QUANTIZE", [image], [b.tensor(*shape, dtype="int8", scale=(step, -128))])
            source = b.op("DEQUANTIZE", [eight], [b.tensor(*shape)], version=2)
        scaled = b.op("MUL", [source, b.constant(np.float32(gain))], [b.tensor(*shape)], "MulOptions")
        b.tensors[scaled].name = b"scaled"
        score = b.op("MEAN", [scaled, b.constant([1, 2, 3])], [b.tensor(1)], "ReducerOptions")
        content = {"spec": spec.to_json(), "checkpoint_sha256": checkpoint, "untrained": spec.untrained}
        b.note(METADATA_ENTRY, json.dumps(content).encode())
        path = tmp_path / name
        path.write_bytes(b.build(score))
        model = fb.read(path)
        fb.name_signature(model, ["image"])
        fb.write(model, path)
        return str(path)

    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """N images, dark to bright, of six references; labelled by brightness and a little chance."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for i in range(N):
        pixels = RNG.uniform(0, 255, (SIZE, SIZE, 3)) * (0.2 + 0.8 * i / N)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
        rows.append((f"{i:02}.png", i / N + RNG.normal(0, 0.01), "test", f"r{i % 6}"))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "score", "split", "reference"), *rows])
    return folder


def last_line(out: str) -> dict:
    return json.loads(out.strip().splitlines()[-1])


def test_a_good_file_passes_and_everything_is_written(net: Net, folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    files = [net("fp32.tflite"), net("int8.tflite", step=1 / 250, checkpoint="b")]
    copy = tmp_path / "copy.json"
    assert main([*files, "--data", "folder", str(folder), "--out", str(out), "--json", str(copy)]) == 0
    shown = capsys.readouterr().out
    summary = last_line(shown)
    (file,) = summary["files"]
    assert summary["passed"] and summary["images"] == N and summary["out"] == str(out)
    assert (file["precision"], file["failed_gates"], file["label"]) == ("int8", [], "int8.tflite")
    assert file["srcc"] > 0.999 and abs(file["srcc_drop"]) < 0.005 and 0 < file["mean_shift"] < 1e-3
    assert "resamples of 6 references" in shown
    assert "from another checkpoint than FP32" in shown
    assert (
        sorted(p.name for p in out.iterdir()) == sorted(FILES)
        and copy.read_text() == (out / FILES[0]).read_text()
    )
    content = json.loads(copy.read_text())["files"][0]
    assert [x["operator"] for x in content["layers"]["layers"]] == ["QUANTIZE", "MUL", "MEAN"]
    assert content["nodes_total"] == 4 and content["size_ratio"] > 0.5


def test_each_gate_breaks_and_names_itself(net: Net, folder: Path, capsys) -> None:
    fine = 1 / 250
    files = {
        "clipped.tflite": net("clipped.tflite", step=1 / 800),  # ranges as of images that were all dark
        "coarse.tflite": net("coarse.tflite", step=2 / 3),
        "moved.tflite": net("moved.tflite", step=fine, gain=0.95),
        "perturbed.tflite": net("perturbed.tflite", step=fine, gain=WEIGHTS),
        "nan.tflite": net("nan.tflite", step=fine, gain=float("nan")),
        "float.tflite": net("float.tflite", gain=1.001),
        "equal.tflite": net("equal.tflite"),
    }
    assert main([net("fp32.tflite"), *files.values(), "--data", "folder", str(folder), "--layers", "1"]) == 1
    shown = capsys.readouterr().out
    result = {file["label"]: file for file in last_line(shown)["files"]}
    broken = {label: file["failed_gates"] for label, file in result.items()}
    everything = ["srcc", "srcc_drop", "pair_flips", "mean_shift"]
    assert broken["perturbed.tflite"] == everything and broken["nan.tflite"] == everything
    assert broken["moved.tflite"] == ["mean_shift"]
    assert "mean_shift" in broken["clipped.tflite"] and "mean_shift" in broken["coarse.tflite"]
    assert (broken["float.tflite"], broken["equal.tflite"]) == (["max_shift"], [])
    assert result["float.tflite"]["precision"] == "fp32"
    assert shown.count("not finite") >= 4 and "score of 00.png is nan" in shown


def test_few_images_fail(net: Net, folder: Path, capsys) -> None:
    files = [net("fp32.tflite"), net("int8.tflite", step=1 / 250)]
    assert main([*files, "--images", str(folder), "--limit", "5", "--layers", "0"]) == 1
    shown = capsys.readouterr().out
    assert last_line(shown)["files"][0]["failed_gates"] == ["srcc", "pair_flips"]
    assert "5 images; a ranking is judged on 30 or more" in shown and "not judged: no labels" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{fp32}", "{int8}", "--images", "{empty}"], "at least one image"),
        (["{fp32}", "{int8}", "--images", "{broken}"], "photo.png"),
        (["{fp32}", "{int8}", "--data", "folder", "{empty}"], "labels.csv"),
        (["{fp32}", "{int8}", "--data", "folder", "{folder}", "--split", "train"], "train split"),
        (["{fp32}", "{int8}", "--images", "{folder}", "--split", "test"], "--split with --data"),
        (["{fp32}", "{int8}", "--images", "{folder}", "--limit", "0"], "--limit of 1 or more"),
        (["{fp32}", "{int8}", "--images", "{folder}", "--layers", "-1"], "--layers of 0 or more"),
        (["{int8}", "{fp32}", "--images", "{folder}"], "expected an FP32 file first"),
        (["{fp32}", "{fp32}", "--images", "{folder}"], "more than once"),
        (["{fp32}", "{corrupt}", "--images", "{folder}"], "corrupt.tflite"),
        (["{corrupt}", "{int8}", "--images", "{folder}"], "corrupt.tflite"),
        (["{fp32}", "{missing}", "--images", "{folder}"], "nothing at"),
        (["{fp32}", "model.safetensors", "--images", "{folder}"], "converted files ending in .tflite"),
        (["{fp32}", "{larger}", "--images", "{folder}"], "image 9x9, expected image 8x8"),
        (["{fp32}", "{normalised}", "--images", "{folder}"], "image.mean is"),
        (["{fp32}", "{other}", "--images", "{folder}"], "name is another, expected brightness"),
        (["{fp32}", "{int8}", "--images", "{folder}", "--json", "{fp32}"],
         "put --json without a path last"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_exit_2(
    arguments: list[str], words: str, net: Net, folder: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "photo.png").write_bytes((folder / "00.png").read_bytes()[:60])
    (tmp_path / "corrupt.tflite").write_bytes(Path(net("whole.tflite")).read_bytes()[:200])
    image = SPEC.inputs[0]
    output = {
        "fp32": net("fp32.tflite"),
        "int8": net("int8.tflite", step=1 / 250),
        "larger": net("larger.tflite", spec=replace(SPEC, inputs=(replace(image, height_px=9, width_px=9),))),
        "normalised": net(
            "normalised.tflite", spec=replace(SPEC, inputs=(replace(image, mean=(0.5, 0, 0)),))
        ),
        "other": net("other.tflite", spec=replace(SPEC, name="another")),
    }
    here = {name: tmp_path / name for name in ("empty", "broken")}
    others = {
        "folder": folder,
        "corrupt": tmp_path / "corrupt.tflite",
        "missing": tmp_path / "missing.tflite",
    }
    before = sorted(tmp_path.iterdir())
    try:
        code = main([text.format(**output, **here, **others) for text in arguments])
    except SystemExit as ended:  # of the argument parser
        code = ended.code
    assert code == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO")]
    assert len(error) == 1 and words in error[0]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_a_checkpoint_is_run_at_the_converted_files_size(net: Net, folder: Path, capsys) -> None:
    """The converted file is none of that model: it fails, and there is nothing to compare along the graph."""
    spec = replace(MODELS["lar-iqa-single"].spec.resized(32, 32))
    files = ["lar-iqa-single", net("int8.tflite", step=1 / 50, spec=spec, checkpoint="")]
    assert main([*files, "--images", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "no SQNR along the graph: FP32 is a checkpoint" in shown and "untrained" in shown
    assert last_line(shown)["files"][0]["size_ratio"] is None
    assert main([*files, "--images", str(folder), "--latency"]) == 2


@pytest.mark.slow
def test_latency_is_measured_in_turn(net: Net, folder: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "PROTOCOL", ("--runs=5", "--launches=1", "--if-disturbed=keep"))
    files = [net("fp32.tflite"), net("int8.tflite", step=1 / 250)]
    assert main([*files, "--images", str(folder), "--latency", "--layers", "0"]) == 0
    shown = capsys.readouterr().out
    assert last_line(shown)["files"][0]["speedup"] > 0 and "times FP32's speed" in shown


def test_help_is_quick_and_shows_an_example() -> None:
    code = "import sys, convert.accuracy as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    check = code + "print(sorted({'torch', 'ai_edge_litert', 'matplotlib', 'scipy'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert process.stdout.strip().splitlines()[-1] == "[]" and "example:" in process.stdout
