"""What the tests of checkpoint files share."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from mobileiqa.checkpoint import load
from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.zoo import entry

SMALL = "lar-iqa-single"
State = dict[str, torch.Tensor]


def published(model: torch.nn.Module, name: str) -> State:
    """The state dict as the published code names it."""
    state = model.state_dict()
    return OrderedDict((key, state[own]) for own, key in to_published(state, entry(name).prefixes()).items())


def assert_equal(model: torch.nn.Module, expected: torch.nn.Module) -> None:
    actual, target = model.state_dict(), expected.state_dict()
    assert list(actual) == list(target)
    for key in target:
        assert actual[key].dtype == target[key].dtype and torch.equal(actual[key], target[key]), key


def refusal(path: Path) -> str:
    """The message of the UserError that loading `path` must raise: it is one line."""
    with pytest.raises(UserError) as error:
        load(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)
