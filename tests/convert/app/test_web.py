"""The web page in a real browser: its scores are Python's, it finds what is wrong, and it works without a network.

Where no browser is, or `make web` was not run, these skip; test_web_views.py compares the arithmetic in Node.js.
"""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from convert.app import golden_photos, web
from convert.app.__main__ import main
from convert.runtimes.tool_environments import package_of
from mobileiqa.errors import UserError
from mobileiqa.explain import explain
from mobileiqa.photos.color_profiles import CODED_PRIMARIES, D65, matrix_profile
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.photos.loading import read_image
from mobileiqa.score import load_scorer
from mobileiqa.spec import ColorManagement
from mobileiqa.zoo import PACKAGED
from tests.convert.app import browser
from tests.convert.app.browser import SOFTWARE_GPU, Site, answer, serving
from tests.convert.app.bursts import burst_photos, check_ranking, expected
from tests.convert.app.conftest import write_two_views, yuv_frame
from tests.convert.packaging.conftest import TINY, write_tiny

pytestmark = pytest.mark.slow

LIMIT = 2e-3
PAGE = """<!doctype html><meta charset="utf-8"><body><script type="module">
const send = (value) => fetch('/answer', { method: 'POST', body: JSON.stringify(value) });
try { %s } catch (error) { await send({ error: String(error.message ?? error) }); }
</script>"""


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    if browser.program() is None:
        pytest.skip(f"none of {', '.join(browser.PROGRAMS)} is on this machine")
    try:
        package_of("web", web.CORE)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def page_of() -> Callable[[Path, Path], Path]:
    """page_of(file, folder): what `mobileiqa app` writes for the web."""

    def write(file: Path, folder: Path) -> Path:
        assert main([str(file), "--platform", "web", "--out", str(folder)]) == 0
        return folder / "web"

    return write


