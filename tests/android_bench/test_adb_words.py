"""What reaches a program on a phone: exactly the words that were meant, whatever they hold, by real shells."""

import random
import shutil
from pathlib import Path

import pytest

from android_bench.runners.adb import MARK, Device, choose, parse_devices, push, shell
from android_bench.runners.phones import launch_script
from mobileiqa.errors import RunError, UserError

# What adb does with words: those behind "shell" go, joined by blanks, to the phone's shell; push takes options first.
ADB = """#!/bin/sh
[ "$1" = devices ] && cat "$0.devices" && exit
[ "$1" = -s ] || exit 97
printf '%s' "$2" > "$0.serial"
shift 2; what=$1; shift
case $what in
shell) exec {shell} -c "$*" ;;
push) case $1 in -*) echo "adb: unrecognized option '$1'"; exit 1 ;; esac; cat "$1" > "$2" ;;
esac
"""
DUMP = "#!/bin/sh\nfor word do printf '%s' \"$word\" | od -An -v -tx1 | tr -d ' \\n'; echo; done\n"
HOSTILE = (
    "plain", "", " ", "a b", "a; touch X; : #", "$(touch X)", "`touch X`", "${PATH}", "$$", "'; touch X; '",
    '"; touch X; "', "\\", "\\'", "'\\''", "a\nb", "a\n) ; touch X; (", "a\rb", "\t", "&& touch X", "| touch X", "> X",
    "*", "?", "~", "~root", "-rf", "--", "--signature=x", "!!", "{a,b}", "[a-z]", "#", "=x", "PATH=", "é🙂", "\u202e",
    "%s%n", "\x1b[2J", "\x7f", f"{MARK}0", "x" * 5000, "\udcff", "'" * 40, "\"'`$\\",
)  # fmt: skip
SHELLS = [name for name in ("sh", "dash", "bash", "mksh") if shutil.which(name)]


@pytest.fixture(params=SHELLS)
def device(request, tmp_path: Path) -> Device:
    adb = tmp_path / "adb"
    adb.write_text(ADB.format(shell=request.param))
    adb.chmod(0o755)
    (tmp_path / "phone").mkdir()
    dump = tmp_path / "phone" / "dump"
    dump.write_text(DUMP)
    dump.chmod(0o755)
    return Device(str(adb), "; touch X #")


def arrived(device: Device, words: list[str], folder: Path) -> list[str]:
    """The words that a program on the phone is started with; fails when anything else was made on the way."""
    before = sorted(path.name for path in folder.iterdir())
    code, output = shell(device, launch_script(str(folder), "run it's", 1, ["./dump", *words]))
    assert code == 0, output
    assert sorted(path.name for path in folder.iterdir()) == before and not Path("X").exists()
    return [bytes.fromhex(line).decode(errors="surrogateescape") for line in output.splitlines()]


