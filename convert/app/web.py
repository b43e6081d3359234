"""The web page: a static folder that scores a dropped photo in the browser, and the ES module that it uses.

LiteRT for browsers (npm's @litertjs/core, Apache-2.0) comes from an environment of its own (`make web`) and is copied
beside the page, so that the page fetches nothing from elsewhere; a service worker keeps all of it for offline use. The
templates are files of the page as they stand; only the service worker's list of files is filled in. Of LiteRT's four
builds the two are taken that need neither threads (which want two HTTP headers) nor JSPI.
"""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from convert.app.project import TEMPLATES, App
from convert.runtimes.tool_environments import package_of

CORE, UTILITIES = "@litertjs/core", "@litertjs/wasm-utils"
BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal")  # without relaxed SIMD: older browsers
FACTS = "model.json"
LICENSES = """This folder contains:

litert/    LiteRT for the web, {core} {version} and {utilities}, Copyright Google LLC,
           Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0
           Changed: litert/index.js imports ./wasm-utils.js in place of {utilities}.
{file}
           {model}
all other  mobileiqa, Apache License 2.0
"""


def write(app: App, folder: Path) -> list[str]:
    """The page, the model, its golden photos and LiteRT into `folder`, which is there; lines for people.

    Raises UserError where LiteRT for browsers has not been installed.
    """
    version = _copy_litert(folder / "litert")
    app.copy_assets(folder)
    facts = json.dumps(asdict(app.facts), indent=1, allow_nan=False)
    (folder / FACTS).write_text(facts + "\n", encoding="utf-8")
    model = f"{app.facts.about}: {app.spec.license or 'no licence is stated'}; {app.spec.origin}"
    (folder / "LICENSES.txt").write_text(
        LICENSES.format(core=CORE, utilities=UTILITIES, version=version, file=app.facts.file, model=model),
        encoding="utf-8",
    )
    for template in sorted((TEMPLATES / "web").iterdir()):
        if template.suffix != ".in":
            shutil.copyfile(template, folder / template.name)
    _write_service_worker(folder)
    megabytes = sum(file.stat().st_size for file in _files(folder)) / 1e6
    return [
        f"index.html, and mobileiqa.js for a page of yours; {megabytes:.0f} MB; serve it: python -m http.server"
    ]


def _copy_litert(folder: Path) -> str:
    """LiteRT's module and its WebAssembly; returns its version."""
    core, utilities = package_of("web", CORE), package_of("web", UTILITIES)
    (folder / "wasm").mkdir(parents=True)
    module = (core / "dist" / "index.js").read_text(encoding="utf-8")
    module = module.replace(f'"{UTILITIES}"', '"./wasm-utils.js"')
    (folder / "index.js").write_text(_without_map(module), encoding="utf-8")
    helper = (utilities / "dist" / "bundle.js").read_text(encoding="utf-8")
    (folder / "wasm-utils.js").write_text(_without_map(helper), encoding="utf-8")
    for build in BUILDS:
        for suffix in (".js", ".wasm"):
            shutil.copyfile(core / "wasm" / f"{build}{suffix}", folder / "wasm" / f"{build}{suffix}")
    return json.loads((core / "package.json").read_bytes())["version"]


def _without_map(source: str) -> str:
    """Without the line that names a source map, which is not shipped."""
    return (
        "\n".join(line for line in source.splitlines() if not line.startswith("//# sourceMappingURL=")) + "\n"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_service_worker(folder: Path) -> None:
    """Its version is a hash of all files, so that a page that changed is fetched anew."""
    files = _files(folder)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    names = ["./", *(path.relative_to(folder).as_posix() for path in files)]
    text = (TEMPLATES / "web" / "sw.js.in").read_text(encoding="utf-8")
    text = text.replace("@@version@@", json.dumps(f"mobileiqa {digest.hexdigest()[:16]}"))
    (folder / "sw.js").write_text(text.replace("@@files@@", json.dumps(names)), encoding="utf-8")
