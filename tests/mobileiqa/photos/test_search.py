"""What a folder holds: images, photos that are not read, and what lies beside them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mobileiqa.errors import UserError
from mobileiqa.photos.search import find_images, search_images
from mobileiqa.text import PLOT_METADATA

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"x" * 99
needs_no_heic_plugin = pytest.mark.skipif(
    importlib.util.find_spec("pillow_heif") is not None, reason="pillow-heif reads them here"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    image(folder / "a.png")
    return folder


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images([folder])]


@needs_no_heic_plugin
def test_photos_that_are_not_read_are_counted_by_format(folder: Path):
    for name in ("one.heic", "sub/TWO.HEIC", "raw.DNG", "raw.nef", "x.jxl", "nameless"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(HEIC)
    for name in ("notes.txt", "model.tflite", "table.csv", "README"):
        (folder / name).write_text("words")
    search = search_images([folder])
    assert [path.name for path in search.images] == ["a.png"]
    assert search.left_out == {"HEIC": 3, "DNG": 1, "JXL": 1, "NEF": 1}
    assert str(search) == "6 left out: 3 HEIC, 1 DNG, 1 JXL, 1 NEF"
    assert str(search_images([folder / "a.png"])) == ""


def test_a_heic_plugin_that_does_not_start_is_said(tmp_path: Path):
    (tmp_path / "pillow_heif.py").write_text("raise ImportError('no libheif')\n")
    code = "from mobileiqa.photos.formats import pillow_formats; print('JPEG' in pillow_formats())"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "True" and "no libheif" in run.stderr and "Traceback" not in run.stderr


@needs_no_heic_plugin
def test_a_folder_of_nothing_else_says_so(tmp_path: Path):
    (tmp_path / "one.heic").write_bytes(HEIC)
    with pytest.raises(UserError, match=r"none in .* \(1 left out: 1 HEIC\)"):
        search_images([tmp_path])


def test_system_folders_and_hidden_files_are_left_out_and_counted(folder: Path):
    for name in ("@eaDir/a.png/SYNO_THUMB.png", "#recycle/b.png", "$RECYCLE.BIN/c.png", "__MACOSX/._a.png",
                 "lost+found/d.png", "System Volume Information/e.png", ".thumbnails/f.png", "sub/@EADIR/g.png",
                 "sub/.h.png", "._a.png"):  # fmt: skip
        image(folder / name)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (folder / name).write_bytes(b"x")
    (folder / "lost+found" / "empty").mkdir()
    search = search_images([folder])
    assert [path.name for path in search.images] == ["a.png"]
    assert search.unread == ()
    assert search.left_out == {
        "hidden": 3, "in #recycle": 1, "in $RECYCLE.BIN": 1, "in @EADIR": 1, "in @eaDir": 1,
        "in System Volume Information": 1, "in __MACOSX": 1, "in lost+found": 1,
    }  # fmt: skip
    assert names(folder / "@eaDir") == ["a.png/SYNO_THUMB.png"], "a folder that is named is searched"


def test_plots_of_our_own_are_no_photos(folder: Path):
    from matplotlib.figure import Figure

    for name, metadata in (("ours.PNG", PLOT_METADATA), ("theirs.png", {})):
        Figure(figsize=(1, 1)).savefig(folder / name, format="png", metadata=metadata)
    search = search_images([folder])
    assert [path.name for path in search.images] == ["a.png", "theirs.png"]
    assert search.left_out == {"drawn by mobileiqa": 1}
    assert find_images([folder / "ours.PNG"]), "a file that is named is read"


def test_every_plot_is_marked():
    root = Path(__file__).resolve().parents[3]
    files = [path for name in ("mobileiqa", "convert", "calibration", "android_bench", "benchmarks")
             for path in (root / name).rglob("*.py")]  # fmt: skip
    plots = [line.strip() for path in files for line in path.read_text(encoding="utf-8").splitlines()
             if ".savefig(" in line or ".save_plot(" in line]  # fmt: skip
    unmarked = [line for line in plots if "PLOT_METADATA" not in line and "cli.save_plot(" not in line]
    assert len(plots) > 5
    assert unmarked == ['figure.savefig(file, dpi=_DPI, format="png")'], "the sheet's, which is inside a page"


def test_an_image_without_a_suffix_is_an_image(folder: Path):
    (folder / "IMG_1").write_bytes((folder / "a.png").read_bytes())
    (folder / "LICENSE").write_text("BM, II* and other words")
    (folder / "sent.heic").write_bytes((folder / "a.png").read_bytes())
    assert names(folder) == ["IMG_1", "a.png", "sent.heic"]
    assert search_images([folder]).left_out == {}


def test_pictures_under_other_suffixes_are_counted(folder: Path):
    content = image(folder / "b.jpg").read_bytes()
    for name in (
        "c.jpg_large",
        "d.JPG_original",
        "e.jpg~",
        "f.insp",
        "IMG.2024",
        "g.webp?w=1",
        "h.jpg.crdownload",
    ):
        (folder / name).write_bytes(content)
    (folder / "i.bin").write_bytes(HEIC)
    for name in ("notes.txt", "table.csv", "BM.md"):
        (folder / name).write_text("BM, II* and other words")
    assert names(folder) == ["a.png", "b.jpg"]
    assert search_images([folder]).left_out == {
        "JPEG under another suffix": 7,
        "HEIC under another suffix": 1,
    }
    assert names(folder / "f.insp") == ["."], "what is named by itself is read"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_to_folders_are_followed_once(folder: Path, tmp_path: Path):
    image(tmp_path / "elsewhere" / "deep" / "b.png")
    image(folder / "real" / "c.png")
    for link, target in {
        "away": tmp_path / "elsewhere", "again": tmp_path / "elsewhere" / "deep", "0real": folder / "real",
        "real/loop": folder, "real/self": folder / "real", "elsewhere.png": tmp_path / "elsewhere",
    }.items():  # fmt: skip
        os.symlink(target, folder / link)
    os.symlink(folder / "missing", folder / "gone")
    assert names(folder) == ["a.png", "again/b.png", "real/c.png"], "a real folder comes before links to it"
    os.symlink(tmp_path, folder / "around")
    assert search_images([folder]).left_out == {"link to a folder around this one (around)": 1}
    os.symlink(folder, tmp_path / "linked")
    assert len(find_images([tmp_path / "linked"])) == 3


@pytest.mark.parametrize("path", ["", " ", "\t"])
def test_an_empty_path_is_refused(path: str):
    with pytest.raises(UserError, match="an empty path"):
        find_images([path])


def test_the_current_folder_may_be_named(folder: Path, monkeypatch):
    monkeypatch.chdir(folder)
    assert find_images(["."]) == [Path("a.png")]


def test_a_heic_plugin_is_used_where_it_is_installed(tmp_path: Path):
    """A stand-in for pillow-heif, registered as it is: its pixels are a colour, not a decoded photo."""
    (tmp_path / "pillow_heif.py").write_text(
        "from PIL import Image, ImageFile\n"
        "class Heif(ImageFile.ImageFile):\n"
        "    format = 'HEIF'\n"
        "    n_frames = 2\n"
        "    def _open(self):\n"
        "        if self.fp.read(12)[4:] != b'ftypheic': raise SyntaxError('no HEIC')\n"
        "        self._size, self._mode = (6, 4), 'RGB'\n"
        "    def load(self):\n"
        "        self.im = Image.new('RGB', (6, 4), (1, 2, 3)).im\n"
        "def register_heif_opener():\n"
        "    Image.register_open('HEIF', Heif)\n"
        "    Image.register_extensions('HEIF', ['.heic', '.heif'])\n"
    )
    (tmp_path / "photo.HEIC").write_bytes(HEIC)
    code = (
        "from mobileiqa.photos.loading import load_image; "
        "from mobileiqa.photos.search import search_images; import sys;"
        "s = search_images([sys.argv[1]]);"
        "i = load_image(s.images[0]); print(len(s.images), s.left_out, i.size, i.getpixel((0, 0)))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "1 {} (6, 4) (1, 2, 3)"
