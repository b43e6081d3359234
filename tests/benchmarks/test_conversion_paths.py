import json
import sys
from pathlib import Path

import pytest

from benchmarks import conversion_paths
from benchmarks.conversion_paths import Case, ConversionPath, build, essence, installed
from mobileiqa.errors import UserError

CASE = Case("mobilenet-iqa", "64x64")
WRITE = """import sys; open(sys.argv[1] + '/made.bin', 'wb').write(b'12345'); print('{"score": 0.25}')"""


@pytest.fixture
def route(monkeypatch):
    """A way to put one route, of Python code that gets the working folder, in place of the real ones."""

    def use(code):
        commands = lambda case, folder: [[sys.executable, "-c", code, str(folder)]]  # noqa: E731
        fake = ConversionPath("fake", "made.bin", commands, lambda: Path(sys.executable), ("numpy",))
        monkeypatch.setattr(conversion_paths, "PATHS", {"fake": fake})

    return use


def test_a_conversion_is_recorded_with_its_cost(route, tmp_path):
    route(WRITE)
    built = build("fake", CASE, tmp_path)
    assert built.path.read_bytes() == b"12345"
    assert (built.size_bytes, built.score, built.error) == (5, 0.25, "")
    assert 0 < built.seconds < 60
    assert 1 < built.peak_mb < 1000
    assert built.versions.keys() == {"numpy"}


def test_the_cache_answers_until_something_changes(route, tmp_path, monkeypatch):
    route(WRITE)
    first = build("fake", CASE, tmp_path)
    route("raise SystemExit('must not run')")
    assert build("fake", CASE, tmp_path) == first
    assert build("fake", CASE, tmp_path, fresh=True).error == "must not run"
    route(WRITE)
    build("fake", CASE, tmp_path, fresh=True)
    monkeypatch.setattr(conversion_paths, "installed", lambda python, packages: {"numpy": "another"})
    route("raise SystemExit('a new version')")
    assert build("fake", CASE, tmp_path).error == "a new version"


def test_a_failed_conversion_is_a_result_that_leaves_no_file(route, tmp_path):
    route("import sys; print('first', file=sys.stderr); raise RuntimeError('no such\\toperator')")
    built = build("fake", CASE, tmp_path)
    assert built.error == "RuntimeError: no such operator"
    assert not built.path.exists()
    assert json.loads((built.path.parent / "record.json").read_text())["error"] == built.error


def test_a_file_that_fails_its_own_parity_check_is_no_result(route, tmp_path):
    route(WRITE + "; print('{\"passed\": false}'); sys.exit(1)")
    built = build("fake", CASE, tmp_path)
    assert built.error == conversion_paths.GATE_FAILED
    assert not built.path.exists()


def test_a_converter_that_writes_nothing_failed(route, tmp_path):
    route("pass")
    assert "left no made.bin" in build("fake", CASE, tmp_path).error


def test_peak_memory_is_the_converters(route, tmp_path):
    route(WRITE + "; x = bytearray(300_000_000)")
    assert 300 < build("fake", CASE, tmp_path).peak_mb < 500


def test_essence_names_the_signal_or_the_last_line():
    assert essence(-9, "whatever") == "ended by SIGKILL"
    assert essence(1, "progress 10%\rprogress 20%\n\nValueError: no\n") == "ValueError: no"
    assert essence(1, "ValueError: no\nINFO: Created a delegate\n") == "ValueError: no"
    assert essence(3, "") == "exit code 3, no message"
    assert len(essence(1, "x" * 1000)) == conversion_paths.ESSENCE_CHARS


def test_a_missing_package_is_the_users_to_fix():
    with pytest.raises(UserError, match="no no-such-package"):
        installed(Path(sys.executable), ("no-such-package",))
