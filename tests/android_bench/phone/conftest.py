"""The small phone for tests, and the programs that are pushed to it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.android_bench.phone.build import phone_root
from tests.android_bench.phone.small_phone import SmallPhone, booted, why_not


@pytest.fixture(scope="session")
def can_boot() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def boot(can_boot, tmp_path, monkeypatch) -> Callable[..., AbstractContextManager[SmallPhone]]:
    """boot(**options): a fresh small phone, the only one that the adb under test can see."""
    folder = tmp_path / "client"
    folder.mkdir()
    monkeypatch.setenv("ADB", str(folder / "adb"))
    return lambda **options: booted(folder, **options)


@pytest.fixture
def phone(boot) -> Iterator[SmallPhone]:
    with boot() as phone:
        yield phone
        assert phone.becomes_clean(), phone.left()  # whatever the test did: no file, no process


@pytest.fixture
def benchmark_model(can_boot) -> Path:
    return phone_root() / "benchmark_model"


@pytest.fixture
def old_benchmark_model(can_boot) -> Path:
    """A build that does not know --xnnpack_force_fp16."""
    return phone_root() / "benchmark_model_old"
