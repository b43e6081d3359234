"""A phone without a phone: Debian's adbd in namespaces of its own, with ARM programs behind it under qemu.

User, network, mount and process namespaces are new, so nothing listens outside them, no root is needed and all of
it ends with one process. The kernel hands ARM programs to qemu (binfmt_misc, which a user namespace has to itself
from Linux 6.7), so a pushed binary needs its run bit and a mount that allows it, as on a phone.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.emulate import arm_root, missing
from tests.android_bench.phone.build import phone_root, recipe, recipe_of

HERE = Path(__file__).parent
PORT, SERVER_PORT = 15559, 15037  # inside the namespace; adb takes 5555 to 5585 for emulators
SERIAL = f"127.0.0.1:{PORT}"
ADBD = "/usr/lib/android-sdk/platform-tools/adbd"
PATH = ("-i", "PATH=/system/bin")


@dataclass(frozen=True)
class SmallPhone:
    """A booted phone. `adb`: a program that runs the adb client inside the phone's network namespace."""

    adb: Path
    init: int  # the first process of the namespaces, by its number outside

    def run(self, script: str) -> str:
        """What a script prints that runs on the phone as root, past adb."""
        return subprocess.run(
            [*self._enter("--mount", "--root", "--wd=/"), "/system/bin/env", *PATH, "sh", "-c", script],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def connect(self, port: int = PORT) -> None:
        """Makes the client look for a phone at that port."""
        subprocess.run(
            [self.adb, "connect", f"127.0.0.1:{port}"], capture_output=True, check=True, timeout=120
        )

    @contextmanager
    def locked(self, port: int) -> Iterator[str]:
        """One more phone, which has not accepted this computer; its serial number."""
        command = [*self._enter(), sys.executable, str(HERE / "locked.py"), str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
            assert daemon.stdout
            daemon.stdout.readline()
            self.connect(port)
            yield f"127.0.0.1:{port}"
            daemon.kill()

    def left(self) -> list[str]:
        """What lies in the folder that adb may write to, and what runs from there."""
        running = self.run("grep -l '[/]data/local/tmp' /proc/[0-9]*/cmdline 2>/dev/null || true").split()
        return [*self.run("ls /data/local/tmp").split(), *running]

    def becomes_clean(self, limit_s: float = 60.0) -> bool:
        """True when nothing is left, at once or soon: a killed process takes a moment to end."""
        return wait_for(lambda: not self.left(), limit_s)

    def _enter(self, *more: str) -> list[str]:
        return [
            "nsenter",
            f"--target={self.init}",
            "--user",
            "--net",
            "--pid",
            "--preserve-credentials",
            *more,
        ]


def wait_for(condition: Callable[[], Any], limit_s: float = 120.0) -> bool:
    """Whether the condition holds within the limit."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def why_not() -> str:
    """Why a small phone cannot be booted here; empty when it can."""
    if missing():
        return f"{missing()}: run `make arm`"
    if recipe_of(phone_root()) != recipe():
        return f"no small phone at {phone_root()}: run `python -m tests.android_bench.phone.build`"
    for tool in ("unshare", "nsenter", "mount"):
        if not shutil.which(tool):
            return f"no {tool} here (Debian: util-linux, mount)"
    probe = "mount -t proc none /proc && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc"
    if subprocess.run([*_namespaces(), "sh", "-c", probe], capture_output=True, check=False).returncode:
        return "user namespaces with a binfmt_misc of their own (Linux 6.7 and later) are not allowed here"
    return ""


@contextmanager
def booted(folder: Path, data: str = "size=64m", ports: Sequence[int] = (PORT,)) -> Iterator[SmallPhone]:
    """A phone whose /data is mounted with those options; `folder` is for the adb client's files.

    Every port gets an adbd of its own, which looks to adb like a phone of its own.
    """
    root, arm = phone_root(), arm_root()
    daemons = " & ".join(f"ADBD_PORT={port} {ADBD}" for port in ports) or ":"
    boot = subprocess.Popen(
        [
            *(sys.executable, str(HERE / "without_vsock.py"), *_namespaces(), "sh", str(HERE / "boot.sh")),
            *map(str, (root / "packages", arm / "qemu-aarch64", root / "arm", HERE, data, daemons)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert boot.stdin and boot.stdout
    try:
        output = boot.stdout.readline()
        if output != "booted\n":
            raise RuntimeError(f"the small phone does not boot: {output}{boot.stdout.read()}")
        init = int(Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text().split()[0])
        phone = SmallPhone(folder / "adb", init)
        _write_client(phone, folder)
        for port in ports:
            phone.connect(port)
        yield phone
    finally:
        boot.stdin.close()
        try:
            boot.wait(5)
        except subprocess.TimeoutExpired:
            boot.send_signal(signal.SIGKILL)
            boot.wait()
        boot.stdout.close()


def _namespaces() -> list[str]:
    kinds = ("--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")
    return ["unshare", *kinds, "--propagation=private"]


def _write_client(phone: SmallPhone, folder: Path) -> None:
    """The adb client as one program: in the phone's network, with its own server port, keys and libraries."""
    packages = phone_root() / "packages"
    libraries = packages / "usr/lib/x86_64-linux-gnu"
    client = packages / "usr/lib/android-sdk/platform-tools/adb"
    phone.adb.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={libraries}/android:{libraries} HOME={folder} TMPDIR={folder}\n"
        f"export ANDROID_ADB_SERVER_PORT={SERVER_PORT}\n"
        f'exec {" ".join(phone._enter())} {client} "$@"\n'
    )
    phone.adb.chmod(0o755)
    os.makedirs(folder / ".android", exist_ok=True)
