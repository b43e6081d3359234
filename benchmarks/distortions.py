"""How fast the synthetic distortions are on one core: `python benchmarks/distortions.py [IMAGE]`.

Prints CPU milliseconds per image for each distortion (the mean over its five levels, each the best of
--repeat), and the rate over all 125. Without IMAGE: a generated picture of 512x512, with waves, edges and grain.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mobileiqa.distortions.apply import distort
from mobileiqa.distortions.kadid10k import DISTORTIONS, LEVELS
from mobileiqa.distortions.pixels import Pixels

SIZE_PX = 512


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", nargs="?", type=Path, help="a photo; its middle 512x512 pixels are taken")
    parser.add_argument("--repeat", type=int, default=3, help="runs per level (default 3)")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    rgb = generated() if args.image is None else middle(args.image)
    ms = {number: mean_ms(rgb, number, args.repeat) for number in DISTORTIONS}
    for number, value in ms.items():
        print(f"{number:2d} {DISTORTIONS[number].name:24s} {value:7.1f} ms")
    mean = float(np.mean(list(ms.values())))
    print(f"   {'all':24s} {mean:7.1f} ms, {1000 / mean:.1f} images/s on one core")
    result = {"size": rgb.shape[:2], "mean_ms": round(mean, 2), "images_per_s": round(1000 / mean, 1)}
    print(json.dumps(result | {"ms": {n: round(v, 2) for n, v in ms.items()}}, separators=(",", ":")))
    return 0


def mean_ms(rgb: Pixels, number: int, repeat: int) -> float:
    """Over the levels: the best of `repeat` runs, in ms."""
    return float(np.mean([min(once_ms(rgb, number, level) for _ in range(repeat)) for level in LEVELS]))


def once_ms(rgb: Pixels, number: int, level: int) -> float:
    """One run, in ms of CPU time: what else runs on the core does not count."""
    start = time.process_time()
    distort(rgb, number, level)
    return 1000 * (time.process_time() - start)


def generated() -> Pixels:
    """A picture that no codec finds easy."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] / SIZE_PX
    waves = [np.sin(2 * np.pi * (f * x + g * y) + p) for f, g, p in rng.uniform(0.5, 8, (3, 3))]
    edges = 60.0 * ((x * 17 + y * 11) % 1 > 0.5)
    pixels = 110 + 80 * np.stack(waves, -1) + edges[..., None] + rng.normal(0, 8, (SIZE_PX, SIZE_PX, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def middle(path: Path) -> Pixels:
    """The middle 512x512 pixels of a photo, or all where it is smaller."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    top, left = (max(0, (n - SIZE_PX) // 2) for n in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + SIZE_PX, left : left + SIZE_PX])


if __name__ == "__main__":
    sys.exit(main())
