"""The last resort of static INT8: weights and biases learned in 8 bits, from the FP32 file and without labels.

The INT8 file is run in PyTorch as it computes (torch_executor.py), on calibration images, some of them
mirrored or blurred. Its weights and biases follow the gradient of how far it is from FP32 on the same input: in the
score, and in the maps and means on the way (self-distillation). What is learned are the codes themselves, in units
of a step, so that one learning rate serves channels of any scale; they go into the same file as they are, without
another quantization. Ranges of activations stay as they were calibrated.

A quarter of the images only judges: the best of several states counts, the first of which is the file as it came,
and only one that is no worse on images as they are. Blurred ones have the largest errors; without that condition
they bought theirs with all others' (benchmarks/INT8_STUDIES.md).
Seeded, and on one thread: the same call gives the same bytes on the same machine. Left out: learning the ranges, and
labels.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convert.embedded_metadata import FineTuned
from convert.flatbuffer import model as fb
from convert.int8.fine_tuning.teacher import Lesson, Load, Teacher, View, judging, lessons, shuffled, taught
from convert.int8.fine_tuning.torch_executor import Program, compile_graph, run
from convert.int8.fine_tuning.trainable_weights import Learned, learnable
from convert.int8.weights import replace
from mobileiqa import cli
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 4  # images whose gradients make one step
RATE = 0.01  # of a weight's own step, at the start of the cosine
MAPS = 0.1  # what the maps' error counts beside the score's
CHECKS = 8
HELD_BACK = 4  # every fourth image judges
FEWEST = 8  # images

State = list["Tensor"]


@dataclass(frozen=True)
class Task:
    """The INT8 file in PyTorch, what is learned of it, and who teaches."""

    program: Program
    learned: Sequence[Learned]
    teacher: Teacher
    load: Load


def fine_tune(fp32: Path, path: Path, load: Load, count: int, steps: int) -> FineTuned:
    """Changes the INT8 file at `path`, made of the FP32 file, in place: `steps` steps of BATCH images.

    load: the number of a calibration image, 0 to count - 1 -> its prepared inputs. Raises UserError for fewer than
    FEWEST images and scores that are not finite or do not vary, ValueError for an operator that torch_graph has not.
    """
    if count < FEWEST:
        raise UserError(f"at least {FEWEST} images to fine-tune on", str(count), "select a larger set")
    held_back = list(range(0, count, HELD_BACK))
    teaching = [i for i in range(count) if i not in held_back]
    model = fb.read(path)
    with _one_thread():
        program = compile_graph(model)
        teacher = taught(fp32, model, program, (load(i) for i in teaching))
        task = Task(program, learnable(model), teacher, load)
        best, before, after = _descend(task, teaching, judging(held_back), steps)
    if after < before:
        for part, state in zip(task.learned, best, strict=True):
            replace(model, part.index, part.stored(state).numpy())
        fb.drop_unused_buffers(model)
        fb.write(model, path)
    return FineTuned(steps, len(teaching), len(held_back), before, after)


def _descend(
    task: Task, teaching: Sequence[int], held_back: Sequence[View], steps: int
) -> tuple[State, float, float]:
    """Adam from the file as it is: the best state on the held-back images, and the error before and with it."""
    import torch

    state = [part.start.clone().requires_grad_() for part in task.learned]
    # Gradients of single codes are tiny; with the usual 1e-8 most of them would hardly move.
    adam = torch.optim.Adam(state, lr=RATE, betas=(0.9, 0.99), eps=1e-20)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    best, (plain, first) = _copied(state), _judged(task, state, held_back)
    least, every = first, -(-steps // CHECKS)
    course = lessons(task.teacher, task.load, shuffled(teaching, steps * BATCH))
    for step in cli.progress(range(1, steps + 1), "fine-tuning", steps):
        _gradients(task, state, itertools.islice(course, BATCH))
        adam.step()
        adam.zero_grad()
        cosine.step()
        if step % every == 0 or step == steps:
            as_they_are, error = _judged(task, state, held_back)
            if error < least and as_they_are <= plain:
                best, least = _copied(state), error
    return best, first, least


def _copied(state: State) -> State:
    return [tensor.detach().clone() for tensor in state]


def _gradients(task: Task, state: State, batch: Iterable[Lesson]) -> None:
    """Adds up the batch's, image by image: one graph in memory at a time, weights rounded once."""
    import torch

    rounded = [part.value(tensor) for part, tensor in zip(task.learned, state, strict=True)]
    leaves = [value.detach().requires_grad_() for value in rounded]
    constants = {part.index: leaf for part, leaf in zip(task.learned, leaves, strict=True)}
    for lesson in batch:
        of_score, of_maps = _errors(task, constants, lesson)
        ((of_score + MAPS * of_maps) / BATCH).backward()
    used = [(value, leaf.grad) for value, leaf in zip(rounded, leaves, strict=True) if leaf.grad is not None]
    torch.autograd.backward(*map(list, zip(*used, strict=True)))


def _judged(task: Task, state: State, held_back: Sequence[View]) -> tuple[float, float]:
    """The score's root mean square error, of FP32's spread: over the views of images as they are, and over all."""
    import torch

    with torch.no_grad():
        constants = {p.index: p.value(tensor) for p, tensor in zip(task.learned, state, strict=True)}
        squares = np.array([
            float(_errors(task, constants, lesson)[0])
            for lesson in lessons(task.teacher, task.load, held_back)
        ])  # fmt: skip
    plain = np.array([view.blur_px == 0 for view in held_back])
    return math.sqrt(squares[plain].mean()), math.sqrt(squares.mean())


def _errors(task: Task, constants: "Mapping[int, Tensor]", lesson: Lesson) -> "tuple[Tensor, Tensor]":
    """Mean squares: the score's error in units of FP32's spread; the followed tensors', in units of each channel's."""
    import torch

    inputs, expected = lesson
    teacher = task.teacher
    tensors = run(task.program, inputs, constants, [f.int8 for f in teacher.followed])
    score, *maps = map(torch.from_numpy, expected)
    of_score = ((tensors[task.program.output] - score) / teacher.spread).square().mean()
    of_maps = [
        ((tensors[f.int8] - x).square() / torch.from_numpy(f.variance)).mean()
        for f, x in zip(teacher.followed, maps, strict=True)
    ]
    return of_score, torch.stack(of_maps).mean() if of_maps else torch.zeros(())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine has."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
