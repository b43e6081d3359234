"""Where a photo loses quality: mobileiqa explain PHOTO --out picture.png [--model MODEL].

The photo is cut into a grid of cells, and the part around each cell, two cells long and wide, is scored as a photo of
its own: by the same model and preprocessing, so that a cell's number is a score and its reasons are reasons. The
picture shows the photo, redder where parts score lower than the best part, and the outline of the worst one. It asks
nothing of the model's insides, so every model that scores has a map. Left out: what only the whole shows (framing,
exposure between parts); and a part without detail, a clear sky, can score low for blur.

Of a MobileIQA model (in PyTorch) the picture shows instead what each of its three opinions attends to, as Fig. 5 of the
paper (arXiv 2409.01212): the length of an opinion's 256 values at each position, redder where it is long. The JSON has
the cosine similarity of every two opinions (Fig. 4): near 1, they say the same.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.loaded_model import LoadedModel, load_scorer, score_image
from mobileiqa.photos.loading import read_image
from mobileiqa.preprocess import fit_pixels
from mobileiqa.scoring import litert
from mobileiqa.spec import Fit
from mobileiqa.text import PLOT_METADATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobileiqa.scoring.rows import Row

LONG_SIDE = 8  # cells along the photo's longer side
SMALLEST_PX = 64  # of a part's side: below, a model sees more padding or enlargement than photo
SHOWN_PX = 1600  # the picture's longer side
RED = np.array([255, 0, 0])
STRONGEST = 0.75  # of red, over a part that scores the range's worst


@dataclass(frozen=True)
class Part:
    """A part of the photo in its pixels, and what the model says of it alone."""

    left: int
    top: int
    width: int
    height: int
    score: float
    reasons: dict[str, float] = field(default_factory=dict)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """As Pillow's crop has it."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def grid_of(width: int, height: int) -> tuple[int, int]:
    """(columns, rows): cells about square, LONG_SIDE along the longer side, fewer where parts would be too small."""
    cell = max(max(width, height) / LONG_SIDE, SMALLEST_PX / 2)
    return max(1, round(width / cell)), max(1, round(height / cell))


