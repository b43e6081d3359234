"""The command, from a folder of labelled images to its table, files and last line."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileiqa import evaluate
from mobileiqa.errors import UserError
from mobileiqa.evaluate import Model, read_images, score_images
from mobileiqa.evaluation.report import FILES
from mobileiqa.metrics import correlations
from mobileiqa.preprocess import prepare
from mobileiqa.score import LoadedModel
from mobileiqa.scoring import litert
from mobileiqa.spec import InputSpec, ModelSpec
from mobileiqa.zoo import UNTRAINED

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("image", "score", "split", "reference", "distortion", "level", "distortion_name")
LEVELS = (1, 2, 3)


@pytest.fixture
def labelled(tmp_path: Path, photo) -> Path:
    """Six references, darkened (17) and shifted in brightness (18) at three levels, scored 1..5."""
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(6):
        pixels = np.asarray(photo(number, 48, 40)).astype(np.float64)
        for distortion, name in ((17, "darken"), (18, "mean shift")):
            for level in LEVELS:
                image = f"images/r{number}_{distortion}_{level}.png"
                Image.fromarray((pixels * (1 - 0.2 * level)).astype(np.uint8)).save(folder / image)
                score = 5 - level - 0.05 * number - 0.3 * (distortion == 18)
                rows.append(
                    (image, score, "test" if number else "train", f"r{number}", distortion, level, name)
                )
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    (folder / "dataset.json").write_text('{"range": [1, 5], "score_name": "opinion"}')
    return folder


def expected_scores(folder: Path, tiny, split: str = "test") -> tuple[list[float], list[float]]:
    """Scores and labels in 0..1, by way of the runner alone."""
    run = litert.runner(tiny[2])
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    scores = [float(run(prepare(folder / row["image"], tiny[1])).mean()) for row in rows]
    return scores, [(float(row["score"]) - 1) / 4 for row in rows]


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_figures_tables_and_files(labelled: Path, tiny, tmp_path: Path, capsys):
    out = tmp_path / "out"
    command = [str(tiny[2]), "--data", "folder", str(labelled), "--out", str(out)]
    assert evaluate.main([*command, "--json", str(tmp_path / "e.json")]) == 0
    shown = capsys.readouterr().out
    summary = json.loads(shown.splitlines()[-1])
    scores, labels = expected_scores(labelled, tiny)
    expected = correlations(scores, labels)

    (model,) = summary["models"]
    assert [model[name] for name in expected._fields] == pytest.approx(list(expected), abs=1e-12)
    assert (summary["images"], summary["skipped"], model["note"]) == (30, 0, UNTRAINED)
    assert "folder, test: 30 images; opinion 1..5 brought to 0..1" in shown
    assert "of 1000 resamples of 5 references" in shown
    assert UNTRAINED in shown
    line = next(line for line in shown.splitlines() if line.startswith("SRCC  "))
    assert line.split()[1] == f"{expected.srcc:.4f}"
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith(("17", "18"))] == [
        ["17", "darken", "15"],
        ["18", "mean", "shift"],
    ]
    assert "of 5 right" in shown, "five references, one monotone distortion, one pair of levels"

    written = json.loads((out / "evaluation.json").read_text())
    assert written == json.loads((tmp_path / "e.json").read_text())
    assert written["models"][0]["metrics"]["srcc"]["value"] == expected.srcc
    assert [d["number"] for d in written["models"][0]["distortions"]] == [17, 18]
    assert str(tmp_path) not in json.dumps(written)
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row[tiny[2].name]) for row in rows] == scores
    assert [float(row["label"]) for row in rows] == pytest.approx(labels)
    assert (rows[0]["image"], rows[0]["raw_label"], rows[0]["reference"]) == (
        "images/r1_17_1.png",
        "3.95",
        "r1",
    )
    with Image.open(out / "scatter.png") as picture:
        assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 10
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES), "no temporary file stays"


def test_models_are_compared_side_by_side(labelled: Path, tiny, tmp_path: Path, capsys):
    other = tmp_path / "copies" / "other.tflite"
    namesake = tmp_path / "copies" / tiny[2].name
    other.parent.mkdir()
    for copy in (other, namesake):
        shutil.copy(tiny[2], copy)
    models = [str(tiny[2]), str(other), str(namesake)]
    assert evaluate.main([*models, "--data", "folder", str(labelled), "--out", str(tmp_path / "out")]) == 0
    result = last_line(capsys)["models"]
    assert [model["label"] for model in result] == [str(tiny[2]), "other.tflite", str(namesake)]
    assert len({model["srcc"] for model in result}) == 1
    header = (tmp_path / "out" / "scores.csv").read_text().splitlines()[0]
    assert header.endswith(",".join([str(tiny[2]), "other.tflite", str(namesake)]))


@pytest.mark.parametrize(("split", "count"), [("train", 6), ("all", 36)])
def test_another_split(labelled: Path, tiny, capsys, split: str, count: int):
    assert evaluate.main([str(tiny[2]), "--data", "folder", str(labelled), "--split", split]) == 0
    assert last_line(capsys)["images"] == count


def test_limit_draws_by_seed(labelled: Path):
    def drawn(seed: int) -> list[Path]:
        return [s.path for s in read_images("folder", labelled, "test", 12, seed).samples]

    assert len(drawn(0)) == 12
    assert drawn(0) == drawn(0) != drawn(1)
    assert len({s.name[:2] for s in drawn(0)}) > 2, "not the first references alone"
    assert len(read_images("folder", labelled, "test", 1000, 0).samples) == 30


def test_an_unreadable_image_stops_or_is_left_out_and_listed(labelled: Path, tiny, tmp_path: Path, capsys):
    (labelled / "images" / "r2_17_1.png").write_text("words")
    (labelled / "images" / "r3_17_1.png").write_bytes(b"")
    out = tmp_path / "out"
    command = [str(tiny[2]), "--data", "folder", str(labelled), "--out", str(out)]
    assert evaluate.main(command) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == "" and not out.exists()
    assert "no score for images/r2_17_1.png" in stderr and "no score for images/r3_17_1.png" in stderr
    assert "found 2 that cannot" in stderr and "--skip-unreadable" in stderr

    assert evaluate.main([*command, "--skip-unreadable"]) == 0
    assert "28 images, 2 unreadable left out" in capsys.readouterr().out
    written = json.loads((out / "evaluation.json").read_text())
    assert [entry["image"] for entry in written["skipped"]] == ["images/r2_17_1.png", "images/r3_17_1.png"]


def test_files_are_not_replaced_without_force(labelled: Path, tiny, tmp_path: Path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "scatter.png").write_text("mine")
    command = [str(tiny[2]), "--data", "folder", str(labelled), "--out", str(out)]
    assert evaluate.main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["scatter.png"]
    assert evaluate.main([*command, "--force"]) == 0
    assert (out / "scatter.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{model}", "--data", "no-such-set", "{set}"], "kadid-10k"),
        (["{model}", "--data", "folder", "{set}/nothing"], "nothing at"),
        (["{model}", "--data", "folder", "{set}", "--split", "validation"], "30 test, 6 train"),
        (["{model}", "--data", "folder", "{set}", "--limit", "0"], "--limit of 1 or more"),
        (["{model}", "--data", "folder", "{set}", "--limit", "2"], "at least 3 scores; found 2"),
        (["{model}", "--data", "folder", "{set}", "--threads", "0"], "--threads of 1 or more"),
        (["{model}", "{model}", "--data", "folder", "{set}"], "more than once"),
        (["missing.tflite", "--data", "folder", "{set}"], "nothing at missing.tflite"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(labelled: Path, tiny, capsys, args: list[str], message: str):
    assert evaluate.main([arg.format(model=tiny[2], set=labelled) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


def test_without_its_packages_it_says_what_to_install(labelled: Path):
    code = (
        "import sys, importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'matplotlib' else find(name, *a);"
        "from mobileiqa.evaluate import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "m.tflite", "--data", "folder", str(labelled)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert "found no matplotlib" in process.stderr and "pip install torch " in process.stderr


def test_scores_come_to_0_1_higher_better_and_equal_inputs_are_prepared_once(labelled: Path, tiny):
    images = read_images("folder", labelled, "train", None, 0)
    seen = []

    def model(value: float, **changed) -> Model:
        def run(inputs):
            seen.append(inputs)
            return {"score": np.array([value, value + 1])}  # two crops

        return Model(f"{value}", None, LoadedModel(run, dataclasses.replace(tiny[1], **changed), "test"))

    models = [model(24.5, score_range=(0, 100)), model(24.5, score_range=(0, 100), higher_is_better=False)]
    actual, scores = score_images(images, models, skip=False)
    assert (len(actual.samples), scores.shape) == (6, (2, 6))
    assert scores == pytest.approx(np.repeat([[0.25], [0.75]], 6, axis=1))
    assert seen[0] is seen[1] and seen[1] is not seen[2]
    with pytest.raises(ValueError, match=r"the range of nan; found images/r0_17_1\.png: .* is nan"):
        score_images(images, [model(float("nan"))], skip=True)


def test_numbers_mean_kadids_distortions_unless_they_are_named(labelled: Path):
    images = read_images("folder", labelled, "test", None, 0)
    assert images.monotone == {17}, "18 is not monotone"
    labels = labelled / "labels.csv"
    unnamed = labels.read_text().replace("mean shift", "").replace("darken", "")
    labels.write_text(unnamed)
    images = read_images("folder", labelled, "test", None, 0)
    assert {s.distortion_name for s in images.samples} == {"darken", "mean shift"}
    assert images.monotone == {17}
    labels.write_text(re.sub(r"(,17,\d,)", r"\1fog", unnamed))
    assert read_images("folder", labelled, "test", None, 0).monotone == frozenset()


def test_levels_of_other_sets_are_not_compared(tiny, tmp_path: Path, photo, capsys):
    """TID2013's contrast gets weaker and stronger in turn, and its 17 is not KADID-10k's."""
    names = [f"i{r:02d}_17_{level}.bmp" for r in (1, 2, 3) for level in (1, 3, 5)]
    (tmp_path / "distorted_images").mkdir()
    for number, name in enumerate(names):
        photo(number, 40, 32).save(tmp_path / "distorted_images" / name)
    lines = [f"{5 - 0.4 * number:.2f} {name}" for number, name in enumerate(names)]
    (tmp_path / "mos_with_names.txt").write_text("\n".join(lines))
    assert evaluate.main([str(tiny[2]), "--data", "tid2013", str(tmp_path), "--split", "all"]) == 0
    (model,) = last_line(capsys)["models"]
    assert model["pair_accuracy"] is None and model["lowest_distortion_srcc"] is not None


def test_the_best_side_that_is_there_is_read_and_said(labelled: Path, tiny, capsys):
    """UHD-IQA's challenge has no test side; nor has this set once its test images are its validation images."""
    labels = labelled / "labels.csv"
    labels.write_text(labels.read_text().replace(",test,", ",validation,"))
    assert evaluate.main([str(tiny[2]), "--data", "folder", str(labelled)]) == 0
    out = capsys.readouterr().out
    assert "folder, validation (there is no test side here): 30 images" in out
    assert json.loads(out.splitlines()[-1])["split"] == "validation"
    assert evaluate.main([str(tiny[2]), "--data", "folder", str(labelled), "--split", "test"]) == 2
    labels.write_text(labels.read_text().replace(",validation,", ",train,"))
    assert evaluate.main([str(tiny[2]), "--data", "folder", str(labelled)]) == 2
    assert "found 36 train; insist with --split train or all" in capsys.readouterr().err


