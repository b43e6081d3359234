"""The pictures of README, from real outputs: python -m tools.docs_pictures [score] [bands] [latency] [report].

    score.jpg     one photo and three of KADID-10k's distortions of it, scored by `mobileiqa score`
    bands.jpg     a distorted copy of the photo for every band of scores
    latency.svg   benchmarks/baselines.json, one size, as bars
    report.png    a page of `mobileiqa check --html`, as a browser shows it (chromium-headless-shell)

The photo is the U.S. Navy's portrait of Grace Hopper, in the public domain, which ships with matplotlib.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    from mobileiqa.distortions.pixels import Pixels

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "images"
TILES = {"as it is": None, "JPEG": (10, 4), "noise": (11, 5), "motion blur": (3, 4)}  # number, level
BANDS = ((0.0, 0.3, "under 0.3"), (0.3, 0.5, "0.3 to 0.5"), (0.5, 0.7, "0.5 to 0.7"), (0.7, 1.0, "over 0.7"))
TILE_PX, CAPTION_PX = 280, 64
SIZE = "1907x1231"
ROUTES = {
    "ours-fp16": "ours, FP16 weights",
    "executorch": "ExecuTorch XNNPACK",
    "onnx2tf": "onnx2tf",
    "litert-torch": "litert-torch",
}
BROWSER = "chromium-headless-shell"


def main(argv: Sequence[str] | None = None) -> int:
    """Draws the pictures that are named; all without a name."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs_pictures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PICTURES)} (all)")
    names = parser.parse_args(argv).names or list(PICTURES)
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names:
        PICTURES[name]()
    return 0


def photo() -> "Pixels":
    """uint8 (600, 512, 3)."""
    import numpy as np
    from matplotlib import cbook
    from PIL import Image

    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def save_distorted(folder: Path, kinds: Iterable[tuple[str, tuple[int, int] | None]]) -> None:
    """NAME.png in `folder`: the photo, distorted by each (number, level)."""
    from PIL import Image

    from mobileiqa.distortions.kadid10k import distort

    pixels = photo()
    for name, kind in kinds:
        Image.fromarray(distort(pixels, *kind) if kind else pixels).save(folder / f"{name}.png")


