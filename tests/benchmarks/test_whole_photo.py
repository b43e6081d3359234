"""What must hold of a model that reads the whole photo: variants, checks, and a scorer that breaks each of them."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import whole_photo
from benchmarks.whole_photo import Row, held_out_checks, held_out_rows, photo_checks, photo_scores, variants
from mobileiqa.reasons import REASONS, reason_of


def photo(height: int = 600, width: int = 700) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_variants_damage_the_part_that_they_name():
    picture = photo()
    named = dict(variants(picture, 6))
    same = {
        name: (pixels == picture).all(2).mean()
        for name, pixels in named.items()
        if pixels.shape == picture.shape
    }
    assert same["original"] == 1 and same["blurred"] < 0.02
    assert same["centre sharp"] == pytest.approx(512**2 / (600 * 700), abs=0.01)
    assert all(same[f"quarter {i} blurred"] == pytest.approx(0.75, abs=0.01) for i in range(1, 5))
    assert np.array_equal(np.rot90(named["turned 90"], -1), picture) and np.array_equal(
        named["mirrored"][:, ::-1], picture
    )
    assert named["half size"].shape == (300, 350, 3)
    assert named["-2 stops"].mean() < picture.mean() < named["+2 stops"].mean()


def scores(**changes: float) -> dict[str, float]:
    """Of a photo for which everything holds."""
    names = ["original", "blurred", "centre sharp", *(f"quarter {i} blurred" for i in range(1, 5)),
             *(f"JPEG {q}" for q in (90, 50, 20, 8)), "JPEG 20, blurred", "-2 stops", "+2 stops", "noise",
             "noise, JPEG 15", "blurred, noise", *(f"turned {t}" for t in (90, 180, 270)),
             "mirrored", "half size"]  # fmt: skip
    values = [0.9, 0.2, 0.3, *[0.7] * 4, 0.85, 0.7, 0.5, 0.2, 0.3, 0.5, 0.5, 0.4, 0.3, 0.1, *[0.9] * 4, 0.88]
    return dict(zip(names, values, strict=True)) | changes


GOOD_CARDS = {"black": 0.1, "white": 0.05, "grey": 0.0}


def test_all_checks_hold_where_everything_is_right():
    assert all(check.holds for check in photo_checks([scores()], GOOD_CARDS))


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"centre sharp": 0.8}, "blurring all but the centre"),
        ({"quarter 2 blurred": 0.9}, "blurring a quarter"),
        ({"JPEG 20": 0.71}, "JPEG 90"),
        ({"+2 stops": 0.95}, "two stops"),
        ({"blurred, noise": 0.2}, "noise and a second"),
        ({"turned 180": 1.0}, "turned or mirrored: 95"),
        ({"half size": 0.75}, "half-size"),
    ],
)
def test_one_wrong_score_breaks_its_check(changes: dict[str, float], broken: str):
    checks = photo_checks([scores(**changes)], GOOD_CARDS)
    assert (
        [c.name for c in checks if not c.holds] == [c.name for c in checks if c.name.startswith(broken)] != []
    )


def test_a_card_that_scores_well_breaks_its_check():
    (broken,) = [c for c in photo_checks([scores()], GOOD_CARDS | {"grey": 0.4}) if not c.holds]
    assert broken.figure == 0.4


def rows(score, reason) -> list[Row]:
    labels = {(n, level): 1 - 0.15 * level - 0.003 * n for n in range(1, 26) for level in range(1, 6)}
    cells = [
        Row(p, n, level, label, score(label), reason(n, level))
        for p in range(2)
        for (n, level), label in labels.items()
    ]
    return [Row(p, 0, 0, 1.0, 0.95, REASONS.index("none")) for p in range(2)] + cells


def test_held_out_checks_are_those_of_scores_reasons_and_order():
    assert all(check.holds for check in held_out_checks(rows(lambda label: label**2, reason_of)))
    reversed_ = held_out_checks(rows(lambda label: -label, lambda _n, _level: 0))
    assert {check.name: check.holds for check in reversed_} == {
        check.name: check.name.startswith("'none'") for check in reversed_
    }
    without = held_out_checks(rows(lambda label: label, lambda _n, _level: -1)[2:])
    assert not any("reason" in check.name or "none" in check.name for check in without)


def test_every_cell_of_every_photo_is_scored(tmp_path):
    Image.fromarray(photo(80, 90)).save(tmp_path / "a.png")
    table = tmp_path / "severity.csv"
    lines = [f"{n},{level},{5 - 0.5 * level}" for n in range(1, 26) for level in range(1, 6)]
    table.write_text("distortion,level,mean_score\n" + "\n".join(lines) + "\n")
    result = held_out_rows(0, tmp_path / "a.png", lambda pixels: (float(pixels.mean()), [0.0, 1.0]), table)
    assert len(result) == 126 and result[0].level == 0 and {row.reason for row in result} == {1}
    assert result[1].label == pytest.approx((4.5 - 1) / 4)


def test_the_command_writes_figures_and_exits_1_where_something_does_not_hold(tmp_path, monkeypatch, capsys):
    Image.fromarray(photo(90, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(whole_photo, "scorer", lambda *_: lambda _pixels: (0.5, ()))
    out = tmp_path / "out.json"
    assert whole_photo.main(["--photos", str(tmp_path), "--out", str(out)]) == 1
    content = json.loads(out.read_text())
    assert len(content["checks"]) == 9 and content["photos"]["a.png"]["blurred"] == 0.5
    assert "| yes |" in out.with_suffix(".md").read_text()
    capsys.readouterr()
    assert whole_photo.main([]) == 2
    assert "--photos or --held-out" in capsys.readouterr().err
    assert whole_photo.main(["--held-out", str(tmp_path)]) == 2


def test_photo_scores_are_of_every_variant(tmp_path):
    Image.fromarray(photo(70, 64)).save(tmp_path / "a.png")
    result = photo_scores(tmp_path / "a.png", lambda pixels: (float(pixels.mean()), ()), 2.0)
    assert set(result) == set(scores())
