"""ModelSpec and InputSpec: what they refuse, that they survive JSON, and sizes."""

import dataclasses
import json
import re

import pytest

from mobileiqa.errors import UserError
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec, Resample, from_json, parse_size
from mobileiqa.zoo import MODELS

IMAGE = InputSpec("image", height_px=205, width_px=317)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_survives_json(name: str):
    spec = MODELS[name].spec
    assert from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_keeps_what_is_not_default():
    size = {"height_px": 10, "width_px": 20, "crops": 4, "resize_px": (40, 50)}
    how = (Fit.RANDOM_CROPS, Resample.LANCZOS, ColorSpace.YUV, (0, 0.5, 1), (1, 2, 3))
    odd = InputSpec(
        "a", **size, **dict(zip(("fit", "resample", "color_space", "mean", "std"), how, strict=True))
    )
    spec = ModelSpec("x", (odd, IMAGE), (1.0, 5.0), False, "CC0", "here", "KonIQ-10k")
    again = from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec and not again.untrained
    assert from_json({**spec.to_json(), "color_management": "as_stored"}).color_management == "as_stored"
    with pytest.raises(UserError, match=r"(?i)color_?management"):
        from_json({**spec.to_json(), "color_management": "cmyk"})
    assert again.inputs[0].color_space is ColorSpace.YUV and again.inputs[0].resize_px == (40, 50)


def test_strings_become_enums_and_shape_is_nchw():
    spec = InputSpec(
        "a", 5, 7, fit="random_crops", resample="bilinear", color_space="lab", crops=4, resize_px=(5, 7)
    )
    assert (spec.fit, spec.resample, spec.color_space) == (
        Fit.RANDOM_CROPS,
        Resample.BILINEAR,
        ColorSpace.LAB,
    )
    assert spec.shape == (4, 3, 5, 7)


@pytest.mark.parametrize(
    "fields",
    [
        {"height_px": 0},
        {"width_px": -3},
        {"crops": 0},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, 1.0)},
        {"mean": (0.5,)},
        {"fit": "squeeze"},
        {"resample": "nearest"},
        {"fit": "random_crops"},  # without resize_px
        {"resize_px": (10, 10)},  # without random_crops
        {"crops": 2},  # without random_crops: the second would be uninitialised memory
        {"fit": "center_crop", "crops": 2},
        {"fit": "random_crops", "resize_px": (204, 400)},  # a pixel too low, then a pixel too narrow
        {"fit": "random_crops", "resize_px": (300, 316)},
    ],
)
def test_an_input_that_makes_no_sense_is_refused(fields: dict):
    with pytest.raises(ValueError, match=r"input 'image'|is not a valid"):
        dataclasses.replace(IMAGE, **fields)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize("score_range", [(1.0, 1.0), (1.0, 0.0), (0.0, NAN), (NAN, 1.0), (0.0, INFINITY)])
def test_a_score_range_needs_a_width(score_range: tuple[float, float]):
    """Tolerances are in units of high - low: zero or less would let anything pass, or divide by zero."""
    with pytest.raises(ValueError, match=r"low < high|score_range\[[01]\]: .*, expected a finite number"):
        ModelSpec("x", (IMAGE,), score_range)
    data = ModelSpec("x", (IMAGE,)).to_json()
    with pytest.raises(UserError, match=r"low < high|score_range\[[01]\]: .*, expected a finite number"):
        from_json({**data, "score_range": list(score_range)})


@pytest.mark.parametrize("inputs", [(), (IMAGE, IMAGE)])
def test_inputs_must_be_present_and_distinct(inputs: tuple):
    with pytest.raises(ValueError, match="present and distinct"):
        ModelSpec("x", inputs)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("inputs"),
        lambda data: data.pop("name"),
        lambda data: data.update(inputs="image"),
        lambda data: data.update(inputs=[]),
        lambda data: data.update(colour="blue"),
        lambda data: data.update(score_range=[0.0]),
        lambda data: data.update(score_range=None),
        lambda data: data["inputs"][0].update(height_px="tall"),
        lambda data: data["inputs"][0].update(mean=None),
        lambda data: data["inputs"][0].update(depth=3),
    ],
)
def test_malformed_json_is_the_users_error(spoil):
    data = json.loads(json.dumps(ModelSpec("x", (IMAGE,)).to_json()))
    spoil(data)
    with pytest.raises(UserError, match="ModelSpec as this version writes it, in the model's metadata"):
        from_json(data)


