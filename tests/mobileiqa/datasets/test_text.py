"""Label files as people and their programs save them: what is unambiguous is read, the rest is named."""

from pathlib import Path

import pytest

from mobileiqa import data
from mobileiqa.datasets.label_files import read_csv
from mobileiqa.datasets.registry import read
from mobileiqa.errors import UserError
from tests.mobileiqa.datasets.conftest import picture

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "csv"
SCORES = [1.5, 2.25, 3.0, 3.5, 4.0, 4.75]
PLAIN = "image,score\n" + "".join(f"img{n}.png,{score:g}\n" for n, score in enumerate(SCORES, 1))
WITH_COMMAS = "image;score\n" + "".join(
    f"img{n}.png;{s:g}\n".replace(".", ",") for n, s in enumerate(SCORES, 1)
)
COMMAS = WITH_COMMAS.replace(",png", ".png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, 7):
        picture(tmp_path / f"img{number}.png")
    return tmp_path


def labels(folder: Path, content: str | bytes) -> Path:
    (folder / "labels.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


ACCEPTED = {
    "plain": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "decimal commas": COMMAS,
    "decimal commas, tabs": COMMAS.replace(";", "\t"),
    "quoted decimal commas": PLAIN.replace("1.5", '"1,5"').replace("2.25", '"2,25"').replace("3.5", '"3,5"')
    .replace("4.75", '"4,75"'),
    "a byte order mark": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "UTF-16, big-endian, without a mark": PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "UTF-16 of Excel": PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "Windows line ends": PLAIN.replace("\n", "\r\n"),
    "old Mac line ends": PLAIN.replace("\n", "\r"),
    "no line end at the end": PLAIN.rstrip(),
    "quoted header": PLAIN.replace("image,score", '"Image","SCORE"'),
    "capitals and blanks": PLAIN.replace("image,score", " Image , Score "),
    "empty lines": "\n\n" + PLAIN.replace("\n", "\n\n") + "\n,\n",
    "Excel's separator line": "sep=;\n" + PLAIN.replace(",", ";"),
    "empty cells at the ends": PLAIN.replace("\n", ",,\n"),
    "Windows paths": PLAIN.replace("img", ".\\img"),
    "paths that start here": PLAIN.replace("img", "./img"),
    "quoted cells": PLAIN.replace("img1.png", '"img1.png"'),
    "scientific": PLAIN.replace("1.5", "15e-1"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(ACCEPTED))
def test_what_is_unambiguous_is_read(folder: Path, name: str) -> None:
    dataset = read("folder", labels(folder, ACCEPTED[name]))
    assert [sample.raw_score for sample in dataset.samples] == SCORES
    assert [sample.path for sample in dataset.samples] == [folder / f"img{n}.png" for n in range(1, 7)]
    plain = read("folder", labels(folder, PLAIN))
    assert (dataset.listing, [s.split for s in dataset.samples]) == (
        plain.listing,
        [s.split for s in plain.samples],
    )


REFUSED = [
    (PLAIN.replace(",", ":"), "separated by blanks or colons"),
    (PLAIN.replace(",", " "), "'image score', separated by blanks"),
    (PLAIN.replace("score", "mos").replace(",", ";"), "found columns image, mos, separated by semicolons"),
    (PLAIN.partition("\n")[2], "no header; write image,score as the first line"),
    (PLAIN.replace("img2", "bild-ä").encode("latin-1"), "the byte 0xe4 in line 3, as Windows-1252"),
    (b"PK\x03\x04" + PLAIN.encode(), "an Excel workbook or ZIP archive; save its table as CSV"),
    ("<!DOCTYPE html><html>", "a web page"),
    (PLAIN.replace("2.25", "2.2\x005"), "NUL characters"),
    (COMMAS.replace("3,5", "3.5"), "1,5 in labels.csv, line 2 and 3.5 in labels.csv, line 5"),
    ("image;score\nimg1.png;1,250\nimg2.png;2,500\n", "may mark decimals or thousands"),
    (PLAIN.replace("2.25", "nan"), "labels.csv, line 3; found 'nan'"),
    (PLAIN.replace("2.25", "-inf"), "labels.csv, line 3; found '-inf'"),
    (PLAIN.replace("2.25", "1e999"), "labels.csv, line 3; found '1e999'"),
    (PLAIN.replace("2.25", "1_0"), "labels.csv, line 3; found '1_0'"),
    (PLAIN.replace("2.25", ""), "labels.csv, line 3; found an empty cell"),
    (PLAIN.replace("img2.png", ""), "column image of labels.csv, line 3; found an empty cell"),
    (PLAIN.replace("img2.png,2.25", "img2.png,2.25,9"), "2 cells in labels.csv, line 3; found 3"),
    (PLAIN.replace(",", ";").replace("2.png;2", "2.png,2"), "separated by semicolons, in labels.csv, line 3"),
    (PLAIN.replace("img2", "img1"), "it in labels.csv, line 2 and in labels.csv, line 3"),
    (PLAIN.replace("img2", ".\\img1"), "it in labels.csv, line 2 and in labels.csv, line 3"),
    (PLAIN.replace("img2", "img9"), r"img9.png (labels.csv, line 3); found 1 of 6 missing; correct the paths"),
    (PLAIN.replace("\n", ",\n").replace("image,score,", 'image,"score'), "labels.csv"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_the_rest_is_named_with_advice_for_ones_own_folder(
    folder: Path, content: str | bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data.main(["describe", "folder", str(labels(folder, content))]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert "download" not in error and "set again" not in error


@pytest.mark.parametrize(
    "image",
    ["/etc/img2.png", "../img2.png", "sub/../img2.png", "..\\img2.png", "C:\\photos\\img2.png", "c:img2.png",
     "\\\\server\\share\\img2.png", "~/img2.png", "~root/img2.png"],
)  # fmt: skip
def test_images_elsewhere_are_refused(folder: Path, image: str) -> None:
    labels(folder, PLAIN.replace("img2.png", image))
    with pytest.raises(UserError, match=r"inside the set's folder in labels.csv, line 3"):
        read("folder", folder)


def test_images_elsewhere_are_read_where_that_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = folder / "labels"
    inner.mkdir()
    content = PLAIN.replace("img1", f"{folder}/img1").replace("\nimg", "\n../img")
    labels(inner, content)
    assert data.main(["describe", "folder", str(inner)]) == 2
    assert "--allow-outside" in capsys.readouterr().err
    assert data.main(["describe", "folder", str(inner), "--allow-outside"]) == 0


def test_published_sets_name_no_other_file_either(layout) -> None:
    root = layout("koniq-10k")
    path = root / "koniq10k_distributions_sets.csv"
    path.write_text(path.read_text().replace("2.jpg", "../2.jpg"))
    with pytest.raises(UserError, match=r"holds `\.\.`"):
        read("koniq-10k", root)


def test_a_label_file_of_another_name_is_pointed_to(folder: Path) -> None:
    with pytest.raises(UserError, match=r"found nothing; write labels.csv with the columns image,score"):
        read("folder", folder)
    (folder / "mos.tsv").write_text(PLAIN.replace(",", "\t"))
    with pytest.raises(UserError, match=r"found nothing; name the label file itself, such as .*mos.tsv"):
        read("folder", folder)
    assert len(read("folder", folder / "mos.tsv").samples) == 6


def test_one_column_needs_no_separator(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("image\na b;c.png\nd.png\n")
    assert [row.text("image") for row in read_csv(tmp_path / "test.csv", ("image",))] == [
        "a b;c.png",
        "d.png",
    ]


@pytest.mark.skipif(
    not CASES.is_dir(), reason="no ../shared/cases beside the checkout; generated ones stand in"
)
@pytest.mark.parametrize("name", ["semi", "semi_comma", "tab", "utf16", "winpath"])
def test_files_as_they_were_reported(folder: Path, name: str) -> None:
    dataset = read("folder", labels(folder, (CASES / f"{name}.csv").read_bytes()))
    assert [sample.raw_score for sample in dataset.samples] == SCORES
