"""What a phone says about itself: model, SoC, Android, cores, and how warm and charged it is now."""

import re
from dataclasses import dataclass

from android_bench.results.measurements import ThermalState
from android_bench.runners.adb import Device, last_words, shell
from mobileiqa.errors import RunError, UserError
from mobileiqa.text import printable

HOT_C = 40.0  # of the battery: phones slow down above it, and some below
# Android's thermal status
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
PROPERTIES = (
    "ro.product.manufacturer", "ro.product.model", "ro.soc.manufacturer", "ro.soc.model", "ro.board.platform",
    "ro.product.cpu.abilist", "ro.product.cpu.abi", "ro.build.version.release", "ro.build.version.sdk",
)  # fmt: skip
PROBE = """
for name in {names}; do echo "$name=$(getprop $name)"; done
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  [ "$(cat $cpu/online 2>/dev/null)" = 0 ] && continue
  echo "${{cpu##*/}}=$(cat $cpu/cpufreq/cpuinfo_max_freq $cpu/cpufreq/scaling_governor 2>/dev/null | tr '\\n' ' ')"
done
echo "features=$(grep -m 1 -E '^(Features|flags)' /proc/cpuinfo)"
""".format(names=" ".join(PROPERTIES))
CONDITION = "dumpsys battery; dumpsys thermalservice"


@dataclass(frozen=True)
class Core:
    """One CPU that is online: its number, highest clock in kHz (0 when unknown), governor ("" when unknown)."""

    index: int
    max_khz: int
    governor: str


@dataclass(frozen=True)
class Phone:
    """What does not change during a run. `abis`: instruction sets it runs, best first."""

    name: str
    soc: str
    android: str
    abis: tuple[str, ...]
    cores: tuple[Core, ...]
    fp16_hardware: bool

    def big_cores(self, count: int) -> tuple[int, ...]:
        """The `count` fastest CPUs, in order; of equal ones the last."""
        fastest = sorted(self.cores, key=lambda core: (core.max_khz, core.index))
        return tuple(sorted(core.index for core in fastest[-count:]))


def describe(device: Device) -> Phone:
    """Asks the phone; raises RunError when it does not say which CPUs and instruction sets it has."""
    code, output = shell(device, PROBE)
    told = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    told = {name: printable(value.strip()) for name, value in told.items()}
    cores = tuple(_core(name, told[name]) for name in told if re.fullmatch(r"cpu\d+", name))
    abis = told.get("ro.product.cpu.abilist") or told.get("ro.product.cpu.abi", "")
    if code or not cores or not abis:
        raise RunError(f"{device.serial}: the phone does not describe itself: {last_words(output)}")
    soc = f"{told.get('ro.soc.manufacturer', '')} {told.get('ro.soc.model', '')}".strip()
    name = f"{told.get('ro.product.manufacturer', '')} {told.get('ro.product.model', '')}".strip()
    release, sdk = told.get("ro.build.version.release", ""), told.get("ro.build.version.sdk", "")
    return Phone(
        name=name or device.serial,
        soc=soc or told.get("ro.board.platform", "") or "unknown SoC",
        android=f"Android {release or '?'} (SDK {sdk or '?'})",
        abis=tuple(abis.split(",")),
        cores=tuple(sorted(cores, key=lambda core: core.index)),
        fp16_hardware=bool({"asimdhp", "avx512_fp16"} & set(told.get("features", "").split())),
    )


def condition(device: Device) -> ThermalState:
    """Charge, temperatures and thermal status; what a phone does not report is None, not a guess."""
    _, output = shell(device, CONDITION)
    tenths = _number(r"^\s*temperature: (-?\d+)", output)
    status = _number(r"^\s*Thermal Status: (\d+)", output)
    level = _number(r"^\s*level: (\d+)", output)
    return ThermalState(
        battery_percent=None if level is None else int(level),
        battery_c=None if tenths is None else tenths / 10,
        skin_c=_number(r"mValue=(-?[\d.]+), mType=3,", output),
        thermal_status=None if status is None else THERMAL[min(int(status), len(THERMAL) - 1)],
    )


def require_cool(device: Device, now: ThermalState) -> None:
    """Raises UserError when the phone is hot or slows itself down."""
    if now.battery_c is not None and now.battery_c >= HOT_C:
        raise _too_hot(device, f"a battery of {now.battery_c:g} C")
    if now.thermal_status not in (None, "none"):
        raise _too_hot(device, f"{now.thermal_status} throttling")


def _too_hot(device: Device, temperature: str) -> UserError:
    expected = f"phone {device.serial} to be below {HOT_C:g} C and not throttling"
    return UserError(expected, temperature, "let it cool down, without its charger, and run again")


def _core(name: str, value: str) -> Core:
    khz, governor = (*value.split(), "", "")[:2]
    return Core(int(name.removeprefix("cpu")), int(khz) if khz.isdigit() else 0, governor)


def _number(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text, re.MULTILINE)
    return float(match[1]) if match else None
