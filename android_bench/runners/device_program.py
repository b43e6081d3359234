"""What adb_run has to know of a program that runs .tflite files on phones: TFLite's benchmark_model, or ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_bench.results.measurements import BenchConfig, Launch


@dataclass(frozen=True)
class DeviceProgram:
    """`files`: its name on the phone -> where it is here. `start`: the words that start it in the folder of its files.

    abi: Android's name of what it is compiled for. options(config, model, signature) are its words, signature ""
    for a file that has no other; read(said, exit code, config, cpus) is the launch that it reports, or raises what it
    did wrong.
    """

    name: str
    files: Mapping[str, Path]
    start: Sequence[str]
    runtime: str
    abi: str
    options: Callable[[BenchConfig, str, str], list[str]]
    read: Callable[[str, int, BenchConfig, tuple[int, ...]], Launch]
