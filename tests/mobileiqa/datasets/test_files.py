import pytest

from mobileiqa.datasets import files
from mobileiqa.errors import UserError


def test_csv_as_people_save_it(tmp_path):
    """Byte order mark, Windows line ends, blanks, capitals, quotes around commas and line breaks, empty lines."""
    path = tmp_path / "labels.csv"
    path.write_bytes(
        b'\xef\xbb\xbfImage Name, Score\r\n"a, b.png", 1.5 \r\n\r\n"two\r\nlines.png",2\r\nlast.png,3'
    )
    rows = files.read_csv(path, ("image_name", "score"))
    assert [(row.text("image_name"), row.number("score")) for row in rows] == [
        ("a, b.png", 1.5), ("two\nlines.png", 2), ("last.png", 3),
    ]  # fmt: skip
    assert [row.where for row in rows] == [f"labels.csv, line {n}" for n in (2, 5, 6)]


def test_an_open_quote_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text('image,score\n"a.png,1\nb.png,2\n')
    with pytest.raises(UserError, match=r"comma separated values in labels.csv, line 3"):
        files.read_csv(tmp_path / "labels.csv", ("image", "score"))


def test_a_folder_in_a_files_place_is_refused(tmp_path):
    with pytest.raises(UserError, match="found a folder"):
        files.read_csv(tmp_path, ("image",))


def test_a_sheet_that_claims_one_cell_is_read_whole(tmp_path, write):
    """Some writers record a sheet's size wrongly, and openpyxl believes them."""
    import zipfile

    written = write["excel"](tmp_path / "written.xlsx", ("name", "mos"), ("a", 1), ("b", 2))
    wrong = tmp_path / "wrong.xlsx"
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(wrong, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b'ref="A1:B3"', b'ref="A1"'))
    rows = files.read_excel(wrong, ("name", "mos"))
    assert [(row.text("name"), row.number("mos")) for row in rows] == [("a", 1), ("b", 2)]


def test_a_missing_package_is_named(tmp_path, write, monkeypatch):
    path = write["excel"](tmp_path / "grades.xlsx", ("name",), ("a",))
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"openpyxl, to read grades.xlsx; found no such package; pip install"):
        files.read_excel(path, ("name",))
