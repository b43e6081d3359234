"""The ARM runner and the instruction counter of android_bench/native, compiled; a part of `make arm`.

The runner is for ARM64, the counter for this machine: one compiler does both, the zig of the PyPI package ziglang,
fetched for the build and not kept. Each gets the libraries that it runs with beside it, C library and loader
included, so that neither depends on what this machine or a phone has.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import android_bench
from android_bench.runners.arm_runner import LOADER, PROGRAM
from android_bench.runners.instruction_counter import LOADER as HOST_LOADER

SOURCES = Path(android_bench.__file__ or "").with_name("native")
ZIG = "ziglang==0.15.1"
# bookworm's own qemu is built with plugins, the one from backports is not.
COUNTING_QEMU = "qemu-user/bookworm"
# What libLiteRt.so asks for; Debian's libraries, which go with the programs, have 2.36.
TARGET, OLDEST_GLIBC = "aarch64-linux-gnu", "2.34"
OPTIONS = ("-O2", "-Wall", "-Wextra", "-Werror", "-s")
LIBRARIES = {
    "rootfs/lib/aarch64-linux-gnu": (LOADER, "libc.so.6", "libm.so.6", "libgcc_s.so.1"),
    "rootfs/usr/lib/aarch64-linux-gnu": ("libstdc++.so.6",),
    "site/ai_edge_litert": ("libLiteRt.so",),
}


def recipe() -> tuple[object, ...]:
    """What the programs depend on, their source included."""
    sources = [file.read_text(encoding="utf-8") for file in sorted(SOURCES.glob("*.[ch]"))]
    return (ZIG, COUNTING_QEMU, TARGET, OLDEST_GLIBC, OPTIONS, sorted(LIBRARIES.items()), sources)


def compile_programs(downloads: Path, new: Path) -> None:
    """`new`/runner and `new`/counter/counter.so. Raises CalledProcessError when a download or the compiler fails."""
    zig = fetch_zig(downloads / "zig")
    runner, counter = new / "runner", new / "counter"
    runner.mkdir()
    for folder, names in LIBRARIES.items():
        for name in names:
            shutil.copy(new / folder / name, runner)
    linked = (SOURCES / "runner.c", runner / "libLiteRt.so", "-Wl,--allow-shlib-undefined")
    compile_c(zig, TARGET, *linked, "-o", runner / PROGRAM)
    here = f"{os.uname().machine}-linux-gnu"
    compile_c(zig, here, SOURCES / "counter.c", "-shared", "-fPIC", "-o", counter / "counter.so")


def unpack_counting_qemu(debs: Sequence[Path], downloads: Path, new: Path) -> None:
    """`new`/counter: qemu-aarch64 with plugins, and in lib every library of its packages, under their sonames."""
    unpacked, target = downloads / "unpacked", new / "counter" / "lib"
    target.mkdir(parents=True)
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
    for library in (*unpacked.glob("lib/*-linux-gnu/*.so.*"), *unpacked.glob("usr/lib/*-linux-gnu/*.so.*")):
        shutil.copy(library, target)
    (loader,) = target.glob("ld-linux-*.so.*")
    loader.rename(target / HOST_LOADER)
    shutil.copy(unpacked / "usr/bin/qemu-aarch64", target.parent)


def fetch_zig(folder: Path) -> Path:
    """The compiler, unpacked from its wheel in `folder`. Raises CalledProcessError when pip fails."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={folder}", ZIG]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("ziglang-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    zig = folder / "ziglang" / "zig"
    zig.chmod(0o755)
    return zig


def compile_c(zig: Path, target: str, *words: Path | str, language: str = "cc") -> None:
    """One program or library for `target`, without its glibc version; `language`: cc or c++.

    Raises CalledProcessError with zig's words.
    """
    cache = str(zig.with_name("cache"))
    env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    subprocess.run(
        [zig, language, "-target", f"{target}.{OLDEST_GLIBC}", *OPTIONS, *words], check=True, env=env
    )
