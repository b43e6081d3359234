"""Which weights are taken from what training scripts save, and under which names."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mobileiqa.checkpoint_files.state_dict import StateDict, rename, select, to_published
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS, build, entry

RAW = {f"stem.{i}.weight": torch.full((2,), float(i)) for i in range(6)}
EMA = {key: value + 10 for key, value in RAW.items()}
PATH = Path("model.pt")


def fits(keys: Any) -> bool:
    return all(key in keys for key in RAW)


def taken(content: Any, weights: str | None = None) -> StateDict:
    return select(content, PATH, weights, fits)


def refusal(content: Any, weights: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        taken(content, weights)
    return str(error.value)


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def same(result: StateDict, state: dict[str, Any]) -> bool:
    return list(result.tensors) == list(state) and all(
        torch.equal(result.tensors[k], v) for k, v in state.items()
    )


PAIRS = [
    {"state_dict": RAW, "state_dict_ema": EMA},
    {"model": RAW, "ema": EMA},
    {"model": RAW, "model_ema": EMA},
    {"params": RAW, "params_ema": EMA},
    {"model": RAW, "ema_state_dict": EMA},
    {"model": RAW, "ema": {"module": EMA, "updates": 3}},
    {"model": RAW, "ema": {"shadow": EMA, "decay": 0.99}},
    {"model": RAW, "swa_state_dict": EMA},
    {"net": RAW, "modelEMA": EMA},
    {"state_dict": RAW, "callbacks": {"EMACallback": {"weights": EMA}}},
    {"state_dict": RAW, "averaged_model": {"state_dict": EMA}},
    {"current_model_state": RAW, "state_dict": EMA, "averaging_state": {"n_averaged": torch.tensor(3)}},
    {"state_dict": {**prefixed(RAW, "model."), **prefixed(EMA, "ema_model.")}},
    {**prefixed(RAW, "net."), **prefixed(EMA, "ema.module.")},
    {**RAW, **prefixed(EMA, "model_ema.")},
    {"model": prefixed(RAW, "module."), "swa": {"n_averaged": torch.tensor(3), **prefixed(EMA, "module.")}},
    {"model": RAW, "best": {"n_averaged": torch.tensor(3), **prefixed(EMA, "module.")}},
]


@pytest.mark.parametrize("content", PAIRS)
def test_raw_and_averaged_weights_in_one_file_need_a_word(content: dict):
    message = refusal(content)
    assert "weights" in message and "EMA weights" in message and "--weights ema" in message
    assert same(taken(content, "raw"), RAW) and same(taken(content, "ema"), EMA)
    assert taken(content, "ema").remark.startswith("EMA weights under")
    assert "left out EMA weights under" in taken(content, "raw").remark


@pytest.mark.parametrize("key", ["ema", "state_dict_ema", "params_ema", "model_ema"])
def test_averaged_weights_alone_are_taken_and_said(key: str):
    assert taken({key: EMA, "epoch": 3}).remark == f"EMA weights under {key!r}"
    assert "raw weights in model.pt" in refusal({key: EMA}, "raw")


def test_averaged_weights_without_names_are_seen_too():
    content = {"model": RAW, "ema": {"decay": 0.9, "shadow_params": list(EMA.values())}}
    assert "EMA weights under 'ema.shadow_params'" in refusal(content)
    assert same(taken(content, "raw"), RAW)
    assert "without names" in refusal(content, "ema")


@pytest.mark.parametrize("word", ["mean", "", "EMA"])
def test_other_words_are_refused(word: str):
    assert "raw, ema" in refusal({"model": RAW}, word)


def test_ema_that_is_not_there_is_refused():
    assert "ema weights in model.pt" in refusal({"state_dict": RAW}, "ema")
    assert "ema weights in model.pt" in refusal(RAW, "ema")


@pytest.mark.parametrize(
    "content", [{"model": RAW, "best": EMA}, {"student": RAW, "teacher": EMA}, {"a": {"b": RAW}, "c": EMA}]
)
def test_several_raw_ones_are_refused(content: dict):
    assert "2: weights under" in refusal(content) and "save the one" in refusal(content, "raw")


def test_another_network_and_small_groups_are_no_rivals():
    other = {f"layer{i}": torch.zeros(1) for i in range(6)}
    content = {"model": RAW, "discriminator": other, "best": {"score": torch.tensor(0.5)}}
    assert same(taken(content), RAW)
    assert taken(content).remark.startswith("weights under 'model'; left out weights under 'discriminator'")
    optimizer = {"state": {i: {"exp_avg": torch.zeros(2), "step": torch.tensor(1.0)} for i in range(6)}}
    many = {f"w{i}": torch.full((1,), float(i)) for i in range(30)}
    assert same(taken({"model": many, "optimizer": optimizer}), many)


@pytest.mark.parametrize(
    "wrapper", ["state_dict", "model_state_dict", "model_state", "model", "net", "params", "x"]
)
def test_any_nesting_is_taken_and_said(wrapper: str):
    result = taken({"epoch": 3, wrapper: RAW, "lr": [0.1]})
    assert same(result, RAW) and result.remark == f"weights under {wrapper!r}"


def test_a_plain_state_dict_needs_no_remark():
    assert same(taken(RAW), RAW) and taken(RAW).remark == ""


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "model.module.", "module.model.",
     "net.", "network.", "model._orig_mod.", "model.model.", "module.module.model._orig_mod."],
)  # fmt: skip
def test_wrappers_in_names_are_taken_off_and_said(prefix: str):
    result = taken(prefixed(RAW, prefix))
    assert same(result, RAW) and "taken off" in result.remark


def test_wrappers_inside_names_are_taken_off():
    inner = {key.replace("stem.", "stem._orig_mod.module."): value for key, value in RAW.items()}
    assert same(taken(inner), RAW)


def test_counters_are_left_out_and_said():
    extra = {"n_averaged": torch.tensor(5), "stem.total_ops": torch.zeros(1), "total_params": torch.zeros(1)}
    result = taken({"state_dict": {**RAW, **extra}})
    assert same(result, RAW) and "left out 3 counters (n_averaged, total_ops, total_params)" in result.remark
    assert "EMA weights" in result.remark  # n_averaged is what SWA counts with


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_one_name_twice_is_refused(prefix: str):
    message = refusal({**RAW, prefix + "stem.0.weight": torch.zeros(2)})
    assert "both stem.0.weight and" in message and prefix in message


def test_one_name_twice_behind_lightnings_prefix_is_refused():
    assert "both" in refusal({**prefixed(RAW, "model."), "stem.0.weight": torch.zeros(2)})


def test_a_loss_beside_a_lightning_model_keeps_its_name():
    state = taken({**prefixed(RAW, "model."), "criterion.weight": torch.zeros(2)}).tensors
    assert list(state) == [*RAW, "criterion.weight"]  # strict loading then names it


@pytest.mark.parametrize("content", [3, None, [], {"a": 1}, {"a": {"b": "c"}}, "text"])
def test_no_tensors_are_refused(content: Any):
    assert "a state dict (names to tensors) in model.pt" in refusal(content)


@pytest.mark.parametrize("extra", [{"epoch": 3}, {3: torch.zeros(1)}, {"x" * 10_000: "y"}])
def test_something_else_among_the_tensors_is_named(extra: dict):
    message = refusal({**RAW, **extra})
    assert "among the tensors" in message and len(message) < 400


def test_a_file_that_holds_itself_ends():
    content: dict[str, Any] = {"state_dict": RAW}
    content["self"] = content
    assert same(taken(content), RAW)


def test_names_with_control_characters_are_written_out():
    message = refusal({"\x1b[31mred": RAW, "b": EMA})
    assert "\x1b" not in message and "\\x1b" in message


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
