"""Renaming keys: the longest prefix wins, nothing is lost, and all six tables are one to one."""

import pytest

from mobileiqa.checkpoint_files.keys import rename, to_published
from mobileiqa.zoo import MODELS, build, entry


def test_the_longest_prefix_wins():
    table = {"head.": "fc.", "head.conv.": "cnn."}
    assert rename("head.conv.weight", table) == "cnn.weight"
    assert rename("head.bias", table) == "fc.bias"
    assert rename("tail.bias", table) is None


def test_a_key_without_a_published_name_is_a_bug():
    with pytest.raises(KeyError, match=r"tail\.bias"):
        to_published(["head.bias", "tail.bias"], {"head.": "fc."})


@pytest.mark.parametrize("name", MODELS)
def test_every_key_has_its_own_published_name(name: str):
    import torch

    with torch.device("meta"):
        keys = list(build(name).state_dict())
    published = to_published(keys, entry(name).prefixes())
    assert list(published) == keys
    assert len(set(published.values())) == len(keys)


@pytest.mark.parametrize("name", MODELS)
def test_no_prefix_is_idle(name: str):
    import torch

    with torch.device("meta"):
        keys = list(build(name).state_dict())
    prefixes = entry(name).prefixes()
    assert [p for p in prefixes if not any(key.startswith(p) for key in keys)] == []
