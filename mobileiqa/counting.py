"""What a PyTorch module costs: multiply-accumulates and parameters, without running it.

The module runs on shapes alone (PyTorch's meta device), so that 1907x1231 takes no longer than 224x224, and
nothing of it changes: no running statistics, no training flags. MACs are those of convolutions, linear layers,
matrix products and attention; biases count nothing. What else runs is listed with the values that it writes.
`python -m mobileiqa.evaluate` shows the MACs of checkpoints.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Count:
    """MACs of one call at the given inputs (the whole batch), and trainable and frozen parameters.

    uncounted: operator -> how many values it writes, of everything that has no MACs by the rule above. A
    matrix product of a kind that the counter does not know would show here, as `mv` does.
    """

    macs: int
    parameters: int
    uncounted: dict[str, int]


def count(module: "nn.Module", *inputs: "torch.Tensor") -> Count:
    """Counts module(*inputs); the inputs' values do not matter, their shapes and types do.

    Raises UserError when the module cannot run on shapes alone, because its work depends on values.
    """
    import torch
    from torch.func import functional_call
    from torch.utils.flop_counter import FlopCounterMode

    state = {name: tensor.to("meta") for name, tensor in _state(module).items()}
    shapes = tuple(tensor.to("meta") for tensor in inputs)
    counter = FlopCounterMode(display=False)
    written: Counter[str] = Counter()
    try:
        # The counter, entered last, takes composite operators apart; the observer sees what it makes of them.
        with torch.no_grad(), torch.device("meta"), _observer(written, counter.flop_registry), counter:
            functional_call(module, state, shapes)
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(
            "a module that runs on these inputs' shapes alone",
            f"{str(error).splitlines()[0]}",
            "check the inputs; count a part whose work does not depend on values",
        ) from error
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Count(counter.get_total_flops() // 2, parameters, dict(written.most_common()))


def of_an_image(module: "nn.Module", spec: ModelSpec, size_px: tuple[int, int] | None = None) -> int | None:
    """MACs of scoring one image, all its crops: at the spec's own input sizes, or with one image of `size_px` (w, h).

    None where the model does not run at that size: its work depends on values, its size is fixed, or it has several
    inputs, of which one size says nothing.
    """
    import torch

    inputs = spec.inputs
    if size_px is not None and (len(inputs) > 1 or inputs[0].fixed_size):
        return None
    try:
        if size_px is not None:
            inputs = (replace(inputs[0], width_px=size_px[0], height_px=size_px[1]),)
        return count(module, *(torch.empty(each.shape, device="meta") for each in inputs)).macs
    except ValueError:  # of InputSpec: fragments make up certain sizes only; of `count`
        return None


def _state(module: "nn.Module") -> "dict[str, torch.Tensor]":
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _observer(written: Counter[str], counted: Mapping[Any, Any]) -> AbstractContextManager[Any]:
    """Adds to `written` the values that every operator writes, but for views and for the `counted` ones."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Observer(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if func._overloadpacket not in counted and not func.is_view:
                name = func._overloadpacket.__name__
                written[name] += sum(t.numel() for t in tree_leaves(out) if hasattr(t, "numel"))
            return out

    return Observer()
