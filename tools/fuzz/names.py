"""File names: control characters, bytes that are no UTF-8, markup, options, signs of shells and spreadsheets."""

import random
from pathlib import Path

from tools.fuzz.case import INPUT, OUTPUT, SEEDS, Case, Step

PIECES = (
    "a", "é", "日本", "\u202egnp", "\x1b[31m", "\x1b]0;t\x07", "\n", "\r", "\t", "\b", " ", "  ", "\udc80",
    "\udcff\udcfe", "$x$", "$(id)", "`id`", ";", "|", "&", "<b>", "&amp;", '"', "'", "\\", "\\u000a", "%s", "%n",
    "{0}", "*", "?", "[a]", "~", "#", "=1+1", "@x", "+1", "-", "--force", "\u2028", "\ufeff", "a" * 120, "é" * 60,
    ".", "..a", ":", "😀",
)  # fmt: skip
PICTURES = ("png_RGB.png", "jpeg_RGB.jpg", "tiff_RGB.tif", "bmp_RGB.bmp")


class Names:
    """Cases of sound files under names that nobody expects."""

    kind = "names"

    def __init__(self, corpus: Path) -> None:
        self.pictures = [(name, (corpus / "pictures" / name).read_bytes()) for name in PICTURES]
        self.model = (corpus / "models" / "tiny_camera.tflite").read_bytes()
        self.bench = (corpus / "json" / "by_hand.json").read_bytes()

    def case(self, rng: random.Random) -> Case:
        """One command with a file, a folder or an output of such a name."""
        way = rng.choice((self._picture, self._folder, self._model, self._bench, self._output))
        return way(_name(rng), rng)

    def _case(self, name: str, files: dict[str, bytes], *steps: Step) -> Case:
        return Case(self.kind, next(iter(files)), repr(name), files, next(iter(files)), steps)

    def _picture(self, name: str, rng: random.Random) -> Case:
        original, content = rng.choice(self.pictures)
        file = name + rng.choice((Path(original).suffix, Path(original).suffix.upper(), ".x", ""))
        model = ("--model", f"{SEEDS}/models/tiny.tflite")
        forms = [
            Step("mobileiqa.score", (f"{INPUT}/{file}", *model, "--format", form))
            for form in ("table", "csv", "json")
        ]
        return self._case(name, {file: content}, *forms)

    def _folder(self, name: str, rng: random.Random) -> Case:
        original, content = rng.choice(self.pictures)
        out = ("--out", f"{OUTPUT}/scores.{rng.choice(('csv', 'json'))}")
        whole = content if rng.random() < 0.5 else content[:60]
        step = Step("mobileiqa.score", (f"{INPUT}/{name}", "--model", f"{SEEDS}/models/tiny.tflite", *out))
        audit = Step("calibration.audit", (f"{INPUT}/{name}",))
        return self._case(
            name, {f"{name}/{original}": whole, f"{name}/{name}.png": self.pictures[0][1]}, step, audit
        )

    def _model(self, name: str, rng: random.Random) -> Case:
        file = name + rng.choice((".tflite", ".TFLITE", ".tflite "))
        path = f"{INPUT}/{file}"
        steps = [Step("mobileiqa.score", (f"{SEEDS}/photo.png", "--model", path))]
        steps += [Step(module, (path,)) for module in ("convert.selftest", "convert.inspect")]
        steps += [Step("convert.report.__main__", (path, "--out", f"{OUTPUT}/r.html")),
                  Step("convert.snippets.__main__", (path, "--out", f"{OUTPUT}/snippets")),
                  Step("convert.app.__main__", (path, "--platform", "cpp", "--out", f"{OUTPUT}/app"))]  # fmt: skip
        return self._case(name, {file: self.model}, *steps)

    def _bench(self, name: str, rng: random.Random) -> Case:
        file = f"{name}.json"
        outputs = ("--csv", f"{OUTPUT}/r.csv", "--html", f"{OUTPUT}/r.html")
        compare = Step("android_bench.compare", (f"{INPUT}/{file}", f"{SEEDS}/json/bench.json", *outputs))
        return self._case(name, {file: self.bench}, compare)

    def _output(self, name: str, rng: random.Random) -> Case:
        """The odd name is that of what is written."""
        score = ("mobileiqa.score", (f"{SEEDS}/photo.png", "--model", f"{SEEDS}/models/tiny.tflite"))
        score = Step(score[0], (*score[1], "--out", f"{OUTPUT}/{name}.csv"))
        camera = (f"{SEEDS}/models/tiny.tflite", "--out", f"{OUTPUT}/{name}.tflite")
        return self._case(name, {"unused": b""}, score, Step("convert.package", camera))


def _name(rng: random.Random) -> str:
    """One to three pieces; never a path of its own, never too long for the file system."""
    name = "".join(rng.choice(PIECES) for _ in range(rng.choice((1, 1, 2, 3))))
    name = name.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "surrogateescape")
    return "a" if name in (".", "..") else name