@pytest.fixture(scope="module")
def site(page_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page of the reference model."""
    with serving(page_of(PACKAGED, tmp_path_factory.mktemp("app") / "out")) as opened:
        yield opened


@pytest.fixture
def small(page_of: Callable[..., Path], flatbuffer: Any, tmp_path: Path) -> Iterator[Site]:
    """The page of a small file."""
    with serving(page_of(write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY), tmp_path / "out")) as opened:
        yield opened


def run(site: Site, script: str, *options: str) -> Any:
    """What the script sends; `send(value)` is there for it."""
    site.files["test.html"] = (PAGE % script).encode()
    return answer(site, "test.html", options or browser.WITHOUT_GPU)


def encoded(photo: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, form, **options)
    return file.getvalue()


def photos() -> dict[str, bytes]:
    """One of each kind that a browser may read otherwise, and one of 50 megapixels."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    clear = photo_like(3, 500, 400).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((500, 400)))
    large = Image.fromarray(np.tile(np.asarray(photo_like(6, 2040, 1530)), (4, 4, 1)))
    return {
        "plain.jpg": encoded(photo_like(0, 1200, 900), "JPEG", quality=90),
        "turned.jpg": encoded(photo_like(1, 900, 700), "JPEG", quality=90, exif=exif),
        "p3.jpg": encoded(
            photo_like(2, 800, 600),
            "JPEG",
            quality=90,
            icc_profile=matrix_profile(CODED_PRIMARIES[12], D65, None),
        ),
        "clear.png": encoded(clear, "PNG"),
        "tall.webp": encoded(photo_like(4, 300, 1700), "WEBP", quality=90),
        "tiny.png": encoded(photo_like(5, 50, 40), "PNG"),
        "50mp.jpg": encoded(large, "JPEG", quality=90),
    }


SCORE_ALL = """
const { Scorer } = await import('./mobileiqa.js');
const scorer = await Scorer.load({ install: false });
const blob = async (name) => (await fetch(name)).blob();
const values = async (name) => {
  const { score, reasons } = await scorer.score(await blob(name));
  return { score, reasons };
};
const results = {};
for (const [name, again] of %s) results[name] = [await values(name), again && (await values(`${name}.decoded.png`))];
const [planes, codedWidth, codedHeight] = [await (await fetch('frame.yuv')).arrayBuffer(), %d, %d];
const colorSpace = { matrix: 'smpte170m', primaries: 'bt709', transfer: 'iec61966-2-1', fullRange: true };
const frame = new VideoFrame(planes, { format: 'I420', codedWidth, codedHeight, timestamp: 0, colorSpace });
const scored = await scorer.score(frame);
results.frame = [scored, scored]; // it has no decoder
frame.close();
const map = await scorer.map(await blob('tiny.png'));
await send({ results, map, accelerator: scorer.accelerator });
"""


def test_scores_are_those_of_python(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """`decoded.png` has Python's pixels: what is left is the arithmetic; the rest is the decoder and its colours."""
    files, scorer = photos(), load_scorer()
    again = [name for name in files if name != "50mp.jpg"]
    real = sorted((Path(__file__).resolve().parents[4] / "shared" / "data" / "photos").glob("*.jpg"))
    files |= {path.name: path.read_bytes() for path in real[:3]}
    expected = {}
    for name, content in files.items():
        with Image.open(io.BytesIO(content)) as image:
            upright = read_image(image, ColorManagement.SRGB)
        expected[name] = scorer.outputs(scorer.prepare(upright))
        site.files |= {name: content, f"{name}.decoded.png": encoded(upright, "PNG", compress_level=1)}
    site.files["frame.yuv"], pixels = yuv_frame(photo_like(7, 640, 480))
    expected["frame"] = scorer.outputs(scorer.prepare(pixels))
    listing = json.dumps([(name, name in again) for name in files])
    results = run(site, SCORE_ALL % (listing, *pixels.size))
    assert "error" not in results, results
    again.append("frame")
    for name, outputs in expected.items():
        own, same_pixels = (each and flat(each, scorer) for each in results["results"][name])
        python = np.array([*outputs["score"], *outputs["reasons"][0]])
        difference = np.abs(own - python)
        assert difference[0] <= LIMIT and difference.max() <= golden_photos.DECODERS, (name, difference)
        if name in again:
            arithmetic, decoder = np.abs(same_pixels - python).max(), np.abs(own - same_pixels).max()
            print(f"{name}: arithmetic {arithmetic:.1e}, decoder {decoder:.1e}")
            assert arithmetic <= 1e-5, name
    with Image.open(io.BytesIO(files["tiny.png"])) as image:
        parts = explain(image.convert("RGB"), scorer)
    for part, ours in zip(results["map"]["parts"], parts, strict=True):
        assert (part["left"], part["top"], part["width"], part["height"]) == (
            ours.left,
            ours.top,
            ours.width,
            ours.height,
        )
        assert abs(part["score"] - ours.score) <= 1e-5
    assert results["accelerator"] == {"runsOn": "wasm", "whyNot": "this browser has no WebGPU adapter"}


def flat(result: dict[str, Any], scorer: Any) -> np.ndarray:
    return np.array([result["score"], *(result["reasons"][name] for name in scorer.spec.reasons)])


# The page itself in a frame: a photo is dropped on it, then its server goes away and it is opened again.
DROP = """
const frame = document.createElement('iframe');
document.body.append(frame);
const until = async (test, what) => {
  for (let i = 0; i < 900; i++) {
    try { if (await test()) return; } catch { }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what}; the page says ${frame.contentDocument?.getElementById('status')?.textContent}`);
};
const $ = (id) => frame.contentDocument.getElementById(id);
const content = await (await fetch('photo.jpg')).blob();
const open = async () => {
  frame.src = `index.html?${Math.random()}`;
  await until(() => $('status').textContent === 'Ready.', 'not ready');
};
const dropped = (files) => {
  const transfer = new frame.contentWindow.DataTransfer();
  for (const [name, blob] of files) transfer.items.add(new frame.contentWindow.File([blob], name, { type: blob.type }));
  $('drop').dispatchEvent(new frame.contentWindow.DragEvent('drop', { dataTransfer: transfer }));
};
const drop = async () => {
  await open();
  dropped([['photo.jpg', content]]);
  await until(() => $('status').textContent.startsWith('photo.jpg'), 'no score');
  return { score: $('score').textContent, label: $('label').textContent, reason: $('reasons').textContent };
};
const first = await drop();
$('explain').click();
await until(() => $('status').textContent.startsWith('The worst part'), 'no map');
const pixels = $('map').getContext('2d').getImageData(0, 0, $('map').width, $('map').height).data;
const shape = [$('map').width, $('map').height, pixels.filter((v, i) => !(i & 3)).reduce((a, b) => a + b, 0)];
dropped(await Promise.all(%s.map(async (name) => [name, await (await fetch(name)).blob()])));
await until(() => $('status').textContent.startsWith('Keep'), 'no keeper');
const keeper = $('status').textContent;
await frame.contentWindow.navigator.serviceWorker.ready;
await until(async () => (await caches.keys()).length > 0, 'nothing cached');
await fetch('/down', { method: 'POST', body: '"down"' });
await until(async () => !(await fetch(`nothing?${Math.random()}`)).ok, 'still served');
const offline = await drop();
await send({ first, shape, keeper, offline, about: $('about').textContent });
"""


def test_a_dropped_photo_is_scored_and_again_without_a_network(small: Site) -> None:
    content = encoded(photo_like(0, 320, 240), "JPEG", quality=90)
    small.files["photo.jpg"] = content
    burst = {name: photo for name, photo in burst_photos().items() if name in ("soft", "sharp", "small")}
    small.files |= {f"{name}.png": encoded(photo, "PNG", compress_level=1) for name, photo in burst.items()}
    result = run(small, DROP % json.dumps([f"{name}.png" for name in burst]))
    with Image.open(io.BytesIO(content)) as image:
        scorer = load_scorer(str(next(small.folder.glob("*.tflite"))))
        score = scorer.run(scorer.prepare(read_image(image, ColorManagement.SRGB)))[0]
    assert result.get("error") is None and result["first"] == result["offline"], result
    assert abs(float(result["first"]["score"]) - score) <= 1e-3
    left_out = "small.png left out: of another size (90x70)"
    assert result["keeper"] == f"Keep sharp.png; then soft.png (softer); {left_out}"
    assert result["shape"][:2] == [320, 240] and result["shape"][2] > 0 and "runs on wasm" in result["about"]


BEST = """
const { Scorer } = await import('./mobileiqa.js');
const scorer = await Scorer.load({ install: false });
const files = await Promise.all(%s.map(async (name) => (await fetch(`${name}.png`)).blob()));
await send(await scorer.best([...files, new Blob(['nothing'])]));
"""


def test_a_burst_is_ranked_as_in_python(
    page_of: Callable[[Path, Path], Path], flatbuffer: Any, tmp_path: Path
) -> None:
    model = write_two_views(flatbuffer, tmp_path / "two-views.tflite")
    burst = burst_photos()
    ranked, left_out = expected(burst, load_scorer(str(model)))
    with serving(page_of(model, tmp_path / "out")) as site:
        site.files |= {
            f"{name}.png": encoded(photo, "PNG", compress_level=1) for name, photo in burst.items()
        }
        result = run(site, BEST % json.dumps(list(burst)))
    assert "error" not in result, result
    names = list(burst)
    check_ranking(result["ranked"], names, ranked, 1e-5)
    assert names[result["best"]] == "sharp" and "not read" in result["leftOut"].pop(str(len(names)))
    assert {names[int(index)]: reason for index, reason in result["leftOut"].items()} == left_out


MISTAKES = {
    "the order BGR": """
        const original = CanvasRenderingContext2D.prototype.getImageData;
        CanvasRenderingContext2D.prototype.getImageData = function (...values) {
          const image = original.apply(this, values), data = image.data;
          for (let i = 0; i < data.length; i += 4) [data[i], data[i + 2]] = [data[i + 2], data[i]];
          return image;
        };""",
    "ignored EXIF": """
        const original = createImageBitmap;
        window.createImageBitmap = async (blob, options) => {
          const bytes = new Uint8Array(await blob.arrayBuffer());
          for (let i = 0; i < 64; i++) if (String.fromCharCode(...bytes.slice(i, i + 4)) === 'Exif') bytes[i] = 88;
          return original(new Blob([bytes]), options);
        };""",
    "ignored P3": """
        const original = createImageBitmap;
        window.createImageBitmap = (blob, options) => original(blob, { ...options, colorSpaceConversion: 'none' });""",
}
LOAD = """
const { Scorer } = await import('./mobileiqa.js');
const scorer = await Scorer.load({ install: false });
await send({ accelerator: scorer.accelerator });
"""


@pytest.mark.parametrize(
    ("mistake", "photo"),
    [("the order BGR", "plain.jpg"), ("ignored EXIF", "turned.jpg"), ("ignored P3", "p3.jpg")],
)
def test_a_wrong_decoder_fails_the_self_test(small: Site, mistake: str, photo: str) -> None:
    assert run(small, MISTAKES[mistake] + LOAD)["error"].startswith(
        f"the self-test fails: golden photo {photo}"
    )


def test_other_bytes_and_another_models_photos_are_refused(small: Site) -> None:
    model = next(small.folder.glob("*.tflite"))
    facts = json.loads((small.folder / web.FACTS).read_bytes())
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    small.files[model.name] = bytes(content)
    assert "damaged" in run(small, LOAD)["error"]
    del small.files[model.name]
    for photo in facts["photos"]:
        photo["expected"] = [value + 0.1 for value in photo["expected"]]
    small.files[web.FACTS] = json.dumps(facts).encode()
    assert run(small, LOAD)["error"].startswith("the self-test fails: golden photo plain.jpg")


def test_webgpu_is_chosen_where_it_passes_and_not_where_one_operator_is_wrong(
    small: Site, page_of: Callable[..., Path], flatbuffer: Any, tmp_path: Path
) -> None:
    accelerator = run(small, LOAD, *SOFTWARE_GPU)["accelerator"]
    if "no WebGPU adapter" in accelerator["whyNot"]:
        pytest.skip("this browser has no software WebGPU")
    assert accelerator == {"runsOn": "webgpu", "whyNot": ""}
    from tests.convert.app.test_golden_photos import divided

    folder = page_of(divided(type(flatbuffer)(), tmp_path / "divided.tflite"), tmp_path / "wrong")
    facts = json.loads((folder / web.FACTS).read_bytes())
    assert "division by a constant" in facts["gpu_refused"]
    with serving(folder) as site:
        assert run(site, LOAD, *SOFTWARE_GPU)["accelerator"]["whyNot"] == facts["gpu_refused"]
        # Were the sequence not known, the photos would find it:
        site.files[web.FACTS] = json.dumps({**facts, "gpu_refused": ""}).encode()
        selection = run(site, LOAD, *SOFTWARE_GPU)["accelerator"]
    assert selection["runsOn"] == "wasm" and "golden photo" in selection["whyNot"]


def test_the_folder_names_its_licences_and_needs_nothing_else(small: Site) -> None:
    text = (small.folder / "LICENSES.txt").read_text()
    assert "Apache License 2.0" in text and "@litertjs/core 2.5.3" in text
    for path in small.folder.rglob("*"):
        if path.suffix in (".html", ".js") and "wasm" not in path.parts and path.parent.name != "litert":
            assert "http://" not in path.read_text() and "https://" not in path.read_text(), path
