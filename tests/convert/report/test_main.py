"""The command: a page that says what was found, exit codes, and wrong input."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convert.report.__main__ import main
from convert.runtimes import latency

VOID = {"meta", "br", "img", "wbr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects attributes, text and the cells of table rows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open, self.tags, self.text, self.rows = [], [], "", []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The first row of that name: that of the table of all files."""
        return next(row[1:] for row in self.rows if row[0] == name)


def run(capsys, *arguments: object) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, arguments)])
    return code, json.loads(capsys.readouterr().out.strip().splitlines()[-1])


@pytest.mark.slow
def test_a_good_model_passes_and_the_page_is_whole(
    net, converted: Path, labelled: Path, tmp_path: Path, capsys
):
    net("fp32.tflite"), net("int8.tflite", step=1 / 250)
    out = tmp_path / "report.html"
    code, actual = run(capsys, converted, "--data", "folder", labelled, "--out", out, "--layers", 2)
    assert code == 0 and actual["passed"] and actual["images"] == 36 and actual["out"] == str(out)
    assert [f["label"] for f in actual["files"]] == ["fp32.tflite", "int8.tflite"]
    assert [f["failed_gates"] for f in actual["files"]] == [None, []]
    page = Page(out)
    assert "Every gate passed." in page.text
    assert page.row("SRCC with FP32")[0] == "-" and float(page.row("SRCC with FP32")[1]) > 0.999
    assert page.row("delegated") == ["2 of 2", "4 of 4"]
    assert len(page.row("mean shift")) in (2, 3)
    assert page.source.count("<svg") == 2 + 1 + 2  # scatter and histogram, along the graph, a map for each
    assert "c" * 64 in page.text and "a <b> c = b" in page.text and "refused: odd & even" in page.text
    assert "moved the score by 1.5e-09" in page.text
    metas = [attrs for tag, attrs in page.tags if tag == "meta"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert not re.search(r"https?:|url\(|@import|//[a-z]", page.source)
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    assert all(attrs["src"].startswith("data:image/jpeg") for tag, attrs in page.tags if tag == "img")
    assert {"href", "srcset", "action"}.isdisjoint(name for _, attrs in page.tags for name in attrs)


@pytest.mark.slow
def test_the_images_that_moved_most_are_shown_with_both_scores(
    net, converted: Path, labelled: Path, tmp_path: Path, capsys
):
    net("fp32.tflite"), net("moved.tflite", step=1 / 250, gain=0.9)
    out = tmp_path / "report.html"
    code, actual = run(capsys, converted, "--images", labelled, "--out", out, "--layers", 0)
    assert code == 1 and actual["files"][1]["failed_gates"] == ["mean_shift"]
    page = Page(out)
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert pictures[0]["alt"] in {f"{i:02}.png" for i in range(30, 36)}  # the brightest ones
    assert len(pictures) == 3
    jpeg = base64.b64decode(pictures[0]["src"].partition(",")[2])
    assert Image.open(io.BytesIO(jpeg)).size == (8, 8)
    cards = re.findall(r"FP32\n?([\d.]+)moved.tflite([\d.]+) (-[\d.]+)", page.text)
    assert len(cards) == 3
    for fp32, moved, shift in cards:
        assert float(moved) - float(fp32) == pytest.approx(float(shift), abs=2e-4)
        assert float(moved) / float(fp32) == pytest.approx(0.9, abs=0.02)
    assert "moved.tflite: gates broken: mean_shift" in page.text and "FAIL" in page.text
    assert "not judged" in page.text and "Every gate passed" not in page.text


@pytest.mark.slow
def test_scores_that_are_not_finite_leave_a_page(
    net, converted: Path, labelled: Path, tmp_path: Path, capsys
):
    net("fp32.tflite"), net("nan.tflite", step=1 / 250, gain=float("nan"))
    out = tmp_path / "report.html"
    assert run(capsys, converted, "--images", labelled, "--out", out)[0] == 1
    page = Page(out)
    assert "Nothing to draw" in page.text and "score of 00.png is nan" in page.text
    assert "not finite" in page.text


def test_without_images_nothing_is_judged_and_it_is_said(net, edit, converted: Path, tmp_path: Path, capsys):
    path, out = net("fp32.tflite", approximations=("sparse-pooling",)), tmp_path / "report.html"
    code, actual = run(capsys, converted, "--out", out)
    assert code == 0 and actual["images"] == 0 and actual["files"][0]["failed_gates"] is None
    page = Page(out)
    assert "no score was compared" in page.text and "Every gate passed" not in page.text
    assert "Approximation, not exact: sparse-pooling: LDA averages" in page.text
    edit(path, sha256="0" * 64)
    assert main([*map(str, [converted, "--out", out, "--force"])]) == 2
    assert "fp32.tflite.json describes" in capsys.readouterr().err


@pytest.mark.slow
def test_names_and_sidecars_cannot_break_out_of_the_page(net, edit, labelled: Path, tmp_path: Path, capsys):
    evil = '"><script>alert(1)</script><b x="&amp;'
    path = net("fp32 <i>&.tflite")
    edit(
        path,
        command=evil,
        via=evil,
        calibration_sha256=evil,
        tool_versions={evil: evil},
        approximations=[evil],
    )
    out = tmp_path / "report.html"
    candidate = net("int8 <i>.tflite", step=1 / 250)
    run(capsys, path, candidate, "--images", labelled, "--out", out, "--layers", 1)
    page = Page(out)
    assert {"script", "b", "i"}.isdisjoint(tag for tag, _ in page.tags)
    assert page.text.count(evil) >= 5  # each field of the sidecar; a model's name is refused before


def test_files_of_two_models_are_refused(net, converted: Path, labelled: Path, tmp_path: Path, capsys):
    net("fp32.tflite")
    net("other.tflite", step=1 / 250, model="another")
    for images in ([], ["--images", labelled]):
        assert main([*map(str, [converted, "--out", tmp_path / "r.html", *images])]) == 2
        assert "another" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{missing}"], "nothing at"),
        (["{empty}"], "no .tflite file"),
        (["{folder}", "--images", "{empty}"], "at least one image"),
        (["{folder}", "--images", "{labelled}", "--limit", "0"], "--limit of 1 or more"),
        (["{folder}", "--limit", "3"], "--limit with --images or --data"),
        (["{folder}", "--fp32", "reference"], "--fp32 with --images or --data"),
        (["{folder}", "--images", "{labelled}", "--split", "test"], "--split with --data"),
        (["{folder}", "--images", "{labelled}", "--layers", "-1"], "--layers of 0 or more"),
        (["{folder}", "--images", "{labelled}"], "a file to compare with"),
        (["{folder}", "--out", "{there}"], "--force"),
        (["{damaged}"], "damaged.tflite"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_exit_2(
    arguments: list[str], words: str, net, converted: Path, labelled: Path, tmp_path: Path, capsys
):
    whole = net("fp32.tflite").read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.tflite").write_bytes(whole[:200])
    (tmp_path / "there").write_text("before")
    names = {name: tmp_path / name for name in ("missing", "empty", "there")}
    names |= {"folder": converted, "labelled": labelled, "damaged": tmp_path / "damaged.tflite"}
    filled = [text.format(**names) for text in arguments]
    if "--out" not in filled:
        filled += ["--out", str(tmp_path / "new.html")]
    assert main(filled) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO")]
    assert len(error) == 1 and words in error[0]
    assert (tmp_path / "there").read_text() == "before" and not (tmp_path / "new.html").exists()


@pytest.mark.slow
def test_latency_and_memory_are_measured_in_turn(
    net, converted: Path, labelled: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(latency, "PROTOCOL", ("--runs=5", "--launches=1", "--if-disturbed=keep"))
    net("fp32.tflite"), net("int8.tflite", step=1 / 250)
    out = tmp_path / "report.html"
    assert run(capsys, converted, "--images", labelled, "--out", out, "--latency", "--layers", 0)[0] == 0
    page = Page(out)
    assert len(page.row("peak memory, MB")) == 2 and all(float(mb) > 0 for mb in page.row("peak memory, MB"))
    assert float(page.row("FP32's median over it")[1]) > 0 and "--runs=5" in page.text


def test_help_is_quick_and_shows_an_example() -> None:
    code = "import sys, convert.report.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    check = code + "print(sorted({'torch', 'ai_edge_litert', 'matplotlib', 'scipy'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert process.stdout.strip().splitlines()[-1] == "[]" and "python -m convert.report" in process.stdout


def test_hostile_names_are_text_on_the_page(net, edit, converted: Path, tmp_path: Path, capsys):
    """Names of files, and everything a sidecar says: no tag, attribute or script of theirs is one."""
    evil = "\"' onload=x <script>alert(1)<!-- ]]> &amp; \u202e\x1b"
    path = net(f"{evil}.tflite")
    rewrite = {"name": evil, "equation": evil, "sites": 1, "refused": [evil]}
    edit(path, command=evil, via=evil, calibration_sha256=evil, tool_versions={evil: evil}, approximations=[evil],
         rewrites={"applied": [rewrite], "max_abs_error": 0.5})  # fmt: skip
    out = tmp_path / "report.html"
    assert run(capsys, converted, "--out", out)[0] == 0
    page = Page(out)
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"onload", "onerror"} and not {"script", "img"} & {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert(1)<!-- ]]> &amp; \\u202e\\x1b") > 8
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", page.source)


@pytest.mark.parametrize(
    "fields",
    [
        {"rewrites": {"applied": [{"name": "a", "equation": "b", "sites": "<b>", "refused": []}]}},
        {"rewrites": {"applied": [{"name": "a", "equation": "b", "sites": 1, "refused": "x"}]}},
        {"rewrites": {"applied": [1]}},
        {"rewrites": {"max_abs_error": "x"}},
        {"rewrites": [1]},
        {"command": [1]},
        {"via": {"a": 1}},
        {"tool_versions": {"a": 1}},
        {"tool_versions": [1]},
        {"approximations": "ab"},
    ],
)
def test_a_sidecar_of_other_types_is_one_line(fields, net, edit, converted: Path, tmp_path: Path, capsys):
    edit(net("fp32.tflite"), **fields)
    assert main([str(converted), "--out", str(tmp_path / "report.html")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "fp32.tflite.json" in error and not (tmp_path / "report.html").exists()
