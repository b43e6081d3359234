"""Fine-tuning in 8 bits: a file that failed a gate passes it, and what is learned is what is written."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from convert import post_processing
from convert.comparison.compare import TOLERANCES, Edge, ParityReport, compare
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import read_graph
from convert.int8.fine_tuning import train as tuning
from convert.int8.fine_tuning.teacher import BLURS, View, judging, lessons, shuffled, taught
from convert.int8.fine_tuning.torch_executor import compile_graph, run
from convert.int8.fine_tuning.train import fine_tune
from convert.int8.fine_tuning.trainable_weights import learnable
from convert.int8.quantize import quantize
from convert.int8.recipe import Recipe
from convert.int8.weights import values, weighted
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS
from tests.convert.int8.networks import bending, pictures, uneven

BADLY = Recipe(float_first=0, weights_per="tensor", equalize=False)  # on channels of very different range
PLAINLY = Recipe(float_first=0, equalize=False, rounding="nearest", bias_correction=False)


@pytest.fixture
def pair(flatbuffer, save, tmp_path) -> tuple[Path, Path]:
    """An FP32 file whose channels differ, and an INT8 file of it with one scale for all of them."""
    fp32, int8 = save(uneven(flatbuffer)), tmp_path / "int8.tflite"
    quantize(fp32, BADLY, pictures(32), int8)
    return fp32, int8


@pytest.mark.slow
def test_a_file_that_failed_the_gate_of_ranking_passes_it(flatbuffer, save, score, tmp_path) -> None:
    """On images that did not calibrate: SRCC with FP32 of at least 0.99."""
    fp32, images = save(uneven(flatbuffer)), pictures(64)
    found = []
    for steps in (0, 100):
        path = tmp_path / f"{steps}.tflite"
        quantize(fp32, replace(PLAINLY, fine_tune=steps), images, path)
        found.append(judged(score, fp32, path))
    before, after = found
    assert before.srcc < TOLERANCES["int8"].min_srcc <= after.srcc
    assert after.mean_abs < 0.75 * before.mean_abs


def judged(score, fp32: Path, int8: Path) -> ParityReport:
    images = pictures(60, seed=1)
    expected, found = score(fp32, images), score(int8, images)
    names = [str(i) for i in range(len(images))]
    return compare(Edge("int8", "FP32", "INT8", "litert"), expected[:, None], found[:, None], names)


def test_the_file_computes_what_was_learned(pair, score) -> None:
    """The error that fine_tune reports of its best state is the written file's own, in LiteRT."""
    fp32, int8 = pair
    images = pictures(32)
    done = fine_tune(fp32, int8, images.__getitem__, len(images), 10)
    assert (done.steps, done.images, done.held_back) == (10, 24, 8) and done.after < done.before
    model = fb.read(int8)
    teaching = [image for number, image in enumerate(images) if number % 4]
    teacher = taught(fp32, model, compile_graph(model), teaching)
    assert teacher.spread == pytest.approx(score(fp32, teaching).std(), rel=1e-5)
    views = list(lessons(teacher, images.__getitem__, judging(range(0, 32, 4))))
    found = score(int8, [inputs for inputs, _ in views])
    expected = np.array([known[0].item() for _, known in views])
    assert np.sqrt(np.mean((found - expected) ** 2)) / teacher.spread == pytest.approx(done.after, rel=0.02)


def test_the_same_call_gives_the_same_bytes(pair, tmp_path) -> None:
    fp32, int8 = pair
    other = tmp_path / "other.tflite"
    other.write_bytes(int8.read_bytes())
    images = pictures(8)
    done = [fine_tune(fp32, path, images.__getitem__, 8, 3) for path in (int8, other)]
    assert done[0] == done[1] and int8.read_bytes() == other.read_bytes()


def test_a_file_that_gains_nothing_stays_as_it_was(pair, monkeypatch) -> None:
    fp32, int8 = pair
    content, images = int8.read_bytes(), pictures(8)
    monkeypatch.setattr(tuning, "RATE", 100.0)  # every step leads astray
    done = fine_tune(fp32, int8, images.__getitem__, 8, 3)
    assert done.after == done.before and int8.read_bytes() == content
    assert "nothing gained" in str(done)


