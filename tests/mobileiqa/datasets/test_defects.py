"""Every missing or malformed part of every set is refused, with the file's name and what was expected."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mobileiqa.datasets.registry import READERS, read
from mobileiqa.errors import UserError

KONIQ, KADID, TID = "koniq10k_distributions_sets.csv", "dmos.csv", "mos_with_names.txt"
SPAQ, BID = "Annotations/MOS and Image attribute scores.xlsx", "DatabaseGrades.xlsx"
UHD = "uhd-iqa-training-metadata.csv"

# What must be there: (set, what is removed, what the error says).
PARTS = [
    ("uhd-iqa", "uhd-iqa-*.csv", r"uhd-iqa-\*-metadata.csv in"),
    ("uhd-iqa", "challenge/training", "2 of 3 missing"),
    ("uhd-iqa", "challenge/validation/3.jpg", r"3.jpg \(uhd-iqa-validation-metadata.csv, line 2\)"),
    ("koniq-10k", KONIQ, f"{KONIQ}; found nothing"),
    ("koniq-10k", "1024x768", "the folder 1024x768 or 512x384"),
    ("koniq-10k", "1024x768/2.jpg", rf"2.jpg \({KONIQ}, line 3\); found 1 of 3 missing"),
    ("spaq", "Annotations", "the folder Annotations"),
    ("spaq", SPAQ, "MOS and Image attribute scores.xlsx; found nothing"),
    ("spaq", "TestImage", "the folder TestImage"),
    ("spaq", "TestImage/00004.jpg", r"00004.jpg \(.*row 5\); found 1 of 10 missing"),
    ("bid", BID, "DatabaseGrades.xlsx; found nothing"),
    ("bid", "DatabaseImage0005.JPG", "DatabaseImage0005.JPG .*1 of 10 missing"),
    ("live-itw", "Data", "the folder Data"),
    ("live-itw", "Data/AllImages_release.mat", "AllImages_release.mat; found nothing"),
    ("live-itw", "Data/AllMOS_release.mat", "AllMOS_release.mat; found nothing"),
    ("live-itw", "Images", "the folder Images"),
    ("live-itw", "Images/3.bmp", "3.bmp .*1 of 10 missing"),
    ("kadid-10k", KADID, "dmos.csv; found nothing"),
    ("kadid-10k", "images", "the folder images"),
    ("kadid-10k", "images/I02_01_05.png", r"I02_01_05.png \(dmos.csv, line 6\); found 1 of 30 missing"),
    ("tid2013", TID, f"{TID}; found nothing"),
    ("tid2013", "distorted_images", "the folder distorted_images"),
    ("tid2013", "distorted_images/i01_01_1.bmp", rf"I01_01_1.bmp \({TID}, line 1\)"),
    ("pipal", "Train_Label", "the folder Train_Label"),
    ("pipal", "Train_Label/*.txt", r"label files \*.txt in .*Train_Label"),
    ("pipal", "Distortion_*", "the folder Distortion_1 or Dist_Imgs"),
    ("pipal", "Distortion_2", r"A0001_00_01.bmp \(A0001.txt, line 1\); found 6 of 20 missing"),
    ("folder", "labels.csv", "labels.csv; found nothing"),
    ("folder", "images", "20 of 20 missing"),
]  # fmt: skip

# What must be right in a text file: (set, file, text, what replaces it, what the error says).
CONTENTS = [
    ("uhd-iqa", UHD, "quality_mos", "mos", f"columns image_name, quality_mos, set in .*{UHD}; found columns"),
    ("uhd-iqa", UHD, "0.25", "1.25", rf"a score of 0..1 for 2.jpg in {UHD}, line 3; found 1.25"),
    ("uhd-iqa", UHD, "2.jpg", "1.jpg", f"found it in {UHD}, line 2 and in {UHD}, line 3"),
    ("koniq-10k", KONIQ, ",MOS", ",mean", f"columns image_name, mos, set in .*{KONIQ}"),
    ("koniq-10k", KONIQ, "71.25", "good", rf"a finite number in column mos of {KONIQ}, line 3; found 'good'"),
    ("koniq-10k", KONIQ, "71.25", "nan", rf"a finite number in column mos of {KONIQ}, line 3; found 'nan'"),
    ("koniq-10k", KONIQ, "71.25", "", f"a value in column mos of {KONIQ}, line 3; found an empty cell"),
    ("koniq-10k", KONIQ, "71.25", "100.5", r"a score of 0..100 for 2.jpg"),
    ("koniq-10k", KONIQ, "validation", "held-out", f"a split of .* in {KONIQ}, line 3; found 'held-out'"),
    ("koniq-10k", KONIQ, "1.jpg,0.1,", "1.jpg,", f"10 cells in {KONIQ}, line 2; found 9"),
    ("kadid-10k", KADID, "ref_img", "reference", "columns dist_img, ref_img, dmos in"),
    ("kadid-10k", KADID, "I02_01_05.png", "picture.png", "a name such as I01_05_3.png in dmos.csv, line 6"),
    ("kadid-10k", KADID, "I02_01_05.png", "I02_26_05.png", "distortion 1..25 and level 1..5 in dmos.csv"),
    ("kadid-10k", KADID, "I02_01_05.png", "I02_01_06.png", "distortion 1..25 and level 1..5 in dmos.csv"),
    ("kadid-10k", KADID, "I02_01_05.png,I02", "I02_01_05.png,I03", "the reference of I02_01_05.png"),
    ("kadid-10k", KADID, "I01_25_03.png", "I01_01_01.png", "I01_01_01.png once"),
    ("kadid-10k", KADID, ",4.40,", ",0.99,", r"a score of 1..5 for I01_01_01.png in dmos.csv, line 2"),
    ("tid2013", TID, "6.10000 ", "6.1 6.1 ", f"2 cells in {TID}, line 1; found 3"),
    ("tid2013", TID, "6.10000", "9.1", r"a score of 0..9"),
    ("tid2013", TID, "I01_01_1", "I01_25_1", "distortion 1..24"),
    ("pipal", "Train_Label/A0003.txt", "1003.5", "899", r"a score of 900..1850 for A0003_00_01.bmp in A0003"),
    ("pipal", "Train_Label/A0003.txt", ",1003.5", "", "2 cells in A0003.txt, line 1; found 1"),
    ("folder", "labels.csv", "image,", "name,", "columns image, score in"),
    ("folder", "labels.csv", "r1,10", "r1,ten", "a finite number in column distortion of labels.csv, line 2"),
    ("folder", "labels.csv", "r1,10", "r1,1.5", "a whole number of 0 or more in column distortion"),
    ("folder", "labels.csv", "r1,10", "r1,-1", "a whole number of 0 or more in column distortion"),
    ("folder", "labels.csv", "reference,", "score,", "different column names"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part", "message"), PARTS)
def test_a_missing_part_is_named(name, part, message, layout):
    root = layout(name)
    removed = list(root.glob(part))
    assert removed
    for path in removed:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=message):
        read(name, root)


@pytest.mark.parametrize(("name", "file", "text", "replacement", "message"), CONTENTS)
def test_malformed_text_is_named(name, file, text, replacement, message, layout):
    root = layout(name)
    path = root / file
    before = path.read_text()
    assert text in before
    path.write_text(before.replace(text, replacement, 1))
    with pytest.raises(UserError, match=message):
        read(name, root)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("uhd-iqa", UHD),
        ("koniq-10k", KONIQ),
        ("kadid-10k", KADID),
        ("tid2013", TID),
        ("folder", "labels.csv"),
    ],
)
def test_a_file_of_no_rows_is_refused(name, file, layout):
    root = layout(name)
    header = (root / file).read_text().splitlines()[0]
    (root / file).write_text("\n\n" if name == "tid2013" else f"{header}\n\n")
    with pytest.raises(UserError, match=rf"at least one row in .*{file}; found none"):
        read(name, root)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("00001.jpg", None), "a value in column mos of .*row 2; found an empty cell"),
        (("00001.jpg", "fair"), "a finite number in column mos of .*row 2; found 'fair'"),
        (("00001.jpg", 101), "a score of 0..100 for 00001.jpg in .*row 2; found 101"),
        ((None, 50), "a value in column image_name of .*row 2"),
    ],
)
def test_malformed_spaq_rows_are_named(row, message, layout, write):
    root = layout("spaq")
    write["excel"](root / SPAQ, ("Image name", "MOS"), row)
    with pytest.raises(UserError, match=message):
        read("spaq", root)


def test_spaq_without_its_column(layout, write):
    root = layout("spaq")
    write["excel"](root / SPAQ, ("Image name", "Brightness"), ("00001.jpg", 3))
    with pytest.raises(
        UserError, match=r"columns image_name, mos in .*; found columns image_name, brightness"
    ):
        read("spaq", root)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one image in bid"),
        ([(3, None)], "a value in column grade of DatabaseGrades.xlsx, row 2"),
        ([(3, 5.5)], "a score of 0..5 for DatabaseImage0003.JPG in DatabaseGrades.xlsx, row 2"),
        ([("three", 2)], "a finite number in column number"),
        ([(3.5, 2)], "a whole number of 0 or more in column number"),
        ([(3, 2), (3, 2), (4, 1), (5, 1)], "DatabaseImage0003.JPG once"),
        ([(3,)], "a value in column grade"),
    ],
)
def test_malformed_bid_rows_are_named(rows, message, layout, write):
    root = layout("bid")
    write["excel"](root / BID, ("number", "grade"), *rows)
    with pytest.raises(UserError, match=message):
        read("bid", root)


@pytest.mark.parametrize(
    ("names", "scores", "message"),
    [
        (8, np.full(9, 5.0), "as many names as scores in .*8 names, 9 scores"),
        (7, np.full(7, 5.0), "at least one image in live-itw"),
        (12, np.full(12, np.nan), "a finite number in column mos of AllMOS_release.mat, entry 1"),
        (12, np.full(12, 100.5), "a score of 0..100 for 1.bmp in AllMOS_release.mat, entry 8"),
    ],
)
def test_malformed_live_files_are_named(names, scores, message, layout, write):
    root = layout("live-itw")
    listed = [f"t{n}.bmp" for n in range(1, 8)] + [f"{n}.bmp" for n in range(1, 6)]
    write["matlab"](root, listed[:names], scores)
    with pytest.raises(UserError, match=message):
        read("live-itw", root)


EXCEL_AND_MATLAB = [("spaq", SPAQ), ("bid", BID), ("live-itw", "Data/AllMOS_release.mat")]


@pytest.mark.parametrize(("name", "file"), EXCEL_AND_MATLAB)
def test_a_file_that_was_cut_short_is_named(name, file, layout):
    path = layout(name) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=path.name):
        read(name, path.parents[file.count("/")])


@pytest.mark.parametrize(
    ("name", "file"), [*EXCEL_AND_MATLAB, ("koniq-10k", KONIQ), ("tid2013", TID), ("folder", "labels.csv")]
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe not this format"])
def test_a_file_of_another_format_is_named(name, file, content, layout):
    root = layout(name)
    (root / file).write_bytes(content)
    with pytest.raises(UserError, match=Path(file).name):
        read(name, root)


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("spaq", SPAQ, "columns image_name, mos in .*; found columns none"),
        ("bid", BID, "at least one image in bid"),
    ],
)
def test_an_empty_workbook_is_refused(name, file, message, layout, write):
    root = layout(name)
    write["excel"](root / file)
    with pytest.raises(UserError, match=message):
        read(name, root)


def test_bid_without_headings_does_not_lose_its_first_image(layout, write):
    root = layout("bid")
    write["excel"](root / BID, *[(number, 2) for number in range(3, 13)])
    with pytest.raises(UserError, match=r"headings in the first row of DatabaseGrades.xlsx; found \(3, 2\)"):
        read("bid", root)


def test_a_variable_of_another_name_is_refused(layout):
    root = layout("live-itw")
    shutil.copy(root / "Data" / "AllImages_release.mat", root / "Data" / "AllMOS_release.mat")
    with pytest.raises(
        UserError, match=r"variable AllMOS_release in AllMOS_release.mat; found AllImages_rel"
    ):
        read("live-itw", root)


def test_two_files_that_differ_in_case_are_refused(layout):
    root = layout("tid2013")
    images = root / "distorted_images"
    shutil.copy(images / "i01_01_1.bmp", images / "I01_01_1.bmp")
    if len(list(images.glob("?01_01_1.bmp"))) < 2:
        pytest.skip("this file system ignores case, so the two cannot exist")
    with pytest.raises(UserError, match=r"one file called .* in any case"):
        read("tid2013", root)


@pytest.mark.parametrize("name", READERS)
def test_an_empty_folder_is_refused(name, tmp_path):
    with pytest.raises(UserError):
        read(name, tmp_path)