def test_hostile_words_arrive_as_they_are(device: Device, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "phone"
    monkeypatch.chdir(folder)
    assert arrived(device, list(HOSTILE), folder) == list(HOSTILE)
    assert (tmp_path / "adb.serial").read_text() == device.serial


def test_random_words_arrive_as_they_are(device: Device, tmp_path: Path, monkeypatch) -> None:
    folder, draw = tmp_path / "phone", random.Random(0)
    monkeypatch.chdir(folder)
    characters = [chr(code) for code in range(1, 256)] + list("'\"\\$`;\n &|<>()*") * 8
    words = ["".join(draw.choices(characters, k=draw.randrange(24))) for _ in range(200)]
    assert arrived(device, words, folder) == words


@pytest.mark.parametrize("name", ["a b'c", "$(touch X)", "; touch X; #"])
def test_a_hostile_folder_is_one_folder(name: str, device: Device, tmp_path: Path, monkeypatch) -> None:
    folder = (tmp_path / "phone").rename(tmp_path / name)
    monkeypatch.chdir(folder)
    assert arrived(device, ["a"], folder) == ["a"]


def test_the_programs_own_exit_code_is_told(device: Device, tmp_path: Path) -> None:
    script = launch_script(str(tmp_path / "phone"), "run", 1, ["sh", "-c", "echo no >&2; exit 7"])
    assert shell(device, script) == (7, "no\n")


@pytest.mark.parametrize("name", ["-x.tflite", "--sync", "a b'$(touch X).tflite", "é\n.tflite"])
def test_no_file_name_is_an_option_of_adb(name: str, device: Device, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"./{name}").write_bytes(b"model")
    remote = tmp_path / "phone" / f"0 {name[1:]}"
    push(device, Path(f"./{name}"), str(remote))
    assert (
        remote.read_bytes() == b"model" and remote.stat().st_mode & 0o777 == 0o755 and not Path("X").exists()
    )


LIST = "List of devices attached\n"


@pytest.mark.parametrize(
    ("listed", "attached"),
    [
        (LIST, {}),
        (LIST + "\n", {}),
        (LIST + "R58M\tdevice\nemulator-5554\toffline\n\n", {"R58M": "device", "emulator-5554": "offline"}),
        (LIST + "R58M            device\n10.0.0.2:5555  unauthorized\n",
         {"R58M": "device", "10.0.0.2:5555": "unauthorized"}),
        (LIST.replace("\n", "\r\n") + "R58M\trecovery\r\n", {"R58M": "recovery"}),
        ("* daemon not running; starting now at tcp:5037\n* daemon started successfully\n" + LIST + "A\tdevice\n",
         {"A": "device"}),
        (LIST + "R58M   device usb:1-2 product:a model:B_C device:d transport_id:3\n", {"R58M": "device"}),
        (LIST + "adb-R5 (2)._adb-tls-connect._tcp\tdevice\n", {"adb-R5 (2)._adb-tls-connect._tcp": "device"}),
        (LIST + "adb-R5 (2)._adb-tls-connect._tcp   device\n", {"adb-R5 (2)._adb-tls-connect._tcp": "device"}),
        (LIST + "R58M\tno permissions (missing udev rules? user is in the plugdev group); see [http://x/y]\n",
         {"R58M": "no permissions (missing udev rules? user is in the plugdev group); see [http://x/y]"}),
        (LIST + "????????????    no permissions\n", {"????????????": "no permissions"}),
        (LIST + "A\tsideload\nB rescue\nC   authorizing\nD\tconnecting\nE  bootloader\n",
         {"A": "sideload", "B": "rescue", "C": "authorizing", "D": "connecting", "E": "bootloader"}),
        (LIST + "my device  device\n", {"my device": "device"}),
        (LIST + "A\tsomething new\n", {"A": "something new"}),
    ],
)  # fmt: skip
def test_what_adb_lists_is_read_by_its_states(listed: str, attached: dict[str, str]) -> None:
    assert parse_devices(listed) == attached


def test_a_line_that_cannot_be_read_is_shown() -> None:
    with pytest.raises(RunError, match="cannot be read: error of some kind"):
        parse_devices(LIST + "error of some kind\n")


@pytest.mark.parametrize(
    ("state", "advice"),
    [("no permissions (x); see [y]", "udev"), ("unauthorized", "unlock"), ("recovery", "start Android"),
     ("something new", "reconnect")],
)  # fmt: skip
def test_a_phone_that_is_not_ready_is_refused_with_advice(
    state: str, advice: str, device: Device, tmp_path: Path, monkeypatch
) -> None:
    Path(device.adb + ".devices").write_text(f"{LIST}R58M\t{state}\n")
    monkeypatch.setenv("ADB", device.adb)
    with pytest.raises(UserError, match=advice):
        choose(())


def test_a_listing_aligned_with_blanks_finds_the_phone(device: Device, monkeypatch) -> None:
    Path(device.adb + ".devices").write_text(f"{LIST}R58M            device\n")
    monkeypatch.setenv("ADB", device.adb)
    assert choose(()) == [Device(device.adb, "R58M")]