def part_boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """(left, top, width, height) of the part around each cell, row by row, inside the photo."""
    columns, rows = grid_of(width, height)
    across, down = (min(side, -(-2 * side // n)) for side, n in ((width, columns), (height, rows)))
    lefts, tops = _starts(width, across, columns), _starts(height, down, rows)
    return [(left, top, across, down) for top in tops for left in lefts]


def _starts(length: int, window: int, count: int) -> list[int]:
    """Where windows centred on `count` cells begin, kept inside."""
    centres = ((2 * i + 1) * length // (2 * count) for i in range(count))
    return [min(max(centre - window // 2, 0), length - window) for centre in centres]


def explain(photo: Image.Image, scorer: LoadedModel) -> list[Part]:
    """The parts of an upright RGB photo, row by row. Raises UserError where a part has no score."""
    parts = []
    for left, top, width, height in cli.progress(part_boxes(*photo.size), "scoring parts"):
        row = score_image("a part", photo.crop((left, top, left + width, top + height)), scorer)
        if row.score is None:
            raise UserError("a score of every part of the photo", row.error, "take another model")
        parts.append(Part(left, top, width, height, row.score, dict(row.reasons)))
    return parts


def draw(photo: Image.Image, parts: Sequence[Part], scorer: LoadedModel) -> Image.Image:
    """The photo under the map of its parts, at most SHOWN_PX long, the worst part outlined and named."""
    columns, rows = grid_of(*photo.size)
    shown = photo.copy()
    shown.thumbnail((SHOWN_PX, SHOWN_PX))
    lost = np.array([_lost(part, scorer) for part in parts], np.float32).reshape(rows, columns)
    picture = _reddened(shown, lost)
    worst, scale = parts[int(lost.argmax())], shown.width / photo.width
    pen = ImageDraw.Draw(picture)
    corners = [round(scale * each) for each in worst.box]
    pen.rectangle(corners, outline="white", width=max(2, shown.width // 400))
    words = {"fill": "white", "stroke_fill": "black", "stroke_width": 2}
    pen.text(
        (corners[0] + 8, corners[1] + 8), described(worst), font_size=max(10, shown.width // 45), **words
    )
    return picture


def opinions_of(photo: Image.Image, scorer: LoadedModel, module: Any) -> "NDArray[np.float32]":
    """The opinions (3, 256, grid, grid) of a MobileIQA module on a photo, of its first crop."""
    import torch

    with torch.inference_mode():
        inputs = [torch.from_numpy(array) for array in scorer.prepare(photo).values()]
        return module.forward_features(*inputs).opinions[:, 0].numpy()


def cosine_similarities(opinions: "NDArray[np.float32]") -> list[list[float]]:
    """(opinions, opinions), -1..1, of all values of two opinions."""
    flat = opinions.reshape(len(opinions), -1).astype(np.float64)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return (flat @ flat.T).clip(-1, 1).tolist()


def draw_opinions(photo: Image.Image, opinions: "NDArray[np.float32]", scorer: LoadedModel) -> Image.Image:
    """What the model reads of the photo, and beside it the same under each opinion's lengths, 0..1 of their range."""
    only = scorer.spec.inputs[0]
    shown = photo.copy() if only.fit is Fit.RESIZE else fit_pixels(photo, only)[0]
    shown.thumbnail((SHOWN_PX // 2, SHOWN_PX // 2))
    panels = [shown]
    for lengths in np.linalg.norm(opinions, axis=1):
        span = np.ptp(lengths) or 1.0
        panels.append(_reddened(shown, (lengths - lengths.min()) / span))
    picture = Image.new("RGB", (len(panels) * shown.width, shown.height))
    for place, panel in enumerate(panels):
        picture.paste(panel, (place * shown.width, 0))
    return picture


def _reddened(shown: Image.Image, amounts: "NDArray[np.float32]") -> Image.Image:
    """The picture, redder where `amounts` (rows, columns), 0..1, are larger."""
    smooth = Image.fromarray(amounts.astype(np.float32)).resize(shown.size, Image.Resampling.BICUBIC)
    share = STRONGEST * np.clip(np.asarray(smooth), 0, 1)[:, :, None]
    return Image.fromarray(np.rint(np.asarray(shown) * (1 - share) + RED * share).astype(np.uint8))


def _lost(part: Part, scorer: LoadedModel) -> float:
    """0 for the best score of the model's range, 1 for the worst."""
    low, high = scorer.spec.score_range
    share = (part.score - low) / (high - low)
    return 1 - share if scorer.spec.higher_is_better else share


def described(part: "Part | Row") -> str:
    """Such as "0.31 blur (0.86)"."""
    reason = next((f" {name} ({value:.2f})" for name, value in part.reasons.items()), "")
    return f"{part.score:.2f}{reason}"


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(__doc__ or "", "python -m mobileiqa.explain photo.jpg --out where.png")
    parser.add_argument("photo", type=cli.input_path, metavar="PHOTO", help="an image file")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture, ending in .png")
    parser.add_argument("--model", metavar="MODEL", help="as of score; default: the packaged file")
    parser.add_argument("--force", action="store_true", help="replace --out's file")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default 1)")
    cli.add_weights(parser)
    return cli.command(parser, _run, argv)


def _run(args: argparse.Namespace) -> int:
    litert.check_threads(args.threads)
    if args.out.suffix.lower() != ".png":
        raise UserError("an output ending in .png", str(args.out), "correct --out")
    cli.refuse_existing(args.out, args.force)
    scorer = load_scorer(args.model, args.threads, args.weights)
    scorer.require_parts()
    photo = read_image(args.photo, scorer.spec.color_management)
    whole = score_image(str(args.photo), photo, scorer)
    if scorer.module is not None and hasattr(scorer.module, "mal"):
        opinions = opinions_of(photo, scorer, scorer.module)
        _save(args.out, draw_opinions(photo, opinions, scorer))
        similarities = cosine_similarities(opinions)
        cli.say(f"cosine similarity of opinions 1-2, 1-3, 2-3: {_upper(similarities)}; drawn in {args.out}")
        cli.emit(
            {
                "out": str(args.out),
                "score": whole.score,
                "note": scorer.note,
                "cosine_similarity": similarities,
            }
        )
        return 0
    parts = explain(photo, scorer)
    _save(args.out, draw(photo, parts, scorer))
    cli.emit(_report(args.out, whole, parts, scorer))
    return 0


def _upper(similarities: list[list[float]]) -> str:
    pairs = [(i, j) for i in range(len(similarities)) for j in range(i + 1, len(similarities))]
    return ", ".join(f"{similarities[i][j]:.2f}" for i, j in pairs)


def _save(out: Path, picture: Image.Image) -> None:
    mark = PngImagePlugin.PngInfo()  # a search for images leaves the picture out
    for name, value in PLOT_METADATA.items():
        mark.add_text(name, value)
    with cli.atomic(out) as temporary:
        picture.save(temporary, "png", pnginfo=mark)


def _report(out: Path, whole: "Row", parts: Sequence[Part], scorer: LoadedModel) -> dict[str, Any]:
    worst = max(parts, key=lambda part: _lost(part, scorer))
    best = min(parts, key=lambda part: _lost(part, scorer))
    if whole.score is not None:
        cli.say(f"the whole photo: {described(whole)}")
    cli.say(
        f"its worst part, {worst.width}x{worst.height} at ({worst.left}, {worst.top}): {described(worst)}"
    )
    cli.say(f"its best part, at ({best.left}, {best.top}): {described(best)}; {len(parts)} parts in {out}")
    return {"out": str(out), "score": whole.score, "note": scorer.note, "worst": asdict(worst),
            "parts": [asdict(part) for part in parts]}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
