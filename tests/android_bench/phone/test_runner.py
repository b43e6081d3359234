"""Our own ARM program on the small phone, which has no library for it: it brings them. Run with `-m slow`."""

import json
import re
from dataclasses import replace

import pytest

from android_bench.cli import main
from android_bench.results.measurements import BenchConfig, Precision, from_json
from android_bench.runners import phones
from android_bench.runners.arm_runner import missing_runner
from mobileiqa.errors import RunError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_runner()), reason=f"{missing_runner()}: run `make arm`"),
]
CONFIG = BenchConfig(runs=2)


def test_the_command_measures_ten_runs_of_one_process(phone, tiny, large, tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert main([str(tiny.path), str(large.path), "--runner", "ours", "--out", str(out)]) == 0
    assert "1 + 10 runs x 1 launch(es), 28.7 C before" in capsys.readouterr().out
    small, big = from_json(json.loads(out.read_text()))
    last = int(phone.run("nproc")) - 1  # the one with the highest clock
    for result in (small, big):
        assert result.launches[0].cpus == (last,)  # as the program itself saw it
        assert len(result.launches[0].run_ms) == 10
        assert re.fullmatch(r"ai-edge-litert 2\.3\.0, runner [0-9a-f]{12}", result.runtime)
        assert result.device.kind == "phone"
    assert big.run_ms.min > 5 * small.run_ms.min
    assert big.peak_memory_mb - small.peak_memory_mb > 10


def test_the_signature_that_is_named_runs(phone, tiny, camera):
    plain, tall = phones.measure([tiny.path, camera], CONFIG, None, signature="score_80x96")
    assert (plain.signature, tall.signature) == ("serving_default", "score_80x96")
    assert tall.input_shapes == ((1, 96, 80, 3),) and tall.name == f"{camera} score_80x96"


def test_what_the_runtime_refuses_is_told_in_its_words(phone, constant_left):
    config = replace(CONFIG, precision=Precision.FP16)
    with pytest.raises(RunError, match=r"the runner failed .exit code 1.: .*failed to delegate BATCH_MATMUL"):
        phones.measure([constant_left.path], config, None)


def test_a_graph_that_xnnpack_takes_in_part_is_not_reported(phone, split):
    with pytest.raises(RunError, match="XNNPACK did not take the whole graph"):
        phones.measure([split.path], CONFIG, None)
