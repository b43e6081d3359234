"""Image files in folders, and what else lies there: nothing is left out without being counted."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mobileiqa.errors import UserError
from mobileiqa.photos.formats import (
    PICTURE_SUFFIXES,
    PLAIN_FORMATS,
    UNREAD_FORMATS,
    file_format_of,
    image_suffixes,
    left_out_name,
)
from mobileiqa.text import PLOT_METADATA

# Folders of thumbnails, trash and metadata that storage devices and systems put beside photos; in lower case.
SYSTEM_FOLDERS = frozenset({
    "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "@recently-snapshot", "$recycle.bin", "recycler",
    "system volume information", "__macosx", "lost+found", "thumbnails", "found.000",
})  # fmt: skip
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
HIDDEN, OWN = "hidden", "drawn by mobileiqa"
_OWN_MARK = "\0".join(*PLOT_METADATA.items()).encode()
_START = 256  # bytes of a PNG in which the mark stands, behind its header


@dataclass(frozen=True)
class ImageSearch:
    """The images of some paths, and the pictures that are left out.

    `unread`: photos of a format that is not read here; `ignored`: how many are hidden or in system folders, by reason.
    """

    images: tuple[Path, ...]
    unread: tuple[Path, ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, int]:
        """How many of each kind, such as {"HEIC": 2, "hidden": 1}, ready for JSON."""
        return {**_sorted(Counter(map(left_out_name, self.unread))), **self.ignored}

    def __str__(self) -> str:
        """ "3 left out: 2 HEIC, 1 DNG"; empty where nothing is."""
        counts = self.left_out
        listed = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        return f"{sum(counts.values())} left out: {listed}" if counts else ""


NOTHING_SEARCHED = ImageSearch(())


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """`search_images`, the images alone: for those who have said, or need not say, what is left out."""
    return list(search_images(paths).images)


def search_images(paths: Iterable[str | os.PathLike[str]]) -> ImageSearch:
    """Every file named, and every image below every folder named: once each, folders sorted by path.

    Folders are searched to any depth for the suffixes that Pillow knows, in either case, and for JPEG, PNG, GIF, WebP
    and TIFF without any suffix; links to folders are followed, each folder once. Left out and counted: hidden files
    and folders, SYSTEM_FOLDERS, pictures that this project wrote, pictures under a
    suffix of another kind (photo.jpg_large), and photos of formats that are not read here.
    Raises UserError when a path is empty or does not exist, or when there is no image at all.
    """
    images: dict[Path, None] = {}
    unread: dict[Path, None] = {}
    ignored: Counter[str] = Counter()
    named = [_named(path) for path in paths]
    for path in named:
        if path.is_dir():
            folder = _Folder(unread, ignored)
            images.update(dict.fromkeys(sorted(folder.images(path))))
        elif path.exists():
            images[path] = None
        else:
            raise UserError("an image or a folder of images", f"nothing at {path}", "check the path")
    search = ImageSearch(tuple(images), tuple(sorted(unread)), _sorted(ignored))
    if not images:
        counted = f" ({search})" if search.left_out else ""
        raise UserError(
            "at least one image",
            f"none in {', '.join(map(str, named)) or 'no paths'}{counted}",
            "name image files, or folders that hold some (JPEG, PNG, WebP, TIFF...)",
        )
    return search


def _named(path: str | os.PathLike[str]) -> Path:
    if not os.fspath(path).strip():
        raise UserError("an image or a folder of images", "an empty path", "name it; . is the current folder")
    return Path(path)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda kind: (-kind[1], kind[0])))


def is_searched(path: Path) -> bool:
    """Whether a search of its folder takes this file for an image."""
    return _Folder({}, Counter())._is_image(path)


@dataclass(frozen=True)
class _Folder:
    """One walk below a folder; counts what it leaves out."""

    unread: dict[Path, None]
    ignored: Counter[str]

    def images(self, root: Path) -> Iterator[Path]:
        """The image files, real folders first, then those behind links that were not visited yet."""
        visited: set[str] = set()
        links = [root]
        while links:
            link = links.pop(0)
            real = os.path.realpath(link)
            if real in visited:
                continue
            if link != root and Path(real) in Path(os.path.realpath(root)).parents:
                self.ignored[f"link to a folder around this one ({link.name})"] += 1
                continue
            yield from self._walk(link, visited, links)

    def _walk(self, root: Path, visited: set[str], links: list[Path]) -> Iterator[Path]:
        for place, folders, files in os.walk(root, onerror=_fail):
            visited.add(os.path.realpath(place))
            entered = []
            for name in sorted(folders):
                if reason := _reason(name):
                    self.ignored[reason] += _count_images(Path(place, name))
                elif os.path.islink(os.path.join(place, name)):
                    links.append(Path(place, name))
                elif os.path.realpath(os.path.join(place, name)) not in visited:
                    entered.append(name)
            folders[:] = entered
            for name in files:
                if self._is_image(Path(place, name)):
                    yield Path(place, name)
        for kind in [kind for kind, n in self.ignored.items() if not n]:
            del self.ignored[kind]

    def _is_image(self, path: Path) -> bool:
        """Whether a file is read; counts it where it is a picture that is not."""
        suffix = path.suffix.lower()
        is_image = suffix in image_suffixes()
        if path.name.startswith(".") or path.name.lower() in SYSTEM_FILES:
            if is_image or suffix in PICTURE_SUFFIXES:
                self.ignored[HIDDEN] += 1
            return False
        if suffix == ".png" and _is_own(path):
            self.ignored[OWN] += 1
            return False
        if is_image:
            return True
        form = file_format_of(path)
        if suffix and suffix not in PICTURE_SUFFIXES:
            if form in PLAIN_FORMATS or form in UNREAD_FORMATS:  # photo.jpg_large, photo.jpg~
                self.ignored[f"{form} under another suffix"] += 1
            return False
        # Phones and messengers also write JPEG into photo.heic.
        if form in PLAIN_FORMATS and not (form == "TIFF" and suffix):
            return True
        if suffix or form in UNREAD_FORMATS:
            self.unread[path] = None
        return False


def _is_own(path: Path) -> bool:
    """Whether a PNG is a plot of one of our commands."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return _OWN_MARK in file.read(_START)
    except OSError:
        return False  # reading it later says why


def _reason(folder: str) -> str:
    """Why a folder is not entered; empty where it is."""
    if folder.startswith("."):
        return HIDDEN
    return f"in {folder}" if folder.lower() in SYSTEM_FOLDERS else ""


def _count_images(folder: Path) -> int:
    """Pictures below a folder that is not entered; what may not be read there is not counted."""
    suffixes = image_suffixes() | PICTURE_SUFFIXES
    return sum(
        os.path.splitext(name)[1].lower() in suffixes for _, _, files in os.walk(folder) for name in files
    )


def _fail(error: OSError) -> None:
    raise error  # os.walk would leave out a folder that it may not read
