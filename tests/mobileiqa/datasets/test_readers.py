"""Every reader on a tiny copy of its set: which images, which scores, which sides."""

import json
from pathlib import Path

import pytest

from mobileiqa.datasets.core import SPLITS, Dataset
from mobileiqa.datasets.readers import KADID_DISTORTIONS, TID_DISTORTIONS
from mobileiqa.datasets.registry import READERS, read
from mobileiqa.errors import UserError

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
DRAWN = ("spaq", "bid", "live-itw", "kadid-10k", "tid2013", "pipal", "folder")


def scores(dataset: Dataset) -> dict[str, tuple[float, float]]:
    return {s.path.name: (s.raw_score, s.score) for s in dataset.samples}


@pytest.mark.parametrize("name", READERS)
def test_what_holds_for_every_set(name, layout):
    root = layout(name)
    dataset = read(name, root)
    low, high = dataset.raw_range
    assert dataset.name == name
    assert all(s.path.is_file() and root in s.path.parents for s in dataset.samples)
    assert len({s.path for s in dataset.samples}) == len(dataset.samples)
    for sample in dataset.samples:
        assert 0 <= sample.score <= 1
        assert low + sample.score * (high - low) == pytest.approx(sample.raw_score, abs=1e-9)
    assert sum(len(dataset.of(split)) for split in SPLITS) == len(dataset.samples)
    assert dataset == read(name, root)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_sides_follow_the_seed_and_not_the_place(name, layout, tmp_path):
    root = layout(name)
    one, other = read(name, root, 1), read(name, root, 2)
    assert [len(one.of(split)) for split in SPLITS] == [len(other.of(split)) for split in SPLITS]
    assert [s.split for s in one.samples] != [s.split for s in other.samples]
    assert "seed 1" in one.split_rule and "70/10/20" in one.split_rule
    moved = root.rename(tmp_path / "elsewhere")
    assert [s.split for s in read(name, moved, 1).samples] == [s.split for s in one.samples]


@pytest.mark.parametrize("name", ["kadid-10k", "tid2013", "pipal", "folder"])
def test_no_reference_is_on_two_sides(name, layout):
    root = layout(name)
    for seed in range(20):
        dataset = read(name, root, seed)
        sides = [{s.reference for s in dataset.of(split)} for split in SPLITS]
        assert [len(side) for side in sides] == [7, 1, 2]
        assert len(set.union(*sides)) == 10 and "" not in set.union(*sides)
    assert "by reference" in dataset.split_rule


def test_uhd_iqa(layout):
    dataset = read("uhd-iqa", layout("uhd-iqa"))
    assert scores(dataset) == {"1.jpg": (0.15, 0.15), "2.jpg": (0.25, 0.25), "3.jpg": (0.35, 0.35)}
    assert [s.split for s in dataset.samples] == ["train", "train", "validation"]
    assert dataset.of("test") == () and dataset.raw_range == (0, 1)


def test_uhd_iqa_in_its_later_layout(tmp_path, write):
    for side, name in (("training", "1.jpg"), ("validation", "2.jpg"), ("test", "3.jpg")):
        write["picture"](tmp_path / side / name)
    write["text"](
        tmp_path / "uhd-iqa-metadata.csv",
        "image_name,set,subset,quality_mos",
        "1.jpg,training,,0.5",
        "2.jpg,validation,,0.25",
        "3.jpg,test,exclusive,0.75",
    )
    dataset = read("uhd-iqa", tmp_path)
    assert [(s.split, s.path.parent.name, s.score) for s in dataset.samples] == [
        ("train", "training", 0.5), ("validation", "validation", 0.25), ("test", "test", 0.75),
    ]  # fmt: skip


def test_koniq_10k(layout):
    root = layout("koniq-10k")
    dataset = read("koniq-10k", root)
    assert scores(dataset) == {"1.jpg": (20.5, 0.205), "2.jpg": (71.25, 0.7125), "3.jpg": (88, 0.88)}
    assert [s.split for s in dataset.samples] == ["train", "validation", "test"]
    (root / "1024x768").rename(root / "512x384")
    assert {s.path.parent.name for s in read("koniq-10k", root).samples} == {"512x384"}


def test_koniq_10k_in_its_version_of_1_to_5(layout):
    root = layout("koniq-10k")
    file = root / "koniq10k_distributions_sets.csv"
    file.write_text(file.read_text().replace("20.5", "1").replace("71.25", "3.5").replace("88", "5"))
    dataset = read("koniq-10k", root)
    assert dataset.raw_range == (1, 5)
    assert [s.score for s in dataset.samples] == [0, 0.625, 1]


