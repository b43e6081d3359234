"""The Android library: a Gradle project, and, where the Kotlin compiler is, the AAR with its POM in a Maven folder.

An AAR is a zip: the manifest, classes.jar, assets, R.txt, rules for whoever shrinks the app. Classes stay JVM
bytecode, so no SDK is needed to make one: the library is compiled against the few signatures of Android, CameraX and
LiteRT that it calls (`stubs`), which are not in it.
"""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from xml.sax.saxutils import escape

from convert.app.expressions import SYNTAX, expression
from convert.app.project import App, write_licences, write_templates
from convert.runtimes.tool_environments import package_of, run_tool
from mobileiqa.errors import UserError, one_line

GROUP = "io.mobileiqa"
LITERT = "2.3.2"
KOTLIN = "2.4.20"
GRADLE_PLUGIN = "8.13.0"
MIN_SDK = 24
STUBS = Path(__file__).with_name("stubs")
SOURCES = "library/src/main/kotlin"
COMPILE_S = 900  # on a busy machine; 20 seconds on an idle one
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry: equal input, equal archive


def write(app: App, folder: Path) -> list[str]:
    """The Gradle project and, where it can be built here, `maven`. Says what was left out, and why."""
    values = {
        "title": app.title, "facts": expression(app.facts, SYNTAX["kotlin"]), "file": app.facts.file,
        "group": GROUP, "artifact": artifact(app), "version": metadata.version("mobileiqa"), "litert": LITERT,
        "kotlin": KOTLIN, "gradle_plugin": GRADLE_PLUGIN, "min_sdk": str(MIN_SDK),
    }  # fmt: skip
    write_templates("android", folder, values)
    write_licences(app, folder)
    app.copy_assets(folder / "library/src/main/assets/mobileiqa")
    lines = ["a Gradle project: library, sample"]
    try:
        aar = build(app, folder)
    except UserError as error:
        return [*lines, f"AAR and POM left out: {one_line(str(error))}"]
    coordinates = f"{GROUP}:{artifact(app)}:{values['version']}"
    return [*lines, f"maven/{aar.relative_to(folder / 'maven')}, coordinates {coordinates}"]


def artifact(app: App) -> str:
    """The file's name as an artifact's: lower case, words with hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", Path(app.facts.file).stem.lower()).strip("-") or "model"


def build(app: App, folder: Path) -> Path:
    """Compiles the project's library and writes AAR and POM into `maven`; UserError where no compiler is."""
    name, version = artifact(app), metadata.version("mobileiqa")
    place = folder / "maven" / GROUP.replace(".", "/") / name / version
    with tempfile.TemporaryDirectory() as temporary:
        classes = compile_library(folder / SOURCES, Path(temporary))
        place.mkdir(parents=True)
        aar = place / f"{name}-{version}.aar"
        _write_aar(folder, classes, aar)
    (place / f"{name}-{version}.pom").write_text(pom(app, name, version), encoding="utf-8")
    return aar


def compile_library(sources: Path, folder: Path) -> Path:
    """The folder of classes, inside `folder`, that kotlinc makes of `sources`."""
    stubs, classes = folder / "stubs", folder / "classes"
    kotlinc = compiler()
    javac = shutil.which("javac")
    if javac is None:
        raise UserError(
            "javac on the path, for the AAR", "none", "install a JDK (Debian: openjdk-17-jdk-headless)"
        )
    run_tool([javac, "-nowarn", "-d", stubs, *sorted(STUBS.rglob("*.java"))], COMPILE_S, folder)
    files = sorted(sources.rglob("*.kt"))
    options = ["-Werror", "-no-reflect", "-jvm-target", "1.8", "-module-name", "mobileiqa"]
    run_tool([*kotlinc, *options, "-cp", stubs, "-d", classes, *files], COMPILE_S, folder)
    return classes