def command(*words: str | Path) -> str:
    """What `python -m mobileiqa` prints; a broken gate is shown, any other failure ends this program."""
    call = [sys.executable, "-m", "mobileiqa", *map(str, words)]
    process = subprocess.run(call, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode not in (0, 1):
        raise UserError(f"{' '.join(call)} to work", f"exit code {process.returncode}", "see above")
    return process.stdout


def draw_scores() -> None:
    """score.jpg: tiles in a row, each with what `score` says of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_distorted(folder, TILES.items())
        captions = {name: _caption(row) for name, row in scored(folder).items()}
        tiles = [(folder / f"{label}.png", captions[label][0], label, captions[label][1]) for label in TILES]
        sheet(tiles).save(OUT / "score.jpg", quality=88, optimize=True)


def draw_bands() -> None:
    """bands.jpg: in each of BANDS, the copy of the photo whose score is nearest to the middle, and its distortion."""
    from PIL import Image

    from mobileiqa.distortions.kadid10k import DISTORTIONS

    kinds = {
        f"{DISTORTIONS[n].name}, level {level}": (n, level) for n in DISTORTIONS for level in range(1, 6)
    }
    with tempfile.TemporaryDirectory() as name:
        folder, tiles = Path(name), []
        save_distorted(folder, [("as it is", None), *kinds.items()])
        Image.fromarray(photo()).resize((256, 300), Image.Resampling.LANCZOS).save(folder / "half size.png")
        rows = scored(folder)
        for low, high, words in BANDS:
            middle = (low + high) / 2
            label = min(rows, key=lambda name: abs(rows[name]["score"] - middle))
            score, reason = _caption(rows[label])
            if low <= rows[label]["score"] < high:
                tiles.append((folder / f"{label}.png", f"{words}: {score}", label, reason))
        sheet(tiles).save(OUT / "bands.jpg", quality=85, optimize=True)


def scored(folder: Path) -> dict[str, Any]:
    """What `score` says of each picture, by its name."""
    rows = json.loads(command("score", folder, "--format", "json").splitlines()[-1])["results"]
    return {Path(row["image"]).stem: row for row in rows}


def sheet(tiles: "Sequence[tuple[Path, str, str, str]]") -> "Image.Image":
    """Faces in a row, of (file, large words, small words, reason)."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    font = font_manager.findfont("DejaVu Sans")
    big, small = ImageFont.truetype(font, 30), ImageFont.truetype(font, 17)
    height = TILE_PX + CAPTION_PX + (24 if any(reason for *_, reason in tiles) else 0)
    image = Image.new("RGB", (len(tiles) * (TILE_PX + 8) - 8, height), "white")
    draw = ImageDraw.Draw(image)
    for column, (path, *words) in enumerate(tiles):
        left = column * (TILE_PX + 8)
        with Image.open(path) as tile:
            part = [side * tile.width // 512 for side in (90, 20, 452, 382)]
            image.paste(tile.crop(tuple(part)).resize((TILE_PX, TILE_PX)), (left, 0))
        for text, style, color, down in zip(
            words, (big, small, small), ("black", "#555555", "#a03020"), (20, 49, 73), strict=True
        ):
            draw.text((left + TILE_PX / 2, TILE_PX + down), text, color, style, "mm")
    return image


def _caption(row: dict[str, Any]) -> tuple[str, str]:
    """The score, and the likeliest reason where the model gives some."""
    reason, probability = next(iter(row.get("reasons", {}).items()), ("", 0))
    return f"{row['score']:.2f}", f"says: {reason} ({probability:.2f})" if reason else ""


def draw_latency() -> None:
    """latency.svg: seconds as bars, memory and size in words."""
    from statistics import median

    content = json.loads((ROOT / "benchmarks" / "baselines.json").read_text(encoding="utf-8"))
    rows = {row["built"]["route"]: row for row in content["rows"] if row["built"]["case"]["size"] == SIZE}
    bars = []
    for route, label in ROUTES.items():
        launches = rows[route]["launches"]
        seconds = median(run for launch in launches for run in launch["run_ms"]) / 1000
        memory = median(launch["peak_rss_mb"] - launch["rss_after_import_mb"] for launch in launches)
        bars.append((label, seconds, f"{seconds:.2f} s, {memory / 1000:.1f} GB"))
    (OUT / "latency.svg").write_text(bar_chart(bars), encoding="utf-8")


def bar_chart(bars: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars of (label, value, words), the first one marked; colours for a light and a dark page."""
    longest = max(value for _, value, _ in bars)
    parts = []
    for row, (label, value, words) in enumerate(bars):
        top, width = 6 + 34 * row, 380 * value / longest
        parts.append(
            f'<text x="165" y="{top + 17}" text-anchor="end">{label}</text>'
            f'<rect x="175" y="{top}" width="{width:.1f}" height="24" rx="3"'
            f' fill="{"#2f6fde" if row == 0 else "#9aa4b2"}"/>'
            f'<text x="{183 + width:.1f}" y="{top + 17}">{words}</text>'
        )
    height = 34 * len(bars) + 6
    style = "text{font:14px system-ui,sans-serif;fill:#222}@media(prefers-color-scheme:dark){text{fill:#ddd}}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" width="700" height="{height}">'
    )
    return "\n".join([head, f"<style>{style}</style>", *parts, "</svg>", ""])


def draw_report() -> None:
    """report.png: the top of the page about the reference model in FP32, FP16 and INT8, on 51 pictures."""
    if shutil.which(BROWSER) is None:
        raise UserError(f"{BROWSER} on the path", "none", "apt-get install it, or leave `report` out")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos, converted = folder / "photos", folder / "converted"
        photos.mkdir()
        kinds = {f"{number:02}_{level}": (number, level) for number in range(1, 26) for level in (3, 5)}
        save_distorted(photos, [("original", None), *kinds.items()])
        for kind, *options in (["fp32"], ["fp16"], ["int8", "dynamic"]):
            file = converted / f"reference_{kind}.tflite"
            command("convert", f"--{kind}", *options, "--out", file)
        page = folder / "report.html"
        command("check", "reference", converted, "--images", photos, "--html", page)
        shot = folder / "report.png"
        options = (
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            "--window-size=900,945",
        )  # to the scores
        subprocess.run([BROWSER, *options, f"--screenshot={shot}", page.as_uri()], check=True)
        _reduce(shot, OUT / "report.png")


def _reduce(shot: Path, path: Path) -> None:
    """The same picture in 128 colours, which text and plots have no more of."""
    from PIL import Image

    with Image.open(shot) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


PICTURES = {"score": draw_scores, "bands": draw_bands, "latency": draw_latency, "report": draw_report}


if __name__ == "__main__":
    sys.exit(main())
