"""A stage's time is its own, stages add up to the command, and one that takes long says so."""

import subprocess
import sys
import time

import pytest

from convert.stage_times import OTHER, recording, stage


def test_stages_are_in_order_add_up_and_hold_only_their_own_time():
    start = time.perf_counter()
    with recording("converting") as clock:
        with stage("export"):
            time.sleep(0.02)
            with stage("lowering"):
                time.sleep(0.2)
        with stage("export"):
            sum(range(100_000))
        rows = {row.stage: row for row in clock.rows()}
    assert list(rows) == ["export", "lowering", OTHER]
    assert rows["lowering"].seconds >= 0.2 > rows["export"].seconds >= 0.02
    assert sum(row.seconds for row in rows.values()) <= time.perf_counter() - start
    assert rows["export"].cpu_seconds >= 0 and rows["export"].peak_mb > 10
    head, *lines = clock.table()
    assert head.split() == ["stage", "seconds", "CPU", "s", "peak", "MB"]
    assert [line.split()[0] for line in lines] == ["export", "lowering", OTHER, "all"]
    assert [row["stage"] for row in clock.to_json()] == list(rows)


def test_a_stage_that_fails_ends_and_outside_of_a_command_nothing_is_kept():
    with recording("converting") as clock:
        with pytest.raises(ValueError, match="broken"), stage("export"):
            raise ValueError("broken")
        with stage("lowering"):
            pass
    with stage("nobody's"):
        pass
    assert [row.stage for row in clock.rows()] == ["export", "lowering", OTHER]


LONG = """
import time
from convert import stage_times
from convert.export.tflite_file import _quiet
stage_times.FIRST_LINE_S = 0.05
with stage_times.recording("converting"):
    with _quiet(), stage_times.stage("export"):
        time.sleep(0.3)
    with stage_times.stage("short"):
        pass
"""


def test_a_long_stage_says_so_while_it_runs_though_the_converter_is_silenced():
    process = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    assert (process.stdout, process.stderr) == ("", "converting: export\n")
