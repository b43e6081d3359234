import pytest

from mobileiqa.datasets import core
from mobileiqa.datasets.registry import read
from mobileiqa.errors import UserError


def counts(sides: dict[str, str]) -> list[int]:
    return [list(sides.values()).count(side) for side in ("train", "validation", "test")]


@pytest.mark.parametrize(
    ("groups", "expected"), [(3, [1, 1, 1]), (10, [7, 1, 2]), (81, [57, 8, 16]), (1162, [814, 116, 232])]
)
def test_draw_shares(groups, expected):
    assert counts(core.draw_split([f"g{n}" for n in range(groups)], 0)) == expected


def test_draw_depends_on_names_and_seed_only():
    names = [f"g{n}" for n in range(50)]
    assert core.draw_split(names, 3) == core.draw_split([*reversed(names), *names], 3)
    assert core.draw_split(names, 3) != core.draw_split(names, 4)


def test_draw_is_what_it_was():
    """Published figures rest on a seed's sides: this guards them against a change of the drawing."""
    sides = core.draw_split([f"I{n:02d}" for n in range(1, 11)], 0)
    assert {side: [name for name, s in sides.items() if s == side] for side in ("validation", "test")} == {
        "validation": ["I03"],
        "test": ["I05", "I07"],
    }


def test_draw_needs_three_groups():
    with pytest.raises(UserError, match=r"at least 3 references.*found 2"):
        core.draw_split(["a", "b", "a"], 0)


@pytest.mark.parametrize(("text", "side"), [("Training", "train"), (" val ", "validation"), ("TEST", "test")])
def test_parse(text, side):
    assert core.parse_split(text, "labels.csv, line 2") == side


def test_a_given_split_that_shares_a_reference_is_refused(layout):
    root = layout("folder")
    lines = (root / "labels.csv").read_text().splitlines()
    sides = ["split", *["train"] * 18, "test", "validation"]
    text = "\n".join(f"{line},{side}" for line, side in zip(lines, sides, strict=True))
    (root / "labels.csv").write_text(text)
    with pytest.raises(
        UserError, match=r"reference r10 on one side.*test in labels.csv, line 20 and validation in .*line 21"
    ):
        read("folder", root)


def test_a_given_side_for_some_images_only_is_refused(layout):
    root = layout("folder")
    lines = (root / "labels.csv").read_text().splitlines()
    text = "\n".join([f"{lines[0]},split", *(f"{line},train" for line in lines[1:-1]), f"{lines[-1]},"])
    (root / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=r"a value in column split of labels.csv, line 21"):
        read("folder", root)