@pytest.mark.parametrize("underscored", [False, True])
def test_spaq(underscored, layout, write):
    root = layout("spaq")
    file = root / "Annotations" / "MOS and Image attribute scores.xlsx"
    if underscored:
        file.rename(file.with_name(file.name.replace(" ", "_")))
    dataset = read("spaq", root)
    assert scores(dataset)["00010.jpg"] == (95.0, 0.95)
    assert [len(dataset.of(split)) for split in SPLITS] == [7, 1, 2]
    assert dataset.split_rule == "70/10/20 by image, seed 0"


def test_bid(layout):
    dataset = read("bid", layout("bid"))
    assert len(dataset.samples) == 10  # the note below the grades is no image
    assert scores(dataset)["DatabaseImage0010.JPG"] == (4.0, 0.8)
    assert dataset.raw_range == (0, 5)


def test_live_itw_without_the_training_images(layout):
    dataset = read("live-itw", layout("live-itw"))
    assert list(scores(dataset)) == [f"{n}.bmp" for n in range(1, 10)] + ["10.jpg"]
    assert scores(dataset)["1.bmp"] == (38.5, 0.385)
    assert scores(dataset)["10.jpg"] == (88.0, 0.88)


def test_kadid_10k(layout):
    dataset = read("kadid-10k", layout("kadid-10k"))
    sample = {s.path.name: s for s in dataset.samples}["I03_25_03.png"]
    assert (sample.raw_score, sample.score) == (3.2, pytest.approx(0.55))
    assert (sample.reference, sample.distortion, sample.level) == ("I03", 25, 3)
    assert sample.distortion_name == "contrast change"
    assert (dataset.raw_range, dataset.score_name) == ((1, 5), "DMOS")


def test_kadid_10k_names_distortions_as_the_one_who_makes_them():
    from mobileiqa.distortions.kadid10k import DISTORTIONS

    assert [entry.name for entry in DISTORTIONS.values()] == list(KADID_DISTORTIONS)
    assert len(TID_DISTORTIONS) == len(set(TID_DISTORTIONS)) == 24


def test_tid2013_bridges_the_case_of_names(layout):
    dataset = read("tid2013", layout("tid2013"))
    result = {s.path.name: s for s in dataset.samples}
    assert {"i01_24_5.bmp", "I02_24_5.bmp"} <= set(result)
    sample = result["i01_24_5.bmp"]
    assert (sample.reference, sample.distortion, sample.level) == ("I01", 24, 5)
    assert sample.distortion_name == "sparse sampling and reconstruction"
    assert sample.score == pytest.approx(2.1 / 9)


@pytest.mark.parametrize("single", [False, True])
def test_pipal(single, layout):
    root = layout("pipal")
    if single:
        (root / "Dist_Imgs").mkdir()
        for path in list(root.glob("Distortion_*/*.bmp")):
            path.rename(root / "Dist_Imgs" / path.name)
        for path in list(root.glob("Distortion_?")):
            path.rmdir()
    dataset = read("pipal", root)
    sample = {s.path.name: s for s in dataset.samples}["A0007_06_01.bmp"]
    assert (sample.reference, sample.distortion, sample.level) == ("A0007", 7, 0)
    assert (sample.raw_score, sample.score) == (1307.5, pytest.approx(407.5 / 950))
    assert (len(dataset.samples), dataset.score_name) == (20, "Elo")


def test_folder_as_distort_writes_it(layout):
    root = layout("folder")
    dataset = read("folder", root)
    sample = dataset.samples[1]
    assert sample.path == root / "images" / "r1_10_5.png"
    assert (sample.reference, sample.distortion, sample.level, sample.raw_score) == ("r1", 10, 5, 1.5)
    assert sample.score == pytest.approx(0.125)
    assert (dataset.score_name, dataset.range_rule) == ("transferred KADID score", "given in dataset.json")
    assert read("folder", root / "labels.csv") == dataset


def test_folder_without_description_says_whose_range_it_took(layout, write):
    root = layout("folder")
    (root / "dataset.json").unlink()
    write["text"](
        root / "labels.csv",
        "score,split,image,distortion",
        "-2,training,images/r1_10_1.png,3",
        "0,val,images/r2_10_1.png,",
        "6,test,images/r3_10_1.png,",
    )
    dataset = read("folder", root)
    assert [(s.split, s.score, s.distortion) for s in dataset.samples] == [
        ("train", 0, 3), ("validation", 0.25, 0), ("test", 1, 0),
    ]  # fmt: skip
    assert dataset.raw_range == (-2, 6) and "own minimum and maximum" in dataset.range_rule
    assert dataset.split_rule == "as the label file gives it"


def test_of_refuses_another_word(layout):
    with pytest.raises(ValueError, match="train, validation, test; found 'training'"):
        read("folder", layout("folder")).of("training")


