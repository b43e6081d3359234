"""What a run leaves for people: two CSV files, TensorBoard events and a picture of the learning curve."""

import csv
from pathlib import Path
from typing import Any

from mobileiqa import cli
from mobileiqa.training.state import Rows, State

TRAINING, VALIDATION, CURVE = "training.csv", "validation.csv", "learning_curve.png"


def write(folder: Path, state: State) -> None:
    """Writes the CSV files and the picture from the state, so that a resumed run repeats no row."""
    for name, rows in ((TRAINING, state.training), (VALIDATION, state.validation)):
        if rows:
            _csv(folder / name, rows)
    if state.validation:
        _curve(folder / CURVE, state)


def _csv(path: Path, rows: Rows) -> None:
    with cli.atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _curve(path: Path, state: State) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([r["epoch"] for r in state.training], [r["loss"] for r in state.training], lw=1)
    left.set(xlabel="epoch", ylabel="training loss")
    epochs = [r["epoch"] for r in state.validation]
    for name in ("srcc", "plcc"):
        right.plot(epochs, [r[name] for r in state.validation], marker="o", ms=3, label=name.upper())
    right.set(xlabel="epoch", ylabel="validation", ylim=(None, 1))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    with cli.atomic(path) as temporary:
        cli.save_plot(figure, temporary, dpi=120)


class Events:
    """TensorBoard events; rows after a resumed step replace those written before the interruption."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)

    def add(self, kind: str, row: dict[str, float]) -> None:
        """One row; its "step" is the horizontal axis."""
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self.writer.add_scalar(f"{kind}/{name}", value, int(row["step"]))

    def close(self) -> None:
        """Flushes."""
        self.writer.close()
