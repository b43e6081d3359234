"""`make arm`: an ARM64 Python with LiteRT, and the emulator that runs it, in .cache/arm (or $MOBILEIQA_ARM).

Nothing on the system changes and root is not needed: apt works in private folders, with the machine's own
mirror and proxy, and packages are unpacked, not installed. Every package is checked against Debian's archive
key. qemu comes from bookworm-backports: bookworm's own 7.2 reads the host's /proc/cpuinfo, and LiteRT crashes
in it. Its binary is static, so it needs nothing beside it. The 7.2 is there too, for counting instructions: only
it takes plugins. Downloads survive an interrupted run; the root appears whole or not at all, and is built anew
only when the recipe below, or a source of android_bench/native, changes.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from android_bench.emulate import DEFAULT_CPU, MANIFEST, arm_command, arm_root
from tools import arm_programs

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITE, BACKPORTS = "bookworm", "bookworm-backports"
QEMU, QEMU_BINARY = "qemu-user", "./usr/bin/qemu-aarch64"
DEBS = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
WHEELS = (
    "ai-edge-litert==2.3.0",
    "numpy==2.4.6",
    "ml_dtypes==0.6.0",
    "protobuf==7.36.2",
    "flatbuffers==25.12.19",
    "backports.strenum==1.2.8",
    "tqdm==4.70.1",
    "typing_extensions==4.16.0",
)
PLATFORMS = tuple(f"manylinux{tag}_aarch64" for tag in ("_2_28", "_2_27", "_2_17", "2014"))
PROOF = "import platform, numpy, ai_edge_litert.interpreter; print(platform.machine())"
START = time.monotonic()


class BuildError(RuntimeError):
    """A step failed; the message says which and what to do."""


def main() -> int:
    """Builds the root unless it is already there."""
    root = arm_root().resolve()
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _alone(root):
            if recipe_of(root) == recipe():
                _step(f"the ARM root at {root} is ready")
            else:
                build(root)
    except (BuildError, OSError, subprocess.CalledProcessError) as error:
        _step(f"make arm: {error}")
        return 1
    except KeyboardInterrupt:
        _step("make arm: interrupted; what was downloaded is kept for the next run")
        return 130
    return 0


def build(root: Path) -> None:
    """Downloads, unpacks, proves by an import under emulation, and only then puts the root in place."""
    _check_tools()
    downloads = root.with_name(f"{root.name}-downloads")
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as name:
        new = Path(name, "root")
        new.mkdir()
        debs = unpack_debs(downloads, new)
        _step("ARM64 wheels: 31 MB")
        wheels = fetch_wheels(downloads / "wheels")
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(new / "site")
        _step(f"{arm_programs.ZIG}: 94 MB, to compile the ARM runner and the instruction counter")
        arm_programs.compile_programs(downloads, new)
        _step(f"a first import on an emulated {DEFAULT_CPU}")
        prove(new)
        manifest = {"recipe": recipe(), "files": [file.name for file in (*debs, *wheels)]}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if root.exists():
            shutil.rmtree(root)
        new.rename(root)
    shutil.rmtree(downloads)
    _step(f"the ARM root at {root} is ready")


def recipe() -> str:
    """Identity of what this file builds; another one means another root."""
    parts = (SUITE, BACKPORTS, QEMU, DEBS, WHEELS, PLATFORMS, arm_programs.recipe())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def recipe_of(root: Path) -> str:
    """The recipe that the root at `root` was built by; empty when there is none."""
    try:
        return str(json.loads((root / MANIFEST).read_text(encoding="utf-8"))["recipe"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return ""


def unpack_debs(downloads: Path, new: Path) -> list[Path]:
    """Both qemus for this machine into `new`, ARM64 Python and C libraries into `new`/rootfs; the .debs used."""
    here = _run(["dpkg", "--print-architecture"]).strip()
    archive = choose_archive(downloads / "host", here, debian_archives())
    choose_archive(downloads / "arm64", "arm64", [archive])
    _step(f"qemu from {BACKPORTS}: 63 MB")
    (qemu,) = fetch_debs(downloads / "host", here, f"{QEMU}/{BACKPORTS}")
    extract_one(qemu, QEMU_BINARY, new / "qemu-aarch64")
    _step(f"ARM64 Python and C libraries from {SUITE}: 18 MB")
    libraries = fetch_debs(downloads / "arm64", "arm64", *DEBS)
    for deb in libraries:
        _run(["dpkg-deb", "-x", str(deb), str(new / "rootfs")])
    _step(f"the counting qemu from {SUITE}: 22 MB")
    choose_archive(downloads / "counter", here, [archive])
    counting = fetch_debs(downloads / "counter", here, arm_programs.COUNTING_QEMU)
    arm_programs.unpack_counting_qemu(counting, downloads, new)
    return [qemu, *libraries, *counting]


def debian_archives() -> list[str]:
    """Addresses in the machine's apt configuration that may be a Debian archive; needs no network."""
    lines = _run(["apt-get", "update", "--print-uris"])
    archives = re.findall(r"^'(\S+?)/dists/([\w-]+)/InRelease'", lines, re.MULTILINE)
    return list(dict.fromkeys(base for base, suite in archives if not suite.endswith("-security")))


