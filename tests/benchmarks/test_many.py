"""A small run of everything, with this checkout as the earlier one: same scores, no row lost."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.many import ROOT, Pair, Resumed, Scaled, linked, main, page
from mobileiqa.photos.generated_images import photo_like
from tests.convert.conftest import FlatbufferBuilder
from tests.convert.packaging.conftest import TINY, write_tiny


def test_links_take_the_photos_in_turn(tmp_path: Path) -> None:
    photos = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for photo in photos:
        photo.touch()
    links = sorted(linked(photos, 3, tmp_path / "many").iterdir())
    assert [link.resolve() for link in links] == [photos[0], photos[1], photos[0]]


def test_the_page_says_what_a_kill_cost() -> None:
    scaled = [Scaled(1, 5.0, (200.0, 210.0, 220.0)), Scaled(2, 9.5, (400.0, 410.0, 420.0))]
    text = page(6, [Pair(0.3, 0.15), Pair(0.4, 0.1)], scaled, Resumed(1000, 910, 1, False))
    assert "| before / now | 3.000 | 2.000 | 4.000 |" in text
    assert "| 2 | 9.50 | 1.90 | 400 | 410 | 420 |" in text
    assert "910 of 1000" in text and "1 rows lost" in text and "does not hold" in text


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_small_run(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        photo_like(number, 160, 120).save(folder / f"{number}.jpg")
    model = write_tiny(FlatbufferBuilder(), tmp_path / "tiny.tflite", TINY)
    flags = ["--pairs", "1", "--pair-photos", "3", "--count", "400", "--out", str(tmp_path / "many.json")]
    code = main(["--photos", str(folder), "--before", str(ROOT), "--model", str(model), *flags])
    content = json.loads((tmp_path / "many.json").read_text())
    assert code == 0 and content["resumed"]["rows_lost"] == 0 and content["resumed"]["same_bytes"]
    assert [each["workers"] for each in content["scaled"]] == [1, content["cores"]]
    assert (tmp_path / "MANY.md").is_file()
