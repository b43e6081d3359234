"""What every platform of an app is written from: the file, its facts, its golden photos, and templates.

A platform is a function (app, folder) that fills `folder` and returns lines for people; PLATFORMS of the command names
it. It has a folder of templates here; a template's name is the path that it becomes, without `.in`.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from convert.app import golden_photos
from convert.app.expressions import SYNTAX, expression
from convert.app.facts import ModelFacts, Photo, read_facts
from convert.snippets.languages import comment
from mobileiqa.errors import UserError, one_line
from mobileiqa.photos.loading import load_image
from mobileiqa.scoring import litert
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import UNTRAINED

TEMPLATES = Path(__file__).with_name("templates")
PLACEHOLDER = re.compile(r"@@(\w+)@@")
GOLDEN = "golden"


@dataclass(frozen=True)
class App:
    """One file and all that its app is made of. `golden`: the folder of its golden photos."""

    source: Path
    spec: ModelSpec
    facts: ModelFacts
    golden: Path

    @property
    def title(self) -> str:
        """Which file this is, for a comment in any language."""
        return comment(f"Made by `mobileiqa app` for {self.facts.file}, SHA-256 {self.facts.sha256}.")

    def copy_assets(self, folder: Path) -> None:
        """The file and its golden photos into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.source, folder / self.facts.file)
        for photo in self.facts.photos:
            (folder / GOLDEN).mkdir(exist_ok=True)
            shutil.copyfile(self.golden / photo.file, folder / GOLDEN / photo.file)


def read_app(source: Path, golden: Path) -> App:
    """Reads what the platforms need, and writes golden photos into the new folder `golden`.

    Raises UserError for a file that no app can use with photos of any size.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", source.name):
        expected = "a file name of letters, digits, '.', '_' and '-', at most 100"
        raise UserError(expected, repr(source.name), "rename the file")
    facts = read_facts(source)
    golden.mkdir()
    photos = golden_photos.write(source, golden)
    rows = tuple(Photo(e.file, e.what, e.tolerance, (e.score, *e.reasons)) for e in photos)
    return App(source, litert.load_spec(source), replace(facts, photos=rows), golden)


def write_templates(name: str, folder: Path, values: Mapping[str, str]) -> None:
    """Every template of the platform `name` into `folder`, @@NAME@@ replaced by `values`."""
    root = TEMPLATES / name
    for template in sorted(path for path in root.rglob("*") if path.is_file()):
        target = folder / template.relative_to(root)
        target = target.with_name(target.name.removesuffix(".in"))
        target.parent.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8")
        target.write_text(PLACEHOLDER.sub(lambda match: values[match[1]], text), encoding="utf-8")


def write_licences(app: App, folder: Path) -> None:
    """LICENSE of the library, and NOTICE with what the model's licence asks for."""
    values = {
        "file": app.facts.file,
        "sha256": app.facts.sha256,
        "licence": one_line(app.spec.license) or "not said",
        "origin": one_line(app.spec.origin) or "not said",
        "trained_on": one_line(app.spec.trained_on) or UNTRAINED,
    }
    write_templates("licences", folder, values)


def write_ios(app: App, folder: Path) -> list[str]:
    """The Swift package, with the file and its golden photos as resources. No Swift compiler has seen it."""
    write_templates("ios", folder, {"title": app.title, "facts": expression(app.facts, SYNTAX["swift"])})
    write_licences(app, folder)
    app.copy_assets(folder / "Sources/MobileIQA/Resources")
    return ["a Swift package: add the folder in Xcode, or by its path; no Swift compiler has seen it"]


def write_cpp(app: App, folder: Path) -> list[str]:
    """The C++ library: sources that need nothing but C++17 and libLiteRt.so, the file and its golden photos."""
    facts = expression(app.facts, SYNTAX["c++"])
    write_templates("cpp", folder, {"title": app.title, "facts": facts, "file": app.facts.file})
    write_licences(app, folder)
    app.copy_assets(folder)
    for photo in app.facts.photos:  # for the self-test's program, which brings no decoder
        path = folder / GOLDEN / photo.file
        load_image(path).save(path.with_name(f"{path.name}.ppm"))
    return [
        f"scorer.hpp and four sources around {app.facts.file}; compile them with libLiteRt.so",
        "selftest/main.cpp is the self-test as a program, also for a phone through adb",
    ]
