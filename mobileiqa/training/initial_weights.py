"""What a training run starts from: timm's pretrained backbone, a file, other checkpoints, or nothing."""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import nn

from mobileiqa import checkpoint, cli
from mobileiqa.checkpoint_files import state_dict
from mobileiqa.errors import UserError
from mobileiqa.models.koncept512 import KonCept512
from mobileiqa.models.lar_iqa import BACKBONE, LarIQA, LarIQASingle
from mobileiqa.models.mobile_iqa import MobileIQA
from mobileiqa.models.votes import VoteModel
from mobileiqa.models.whole_photo import WholePhoto

HUB_TIMEOUT_S = 3.0

# Of a timm classifier: a model that only reads feature maps has no use for them.
_CLASSIFIER = (
    "classifier.",
    "conv_head.",
    "bn2.",
    "norm_head.",
    "head.",
    "fc.",
    "classif.",
)  # bn2 follows conv_head


def initialize(model: nn.Module, name: str, files: Sequence[Path], from_scratch: bool) -> str:
    """Gives `model` its starting weights, in place, and says in a few words where they came from.

    No files: timm's pretrained backbone weights, fetched. Files: a checkpoint of the same model; two
    lar-iqa-single checkpoints (authentic, synthetic) for the merged LAR-IQA; any checkpoint whose backbone is
    the same; or a timm state dict of the backbone. Raises UserError where none of that fits.
    """
    if from_scratch and files:
        raise UserError("--init or --from-scratch", "both", "leave one out")
    if from_scratch:
        return "random weights"
    own = model
    model = model.model if isinstance(model, VoteModel) else model
    if not files:
        return _fetched(model, name)
    if isinstance(model, LarIQA) and len(files) == 2:
        return _merged(model, files)
    if len(files) != 1:
        raise UserError(
            "one --init file, or two branches for a merged LAR-IQA", str(len(files)), "correct --init"
        )
    return _from_file(own, model, name, files[0])


def _fetched(model: nn.Module, name: str) -> str:
    import timm

    if not _backbones(model):
        raise UserError(
            f"--from-scratch for {name}, or a checkpoint of it with --init", "neither",
            "choose: no backbone of it is published by itself under timm's names",
        )  # fmt: skip
    kind = _kind(model)
    stay_offline_where_closed()
    try:
        state = timm.create_model(kind, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"timm's pretrained weights of {kind} for {name}",
            f"they could not be fetched ({type(error).__name__})",
            "give them with --init FILE, or start with --from-scratch",
        ) from error
    for backbone in _backbones(model):
        load_backbone(backbone, state, f"timm's {kind}")
    return f"timm's pretrained {kind}"


def _kind(model: nn.Module) -> str:
    """timm's name of the backbone."""
    if isinstance(model, MobileIQA):
        return model.variant.backbone
    if isinstance(model, KonCept512):
        return "inception_resnet_v2"
    return model.kind if isinstance(model, LarIQASingle | WholePhoto) else BACKBONE


def _backbones(model: nn.Module) -> list[nn.Module]:
    return [
        getattr(model, name)
        for name in ("backbone", "body", "authentic", "synthetic")
        if hasattr(model, name)
    ]


def stay_offline_where_closed() -> None:
    """Where the hub cannot be reached, only its cache is looked at: huggingface_hub would ask for a minute.

    The question goes the way of the hub's own, through a proxy where the environment names one. An answer of any kind,
    or a certificate that Python's own list does not know, is left to huggingface_hub.
    """
    import huggingface_hub.constants as hub

    if hub.HF_HUB_OFFLINE:
        return
    try:
        urlopen(Request(hub.ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT_S).close()
    except HTTPError:
        return
    except (OSError, ValueError, HTTPException) as error:
        hub.HF_HUB_OFFLINE = not isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)


