"""The adb client with a time limit on every call, and errors that say what to do.

Of adb's own exit codes little can be believed: a shell whose cable was pulled ends with 0. So every command
prints an end mark behind its output, and an answer without the mark is a device that went away.
"""

import os
import re
import select
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mobileiqa.errors import RunError, UserError

SHORT_S = 30.0  # a command that measures nothing
SLOWEST_PUSH_MB_PER_S = 1.0  # USB 2 moves thirty, a bad Wi-Fi link two
FOLDER = "/data/local/tmp"  # the one place that adb may write to and run programs from
MARK = "android_bench-exit="

# State as `adb devices` prints it -> what to do about it.
STATES = {
    "unauthorized": "unlock the phone and accept this computer's key",
    "authorizing": "unlock the phone and accept this computer's key",
    "offline": "reconnect the cable, or run `adb reconnect`",
    "no permissions": "install your system's udev rules for Android (Debian: android-sdk-platform-tools-common)",
    "recovery": "start Android on it",
    "sideload": "start Android on it",
    "bootloader": "start Android on it",
    "rescue": "start Android on it",
    "connecting": "wait a moment, and run again",
    "detached": "run `adb attach`, or reconnect the cable",
    "unknown": "reconnect the cable, or run `adb reconnect`",
}
# A line of `adb devices`. Most clients put a tab behind the serial number, some blanks; it may hold blanks itself
# ("adb-R5 (2)._adb-tls-connect._tcp"), so the state is what is known. With `-l` words with a colon follow.
LISTED = re.compile(
    r"(?P<serial>\S.*?)[ \t]+"
    rf"(?:(?P<denied>no permissions\b.*)|(?P<state>device|host|{'|'.join(STATES)})(?:[ \t]+\S+:\S*)*)"
)
HEADER = "List of devices attached"

# The holder of a folder on a device: it waits for the word that the run is over. Where its input ends without it, the
# cable was pulled, adb crashed or this process was killed; a push under way makes the folder anew then, so it looks
# again for a while.
HOLDER = """trap '' HUP INT TERM PIPE
mkdir {folder} && echo held || exit 1
read -r word; tries=6; [ "$word" = over ] && tries=1
while [ $tries -gt 0 ]; do
  for file in {folder}/*.pid; do [ -f "$file" ] && kill -9 "$(cat "$file")"; done 2>/dev/null
  rm -rf {folder}
  tries=$((tries - 1)); [ $tries = 0 ] || sleep 1
done
[ -e {folder} ] || echo removed"""


@dataclass(frozen=True)
class Device:
    """One attached phone: adb's path and the phone's serial number."""

    adb: str
    serial: str

    def command(self, *words: str) -> list[str]:
        """The adb command line for this phone."""
        return [self.adb, "-s", self.serial, *words]


def find_adb() -> str:
    """The adb to use: $ADB, else the first on the path. Raises UserError when there is none."""
    named = os.environ.get("ADB", "")
    program = shutil.which(named or "adb")
    if not program:
        raise UserError(
            "the adb program",
            f"no program at $ADB, {named}" if named else "none on the path",
            "install Android's platform tools (Debian: apt-get install adb)",
        )
    return program


def devices(adb: str) -> dict[str, str]:
    """Serial number -> state ("device", "unauthorized", "offline"...) of everything attached."""
    listed = _run([adb, "devices"], SHORT_S, "adb devices")
    if listed.returncode:
        raise RunError(f"adb devices: {last_words(listed.stdout, listed.stderr)}")
    return parse_devices(listed.stdout)


def parse_devices(listed: str) -> dict[str, str]:
    """What `adb devices` prints, with or without `-l`. Raises RunError for a line that cannot be read."""
    attached = {}
    for line in map(str.strip, listed.rpartition(HEADER)[2].splitlines()):
        if not line or line.startswith("*"):  # "* daemon started successfully"
            continue
        if match := LISTED.fullmatch(line):
            attached[match["serial"]] = match["denied"] or match["state"]
        elif "\t" in line:  # a state of a later adb
            serial, state = line.split("\t", 1)
            attached[serial.strip()] = state.strip()
        else:
            raise RunError(f"adb devices: a line that cannot be read: {line}")
    return attached


def choose(named: Sequence[str]) -> list[Device]:
    """The phones named in `named`; ("all",) is every attached one, () the only one.

    Raises UserError when adb is missing, nothing is attached, a name is unknown, or a phone is not ready.
    """
    adb = find_adb()
    attached = devices(adb)
    if not attached:
        raise UserError(
            "a phone that adb sees",
            "none",
            "connect one and switch on USB debugging; check with `adb devices`",
        )
    if not named and len(attached) > 1:
        raise UserError(
            "one attached phone", ", ".join(attached), "name one with --serial, or `--serial all`"
        )
    serials = list(attached) if list(named) in ([], ["all"]) else list(dict.fromkeys(named))
    for serial in serials:
        if serial not in attached:
            raise UserError(f"a phone with serial {serial}", ", ".join(attached), "name one of these")
        _require_ready(serial, attached[serial])
    return [Device(adb, serial) for serial in serials]


