"""What a spec keeps of its training: keys of images, in JSON and back."""

import dataclasses
import json

import pytest

from mobileiqa.errors import UserError
from mobileiqa.spec import InputSpec, ModelSpec, from_json
from mobileiqa.training_record import CHUNK_KEYS, TrainingRecord, record, reference_key

SPEC = ModelSpec("lar-iqa-single", (InputSpec("image", 64, 64),), trained_on="a test")


def test_a_record_survives_json_and_refuses_what_is_none() -> None:
    keys = {reference_key("folder", f"r{n}") for n in range(CHUNK_KEYS + 10)}
    spec = dataclasses.replace(SPEC, training=record((), keys, {*keys, reference_key("", "v")}))
    again = from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.training is not None and again.training.keys("train") == keys
    assert len(again.training.keys("validation")) == 1
    assert "training" not in SPEC.to_json()
    one = {"name": "spaq", "split_seed": 0, "train": 1, "validation": 1, "listing": "AAAAAAAA"}
    empty = {"train": [], "validation": []}
    assert from_json({**SPEC.to_json(), "training": {"sets": [one], **empty}}).training is not None
    for bad in (
        {"sets": []}, {"sets": [], "train": ["short"], "validation": []}, "all", [],
        {"sets": [{**one, "name": "\x1b[2J"}], **empty}, {"sets": [{**one, "split_seed": -1}], **empty},
        {"sets": [{**one, "listing": ""}], **empty}, {"sets": [{**one, "train": "1"}], **empty},
        {"sets": [], **empty, "unrecorded": ["a\nb"]},
    ):  # fmt: skip
        with pytest.raises(UserError):
            from_json({**SPEC.to_json(), "training": bad})


def test_the_record_of_a_large_set_stays_small() -> None:
    keys = {reference_key("folder", str(n)) for n in range(25_000)}
    content = dataclasses.replace(SPEC, training=record((), keys, ())).to_json()
    assert len(json.dumps(content)) < 210_000  # 8 characters an image
    assert isinstance(from_json(json.loads(json.dumps(content))).training, TrainingRecord)
