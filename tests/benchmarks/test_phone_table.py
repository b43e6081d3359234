import json
from pathlib import Path

import pytest
from PIL import Image

from android_bench.results.measurements import BenchConfig
from benchmarks.conversion_paths import Case
from benchmarks.phone_table import PHONES, ROWS, Measured, Row, as_json, curves, draw, main, report

FOUND = [Measured(mean, mean - 1, 0.01, 100.0) for mean in (90.0, 100.0, 110.0, 150.0, 400.0, 700.0, 300.0)]


def test_every_figure_is_a_multiple_of_the_same_machines_224x224() -> None:
    shapes = curves(ROWS, FOUND)
    assert list(shapes) == ["this machine", *PHONES]
    assert shapes["this machine"] == [0.9, 1, 1.1, 1.5, 4, 7, 3]
    assert shapes["Xiaomi 10S"][5] == 6465 / 1488 and shapes["HONOR Magic5 Pro"][6] == 3654 / 1003


def test_page_json_and_picture_show_every_row(tmp_path: Path) -> None:
    page = report(ROWS, FOUND, BenchConfig(), "a processor")
    last = "| HyperIQA, 25 crops | 300.0 | 299.0 | 1.0% | 100 | 3.00 | 3.87 | 3.64 |"
    assert last in page.splitlines()
    content = as_json(ROWS, FOUND, BenchConfig())
    assert [row["case"]["size"] for row in content["rows"]][-2:] == ["1907x1231", "-"]
    assert content["rows"][0]["published_ms"] == {"Xiaomi 10S": 1460, "HONOR Magic5 Pro": 985}
    draw(ROWS, FOUND, tmp_path / "table.png")
    with Image.open(tmp_path / "table.png") as picture:
        assert picture.size[0] > 600 and len(set(picture.convert("L").get_flattened_data())) > 20


def test_results_are_not_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "TABLE.md").write_text("mine")
    assert main(["--out", str(tmp_path / "table.json")]) == 2
    assert "TABLE.md" in capsys.readouterr().err and (tmp_path / "TABLE.md").read_text() == "mine"


@pytest.mark.slow
def test_converts_and_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row(Case("lar-iqa-lite", size), (1.0, 2.0)) for size in ("64x64", "224x224")]
    options = ["--runs", "3", "--launches", "2", "--if-disturbed", "keep", "--cache", str(tmp_path / "cache")]
    out = tmp_path / "table.json"
    assert main([*options, "--out", str(out)], rows) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 2
    small, large = json.loads(out.read_text())["rows"]
    assert 0 < small["mean_ms"] < large["mean_ms"]
