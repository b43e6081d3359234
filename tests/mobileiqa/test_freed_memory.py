"""The allocator keeps what it has: seen in the page faults of repeated allocations."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import resource, sys
from mobileiqa import freed_memory
if sys.argv[1] != "plain":
    assert getattr(freed_memory, sys.argv[1])()
{step}
for _ in range(12):  # small blocks settle in the holes first
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
TENSOR = """
import torch
def step():
    return torch.ones(40_000_000).sum()
"""
PHOTO = """
from PIL import Image
photo = Image.new("RGB", (4000, 3000))
def step():
    return photo.copy().resize((256, 256))
"""
glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is the subject")


def faults(step: str, how: str) -> int:
    command = [sys.executable, "-c", FAULTS.format(step=step), how]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@glibc
def test_a_photos_memory_is_the_next_ones() -> None:
    assert faults(PHOTO, "keep_photo_memory") < 0.05 * faults(PHOTO, "plain")


@pytest.mark.slow
@glibc
def test_a_freed_block_is_used_again() -> None:
    assert faults(TENSOR, "keep_freed_memory") < 0.05 * faults(TENSOR, "plain")
