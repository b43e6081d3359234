"""MODELS: every model by name, with its spec and its builder. Builders import torch when they are called."""

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobileiqa import variants
from mobileiqa.errors import UserError
from mobileiqa.reasons import REASONS
from mobileiqa.spec import MAX_SIDE_PX, Fit, InputSpec, ModelSpec, Resample

if TYPE_CHECKING:
    from torch import nn

REFERENCE = Path(__file__).with_name("reference") / "reference.safetensors"  # trained, ships with the package
TRUNK = REFERENCE.with_name("trunk.safetensors")  # lar-iqa-lite, where its training began; not in the wheel
PACKAGED = REFERENCE.with_suffix(
    ".tflite"
)  # the same model in FP16, which the base install runs: `make packaged`
SEED = 1  # of untrained weights
UNTRAINED = "untrained: for latency and parity only"


def _student() -> "nn.Module":
    from mobileiqa.models.mobile_iqa import STUDENT, MobileIQA

    return MobileIQA(STUDENT)


def _small_student() -> "nn.Module":
    from mobileiqa.models.mobile_iqa import SMALL, MobileIQA

    return MobileIQA(SMALL)


def _teacher() -> "nn.Module":
    from mobileiqa.models.mobile_iqa import TEACHER, MobileIQA

    return MobileIQA(TEACHER)


def _lar_kan() -> "nn.Module":
    from mobileiqa.models.lar_iqa import kan

    return kan()


def _lar_mlp() -> "nn.Module":
    from mobileiqa.models.lar_iqa import mlp

    return mlp()


def _lar_single() -> "nn.Module":
    from mobileiqa.models.lar_iqa import LarIQASingle

    return LarIQASingle()


def _lar_lite() -> "nn.Module":
    from mobileiqa.models.lar_iqa import LarIQALite

    return LarIQALite()


def _whole_photo() -> "nn.Module":
    from mobileiqa.models.whole_photo import WholePhoto

    return WholePhoto()


def _hyper() -> "nn.Module":
    from mobileiqa.models.hyper_iqa import HyperIQA

    return HyperIQA()


def _koncept(pool: str) -> "nn.Module":
    from mobileiqa.models.koncept512 import KonCept512

    return KonCept512(pool)


def _musiq(votes: int, variant: str) -> "nn.Module":
    from mobileiqa.models.musiq import MUSIQ

    return MUSIQ(votes, variant)


def _scanet() -> "nn.Module":
    from mobileiqa.models.ms_scanet import MSSCANet

    return MSSCANet()


def _fr_nr() -> "nn.Module":
    from mobileiqa.models.fr_nr_transformer import FRNRTransformer

    return FRNRTransformer()


def _msliqa(zooms: str) -> "nn.Module":
    from mobileiqa.models.msliqa import MSLIQA, ZOOMS

    return MSLIQA(ZOOMS[zooms])


@dataclass(frozen=True)
class Entry:
    """One model: its spec (untrained), its builder, and how its published state dicts are named and known."""

    spec: ModelSpec
    builder: "Callable[[], nn.Module]"
    prefixes: Callable[[], dict[str, str]]  # own key prefix -> published key prefix
    markers: tuple[str, ...]  # published keys that, together, no other model has; none: never published


def _mobile_prefixes(teacher: bool) -> dict[str, str]:
    from mobileiqa.models.mobile_iqa import STUDENT, TEACHER, published_prefixes

    return published_prefixes(TEACHER if teacher else STUDENT)


def _lar_prefixes(table: str) -> dict[str, str]:
    from mobileiqa.models import lar_iqa

    return getattr(lar_iqa, table)


def _hyper_prefixes() -> dict[str, str]:
    from mobileiqa.models.hyper_iqa import PREFIXES

    return PREFIXES


def _prefixes_of(model: str) -> Callable[[], dict[str, str]]:
    """The table PREFIXES of mobileiqa.models.`model`, imported when it is asked for."""
    import importlib

    return lambda: importlib.import_module(f"mobileiqa.models.{model}").PREFIXES


