"""The page in a real browser, as wide as a phone: nothing sticks out, in light and in dark."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.report.__main__ import main
from mobileiqa.html_page import POLICY

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Written into a copy of the page, whose policy would forbid any script: what is wider than the window, boxes
# that scroll by themselves and what is in them apart.
MEASURE = """<script>
const wide = [...document.body.querySelectorAll('*')].filter(e => !e.closest('.scroll, pre')
  && e.getBoundingClientRect().right > innerWidth + 0.5);
const root = document.documentElement;
const boxes = [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth);
document.body.dataset.found = JSON.stringify({inner: innerWidth, scroll: root.scrollWidth, client: root.clientWidth,
  wide: wide.map(e => e.outerHTML.slice(0, 80)), boxes: boxes.length, height: root.scrollHeight});
</script></body>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """browser(page, *options): what a headless browser prints for the file."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on this machine")
    profile = tmp_path_factory.mktemp("profile")

    def open_page(page: Path, *options: str) -> str:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                   "--hide-scrollbars", *options, page.as_uri()]  # fmt: skip
        return subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout

    return open_page


@pytest.fixture
def page(net, converted: Path, labelled: Path, tmp_path: Path) -> Path:
    """A page with all parts, long names and a broken gate."""
    net("a_reference_model_with_a_rather_long_name_fp32.tflite")
    net("a_reference_model_with_a_rather_long_name_int8.tflite", step=1 / 250)
    net("moved.tflite", step=1 / 250, gain=0.9)
    net("other.tflite", gain=1.00001)
    fp32 = str(converted / "a_reference_model_with_a_rather_long_name_fp32.tflite")
    out = tmp_path / "report.html"
    data = ["--data", "folder", str(labelled), "--fp32", fp32, "--layers", "1"]
    assert main([str(converted), *data, "--out", str(out)]) == 1
    return out


def measured(browser: Callable[..., str], page: Path, width: int) -> dict:
    text = page.read_text(encoding="utf-8")
    assert text.count(POLICY) == 1 and text.count("</body>") == 1
    copy = page.with_name("copy.html")
    copy.write_text(text.replace(POLICY, "").replace("</body>", MEASURE), encoding="utf-8")
    dom = browser(copy, f"--window-size={width},1200", "--dump-dom")
    return json.loads(unescape(re.search(r'data-found="([^"]*)"', dom)[1]))


@pytest.mark.slow
def test_the_page_fits_a_phone_and_a_desk(page: Path, browser: Callable[..., str], capsys) -> None:
    phone, desk = (measured(browser, page, width) for width in (390, 1400))
    assert phone["inner"] == 390 and phone["boxes"] > 0  # the wide table scrolls, by itself
    for result in (phone, desk):
        assert result["scroll"] <= result["client"] and result["wide"] == []
    # The measurement sees what sticks out:
    text = page.read_text(encoding="utf-8").replace("<h1>", '<h1 style="width: 500px">')
    page.with_name("wide.html").write_text(text, encoding="utf-8")
    assert measured(browser, page.with_name("wide.html"), 390)["wide"]


@pytest.mark.slow
def test_light_and_dark_are_legible(page: Path, browser: Callable[..., str], tmp_path: Path, capsys) -> None:
    shades = []
    for number, option in enumerate(
        ("--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0")
    ):
        shot = tmp_path / f"{number}.png"
        browser(page, option, "--window-size=390,2400", f"--screenshot={shot}")
        image = np.asarray(Image.open(shot).convert("RGB")).astype(int)
        assert image.shape == (2400, 390, 3)
        shades.append(image[-1, 0].sum())
        for color in ("c0", "bad", "good"):
            results = [tuple(int(c[i : i + 2], 16) for i in (0, 2, 4))
                     for c in re.findall(rf"--{color}: #([0-9a-f]{{6}})", page.read_text())]  # fmt: skip
            assert max((abs(image - np.array(shade)).max(-1) < 12).sum() for shade in results) > 20, color
    assert max(shades) > 740 and min(shades) < 80
