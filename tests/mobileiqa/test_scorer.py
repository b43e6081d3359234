"""mobileiqa.Scorer: photos of every kind, the same scores, and a model that goes to another process."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobileiqa
from mobileiqa import score
from mobileiqa.errors import UserError
from mobileiqa.photos.loading import load_image
from mobileiqa.scoring import rows


def test_photos_of_every_kind_score_alike(photos: Path, tiny, caplog) -> None:
    scorer, path = mobileiqa.Scorer(tiny[2]), photos / "photo1.jpg"
    kinds = [
        path,
        str(path),
        path.as_uri(),
        path.read_bytes(),
        Image.open(path),
        np.asarray(load_image(path)),
    ]
    with caplog.at_level(logging.WARNING):
        scores, reasons = scorer([*kinds, b"words", "missing.jpg"])
    assert scores.dtype == np.float64 and len(set(scores[:6])) == 1 and np.isnan(scores[6:]).all()
    assert reasons == [{}] * 8
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "no score for a photo in memory (bytes)", "no score for missing.jpg",
    ]  # fmt: skip
    (row,) = score.score_images([path], score.load_scorer(str(tiny[2])))
    assert scores[0] == row.score
    assert scorer(path)[0] == scorer(kinds[3])[0] == scorer(kinds[5])[0] == scores[:1]


def test_a_pickled_scorer_is_its_name_and_scores_alike(photos: Path, tiny, tmp_path: Path) -> None:
    model = tmp_path / "x.tflite"
    model.write_bytes(tiny[2].read_bytes())
    content = pickle.dumps(scorer := mobileiqa.Scorer(model))
    assert len(content) < 1000
    files = sorted(photos.iterdir())
    np.testing.assert_array_equal(pickle.loads(content)(files)[0], scorer(files)[0])
    score.ModelArguments.loaded.cache_clear()  # as in a fresh process
    model.write_bytes(tiny[2].read_bytes() + b"\0")
    with pytest.raises(UserError, match="the model file of SHA-256"):
        pickle.loads(content)(files)


def test_the_packaged_model_gives_reasons_and_columns(photos: Path) -> None:
    scorer = mobileiqa.Scorer()
    files = [photos / "photo1.jpg", photos / "none.jpg"]
    scores, reasons = scorer(files)
    assert 0 <= scores[0] <= 1 and set(reasons[0]) == set(scorer.spec.reasons) and reasons[1] == {}
    columns = scorer.columns(
        [file.read_bytes() if file.is_file() else b"" for file in files], map(str, files)
    )
    assert columns["image"] == [str(file) for file in files] and columns["score"] == [scores[0], None]
    assert columns["reason"][0] == next(iter(reasons[0])) and "empty file" in columns["error"][1]
    assert set(columns["model_sha256"]) == {scorer.arguments.sha256} and {
        len(c) for c in columns.values()
    } == {2}


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"nothing at no\.tflite"):
        mobileiqa.Scorer("no.tflite")
    with pytest.raises(AttributeError, match="scorr"):
        mobileiqa.scorr  # noqa: B018


def test_a_checkout_that_is_not_installed_knows_its_version(monkeypatch) -> None:
    installed = rows.version()

    def absent(name: str) -> str:
        raise rows.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(rows.metadata, "version", absent)
    assert rows.version() == installed
