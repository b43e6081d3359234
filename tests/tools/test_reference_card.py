"""The card's figures were measured of the very file that ships."""

import json
from pathlib import Path

import pytest

from mobileiqa.checkpoint import sha256
from mobileiqa.zoo import REFERENCE
from tools import reference_card

EVALUATION = Path(__file__).resolve().parents[2] / "benchmarks" / "whole_photo.json"


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "package" / "README.md"
    path.parent.mkdir()
    text = reference_card.CARD.read_text()
    path.write_text(text.replace(sha256(REFERENCE), "old"))
    monkeypatch.setattr(reference_card, "CARD", path)
    monkeypatch.setattr(reference_card, "REPORT", tmp_path / "benchmarks" / "REFERENCE.md")
    (tmp_path / "benchmarks").mkdir()
    return path


def test_the_stored_figures_are_those_of_the_stored_evaluation(card: Path) -> None:
    shipped, report = REFERENCE.with_name("README.md"), EVALUATION.with_name("REFERENCE.md")
    assert reference_card.main([str(EVALUATION)]) == 0
    assert card.read_text() == shipped.read_text()  # nothing but figures and hash is touched
    assert reference_card.REPORT.read_text() == report.read_text()


def test_figures_of_another_file_are_refused(
    card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = json.loads(EVALUATION.read_text())
    measured["sha256"] = "0" * 64
    other = tmp_path / "other.json"
    other.write_text(json.dumps(measured))
    before = card.read_text()
    assert reference_card.main([str(other)]) == 2
    assert "figures of the shipped checkpoint" in capsys.readouterr().err
    assert card.read_text() == before


def test_the_shipped_figures_reach_the_goal() -> None:
    measured = json.loads(EVALUATION.read_text())
    figures = {check["name"]: check["figure"] for check in measured["checks"]}
    assert measured["sha256"] == sha256(REFERENCE)
    assert (
        figures["SRCC"] >= 0.9
        and figures["PLCC"] >= 0.9
        and figures["pairs two levels apart in order"] >= 0.97
        and figures["noise and a second distortion lower"] >= 0.95
        and figures["right reason first at levels 3 to 5"] >= 0.85
    )
    assert figures["blurring a quarter lowers"] >= 0.95
