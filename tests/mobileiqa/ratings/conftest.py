"""The golden fits of independent code, and KonIQ-10k's votes, where they lie beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3].parent / "shared"


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """rating_models_golden.json: skips without it."""
    path = SHARED / "golden" / "rating_models_golden.json"
    if not path.is_file():
        pytest.skip("no ../shared/golden beside the checkout; fits of scipy's own search stand in")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def koniq() -> Path:
    """koniq10k_ratings.csv: skips without it."""
    path = SHARED / "data" / "labels" / "koniq10k_ratings.csv"
    if not path.is_file():
        pytest.skip("no ../shared/data/labels beside the checkout; generated votes stand in")
    return path