def choose_archive(folder: Path, architecture: str, archives: Sequence[str]) -> str:
    """Makes `folder` an apt of its own on the first archive that Debian's key signs; returns that archive.

    Only the key decides: other vendors' archives have the same suite names.
    """
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    complaints = []
    for archive in archives:
        lines = [f"deb [signed-by={KEYRING}] {archive} {suite} main\n" for suite in (SUITE, BACKPORTS)]
        (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
        try:
            _apt(folder, architecture, "update")
            return archive
        except BuildError as error:
            complaints.append(str(error))
    complaint = " | ".join(complaints) or "apt's configuration names none"
    raise BuildError(f"no Debian archive with {SUITE} and {BACKPORTS}: {complaint}")


def fetch_debs(folder: Path, architecture: str, *packages: str) -> list[Path]:
    """The .deb files of `packages` and of all that they depend on."""
    _apt(folder, architecture, "autoclean")  # drops what an interrupted run fetched and is outdated by now
    _apt(folder, architecture, "install", "--yes", "--download-only", "--no-install-recommends", *packages)
    return sorted((folder / "cache/archives").glob("*.deb"))


def extract_one(deb: Path, member: str, target: Path) -> None:
    """One executable out of a .deb, without unpacking its other 370 MB."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpacking:
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            entry = next((entry for entry in archive if entry.name == member), None)
            content = archive.extractfile(entry) if entry else None
            if content is None:
                raise BuildError(f"{deb.name} holds no {member}")
            with target.open("wb") as file:
                shutil.copyfileobj(content, file)
        unpacking.kill()  # nobody reads the rest
    target.chmod(0o755)


def fetch_wheels(folder: Path, wheels: Sequence[str] = WHEELS) -> list[Path]:
    """Pinned ARM wheels, through this Python's own pip and its configuration."""
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            *(f"--platform={platform}" for platform in PLATFORMS),
            "--python-version=3.11",
            "--implementation=cp",
            f"--dest={folder}",
            *wheels,
        ]
    )
    return sorted(folder.glob("*.whl"))


def prove(root: Path) -> None:
    """LiteRT and numpy import on the emulated CPU."""
    python, env = arm_command(root, DEFAULT_CPU)
    if _run([*python, "-c", PROOF], env).strip() != "aarch64":
        raise BuildError("the emulated Python does not see an ARM machine")


def _check_tools() -> None:
    for tool in ("apt-get", "dpkg", "dpkg-deb"):
        if not shutil.which(tool):
            raise BuildError(f"no {tool} here: run this on Debian, or in a debian:bookworm container")
    if not KEYRING.is_file():
        raise BuildError(f"no {KEYRING} here: install debian-archive-keyring")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Of two builds at once the second waits, and then finds the root ready."""
    with root.with_name(f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _apt(folder: Path, architecture: str, *words: str) -> None:
    """apt-get with package lists, cache and an empty system to install into, all in `folder`."""
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": "-",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",  # the user that apt downloads as may not enter these folders
        "APT::Update::Error-Mode": "any",
    }
    _run(["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items()), *words])


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """A command's stdout; raises BuildError with its last words when it fails."""
    process = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C", **(env or {})}
    )
    if process.returncode:
        words = " ".join((process.stderr or process.stdout).split())[-600:]
        raise BuildError(f"{Path(command[0]).name} {command[-1]} failed ({process.returncode}): {words}")
    return process.stdout


def _step(text: str) -> None:
    print(f"[{time.monotonic() - START:5.1f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
