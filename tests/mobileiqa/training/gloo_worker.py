"""Run by test_distributed.py, alone and under torchrun: trains a tiny float64 network, writes losses and weights."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mobileiqa.datasets.core import Sample
from mobileiqa.training import distributed as groups
from mobileiqa.training.data_loader import Feed, batches, labels_of
from mobileiqa.training.loop import Run, Settings
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.recipe import recipe
from mobileiqa.zoo import MODELS


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, 2, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.norm(self.conv(image.double()))).mean((2, 3))).squeeze(1).exp()


def main(out: Path, joint_norms: bool) -> None:
    joined = groups.join(torch.device("cpu"))
    samples = [Sample(Path(f"{i}.png"), i / 24, i, "train", f"r{i % 6}", 1, 1) for i in range(24)]
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 20, 3), np.uint8)
    selection = dataclasses.replace(
        recipe("reference"), objective="supervised", batch=12, group=1, epochs=4, crop_px=16, lr=0.01, ema=0.5,
        losses=(("mse", 1.0), ("plcc", 1.0), ("rank", 1.0), ("norm-in-norm", 1.0), ("monotonicity", 1.0)),
    )  # fmt: skip
    torch.manual_seed(0)
    network = Network().double()
    if joint_norms:
        groups.with_joint_norms(network, joined)
    spec = MODELS["lar-iqa-single"].spec
    feed = Feed(lambda i: pixels[i], labels_of(samples), spec, selection)
    run = Run(
        build_task(Setup(selection, network, spec)), selection, Settings(out, torch.device("cpu")), joined
    )
    losses = [run.step(step, micro, feed) for step, micro in batches(feed, 0, 8, joined, 0)]
    if joined.first:
        torch.save({"losses": losses, "weights": dict(run.module.state_dict())}, out / "result.pt")
    groups.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), joint_norms=sys.argv[2] == "joint")