def load_backbone(backbone: nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Gives `backbone` the tensors of a timm network, in place. Raises UserError where they are another one's."""
    own = backbone.state_dict()
    problems = [f"missing {k}" for k in own if k not in state]
    problems += [f"unexpected {k}" for k in state if k not in own and not k.startswith(_CLASSIFIER)]
    problems += [f"{k} has shape {tuple(state[k].shape)}" for k in own
                 if k in state and state[k].shape != own[k].shape]  # fmt: skip
    if problems:
        raise UserError(
            f"the backbone's {len(own)} tensors in {origin}",
            f"{len(problems)} differences ({'; '.join(problems[:3])})",
            "check that the file is of the same backbone",
        )
    state_dict.check_finite({k: state[k] for k in own}, Path(origin))
    backbone.load_state_dict({k: state[k] for k in own})


def _merged(model: LarIQA, files: Sequence[Path]) -> str:
    """The two branches of pretraining under the merged model; its heads start fresh (their widths differ)."""
    for branch, path in zip(_backbones(model), files, strict=True):
        source, _ = checkpoint.load(path)
        if not isinstance(source, LarIQASingle):
            raise UserError("two lar-iqa-single checkpoints", path.name, "correct --init")
        load_backbone(branch, source.backbone.state_dict(), path.name)
    return f"branches {files[0].name}, {files[1].name}"


def _from_file(own: nn.Module, model: nn.Module, name: str, path: Path) -> str:
    """`model` is the one inside `own`, a model of votes; else the same."""
    state = _state_dict(path)
    if state is not None:
        for backbone in _backbones(model):
            load_backbone(backbone, renamed(state, backbone.state_dict()), path.name)
        return f"backbone {path.name}"
    source, spec = checkpoint.load(path)
    if spec.name == name:
        own.load_state_dict(source.state_dict())
        return f"checkpoint {path.name}"
    source = source.model if isinstance(source, VoteModel) else source
    if not _backbones(model) or not _backbones(source):
        raise UserError(
            f"a checkpoint of {name}, or of another model with its backbone", spec.name, "correct --init"
        )
    for backbone in _backbones(model):
        load_backbone(backbone, _backbones(source)[0].state_dict(), path.name)
    cli.note(f"{path.name} is {spec.name}: only its backbone is used")
    return f"backbone of {path.name}"


def is_backbone(path: Path) -> bool:
    """True for a timm state dict of a backbone, False for a checkpoint of a whole model. UserError for neither."""
    return _state_dict(path) is not None


def read_backbone(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a timm backbone file. Raises UserError for a checkpoint of a whole model."""
    state = _state_dict(path)
    if state is None:
        raise UserError(
            "a state dict of a timm backbone", f"a whole model in {path.name}", "name it as the model"
        )
    return state


def _state_dict(path: Path) -> dict[str, torch.Tensor] | None:
    """The tensors of a timm backbone file, or None when the file is a checkpoint of a whole model."""
    if not path.is_file():
        raise UserError("a file of weights", f"nothing at {path}", "correct the path")
    if path.name.lower().endswith(checkpoint.OWN_SUFFIX):
        header, state = checkpoint.read_safetensors(path)
        return None if checkpoint.HEADER_KEY in header else state
    state = checkpoint.read_state_dict(path).tensors
    return state if checkpoint.recognise(state) is None else None


_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_MARKERS = ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight")


def renamed(state: Mapping[str, torch.Tensor], timm_keys: Iterable[str]) -> Mapping[str, torch.Tensor]:
    """`state` under timm's names where it is EfficientNet's in efficientnet-pytorch's, else as it is.

    `_blocks.1._expand_conv.weight` is timm's `blocks.1.0.conv_pw.weight`: one counts blocks from the input, the other
    by stage and place in it; `_bn0` is the norm after the expansion, which a stage's block without one does not have.
    Keys without a name there stay.
    """
    if not all(marker in state for marker in _MARKERS):
        return state
    places = dict.fromkeys(tuple(key.split(".")[1:3]) for key in timm_keys if key.startswith("blocks."))
    blocks = [".".join(place) for place in places]
    return {_name(key, state, blocks): value for key, value in state.items()}


def _name(key: str, state: Mapping[str, torch.Tensor], blocks: list[str]) -> str:
    head, _, rest = key.partition(".")
    if head in _OUTER:
        return f"{_OUTER[head]}.{rest}"
    number, _, rest = rest.partition(".")
    if head != "_blocks" or not number.isdigit() or int(number) >= len(blocks):
        return key
    table = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
    layer, _, tensor = rest.partition(".")
    return f"blocks.{blocks[int(number)]}.{table.get(layer, layer)}.{tensor}"
