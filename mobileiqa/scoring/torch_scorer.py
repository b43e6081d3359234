"""A checkpoint, or a model by name, run in PyTorch: on a CPU or a GPU, in another colour space, over patches.

What a model gives beside its score, votes, is an output of its own. Imports torch in the functions that need it.
"""

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import reasons
from mobileiqa.errors import UserError, install_command
from mobileiqa.scoring import litert
from mobileiqa.spec import ColorSpace, Fit, ModelSpec
from mobileiqa.variants import gives_votes

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

VOTES = "votes"
LAW, VIEWERS = "logit-logistic", 100.0  # shares count as the votes of so many
PIXELS = "pixels"  # what `prepare` gives with patches: the photo itself


@dataclass(frozen=True)
class TorchOptions:
    """How a checkpoint is run."""

    device: str = "cpu"
    color_space: ColorSpace | None = None  # in place of its own: how robust it is
    patches: bool = (
        False  # the mean over patches (mobileiqa.scoring.patches) in place of the model's own inputs
    )
    reference: bool = False  # beside the pristine original, of a model that can compare with one

    def refuse(self, model: str) -> None:
        """Raises UserError where an option is set for `model`, a .tflite file."""
        flags = {"--device": self.device != "cpu", "--color-space": self.color_space, "--tta": self.patches,
                 "--with-references": self.reference}  # fmt: skip
        for flag, value in flags.items():
            if value:
                raise UserError(f"a checkpoint or a model name with {flag}", model, f"leave {flag} out")


DEFAULT = TorchOptions()


def add_torch_options(parser: argparse.ArgumentParser) -> None:
    """The flags of TorchOptions."""
    parser.add_argument(
        "--tta", action="store_true", help="the mean over patches of a checkpoint's photos: MSLIQA's"
    )
    parser.add_argument(
        "--color-space",
        choices=[space.value for space in ColorSpace],
        help="of a checkpoint: read photos in this one, not in its own",
    )
    parser.add_argument("--device", default="cpu", help="of a checkpoint: cpu, cuda, cuda:1... (default cpu)")


def torch_options(args: argparse.Namespace) -> TorchOptions:
    """What those flags say."""
    space = ColorSpace(args.color_space) if args.color_space else None
    return TorchOptions(args.device, space, args.tta)


@dataclass(frozen=True)
class TorchModel:
    """A loaded model, its spec as it is run, and where."""

    module: "nn.Module"
    spec: ModelSpec
    device: "torch.device"
    patches: bool = False

    def prepare(self, image: "Image.Image | Any") -> dict[str, NDArray[Any]]:
        """The photo's pixels, for patches of it."""
        from mobileiqa.photos.loading import as_array, read_pixels

        return {PIXELS: as_array(read_pixels(image, self.spec.color_management))}

    def outputs(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Score (N,) and what else the model gives, of one image's inputs."""
        if self.patches:
            return {litert.OUTPUT: np.array([self._mean_over_patches(inputs[PIXELS])])}
        if gives_votes(self.spec.name):
            votes = self._votes(inputs)
            return {litert.OUTPUT: votes @ np.linspace(0, 1, 5), VOTES: votes}
        outputs = reasons.torch_outputs(self.module, self.spec, inputs, self.device)
        return {name: output.astype(np.float64) for name, output in outputs.items()}

    def _votes(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        import torch

        with torch.inference_mode():
            tensors = (torch.from_numpy(inputs[each.name]).to(self.device) for each in self.spec.inputs)
            return self.module.forward_votes(*tensors).double().cpu().numpy()

    def _mean_over_patches(self, pixels: NDArray[np.uint8]) -> float:
        import torch
        from PIL import Image

        from mobileiqa.photos.color_spaces import convert
        from mobileiqa.scoring import patches

        read = getattr(self.module, "score_patches", self.module)
        only = self.spec.inputs[0]

        def predict(images: NDArray[np.float32]) -> NDArray[np.floating]:
            with torch.inference_mode():
                return read(torch.from_numpy(images).to(self.device)).float().cpu().numpy()

        image = Image.fromarray(convert(pixels, only.color_space))
        return patches.score(image, predict, only.mean, only.std).score


def load_torch(load: "Callable[[], tuple[nn.Module, ModelSpec]]", options: TorchOptions) -> TorchModel:
    """What `load` gives, run as the options say. Raises UserError for options that do not fit it."""
    missing = [name for name in ("torch", "timm", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            "PyTorch, timm and safetensors for a checkpoint or a model name",
            f"no {', '.join(missing)}",
            f"{install_command('train')}, or name a .tflite file with --model, or none",
        )
    module, spec = load()
    if options.reference and not any(each.of_reference for each in spec.inputs):
        spec = spec.with_reference()
    if options.color_space is not None:
        spec = spec.in_color_space(options.color_space)
    if options.patches:
        _check_patches(spec)
    device = _device(options.device)
    return TorchModel(module.to(device), spec, device, options.patches)


def _device(text: str) -> "torch.device":
    """The device that `text` names, or one that it has been tried on. Raises UserError where it is not there."""
    import torch

    try:
        device = torch.device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the device {text!r}", reason, "correct --device") from error
    return device


def _check_patches(spec: ModelSpec) -> None:
    """Patches of 224 and 384 px need a model that reads one image of any size."""
    if not spec.size_is_free or spec.inputs[0].fit not in (Fit.RESIZE, Fit.CENTER_CROP) or spec.reasons:
        shapes = ", ".join(f"{each.name} ({each.fit})" for each in spec.inputs)
        raise UserError(
            "a model of one image of any size for --tta", f"{spec.name} with {shapes}", "leave --tta out"
        )


def at_least(votes: tuple[float, ...], share: float | None) -> float | None:
    """The quality, on the scale of the votes, that all viewers but a share of them see at least; None: not asked for.

    It is a quantile of the law that fits votes best, logit-logistic, fitted to the predicted shares.
    """
    if share is None:
        return None
    from mobileiqa.ratings.fitting import fit
    from mobileiqa.ratings.models import quantile

    return float(quantile(LAW, fit(LAW, np.array(votes) * VIEWERS).parameters, share))