def shell(device: Device, script: str, timeout_s: float = SHORT_S) -> tuple[int, str]:
    """Runs a script on the phone: its exit code and all that it printed, both streams.

    Raises RunError when it takes longer than `timeout_s` or the phone goes away.
    """
    command = device.command("shell", f"({script}\n) 2>&1; echo {MARK}$?")
    result = _run(command, timeout_s, f"{device.serial}: a command on the phone")
    output, mark, code = result.stdout.replace("\r\n", "\n").rpartition(MARK)
    if not mark or not code.strip().isdigit():
        raise gone(device, last_words(result.stdout, result.stderr))
    return int(code), output


def push(device: Device, local: Path, remote: str) -> None:
    """Copies a file to the phone and makes it runnable. Raises RunError when it does not arrive whole."""
    size = local.stat().st_size
    timeout_s = SHORT_S + size / 1e6 / SLOWEST_PUSH_MB_PER_S
    # Absolute: adb takes a name that begins with a dash for an option.
    command = device.command("push", str(local.absolute()), remote)
    pushed = _run(command, timeout_s, f"{device.serial}: pushing {local}")
    output = pushed.stdout + pushed.stderr
    if "No space left" in output:
        code, room = shell(device, f"df -k {FOLDER}")
        free = "" if code else f" ({room.split()[-3]} kB are free)"
        raise RunError(
            f"{device.serial}: no space left on the phone for {local}{free}: free some, and run again"
        )
    if pushed.returncode:
        raise gone(device, last_words(pushed.stdout, pushed.stderr))
    name = shlex.quote(remote)
    code, answer = shell(device, f"chmod 755 {name} && wc -c < {name}")
    if code or answer.strip() != str(size):
        raise RunError(f"{device.serial}: {local} did not arrive whole: {answer.strip()}")


@contextmanager
def folder_on(device: Device) -> Iterator[str]:
    """A new folder on the phone, gone at the end however that comes; also what runs there is stopped."""
    folder = f"{FOLDER}/android_bench-{uuid.uuid4().hex[:12]}"
    holder = subprocess.Popen(
        device.command("shell", HOLDER.format(folder=folder)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    removed = False
    try:
        _await_holder(device, holder, folder)
        yield folder
    finally:
        removed = _release(holder)
    if not removed:
        raise gone(device, f"{folder} was not removed")


def gone(device: Device, words: str) -> RunError:
    """Why the phone stopped answering, as far as adb knows."""
    with suppress(RunError):
        state = devices(device.adb).get(device.serial, "unplugged")
        if state != "device":
            return RunError(
                f"{device.serial}: the phone went away ({state}); it removes the files by itself; "
                f"{STATES.get(state, 'connect it')}, and run again"
            )
    return RunError(f"{device.serial}: adb failed: {words}")


def last_words(*outputs: str) -> str:
    """The last lines of what a program said."""
    lines = [line.strip() for text in outputs for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it printed nothing"


def _require_ready(serial: str, state: str) -> None:
    if state == "device":
        return
    kind = next((name for name in STATES if state.startswith(name)), "offline")
    raise UserError(f"phone {serial} to be ready", state, STATES[kind])


def _run(command: Sequence[str], timeout_s: float, what: str) -> subprocess.CompletedProcess[str]:
    """One adb call without input; RunError when it does not end in time."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"{what} took longer than {timeout_s:g} s, and was stopped") from None


def _await_holder(device: Device, holder: subprocess.Popen[bytes], folder: str) -> None:
    """Returns when the folder is there."""
    assert holder.stdout
    ready, _, _ = select.select([holder.stdout], [], [], SHORT_S)
    output = os.read(holder.stdout.fileno(), 4096).decode(errors="replace") if ready else ""
    if not re.search("^held", output, re.MULTILINE):
        words = last_words(output) if ready else f"no answer in {SHORT_S:g} s"
        raise RunError(f"{device.serial}: no folder {folder} can be made on the phone: {words}")


def _release(holder: subprocess.Popen[bytes]) -> bool:
    """Tells the holder that the run is over; True when it says that the folder is gone."""
    try:
        output, _ = holder.communicate(b"over\n", SHORT_S)
        return b"removed" in output
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.communicate()
        return False