def test_a_checkpoints_macs_are_counted_and_a_files_are_not(tiny):
    from torch import nn

    spec = ModelSpec("one", (InputSpec("image", 20, 30),))
    model = Model("m", None, LoadedModel(litert.runner(tiny[2]), spec, "torch", module=nn.Conv2d(3, 2, 1)))
    assert (model.macs(), model.macs((3840, 2160))) == (20 * 30 * 6, 3840 * 2160 * 6)
    assert Model("f", tiny[2], LoadedModel(litert.runner(tiny[2]), spec, "litert")).macs() is None


def test_each_image_is_compared_with_its_own_original(labelled: Path, photo) -> None:
    inputs = (InputSpec("image", 40, 48), InputSpec("original", 40, 48, of_reference=True))
    spec = ModelSpec("comparer", inputs, score_range=(-10.0, 10.0))

    def nearness(arrays):
        return {litert.OUTPUT: np.array([-np.abs(arrays["image"] - arrays["original"]).mean()], np.float64)}

    models = (Model("comparer", None, LoadedModel(nearness, spec, "torch")),)
    with pytest.raises(UserError, match=r"pristine original.*none of images/r1_17_1\.png and 29 more"):
        score_images(read_images("folder", labelled, "test", None, 0), models, skip=False)
    for number in range(6):
        photo(number, 48, 40).save(labelled / f"r{number}", format="PNG")
    images = read_images("folder", labelled, "test", None, 0)
    _, scores = score_images(images, models, skip=False)
    by_level = {level: [s for s, i in zip(scores[0], images.samples, strict=True) if i.level == level]
                for level in LEVELS}  # fmt: skip
    assert max(by_level[3]) < min(by_level[2]) < max(by_level[2]) < min(by_level[1]) < 0.5
