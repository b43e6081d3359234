"""What the tests of published systems share: their golden outputs, where there are any, and seeded weights."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.zoo import entry, seed_weights

GOLDEN = Path(__file__).resolve().parents[3].parent / "shared" / "golden"
RELATIVE = 1e-9


@pytest.fixture(scope="session")
def golden() -> ModuleType:
    """The module seeded_weights.py with `cases(system)`; skips where the folder is not there."""
    if not (GOLDEN / "outputs_seeds.json").exists():
        pytest.skip("no ../shared/golden beside the checkout; the networks written in these tests stand in")
    spec = importlib.util.spec_from_file_location("seeded_weights", GOLDEN / "seeded_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stored = json.loads((GOLDEN / "outputs_seeds.json").read_text())
    module.cases = lambda system: stored[system]["cases"]
    return module


@pytest.fixture(scope="session")
def published_keys() -> Callable[[str], dict[str, tuple[list[int], str]]]:
    """published_keys(file): key -> (shape, dtype) of a published state dict; skips where it is not there."""

    def read(file: str) -> dict[str, tuple[list[int], str]]:
        path = GOLDEN / f"keys_{file}.json"
        if not path.exists():
            pytest.skip("no ../shared/golden beside the checkout; the number of keys and values stands in")
        return {key: (shape, dtype) for key, shape, dtype in json.loads(path.read_text())}

    return read


@pytest.fixture(scope="session")
def keys_of() -> Callable[[str], dict[str, tuple[list[int], str]]]:
    """keys_of(name): the same of a model of ours, without its values."""

    def keys(name: str) -> dict[str, tuple[list[int], str]]:
        with torch.device("meta"):
            state = entry(name).builder().state_dict()
        names = to_published(state, entry(name).prefixes())
        return {names[k]: (list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()}

    return keys


@pytest.fixture(scope="session")
def seeded_double() -> Callable[..., Any]:
    """seeded_double(module, prefixes, seed): the module in eval mode with the seeded weights, in float64."""

    def seeded(module: torch.nn.Module, prefixes: dict[str, str], seed: int = 1) -> torch.nn.Module:
        seed_weights(module, prefixes, seed)
        return module.double().eval()

    return seeded


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """assert_same(array, stored, relative): shape, mean, deviation and samples, to `relative` of its deviation."""

    def check(array: Any, stored: dict[str, Any], relative: float = RELATIVE) -> None:
        array = np.asarray(array)
        assert list(array.shape) == stored["shape"]
        samples = array.ravel()[np.linspace(0, array.size - 1, 8).astype(int)]
        values = {"mean": array.mean(), "std": array.std(), "samples_at_linspace8": samples}
        for key, value in values.items():
            assert np.abs(value - np.array(stored[key])).max() <= relative * stored["std"], key

    return check


@pytest.fixture(scope="session")
def captured() -> Callable[..., dict[str, torch.Tensor]]:
    """captured(model, names, *inputs): the outputs of those modules in one forward pass, and the "score"."""

    def run(model: torch.nn.Module, names: list[str], *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs: dict[str, torch.Tensor] = {}
        modules = dict(model.named_modules())
        hooks = [
            modules[name].register_forward_hook(lambda _m, _i, out, name=name: outputs.update({name: out}))
            for name in names
        ]
        with torch.inference_mode():
            outputs["score"] = model(*inputs)
        for hook in hooks:
            hook.remove()
        return outputs

    return run
