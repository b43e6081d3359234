"""What the web page reads of a photo, in Node.js, against Python's own arrays: equal to the last bit."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.app.__main__ import main
from convert.packaging import golden_vectors
from mobileiqa.explain import grid_of, part_boxes
from mobileiqa.fragments import starts
from mobileiqa.loaded_model import load_scorer
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.preprocess import fit_pixels, prepare
from mobileiqa.spec import Fit, InputSpec, ModelSpec, Resample
from tests.convert.app.bursts import burst_photos, check_ranking, expected
from tests.convert.app.conftest import write_two_views, yuv_frame

VIEWS = Path(__file__).resolve().parents[3] / "convert" / "app" / "templates" / "web" / "views.js"
SIZES = [(200, 150), (97, 401), (640, 33), (64, 64), (30, 20), (1, 1), (512, 512), (301, 299), (90, 2300)]
INPUTS = [
    *(
        InputSpec("image", 48, 64, resample=each)
        for each in (Resample.BILINEAR, Resample.BICUBIC, Resample.LANCZOS)
    ),
    InputSpec("image", 150, 200),
    InputSpec("image", 150, 64),
    InputSpec("image", 128, 64, fit=Fit.FRAGMENTS, patch_px=32),
    InputSpec("image", 64, 64, fit=Fit.CENTER_CROP),
    InputSpec("image", 65, 63, fit=Fit.CENTER_CROP),
]


@pytest.fixture
def node(tmp_path: Path) -> Callable[[str], Any]:
    """node(expressions): what a module that has views.js prints as JSON."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node.js on this machine; the slow tests run the page in a browser where there is one")

    def run(text: str) -> Any:
        shutil.copyfile(VIEWS, tmp_path / "views.mjs")
        script = tmp_path / "run.mjs"
        script.write_text(f"import fs from 'fs';\nimport * as views from './views.mjs';\n{text}\n")
        return json.loads(
            subprocess.run([program, script], check=True, capture_output=True, text=True, timeout=60).stdout
        )

    return run


@dataclass(frozen=True)
class Case:
    """A photo and an input, and the files that Node.js reads and writes."""

    photo: Image.Image
    view: InputSpec
    name: str

    @property
    def facts(self) -> dict[str, Any]:
        v = self.view
        return {"name": v.name, "width": v.width_px, "height": v.height_px, "fit": v.fit, "filter": v.resample,
                "patch": v.patch_px, "mean": v.mean, "std": v.std}  # fmt: skip


def test_views_are_those_of_python(node: Callable[[str], Any], tmp_path: Path) -> None:
    cases = [Case(photo_like(seed, *size), view, f"{seed}-{number}")
             for seed, size in enumerate(SIZES) for number, view in enumerate(INPUTS)]  # fmt: skip
    for case in cases:
        (tmp_path / f"{case.name}.rgba").write_bytes(case.photo.convert("RGBA").tobytes())
    facts = [[case.name, *case.photo.size, case.facts] for case in cases]
    node(
        f"for (const [name, width, height, view] of {json.dumps(facts)}) {{\n"
        f"  const bytes = new Uint8Array(fs.readFileSync(`{tmp_path}/${{name}}.rgba`));\n"
        "  const photo = views.ofPixels(bytes, width, height);\n"
        "  const pixels = views.fitted(photo, view);\n"
        f"  fs.writeFileSync(`{tmp_path}/${{name}}.rgb`, pixels);\n"
        f"  fs.writeFileSync(`{tmp_path}/${{name}}.f32`, views.normalized(pixels, view));\n"
        "}\nconsole.log(0);"
    )
    for case in cases:
        (expected,) = fit_pixels(case.photo, case.view)
        pixels = np.frombuffer((tmp_path / f"{case.name}.rgb").read_bytes(), np.uint8)
        np.testing.assert_array_equal(
            pixels, np.asarray(expected).ravel(), err_msg=f"{case.photo.size} {case.view}"
        )
        prepared = prepare(case.photo, ModelSpec("test", (case.view,)))["image"]
        values = np.frombuffer((tmp_path / f"{case.name}.f32").read_bytes(), np.float32)
        np.testing.assert_array_equal(values, prepared.ravel())


LIMITED = {  # BT.709 of white, black and pure colours, as video has them: Y, U, V, and the colour
    "white": (235, 128, 128, 255, 255, 255),
    "black": (16, 128, 128, 0, 0, 0),
    "red": (63, 102, 240, 255, 1, 0),
    "green": (173, 42, 26, 0, 255, 1),
    "blue": (32, 240, 118, 1, 0, 255),
}