_PAPER_SIZE = InputSpec("image", height_px=1231, width_px=1907)
_CROP_512 = InputSpec("image", 512, 512, fit=Fit.CENTER_CROP)
_AUTHENTIC = InputSpec("authentic", 384, 384, resample=Resample.BILINEAR)
_SYNTHETIC = InputSpec("synthetic", 1280, 1280, fit=Fit.CENTER_CROP)
_SINGLE = InputSpec("image", 384, 384, resample=Resample.BILINEAR)
_HALF = (0.5, 0.5, 0.5)  # the mean and the deviation that EfficientNet-Lite's weights expect
_LITE = InputSpec("image", 512, 512, fit=Fit.CENTER_CROP, mean=_HALF, std=_HALF)
_OVERVIEW = InputSpec("overview", 256, 256, mean=_HALF, std=_HALF)
_FRAGMENTS = InputSpec("fragments", 512, 512, fit=Fit.FRAGMENTS, patch_px=64, mean=_HALF, std=_HALF)
# Height, width: the public code's Resize((512, 384)) makes 512 rows of 384 pixels of photos of any shape.
_CROPS = InputSpec(
    "crops", 224, 224, fit=Fit.RANDOM_CROPS, resample=Resample.BILINEAR, crops=25, resize_px=(512, 384)
)
_KONIQ = InputSpec("image", 384, 512, mean=_HALF, std=_HALF)
_MUSIQ = InputSpec(
    "tokens", MAX_SIDE_PX, MAX_SIDE_PX, fit=Fit.MULTI_SCALE, mean=_HALF, std=_HALF, scales_px=(224, 384)
)
_MUSIQ_GOOGLE = dataclasses.replace(_MUSIQ, resample=Resample.GAUSSIAN)
_SCANET = InputSpec(
    "image", 224, 224, resample=Resample.BILINEAR, mean=(0, 0, 0), std=(1, 1, 1), fixed_size=True
)
_SWIN = InputSpec("image", 224, 224, mean=_HALF, std=_HALF, fixed_size=True)
_KONCEPT_ORIGIN = "KonCept512, IEEE TIP 29, 2020"
_KONCEPT_LICENSE = "public code: MIT; body: Apache-2.0 (timm)"
_MUSIQ_ORIGIN = "MUSIQ, arXiv 2108.05997"
_PYIQA_LICENSE = "public port: PolyForm Noncommercial and S-Lab (pyiqa); its weights: Google's, Apache-2.0"
_NO_LICENSE = "public code: none stated"
_MOBILE = "MobileIQA, arXiv 2409.01212"
_LAR = "LAR-IQA, arXiv 2408.17057"


def _koncepts() -> "dict[str, Entry]":
    """By pooling: the paper's, and the one of the published PyTorch weights, which are recognised as such."""

    def one(name: str, pool: str, markers: tuple[str, ...]) -> Entry:
        spec = ModelSpec(name, (_KONIQ,), (0.0, 100.0), license=_KONCEPT_LICENSE, origin=_KONCEPT_ORIGIN)
        return Entry(spec, lambda: _koncept(pool), _prefixes_of("koncept512"), markers)

    keys = ("base.7.branch0.conv.weight", "fc.12.weight")
    return {
        "koncept512": one("koncept512", "global", ()),
        "koncept512-top-left": one("koncept512-top-left", "top-left-8x8", keys),
    }


def _musiqs() -> "dict[str, Entry]":
    """By output (a score, or AVA's ten votes) and variant; state dicts are recognised as pyiqa's."""

    def one(name: str, votes: int, variant: str, markers: tuple[str, ...]) -> Entry:
        google = variant == "google"
        spec = ModelSpec(
            name, (_MUSIQ_GOOGLE if google else _MUSIQ,), (1.0, 10.0) if votes > 1 else (0.0, 100.0),
            license="public code: Apache-2.0 (Google)" if google else _PYIQA_LICENSE, origin=_MUSIQ_ORIGIN,
        )  # fmt: skip
        return Entry(spec, lambda: _musiq(votes, variant), _prefixes_of("musiq"), markers)

    return {
        "musiq": one("musiq", 1, "pyiqa", ("transformer_encoder.cls", "head.weight")),
        "musiq-ava": one("musiq-ava", 10, "pyiqa", ("transformer_encoder.cls", "head.0.weight")),
        "musiq-google": one("musiq-google", 1, "google", ()),
        "musiq-ava-google": one("musiq-ava-google", 10, "google", ()),
    }


