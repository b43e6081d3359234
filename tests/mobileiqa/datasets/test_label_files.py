import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mobileiqa.datasets import label_files
from mobileiqa.errors import UserError


def test_csv_as_people_save_it(tmp_path):
    """Byte order mark, Windows line ends, blanks, capitals, quotes around commas and line breaks, empty lines."""
    path = tmp_path / "labels.csv"
    path.write_bytes(
        b'\xef\xbb\xbfImage Name, Score\r\n"a, b.png", 1.5 \r\n\r\n"two\r\nlines.png",2\r\nlast.png,3'
    )
    rows = label_files.read_csv(path, ("image_name", "score"))
    assert [(row.text("image_name"), row.number("score")) for row in rows] == [
        ("a, b.png", 1.5), ("two\nlines.png", 2), ("last.png", 3),
    ]  # fmt: skip
    assert [row.where for row in rows] == [f"labels.csv, line {n}" for n in (2, 5, 6)]


def test_an_open_quote_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text('image,score\n"a.png,1\nb.png,2\n')
    with pytest.raises(UserError, match=r"comma separated values in labels.csv, line 3"):
        label_files.read_csv(tmp_path / "labels.csv", ("image", "score"))


def test_a_folder_in_a_files_place_is_refused(tmp_path):
    with pytest.raises(UserError, match="found a folder"):
        label_files.read_csv(tmp_path, ("image",))


def edited(written: Path, **replacements: bytes) -> Path:
    """A copy of a workbook with the cell reference `old` of its sheet replaced by `new`."""
    wrong = written.with_name("wrong.xlsx")
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(wrong, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(replacements["old"], replacements["new"]))
    return wrong


def test_a_sheet_that_claims_one_cell_is_read_whole(tmp_path, write):
    """Some writers record a sheet's size wrongly, and openpyxl believes them."""
    written = write["excel"](tmp_path / "written.xlsx", ("name", "mos"), ("a", 1), ("b", 2))
    rows = label_files.read_excel(edited(written, old=b'ref="A1:B3"', new=b'ref="A1"'), ("name", "mos"))
    assert [(row.text("name"), row.number("mos")) for row in rows] == [("a", 1), ("b", 2)]


def test_empty_rows_before_a_late_one_cost_nothing(tmp_path, write):
    written = write["excel"](tmp_path / "written.xlsx", ("name", "mos"), ("a", 1), ("b", 2))
    rows = label_files.read_excel(edited(written, old=b'<row r="3"', new=b'<row r="200000"'), ("name", "mos"))
    assert [row.where for row in rows] == ["wrong.xlsx, row 2", "wrong.xlsx, row 200000"]


@pytest.mark.parametrize("row", [b"1048577", b"4000000000", b"9" * 30])
def test_a_row_that_no_sheet_has_is_refused_at_once(tmp_path, write, row):
    """Four billion empty rows would stand before it."""
    written = write["excel"](tmp_path / "written.xlsx", ("name", "mos"), ("a", 1), ("b", 2))
    with pytest.raises(UserError, match=r"an Excel workbook in wrong.xlsx; found a row beyond 1048576"):
        label_files.read_excel(
            edited(written, old=b'<row r="3"', new=b'<row r="' + row + b'"'), ("name", "mos")
        )


def test_a_small_workbook_that_unpacks_to_much_is_refused(tmp_path, write, monkeypatch):
    written = write["excel"](tmp_path / "written.xlsx", ("name", "mos"), ("a", 1))
    bomb = edited(written, old=b"</worksheet>", new=b"</worksheet>" + b" " * 3_000_000)
    monkeypatch.setattr(label_files, "_MAX_EXCEL_BYTES", 2_000_000)
    with pytest.raises(UserError, match="3 MB when unpacked, more than 2"):
        label_files.read_excel(bomb, ("name", "mos"))
    monkeypatch.undo()
    assert len(label_files.read_excel(bomb, ("name", "mos"))) == 1


def test_a_workbook_without_styles_is_read_without_a_word(tmp_path, write, recwarn):
    written = write["excel"](tmp_path / "written.xlsx", ("name", "mos"), ("a", 1))
    plain = edited(written, old=b"styleSheet", new=b"other")
    assert label_files.read_excel(plain, ("name", "mos"))[0].number("mos") == 1
    assert not recwarn.list


def test_a_workbook_without_its_workbook_part_is_named(tmp_path, write):
    written = write["excel"](tmp_path / "written.xlsx", ("name", "mos"), ("a", 1))
    with pytest.raises(
        UserError, match=r"an Excel workbook in wrong.xlsx; found File contains no valid workbook"
    ):
        label_files.read_excel(
            edited(written, old=b"sheet.main+xml", new=b"sheet.other+xml"), ("name", "mos")
        )


def end_the_process(path: Path, variable: str) -> None:
    """In the reader's place: what scipy's does for some damaged files, for certain."""
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_matlab_file_that_ends_its_reader_is_one_line(tmp_path, write, monkeypatch):
    write["matlab"](tmp_path, [f"t{n}.bmp" for n in range(1, 8)] + ["1.bmp"], np.arange(8.0))
    path = tmp_path / "Data" / "AllImages_release.mat"
    monkeypatch.setattr(label_files, "_matlab_entries", end_the_process)
    with pytest.raises(
        UserError, match=r"a MATLAB file in AllImages_release.mat; found a damaged one, which ends"
    ):
        label_files.read_matlab({path: "AllImages_release"})


def test_one_wrong_bit_in_a_cells_size_is_one_line(tmp_path, write):
    """scipy's reader may end its process here, or see the damage: that depends on what lies behind its buffer."""
    write["matlab"](tmp_path, [f"t{n}.bmp" for n in range(1, 8)] + ["1.bmp"], np.arange(8.0))
    path = tmp_path / "Data" / "AllImages_release.mat"
    content = bytearray(path.read_bytes())
    content[128 + 249] ^= 8
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a MATLAB file in AllImages_release\.mat; found"):
        label_files.read_matlab({path: "AllImages_release"})


def test_a_missing_package_is_named(tmp_path, write, monkeypatch):
    path = write["excel"](tmp_path / "grades.xlsx", ("name",), ("a",))
    monkeypatch.setattr(label_files.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"openpyxl, to read grades.xlsx; found no such package; pip install"):
        label_files.read_excel(path, ("name",))
