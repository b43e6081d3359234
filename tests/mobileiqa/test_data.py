"""The command, on generated sets."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mobileiqa import data

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture
def kadid(tmp_path: Path, photo) -> Path:
    """Six references, two distortions, two levels: dmos.csv and images, one of another size."""
    root = tmp_path / "kadid"
    (root / "images").mkdir(parents=True)
    lines = ["dist_img,ref_img,dmos,var"]
    for reference in range(1, 7):
        for distortion, level in ((1, 1), (1, 5), (10, 1), (10, 5)):
            name = f"I{reference:02d}_{distortion:02d}_{level:02d}.png"
            size = (20, 30) if name == "I06_10_05.png" else (32, 24)
            photo(reference, *size).save(root / "images" / name)
            lines.append(
                f"{name},I{reference:02d}.png,{4.85 - 0.6 * level - 0.1 * (reference % 3 == 0):.2f},0.5"
            )
    (root / "dmos.csv").write_text("\n".join(lines) + "\n")
    return root


def run(capsys, *args: object) -> tuple[int, str, dict]:
    """Exit code, text and the last line's object."""
    code = data.main([str(arg) for arg in args])
    *lines, last = capsys.readouterr().out.splitlines() or ["{}"]
    return code, "\n".join(lines), json.loads(last)


def failure(capsys, *args: object) -> str:
    """The one line on stderr of a run that the user's input ended."""
    assert data.main([str(arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    return err


def test_describe_prints_counts_sides_scores_and_sizes(kadid, capsys):
    code, text, last = run(capsys, "describe", "kadid-10k", kadid)
    assert code == 0
    assert (last["images"], last["references"], last["raw_range"]) == (24, 6, [1, 5])
    assert {name: (s["images"], s["references"]) for name, s in last["splits"].items()} == {
        "train": (16, 4), "validation": (4, 1), "test": (4, 1), "all": (24, 6),
    }  # fmt: skip
    assert last["splits"]["all"]["mean"] == 3.0167
    lines = text.splitlines()
    assert "DMOS 1..5 (the set's own scale), higher is better" in lines[0]
    assert lines[1] == "split: 70/10/20 by reference, seed 0"
    bars = {line.split()[0]: line.split()[1:] for line in lines if ".." in line and "#" in line}
    assert bars == {
        "1.60..1.80": ["4", "#" * 20],
        "1.80..2.00": ["8", "#" * 40],
        "4.00..4.20": ["4", "#" * 20],
        "4.20..4.40": ["8", "#" * 40],
    }
    assert any(line.split() == ["1", "Gaussian", "blur", "12", "4.22", "1.82"] for line in lines)
    assert "sizes of 24 images: 32x24 (23), 20x30 (1)" in text


def test_describe_writes_json_and_picture_and_replaces_neither(kadid, tmp_path, capsys):
    figures, picture = tmp_path / "out" / "set.json", tmp_path / "out" / "set.png"
    command = ("describe", "kadid-10k", kadid, "--split-seed", 1, "--json", figures, "--picture", picture)
    assert run(capsys, *command)[0] == 0
    written = json.loads(figures.read_text())
    assert written["split_rule"].endswith("seed 1")
    assert sum(map(sum, written["histogram"].values())) == 24
    assert written["distortions"][1] == {
        "number": 10, "name": "JPEG", "images": 12, "mean_by_level": {"1": 4.2167, "5": 1.8167},
    }  # fmt: skip
    with Image.open(picture) as image:
        colors = image.convert("RGB").getcolors(1 << 20)
    assert colors is not None and len(colors) > 50
    assert "--force" in failure(capsys, *command)
    assert run(capsys, *command, "--force")[0] == 0


def test_describe_of_a_folder_without_references(photos, tmp_path, capsys):
    lines = [f"{path},{score}" for score, path in enumerate(sorted(photos.iterdir()))]
    (tmp_path / "mine.csv").write_text("image,score\n" + "\n".join(lines))
    code, text, last = run(
        capsys,
        "describe",
        "folder",
        tmp_path / "mine.csv",
        "--picture",
        tmp_path / "p.png",
        "--allow-outside",
    )
    assert code == 0 and last["references"] == 0 and last["raw_range"] == [0, 3]
    assert "the data's own minimum and maximum" in text and "by image, seed 0" in text


def test_describe_opens_images(kadid, tmp_path, capsys):
    (kadid / "images" / "I01_01_01.png").write_text("words")
    err = failure(capsys, "describe", "kadid-10k", kadid, "--json", tmp_path / "set.json")
    assert "I01_01_01.png" in err and not (tmp_path / "set.json").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("describe", "kadid", "."), "a data set of uhd-iqa"),
        (("describe", "folder", "missing"), "nothing at missing"),
        (("describe", "folder", ".", "--split-seed", "-1"), "a split seed of 0 or more"),
        (("describe", "folder", ".", "--picture", "set.jpg"), "a path ending in .png"),
        (("severity", "missing", "--out", "missing.csv"), "dmos.csv"),
    ],
)
def test_wrong_input_is_one_line(args, message, capsys):
    assert message in failure(capsys, *args)


def test_severity_averages_over_references(kadid, tmp_path, capsys):
    out = tmp_path / "severity.csv"
    for image in (kadid / "images").iterdir():
        image.unlink()  # the ratings are enough
    code, _, last = run(capsys, "severity", kadid, "--out", out)
    assert (code, last["rows"], last["ratings"]) == (0, 4, 24)
    assert out.read_text().splitlines() == [
        "distortion,level,n_references,mean_score,std_score",
        "1,1,6,4.2167,0.0471",
        "1,5,6,1.8167,0.0471",
        "10,1,6,4.2167,0.0471",
        "10,5,6,1.8167,0.0471",
    ]
    assert "--force" in failure(capsys, "severity", kadid, "--out", out)


def test_severity_refuses_a_score_outside_the_scale(kadid, tmp_path, capsys):
    file = kadid / "dmos.csv"
    file.write_text(file.read_text().replace("4.25", "6.25", 1))
    err = failure(capsys, "severity", kadid, "--out", tmp_path / "severity.csv")
    assert "a score of 1..5 for I01_01_01.png in dmos.csv, line 2; found 6.25" in err
    assert not (tmp_path / "severity.csv").exists()


def test_severity_gives_back_the_real_means(tmp_path, capsys):
    """From ratings whose means are the published ones: every distortion and level, in the same form."""
    real = SHARED / "data" / "labels" / "kadid10k_severity.csv"
    if not real.exists():
        pytest.skip("no ../shared/data/labels beside the checkout; the generated ratings stand in")
    rows = [line.split(",") for line in real.read_text().splitlines()[1:]]
    lines = [f"I01_{int(d):02d}_{int(level):02d}.png,I01.png,{mean},0" for d, level, _, mean, _ in rows]
    (tmp_path / "dmos.csv").write_text("\n".join(["dist_img,ref_img,dmos,var", *lines]))
    assert run(capsys, "severity", tmp_path, "--out", tmp_path / "severity.csv")[0] == 0
    written = [line.split(",") for line in (tmp_path / "severity.csv").read_text().splitlines()[1:]]
    assert [(d, level, mean) for d, level, _, mean, _ in written] == [(d, lv, m) for d, lv, _, m, _ in rows]
    assert len(written) == 125


def test_list_names_every_set_and_its_files(capsys):
    code, text, last = run(capsys, "list")
    assert code == 0 and len(last["datasets"]) == 9
    assert "dmos.csv: dist_img, ref_img, dmos" in text and "70/10/20 by reference and seed" in text