def _msliqas() -> "dict[str, Entry]":
    """By zoom levels; "single" is the paper's baseline, a resized image."""

    def one(zooms: str) -> Entry:
        size = (224, 224) if zooms == "single" else (384, 512)  # of all images in KADID-10k and TID2013
        image = InputSpec("image", *size, resample=Resample.BILINEAR)
        spec = ModelSpec(f"msliqa-{zooms}", (image,), origin="MSLIQA, arXiv 2408.16879")
        return Entry(spec, lambda: _msliqa(zooms), lambda: {"": ""}, ())  # no weights are published

    return {f"msliqa-{zooms}": one(zooms) for zooms in ("single", "multi-crop", "multi-resize", "both")}


MODELS: dict[str, Entry] = {
    "mobilenet-iqa": Entry(
        ModelSpec("mobilenet-iqa", (_PAPER_SIZE,), origin=_MOBILE),
        _student,
        lambda: _mobile_prefixes(teacher=False),
        ("local_cnn.conv_stem.weight", "fusion_mal.channel_attention.c_q.weight"),
    ),
    "mobilenet-iqa-small": Entry(
        ModelSpec("mobilenet-iqa-small", (_CROP_512,), origin=f"{_MOBILE}, on a grid of 8x8"),
        _small_student,
        lambda: {"": ""},  # never published: own keys
        (),
    ),
    "mobilevit-iqa": Entry(
        ModelSpec("mobilevit-iqa", (_PAPER_SIZE,), origin=_MOBILE),
        _teacher,
        lambda: _mobile_prefixes(teacher=True),
        ("LGF1.cnn1.weight", "fusion_mal.channel_attention.c_q.weight"),
    ),
    "lar-iqa-kan": Entry(
        ModelSpec("lar-iqa-kan", (_AUTHENTIC, _SYNTHETIC), origin=_LAR),
        _lar_kan,
        lambda: _lar_prefixes("KAN_PREFIXES"),
        ("syntetic.conv_stem.weight", "syn_dw.layers.0.grid"),
    ),
    "lar-iqa-mlp": Entry(
        ModelSpec("lar-iqa-mlp", (_AUTHENTIC, _SYNTHETIC), origin=_LAR),
        _lar_mlp,
        lambda: _lar_prefixes("MLP_PREFIXES"),
        ("syntetic.conv_stem.weight", "syn_up.weight"),
    ),
    "lar-iqa-single": Entry(
        ModelSpec("lar-iqa-single", (_SINGLE,), origin=_LAR),
        _lar_single,
        lambda: _lar_prefixes("SINGLE_PREFIXES"),
        ("base.conv_stem.weight", "aut_dw.layers.0.grid"),
    ),
    "lar-iqa-lite": Entry(
        ModelSpec("lar-iqa-lite", (_LITE,), origin=f"one branch of {_LAR}, on EfficientNet-Lite0"),
        _lar_lite,
        lambda: {"": ""},  # never published: own keys
        (),
    ),
    "whole-photo": Entry(
        ModelSpec(
            "whole-photo",
            (_OVERVIEW, _FRAGMENTS),
            origin="this project's: EfficientNet-Lite0 on the whole photo and on fragments of it",
            reasons=REASONS,
        ),
        _whole_photo,
        lambda: {"": ""},  # never published: own keys
        (),
    ),
    "hyperiqa": Entry(
        ModelSpec("hyperiqa", (_CROPS,), score_range=(0.0, 100.0), origin="HyperIQA, CVPR 2020"),
        _hyper,
        _hyper_prefixes,
        ("res.lda1_fc.weight", "fc1w_conv.weight"),
    ),
    **_msliqas(),
    **_koncepts(),
    **_musiqs(),
    "ms-scanet": Entry(
        ModelSpec("ms-scanet", (_SCANET,), license=_NO_LICENSE, origin="MS-SCANet, arXiv 2602.04032"),
        _scanet,
        _prefixes_of("ms_scanet"),
        ("patch_embed2.proj.weight", "cross_branch_attn.qkv_x.weight"),
    ),
    "fr-nr-transformer": Entry(
        ModelSpec(
            "fr-nr-transformer",
            (_SWIN,),
            license=_NO_LICENSE,
            origin="YOTO, arXiv 2310.09560",
            takes_reference=True,
        ),
        _fr_nr,
        _prefixes_of("fr_nr_transformer"),
        ("CA1.c_q.weight", "CSA11.c_q2.weight"),
    ),
}


