"""ExecuTorch's ARM libraries under the counting emulator: real files where `make arm-executorch` has run."""

from pathlib import Path

import pytest

from benchmarks import arm, executorch_arm
from benchmarks.conversion_paths import COUNTED_ALONE, Case, build
from convert.runtimes.tool_environments import envs_dir
from mobileiqa.errors import RunError

CASE = Case("lar-iqa-single", "96x64")


def needs(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(reason), reason=f"{reason}: run `make arm-executorch`")


CONVERTER = envs_dir() / "executorch" / "bin" / "python"


def counts(route: str) -> dict[str, int]:
    built = build(route, CASE, arm.CACHE)
    assert not built.error
    return executorch_arm.count(built.path, arm.COUNTED_ON)


@needs(executorch_arm.missing())
@needs("" if CONVERTER.is_file() else f"no {CONVERTER}")
@pytest.mark.slow
def test_its_files_run_the_kernels_of_their_precision():
    macs = arm.macs(CASE)
    fp32, fp16, int8 = (counts(route) for route in ("executorch", *COUNTED_ALONE))
    # But for border pixels; XNNPACK computes a few channels more than there are.
    assert macs * 0.95 < 4 * fp32["fmla_4s"] < macs * 1.1 and fp32["fmla_8h"] == fp32["sdot"] == 0
    assert macs * 0.9 < 8 * fp16["fmla_8h"] < macs * 1.1 and fp16["fmla_4s"] < fp32["fmla_4s"] / 100
    assert macs * 0.5 < 16 * int8["sdot"] + 8 * int8["smlal"] < macs * 1.2
    assert fp32["instructions"] > fp16["instructions"] > int8["instructions"]


@needs(executorch_arm.missing())
def test_a_file_that_does_not_load_is_refused_in_its_words(tmp_path: Path):
    (tmp_path / "bad.pte").write_bytes(b"no program" * 100)
    with pytest.raises(RunError, match=r"bad\.pte: .*loading the program: Error::Invalid"):
        executorch_arm.count(tmp_path / "bad.pte", arm.COUNTED_ON)


def test_without_its_programs_a_row_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOBILEIQA_ARM", str(tmp_path))
    monkeypatch.setattr(arm, "CACHE", tmp_path / "baselines")
    (tmp_path / "model.pte").write_bytes(b"a program")
    row = arm.counted(CASE, arm.File("ExecuTorch", "fp32", lambda _: tmp_path / "model.pte"))
    assert "make arm-executorch" in row.error and not row.counts