@pytest.mark.parametrize("data", [[], "spec", None, 3])
def test_json_that_is_no_object_is_the_users_error(data: object):
    with pytest.raises(UserError, match="ModelSpec"):
        from_json(data)


# Every one of them was believed once, or ended in a TypeError or MemoryError far away.
WRONG_INPUTS = [
    ({"height_px": 64.0}, "height_px: 64.0, expected int"),
    ({"height_px": True}, "height_px: True, expected int"),
    ({"height_px": "64"}, "height_px: '64', expected int"),
    ({"width_px": 8193}, "width_px: 8193, expected 1..8192"),
    ({"width_px": 10**9}, "width_px"),
    ({"width_px": None}, "width_px: null"),
    ({"crops": 2.0}, "crops: 2.0, expected int"),
    ({"crops": 10**6}, "crops"),
    ({"std": (INFINITY, 1.0, 1.0)}, "std"),
    ({"std": (-1.0, 1.0, 1.0)}, "std"),
    ({"std": (1e-300, 1.0, 1.0)}, "std"),
    ({"std": (True, 1.0, 1.0)}, "std[0]: True, expected float"),
    ({"mean": (NAN, 0.0, 0.0)}, "mean"),
    ({"mean": ("0.5", 0.5, 0.5)}, "mean[0]: '0.5', expected float"),
    ({"mean": "0.5"}, "mean: '0.5', expected a list"),
    ({"fit": True}, "fit: True, expected one of"),
    ({"fit": "random_crops", "resize_px": (500.0, 500)}, "resize_px[0]"),
    ({"fit": "random_crops", "resize_px": (10**6, 500)}, "resize_px[0]"),
    ({"height_px": 8192, "width_px": 8192, "fit": "random_crops", "resize_px": (8192, 8192), "crops": 2}, "in all"),
    ({"name": ""}, "the name needs letters"),
    ({"name": "a/b"}, "the name needs letters"),
    ({"name": "a\u001b[31m"}, "the name needs letters"),
    ({"name": "x" * 200}, "the name needs letters"),
    ({"name": ["x"]}, "name: a list, expected str"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "words"), WRONG_INPUTS)
def test_an_input_of_other_types_or_beyond_bounds_is_refused(fields: dict, words: str):
    with pytest.raises(ValueError, match=re.escape(words)):
        dataclasses.replace(IMAGE, **fields)
    data = ModelSpec("x", (IMAGE,)).to_json()
    with pytest.raises(UserError, match=re.escape(words)):
        from_json({**data, "inputs": [{**data["inputs"][0], **fields}]})


WRONG_MODELS = [
    ({"higher_is_better": "512"}, "higher_is_better: '512', expected bool"),
    ({"higher_is_better": 1}, "higher_is_better: 1, expected bool"),
    ({"score_range": (0.0, 1e300)}, "score_range[1]"),
    ({"score_range": (0.0, 5e-324)}, "low < high"),
    ({"score_range": ("0", 1.0)}, "score_range[0]: '0', expected float"),
    ({"score_range": (0.0, 1.0, 2.0)}, "score_range: 3 values, expected 2"),
    ({"name": "../../x"}, "the name needs letters"),
    ({"name": "a\\u000a"}, "the name needs letters"),
    ({"name": "\u202egnp"}, "the name needs letters"),
    ({"name": []}, "name: a list, expected str"),
    ({"license": "a\nb"}, "license needs printable words"),
    ({"trained_on": "x" * 5000}, "trained_on needs printable words"),
    ({"trained_on": 3}, "trained_on: 3, expected str"),
    ({"origin": None}, "origin: null, expected str"),
]


@pytest.mark.parametrize(("fields", "words"), WRONG_MODELS)
def test_a_model_of_other_types_or_beyond_bounds_is_refused(fields: dict, words: str):
    spec = ModelSpec("x", (IMAGE,))
    with pytest.raises(ValueError, match=re.escape(words)):
        dataclasses.replace(spec, **fields)
    with pytest.raises(UserError, match=re.escape(words)):
        from_json({**spec.to_json(), **fields}, "x.json")