def refuse_weights(weights: str | None, model: str) -> None:
    """Raises UserError where --weights was given for a model that has one set of weights."""
    if weights is not None:
        raise UserError("a checkpoint with raw and EMA weights for --weights", model, "leave --weights out")


def entry(name: str) -> Entry:
    """The entry of a model name, which may have variants (mobileiqa.variants); UserError lists the names there are."""
    if name in MODELS:
        return MODELS[name]
    model, plus, _ = name.partition("+")
    if not plus or model not in MODELS:
        raise UserError(f"one of the models {', '.join(MODELS)}", repr(name), "correct --model")
    variant, plain = variants.parse(name), MODELS[model]
    score_range = (0.0, 1.0) if variant.votes else plain.spec.score_range
    return Entry(
        dataclasses.replace(plain.spec, name=variant.name, score_range=score_range),
        lambda: variants.build(variant, plain.builder() if variant.mals is None else None),
        lambda: variants.prefixes(variant, plain.prefixes()),
        (),
    )


def is_name(text: str) -> bool:
    """Whether `text` is a model's name, with or without variants, and not a file's."""
    return text in MODELS or ("+" in text and text.partition("+")[0] in MODELS and not Path(text).exists())


def build(name: str) -> "nn.Module":
    """The model `name` in eval mode, float32, with PyTorch's own random initial weights."""
    return entry(name).builder().eval()


def build_seeded(name: str, seed: int = SEED) -> "nn.Module":
    """The model `name` in eval mode; its untrained weights depend on `seed` and the published keys alone.

    The rule keeps scores varying from image to image, which PyTorch's initial weights do not: under those,
    a parity check could pass without comparing anything.
    """
    model = build(name)
    seed_weights(model, entry(name).prefixes(), seed)
    return model


def seed_weights(model: "nn.Module", prefixes: dict[str, str], seed: int = SEED) -> None:
    """Gives any model, in place, the weights of `build_seeded`; prefixes: own key prefix -> published one."""
    import torch

    from mobileiqa.checkpoint_files.state_dict import to_published

    state = model.state_dict()
    for own, published in to_published(state, prefixes).items():
        value = seeded_tensor(published, tuple(state[own].shape), seed)
        if value is not None:
            state[own].copy_(torch.from_numpy(value))


def seeded_tensor(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray | None:
    """The float64 value of one published tensor under `build_seeded`, or None where the built value stays.

    Running variances and 1-D norm weights are near 1, biases near 0, other weights scaled by
    1.2/sqrt(fan-in); attention gates (gamma) are 0.5: their initial 0 would hide the attention from any test.
    """
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    if key.endswith(("num_batches_tracked", ".grid", "relative_position_index", ".arange", "choice")):
        return None
    if key.endswith("gamma"):
        return np.full(shape, 0.5)
    if key.endswith(("running_var", "head.layers.0.scale")):  # the second: a wavelet's width
        return rng.uniform(0.5, 1.5, shape)
    if key.endswith("spline_scaler"):
        return rng.uniform(-0.5, 0.5, shape)
    if key.endswith(("running_mean", "bias", "spline_weight")):
        return 0.1 * rng.standard_normal(shape)
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape)
    fan_in = np.prod(shape[1:]) if not key.endswith(_INPUTS_FIRST) else shape[0] * shape[2]
    return rng.standard_normal(shape) * 1.2 / np.sqrt(fan_in)


_INPUTS_FIRST = ("cheby_coeffs", "jacobi_coeffs", "hermite_coeffs")  # (in, out, degree + 1)