def compiler() -> list[str | Path]:
    """The command of kotlinc. UserError where `make kotlin` was not run, or no Java is."""
    libraries, java = package_of("kotlin", "kotlin-compiler") / "lib", shutil.which("java")
    if java is None:
        raise UserError(
            "java on the path, for kotlinc", "none", "install a JDK (Debian: openjdk-17-jdk-headless)"
        )
    return [
        java, "-Xmx1g", "-XX:TieredStopAtLevel=1", "-cp", libraries / "kotlin-preloader.jar",
        "org.jetbrains.kotlin.preloading.Preloader", "-cp", libraries / "kotlin-compiler.jar",
        "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-kotlin-home", libraries.parent,
    ]  # fmt: skip


def _write_aar(project: Path, classes: Path, path: Path) -> None:
    """The archive of what the project's library folder and `classes` hold."""
    library = project / "library"
    jar = path.with_name("classes.jar")
    licences = {f"META-INF/mobileiqa/{name}": project / name for name in ("LICENSE", "NOTICE")}
    _archive(jar, {**_below(classes, ""), **licences})
    manifest = (library / "src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    sdk = f'<uses-sdk android:minSdkVersion="{MIN_SDK}" />'
    manifest = manifest.replace("<manifest ", f'<manifest package="{GROUP}" ', 1).replace(
        "    <!--", f"    {sdk}\n    <!--", 1
    )
    parts: dict[str, Path | str] = {
        "AndroidManifest.xml": manifest,
        "classes.jar": jar,
        "R.txt": "",
        "proguard.txt": library / "consumer-rules.pro",
        "META-INF/com/android/build/gradle/aar-metadata.properties": "aarFormatVersion=1.0\naarMetadataVersion=1.0\n",
        **_below(library / "src/main/assets", "assets/"),
    }
    _archive(path, parts)
    jar.unlink()


def _below(folder: Path, prefix: str) -> dict[str, Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {prefix + path.relative_to(folder).as_posix(): path for path in files}


def _archive(path: Path, parts: Mapping[str, Path | str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(parts.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            stored = name.endswith((".jar", ".tflite"))
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.read_bytes() if isinstance(content, Path) else content)


def pom(app: App, name: str, version: str) -> str:
    """Coordinates, licences and what an app needs besides; CameraX and the GPU are for apps that use them."""
    licences = [("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0.txt", "the library")]
    if app.spec.license:
        licences.append((app.spec.license, "", f"the model: {app.spec.origin}"))
    dependencies = [
        ("com.google.ai.edge.litert", "litert", LITERT, False),
        ("com.google.ai.edge.litert", "litert-gpu", LITERT, True),
        ("org.jetbrains.kotlin", "kotlin-stdlib", KOTLIN, False),
        ("androidx.camera", "camera-core", "1.4.2", True),
    ]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<project xmlns="http://maven.apache.org/POM/4.0.0">',
        "  <modelVersion>4.0.0</modelVersion>",
        *_elements("  ", {"groupId": GROUP, "artifactId": name, "version": version, "packaging": "aar"}),
        *_elements("  ", {"name": name, "description": f"Image quality on phones: {app.facts.about}"}),
        "  <licenses>",
    ]
    for title, url, comments in licences:
        row = {"name": title, **({"url": url} if url else {}), "comments": comments}
        lines += ["    <license>", *_elements("      ", row), "    </license>"]
    lines += ["  </licenses>", "  <dependencies>"]
    for group, library, of, optional in dependencies:
        row = {"groupId": group, "artifactId": library, "version": of, "scope": "compile"}
        row |= {"optional": "true"} if optional else {}
        lines += ["    <dependency>", *_elements("      ", row), "    </dependency>"]
    return os.linesep.join([*lines, "  </dependencies>", "</project>", ""])


def _elements(indent: str, values: Mapping[str, str]) -> list[str]:
    return [f"{indent}<{name}>{escape(value)}</{name}>" for name, value in values.items()]