def test_too_many_inputs_are_refused():
    many = tuple(dataclasses.replace(IMAGE, name=f"i{n}") for n in range(17))
    with pytest.raises(ValueError, match="at most 16"):
        ModelSpec("x", many)


@pytest.mark.parametrize("name", ["lar-iqa v2.1 (test)", "modèle_1", "a+b"])
def test_names_of_words_are_taken(name: str):
    assert from_json(ModelSpec(name, (IMAGE,)).to_json()).name == name


@pytest.mark.parametrize("fit", [Fit.RESIZE, Fit.CENTER_CROP])
def test_resized_changes_the_size_alone(fit: Fit):
    spec = ModelSpec("x", (dataclasses.replace(IMAGE, fit=fit),), origin="here")
    small = spec.resized(64, 32)
    assert (small.inputs[0].width_px, small.inputs[0].height_px) == (64, 32)
    assert small.resized(317, 205) == spec


@pytest.mark.parametrize("name", ["lar-iqa-kan", "lar-iqa-mlp", "hyperiqa"])
def test_models_of_fixed_size_refuse_another(name: str):
    with pytest.raises(UserError, match="one input, resized or centre cropped, for --size 64x32"):
        MODELS[name].spec.resized(64, 32)


def test_several_inputs_have_a_size_each():
    spec = MODELS["lar-iqa-kan"].spec
    result = spec.sized("96x64,128x160")
    assert [(i.width_px, i.height_px) for i in result.inputs] == [(96, 64), (128, 160)]
    assert result.sized("384x384,1280x1280") == spec
    assert MODELS["lar-iqa-single"].spec.sized("64x32") == MODELS["lar-iqa-single"].spec.resized(64, 32)


@pytest.mark.parametrize(
    ("name", "text"),
    [("lar-iqa-kan", "64x64"), ("lar-iqa-kan", "64x64,64x64,64x64"), ("lar-iqa-kan", "64x64,"),
     ("lar-iqa-single", "64x64,64x64"), ("hyperiqa", "224x224,224x224")],
)  # fmt: skip
def test_sizes_that_do_not_fit_the_inputs_are_refused(name: str, text: str):
    with pytest.raises(UserError, match="size"):
        MODELS[name].spec.sized(text)


@pytest.mark.parametrize(("text", "size"), [("1271x820", (1271, 820)), ("32X8192", (32, 8192))])
def test_sizes_are_width_by_height(text: str, size: tuple[int, int]):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "64\u00b2x64",
        "6_4x64",
        " 64x64",
        "+64x64",
        "\uff16\uff14x64",
        "",
        "224",
        "x",
        "224x",
        "31x224",
        "224x8193",
        "-224x224",
        "2.5x224",
        "a x b",
    ],
)
def test_other_sizes_are_refused(text: str):
    with pytest.raises(UserError, match="WIDTHxHEIGHT"):
        parse_size(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fit": Fit.FRAGMENTS}, "patch_px goes with fragments"),
        ({"patch_px": 32}, "patch_px goes with fragments"),
        ({"fit": Fit.FRAGMENTS, "patch_px": 48}, "no mosaic of 48 px patches"),
        ({"fit": Fit.FRAGMENTS, "patch_px": -64}, "patch_px"),
    ],
)
def test_fragments_need_patches_that_fill_the_input(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        InputSpec("fragments", 128, 64, **fields)


def test_fragments_and_reasons_survive_json_and_other_specs_stay_as_they_were():
    inputs = (InputSpec("fragments", 128, 64, fit=Fit.FRAGMENTS, patch_px=32),)
    spec = ModelSpec("m", inputs, reasons=("blur", "none"))
    assert from_json(spec.to_json()) == spec and spec.outputs == ("score", "reasons")
    plain = ModelSpec("m", (InputSpec("image", 64, 64),)).to_json()
    assert "reasons" not in plain and "patch_px" not in plain["inputs"][0]


@pytest.mark.parametrize("reasons", [("blur", "blur"), ("",), ("a/b",), tuple(f"r{i}" for i in range(65))])
def test_reasons_are_distinct_names(reasons: tuple[str, ...]):
    with pytest.raises(ValueError, match="reasons need distinct names"):
        ModelSpec("m", (InputSpec("image", 64, 64),), reasons=reasons)
