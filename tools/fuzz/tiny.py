"""A model of a thousand weights that the harness adds to the zoo, so that a checkpoint is tried in milliseconds.

Everything else that reads it is the product's own: recognition by published keys, strict loading, conversion.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

NAME = "fuzz-tiny"
SIZE_PX = 32
_PUBLISHED = "fuzz_tiny."


def register() -> None:
    """Adds the model to mobileiqa.zoo.MODELS."""
    from mobileiqa import zoo

    zoo.MODELS[NAME] = zoo.Entry(spec(), build, lambda: {"": _PUBLISHED}, (f"{_PUBLISHED}stem.weight",))


def spec(trained_on: str = "") -> Any:
    """Its ModelSpec."""
    from mobileiqa.spec import InputSpec, ModelSpec

    return ModelSpec(
        NAME, (InputSpec("image", SIZE_PX, SIZE_PX),), origin="tools.fuzz", trained_on=trained_on
    )


def build() -> "nn.Module":
    """Two convolutions, their mean, one number in 0..1; the same weights each time."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
            self.head = nn.Linear(16, 1)

        def forward_features(self, image: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.body(torch.relu(self.stem(image)))).mean((2, 3))

        def forward_head(self, features: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.head(features)).squeeze(1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.forward_head(self.forward_features(image))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tiny()
    with torch.no_grad():
        model.head.weight.mul_(8)  # so that the score varies from picture to picture
    return model.eval()


def published(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict under its published names."""
    return {_PUBLISHED + key: value for key, value in state.items()}