def _labels(name: str) -> list[list[str]]:
    file = SHARED / "data" / "labels" / name
    if not file.exists():
        pytest.skip(f"no {file.name} beside the checkout; the tiny copies stand in")
    return [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()[1:]]


def test_real_koniq_ratings(tmp_path, write):
    """The mean opinions of the real votes are recognised as 1..5 and fill the scale."""
    rows = []
    (tmp_path / "512x384").mkdir()
    for image, *votes in _labels("koniq10k_ratings.csv")[::10]:
        *counts, total = map(int, votes)
        (tmp_path / "512x384" / image).touch()
        mos = sum(value * count for value, count in enumerate(counts, 1)) / total
        rows.append(f"{image},{mos},training")
    write["text"](tmp_path / "koniq10k_distributions_sets.csv", "image_name,MOS,set", *rows)
    dataset = read("koniq-10k", tmp_path)
    values = [s.score for s in dataset.samples]
    assert len(values) == 1008 and dataset.raw_range == (1, 5)
    assert min(values) < 0.15 and max(values) > 0.75 and 0.4 < sum(values) / len(values) < 0.6


def test_real_uhd_iqa_scores(tmp_path, write):
    rows = _labels("uhd_iqa_validation_lar_iqa.csv")
    (tmp_path / "challenge" / "validation").mkdir(parents=True)
    for image, *_ in rows:
        (tmp_path / "challenge" / "validation" / image).touch()
    lines = [f"{image},{mos},validation" for image, mos, _ in rows]
    write["text"](tmp_path / "uhd-iqa-validation-metadata.csv", "image_name,quality_mos,set", *lines)
    dataset = read("uhd-iqa", tmp_path)
    assert len(dataset.of("validation")) == 904
    assert [s.score for s in dataset.samples] == [float(mos) for _, mos, _ in rows]


def test_unknown_names_and_places(tmp_path):
    with pytest.raises(UserError, match=r"uhd-iqa, koniq-10k, .*folder; found 'kadid'"):
        read("kadid", tmp_path)
    with pytest.raises(UserError, match=r"the folder of kadid-10k; found nothing at .*missing"):
        read("kadid-10k", tmp_path / "missing")
    with pytest.raises(UserError, match="seed of 0 or more"):
        read("folder", tmp_path, -1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSON in"),
        ("[1, 5]", "a JSON object in"),
        (json.dumps({"range": [5, 1]}), r'"range": \[low, high\]'),
        ('{"range": [1, NaN]}', "NaN, which is no JSON"),
        (json.dumps({"range": ["1", "5"]}), r'"range": \[low, high\]'),
        (json.dumps({"range": [1, 5], "score_name": 3}), "text as score_name"),
        (json.dumps({"range": [2, 5]}), r"a score of 2\.\.5 for images/r1_10_5.png in labels.csv, line 3"),
    ],
)
def test_folder_refuses_a_bad_description(content, message, layout):
    root = layout("folder")
    (root / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read("folder", root)


def test_folder_of_one_score_has_no_range(layout, write):
    root = layout("folder")
    (root / "dataset.json").unlink()
    write["text"](root / "labels.csv", "image,score", "images/r1_10_1.png,3", "images/r2_10_1.png,3")
    with pytest.raises(UserError, match="scores that differ in"):
        read("folder", root)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("image,score,set", "test, train in the column set"),
        ("image,score,Data Subset", "test, train in the column data_subset"),
        ("image,score,", "test, train in a column without a name"),
    ],
)
def test_folder_reads_no_sides_from_a_column_of_another_name(head, words, tmp_path):
    """A drawn split in place of the labels' own would test on images that they train on."""
    rows = [f"{n}.png,{n},{'Test' if n % 2 else 'train'}" for n in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join([head, *rows]))
    with pytest.raises(UserError, match=f"column called split in labels.csv; found {words}"):
        read("folder", tmp_path)


def test_folder_refuses_scores_that_would_overflow(layout):
    root = layout("folder")
    lines = (root / "labels.csv").read_text().splitlines()
    image = lines[1].split(",")[0]
    (root / "dataset.json").unlink()
    (root / "labels.csv").write_text(f"image,score\n{image},1e308\n" + "b.png,-1e308\n")
    with pytest.raises(UserError, match=r"a score below 1e\+12 .*; found 1e\+308"):
        read("folder", root)


def test_a_label_file_in_capitals_is_pointed_to(tmp_path):
    (tmp_path / "Labels.CSV").write_text("image,score\n")
    with pytest.raises(UserError, match=r"name the label file itself, such as .*Labels\.CSV"):
        read("folder", tmp_path)