@pytest.mark.parametrize("recipe", [BADLY, Recipe(float_first=1)], ids=str)
def test_every_weight_and_bias_is_learned_and_starts_as_it_is(recipe, flatbuffer, save, tmp_path) -> None:
    path = tmp_path / "int8.tflite"
    quantize(save(bending(flatbuffer)), recipe, pictures(8), path)
    model = fb.read(path)
    program, learned = compile_graph(model), learnable(model)
    assert len(learned) == 2 * len(weighted(model)) == 14
    (inputs,) = pictures(1)
    for part in learned:
        stored, same = values(model, part.index), 1e-6 if part.grid is None and part.steps is None else 0
        assert part.stored(part.start).numpy() == pytest.approx(stored, rel=same, abs=0), part.index
    constants = {part.index: part.value(part.start.requires_grad_()) for part in learned}
    (plain,), (found,) = run(program, inputs).values(), run(program, inputs, constants).values()
    assert float(found) == pytest.approx(float(plain), rel=1e-5)
    found.sum().backward()
    assert all(np.isfinite(part.start.grad.numpy()).all() for part in learned if part.start.grad is not None)
    assert sum(part.start.grad is not None for part in learned) == 14


def test_every_image_comes_before_any_comes_again_in_other_views() -> None:
    views = list(shuffled([3, 5, 7], 60))
    assert all(sorted(v.image for v in views[i : i + 3]) == [3, 5, 7] for i in range(0, 60, 3))
    assert views == list(shuffled([3, 5, 7], 60))
    assert {v.mirrored for v in views} == {False, True}
    blurs = sorted(v.blur_px for v in views if v.blur_px)
    assert 20 < len(blurs) < 40 and BLURS[0] <= blurs[0] < 1 < 4 < blurs[-1] <= BLURS[1]


def test_a_view_is_the_image_mirrored_and_blurred_and_the_teacher_sees_it_too(pair, score) -> None:
    fp32, int8 = pair
    model, (image, *_) = fb.read(int8), pictures(3)
    teacher = taught(fp32, model, compile_graph(model), pictures(3))
    views = [View(0), View(0, True), View(0, blur_px=2.0)]
    (plain, _), (mirrored, known), (blurred, _) = lessons(teacher, lambda number: image, views)
    assert np.array_equal(plain["in0"], image["in0"])
    assert np.array_equal(mirrored["in0"], image["in0"][:, :, ::-1])
    assert known[0].item() == pytest.approx(score(fp32, [mirrored])[0], rel=1e-5)
    assert blurred["in0"].std((1, 2)).max() < 0.4 * image["in0"].std((1, 2)).min()
    assert blurred["in0"].mean((1, 2)) == pytest.approx(image["in0"].mean((1, 2)), abs=0.05)


def test_what_cannot_teach_is_refused(pair) -> None:
    fp32, int8 = pair
    content, images = int8.read_bytes(), pictures(8)
    with pytest.raises(UserError, match="at least 8 images"):
        fine_tune(fp32, int8, images.__getitem__, 7, 3)
    with pytest.raises(UserError, match="scores that vary"):
        fine_tune(fp32, int8, lambda number: images[0], 8, 3)
    assert int8.read_bytes() == content


def test_the_file_says_that_it_was_fine_tuned(flatbuffer, save) -> None:
    """By the step of convert.tflite that quantizes and labels; without it, nothing is said."""
    path = save(uneven(flatbuffer))
    content, said = path.read_bytes(), []
    for steps in (2, 0):
        path.write_bytes(content)
        images = SimpleNamespace(prepared=lambda: pictures(8))
        done = post_processing.quantize(
            path, SimpleNamespace(spec=MODELS["lar-iqa-single"].spec, checkpoint_sha256=None),
            SimpleNamespace(recipe=Recipe(float_first=0, fine_tune=steps), calibration=images),
        )  # fmt: skip
        said.append(read_graph(path).description)
        assert said[-1].get("fine_tuned") == (done.tuned.to_json() if steps else None)
    assert said[0]["fine_tuned"]["steps"] == 2 and "fine_tuned" not in said[1]


def test_a_recipe_fine_tunes(flatbuffer, save, tmp_path) -> None:
    fp32, path = save(uneven(flatbuffer)), tmp_path / "int8.tflite"
    done = quantize(fp32, Recipe(float_first=0, fine_tune=2), pictures(8), path)
    assert done.tuned is not None and (done.tuned.steps, done.tuned.images) == (2, 6)
    assert quantize(fp32, Recipe(float_first=0), pictures(8), path).tuned is None
