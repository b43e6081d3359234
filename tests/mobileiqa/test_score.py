import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mobileiqa import loaded_model, score
from mobileiqa.errors import UserError
from mobileiqa.model_source import ModelSource
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from mobileiqa.zoo import UNTRAINED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """Two good photos and a broken one between them."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for source, name in (("photo0.png", "a.png"), ("photo2.png", "c.png")):
        (folder / name).write_bytes((photos / source).read_bytes())
    (folder / "b.jpg").write_text("words")
    return folder


def python(code: str, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=ROOT, check=False
    )


def expected_scores(folder: Path, tiny) -> list[float]:
    run = litert.runner(tiny[2])
    return [float(run(prepare(folder / name, tiny[1])).mean()) for name in ("a.png", "c.png")]


def test_table_lists_the_broken_image_and_goes_on(folder: Path, tiny, capsys):
    assert score.main([str(folder), "--model", str(tiny[2])]) == 0
    out, err = capsys.readouterr()
    *lines, last = out.splitlines()
    summary = json.loads(last)
    a, c = expected_scores(folder, tiny)
    assert (
        lines[0]
        == "toy: score 0..1, higher is better; reads the whole photo at 32x24 and its centre, 40x40, at full size"
    )
    assert lines[1] == UNTRAINED == summary["note"]
    assert [line.split() for line in lines[3:]] == [
        [f"{a:.4f}", str(folder / "a.png")],
        ["-", str(folder / "b.jpg")],
        [f"{c:.4f}", str(folder / "c.png")],
    ]
    assert (summary["images"], summary["scored"], summary["runtime"]) == (3, 2, "litert")
    assert summary["mean"] == pytest.approx((a + c) / 2, abs=1e-12)
    assert [failure["image"] for failure in summary["failed"]] == [str(folder / "b.jpg")]
    assert f"no score for {folder / 'b.jpg'}" in err


def test_photos_that_a_folder_holds_unread_are_counted(folder: Path, tiny, capsys):
    (folder / "raw.dng").write_bytes(b"II*\0")
    (folder / "raw2.DNG").write_bytes(b"II*\0")
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "thumb.png").write_bytes((folder / "a.png").read_bytes())
    assert score.main([str(folder), "--model", str(tiny[2])]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["left_out"] == {"DNG": 2, "in @eaDir": 1}
    assert "3 left out: 2 DNG, 1 in @eaDir" in err
    assert score.main([str(folder), "--model", str(tiny[2]), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == {"DNG": 2, "in @eaDir": 1}
    assert score.main([str(folder / "raw.dng"), "--model", str(tiny[2])]) == 2


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_not_the_current_folder(path: str, tiny, capsys):
    assert score.main([path, "--model", str(tiny[2])]) == 2
    assert "an empty path" in capsys.readouterr().err


def test_a_models_suffix_in_capitals(folder: Path, tiny, tmp_path: Path, capsys):
    (tmp_path / "X.TFLITE").write_bytes(tiny[2].read_bytes())
    assert score.main([str(folder), "--model", str(tmp_path / "X.TFLITE")]) == 0


def test_json_is_one_object(folder: Path, tiny, capsys):
    assert score.main([str(folder), "--model", str(tiny[2]), "--format", "json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    result = json.loads(out)
    assert [row["score"] for row in result["results"]] == expected_scores(folder, tiny)
    assert (result["note"], len(result["failed"])) == (UNTRAINED, 1)


def test_csv_on_stdout_is_nothing_but_csv(folder: Path, tiny, capsys):
    assert score.main([str(folder), "--model", str(tiny[2]), "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    a, c = expected_scores(folder, tiny)
    assert [row["score"] for row in rows] == [str(a), "", str(c)]
    assert "no image format" in rows[1]["error"]
    assert {row["note"] for row in rows} == {UNTRAINED}
    assert json.loads(next(line for line in err.splitlines() if line.startswith("{")))["scored"] == 2


@pytest.mark.parametrize("suffix", ["csv", "json", "txt"])
def test_out_takes_its_format_from_the_suffix_and_is_not_replaced(
    folder: Path, tiny, tmp_path: Path, capsys, suffix
):
    out = tmp_path / "new" / f"scores.{suffix}"
    command = [str(folder), "--model", str(tiny[2]), "--out", str(out)]
    assert score.main(command) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["out"] == str(out)
    first = out.read_text()
    assert UNTRAINED in first
    if suffix == "json":
        assert len(json.loads(first)["results"]) == 2
    elif suffix == "csv":
        assert len(list(csv.DictReader(io.StringIO(first)))) == 3
    assert score.main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert score.main([*command, "--force"]) == 0
    assert [path.name for path in out.parent.iterdir()] == [out.name], "no temporary file stays"


def test_a_broken_image_named_by_itself_fails_after_the_rest(folder: Path, tiny, capsys):
    command = [str(folder / "b.jpg"), str(folder / "c.png"), "--model", str(tiny[2])]
    assert score.main(command) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["scored"] == 1


def test_only_broken_images_fail(folder: Path, tiny, capsys):
    (folder / "a.png").unlink()
    (folder / "c.png").unlink()
    assert score.main([str(folder), "--model", str(tiny[2])]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["mean"] is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.png"], "nothing at missing.png"),
        (["{folder}", "--model", "no-such-model"], "mobilenet-iqa, mobilenet-iqa-small, mobilevit-iqa"),
        (["{folder}", "--model", "missing.tflite"], "nothing at missing.tflite"),
        (["{folder}", "--model", "{folder}/a.png"], "checkpoint"),
        (["{folder}", "--threads", "99999999999"], "--threads of 1..512"),
        (["{folder}", "--threads", "0"], "--threads of 1..512"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(folder: Path, capsys, args: list[str], message: str):
    assert score.main([arg.format(folder=folder) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


def test_a_score_that_is_not_finite_is_a_failure(folder: Path, tiny):
    scorer = score.LoadedModel(lambda inputs: {"score": np.array([0.5, np.nan])}, tiny[1], "litert")
    (row,) = score.score_images([folder / "a.png"], scorer)
    assert (row.score, row.error) == (None, "the model's score is nan")


def test_a_score_far_outside_the_range_is_a_failure(folder: Path, tiny, capsys):
    spec = dataclasses.replace(tiny[1], trained_on="KonIQ-10k")
    scorer = score.LoadedModel(lambda inputs: {"score": np.array([-415.0])}, spec, "litert")
    (row,) = score.score_images([folder / "a.png"], scorer)
    assert row.score is None and "-415, outside 0..1 by more than 0.25" in row.error


def test_a_folder_of_one_score_is_warned_of(folder: Path, tiny, capsys, monkeypatch, photo):
    for seed in range(3):
        photo(seed, 40, 40).save(folder / f"other{seed}.png")
    (folder / "b.jpg").unlink()
    scorer = score.LoadedModel(lambda inputs: {"score": np.array([0.453])}, tiny[1], "litert")
    monkeypatch.setattr(loaded_model, "load_scorer", lambda *_: scorer)
    assert score.main([str(folder)]) == 0
    assert "warning: all 5 images, 5 different files, score 0.453" in capsys.readouterr().err


def test_the_score_is_the_mean_over_crops_and_trained_weights_are_not_called_untrained(folder: Path, tiny):
    spec = dataclasses.replace(tiny[1], trained_on="KonIQ-10k")
    scorer = score.LoadedModel(lambda inputs: {"score": np.array([0.25, 0.5])}, spec, "litert")
    (row,) = score.score_images([folder / "a.png"], scorer)
    assert (row.score, scorer.note) == (0.375, "")


def test_tflite_never_imports_torch(folder: Path, tiny):
    code = (
        "import sys; from mobileiqa.score import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'timm', 'torchvision', 'scipy', 'cv2'} & set(sys.modules);"
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    process = python(code, str(folder), "--model", str(tiny[2]))
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1])["scored"] == 2


def test_without_torch_a_checkpoint_says_what_to_install(folder: Path, tmp_path: Path):
    (tmp_path / "m.safetensors").touch()
    code = (
        "import sys, importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a);"
        "from mobileiqa.score import main; sys.exit(main(sys.argv[1:]))"
    )
    process = python(code, str(folder), "--model", str(tmp_path / "m.safetensors"))
    assert (process.returncode, process.stdout) == (2, "")
    assert "pip install torch torchvision timm safetensors " in process.stderr


def test_without_a_model_the_packaged_file_runs_and_needs_no_torch(photos: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'timm', 'safetensors', 'scipy', 'cv2')));"
        "from mobileiqa.score import main; sys.exit(main(sys.argv[1:]))"
    )
    process = python(code, str(photos / "photo0.png"))
    assert process.returncode == 0, process.stderr
    last = json.loads(process.stdout.splitlines()[-1])
    assert (last["runtime"], last["scored"], last["note"]) == ("litert", 1, "")


def test_help_answers_within_a_second():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "mobileiqa.score", "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
            env={**os.environ, "COLUMNS": "100"},
        )
        times.append(time.perf_counter() - start)
    assert "example:" in process.stdout
    assert min(times) < 1


@pytest.mark.slow
def test_a_model_by_name_runs_in_torch(folder: Path, capsys):
    assert score.main([str(folder), "--model", "lar-iqa-single", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["runtime"], result["scored"], result["note"]) == ("torch", 2, UNTRAINED)


def test_a_reference_goes_with_a_model_that_takes_one(photos: Path, tmp_path: Path, tiny, monkeypatch):
    """A small network stands for the 84 million parameters of fr-nr-transformer."""
    import torch

    from mobileiqa.spec import InputSpec, ModelSpec

    class Difference(torch.nn.Module):
        def forward(self, image: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
            return (image if reference is None else image - reference).mean((1, 2, 3))

    spec = ModelSpec("pair", (InputSpec("image", 32, 32, fixed_size=True),), takes_reference=True)
    monkeypatch.setattr(ModelSource, "load", lambda source: (Difference(), spec))
    image = photos / "photo0.png"
    alone, same = (score.load_scorer("lar-iqa-lite", reference=each) for each in (None, image))
    assert [row.score for row in score.score_images([image], same)] == [0.0]
    assert same.note == f"{UNTRAINED}; compared with {image}" and alone.note == UNTRAINED
    assert next(iter(score.score_images([image], alone))).score != 0.0
    (other,) = score.score_images([photos / "photo2.png"], same)
    assert other.score is None and "64x64" in other.error
    monkeypatch.setattr(ModelSource, "load", lambda source: (Difference(), tiny[1]))
    for model, reference, message in (
        ("lar-iqa-lite", image, "a model that takes a reference image"),
        ("lar-iqa-lite", tmp_path / "none.png", "nothing at"),
        (str(tiny[2]), image, "with --reference"),
    ):
        with pytest.raises(UserError, match=message):
            score.load_scorer(model, reference=reference)