def test_frames_are_converted_as_they_say(node: Callable[[str], Any]) -> None:
    planes, photo = yuv_frame(photo_like(4, 101, 77))
    full = node(
        f"const bytes = Uint8Array.from({list(planes)}), [w, h] = {list(photo.size)}, half = (w + 1) >> 1;\n"
        "const of = (from, stride) => ({ bytes: bytes.subarray(from), stride, step: 1 });\n"
        "const chroma = { blue: of(w * h, half), red: of(w * h + half * ((h + 1) >> 1), half) };\n"
        "const frame = views.ofYuv(w, h, { luma: of(0, w), ...chroma }, { matrix: 'smpte170m', fullRange: true });\n"
        "console.log(JSON.stringify([...frame.read(0, 0, w, h)]));"
    )
    np.testing.assert_array_equal(np.array(full, np.uint8), np.asarray(photo.convert("RGBA")).ravel())
    colors = node(
        "const plane = (v) => ({ bytes: [v], stride: 1, step: 1 }), space = { matrix: 'bt709', fullRange: false };\n"
        f"console.log(JSON.stringify({json.dumps(list(LIMITED.values()))}.map(([y, u, v]) => [...views.ofYuv(1, 1,"
        " { luma: plane(y), blue: plane(u), red: plane(v) }, space).read(0, 0, 1, 1)])));"
    )
    assert np.abs(np.array(colors)[:, :3] - np.array([each[3:] for each in LIMITED.values()])).max() <= 1


def test_parts_of_the_map_are_those_of_explain(node: Callable[[str], Any]) -> None:
    sizes = [(4032, 3024), (3024, 4032), (100, 80), (33, 500), (1, 1), (50, 50), (12000, 9), (1000, 562)]
    for size, boxes in zip(
        sizes,
        node(f"console.log(JSON.stringify({json.dumps(sizes)}.map(([w, h]) => views.partBoxes(w, h))))"),
        strict=True,
    ):
        assert (boxes["columns"], boxes["rows"]) == grid_of(*size), size
        assert [tuple(box) for box in boxes["list"]] == part_boxes(*size), size


def test_patches_begin_where_python_has_them(node: Callable[[str], Any]) -> None:
    sides = [
        (length, count, patch) for length in (64, 65, 511, 4000) for count in (1, 7, 8) for patch in (32, 64)
    ]
    results = node(f"console.log(JSON.stringify({json.dumps(sides)}.map((each) => views.starts(...each))))")
    assert results == [starts(*side) for side in sides]


def test_golden_images_are_drawn_alike(node: Callable[[str], Any]) -> None:
    names = list(golden_vectors.IMAGES)
    drawn = node(
        f"console.log(JSON.stringify({json.dumps(names)}.map((image) =>"
        " [...views.drawn({ image, width: 37, height: 29 }).read(0, 0, 37, 29)])))"
    )
    for name, values in zip(names, drawn, strict=True):
        rgb = np.array(values, np.uint8).reshape(29, 37, 4)[:, :, :3]
        np.testing.assert_array_equal(rgb, golden_vectors.draw(name, 37, 29))


def test_a_burst_is_ranked_as_in_python(node: Callable[[str], Any], flatbuffer: Any, tmp_path: Path) -> None:
    photos = burst_photos()
    ranked, left_out = expected(photos, load_scorer(str(write_two_views(flatbuffer, tmp_path / "m.tflite"))))
    scores = {row.image: row.measure.score for row in ranked}
    shutil.copyfile(VIEWS.with_name("burst.js"), tmp_path / "burst.mjs")
    text = (tmp_path / "burst.mjs").read_text()
    (tmp_path / "burst.mjs").write_text(text.replace("./views.js", "./views.mjs"))
    for name, photo in photos.items():
        (tmp_path / f"{name}.rgba").write_bytes(photo.convert("RGBA").tobytes())
    sizes = [[name, *photo.size] for name, photo in photos.items()]
    in_order = [scores[name] for name in photos if name in scores]
    result = node(
        "import { rank } from './burst.mjs';\n"
        f"const scores = {json.dumps(in_order)};\n"
        f"const photos = {json.dumps(sizes)}.map(([name, w, h]) => () => "
        f"views.ofPixels(new Uint8Array(fs.readFileSync(`{tmp_path}/${{name}}.rgba`)), w, h));\n"
        "const broken = () => { throw new Error('damaged'); };\n"
        "const score = () => ({ score: scores.shift() });\n"
        "console.log(JSON.stringify(await rank([...photos, broken], score, 1)));"
    )
    names = list(photos)
    check_ranking(result["ranked"], names, ranked, 1e-9)
    assert names[result["best"]] == "sharp"
    assert result["leftOut"].pop(str(len(names))) == "not read: damaged"
    assert {names[int(index)]: reason for index, reason in result["leftOut"].items()} == left_out


def test_every_module_of_the_page_is_javascript(node: Callable[[str], Any], tmp_path: Path) -> None:
    for module in [*VIEWS.parent.glob("*.js"), VIEWS.parent / "sw.js.in"]:
        text = module.read_text().replace("@@version@@", '""').replace("@@files@@", "[]")
        (tmp_path / "module.mjs").write_text(text)
        result = subprocess.run(["node", "--check", tmp_path / "module.mjs"], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_without_litert_for_browsers_the_page_is_left_out_and_said(
    flatbuffer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    path = write_two_views(flatbuffer, tmp_path / "model.tflite")
    assert main([str(path), "--platform", "web", "--out", str(tmp_path / "named")]) == 2
    assert "make web" in capsys.readouterr().err and not (tmp_path / "named").exists()
    assert main([str(path), "--out", str(tmp_path / "all")]) == 0
    output = capsys.readouterr()
    assert "web" in json.loads(output.out.splitlines()[-1])["left_out"] and "make web" in output.err
    assert not (tmp_path / "all" / "web").exists()
