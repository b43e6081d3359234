"""Variants of a model, by name: NAME+VARIANT, such as lar-iqa-kan+taylor3, mobilenet-iqa+mal1 or koncept512+votes.

| variant | what changes | of |
|---|---|---|
| HEADS | the KAN basis of the score head, one layer from the features to the score | the LAR-IQA models |
| mal0 .. mal2 | the number of MALs; the model itself has 3; mal0 averages the five levels, without fusion | MobileIQA |
| votes | the shares of the votes 1 to 5 in place of a score, which becomes their mean | models in VOTERS |

They combine: koncept512+votes, lar-iqa-mlp+chebyshev+votes. A checkpoint's spec carries the whole name, so every
command that loads it builds the same. This module knows names only; what is built is in mobileiqa/models.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from torch import nn

# Score head -> the basis in layers/kan_bases.py and its options. Orders 3 to 5 of Taylor are unbounded as published.
HEADS: dict[str, tuple[str, dict[str, float]]] = {
    "bspline": ("b-spline", {}),
    "taylor2": ("taylor", {"order": 2}),
    **{f"taylor{order}": ("taylor", {"order": order, "bound": 3.0}) for order in (3, 4, 5)},
    "chebyshev": ("chebyshev", {}),
    "jacobi": ("jacobi", {}),
    "hermite": ("hermite", {}),
    "fourier": ("fourier", {}),
    "rbf": ("fast", {}),
    "wavelet": ("wavelet", {}),
}
AFFINE_HEAD = "taylor2"
MALS = ("mal0", "mal1", "mal2")
VOTES = "votes"
VOTE_COUNT = 5
HEADED = ("lar-iqa-kan", "lar-iqa-mlp", "lar-iqa-single", "lar-iqa-lite")
MOBILE = ("mobilenet-iqa", "mobilenet-iqa-small", "mobilevit-iqa")
VOTERS = (*HEADED, *MOBILE, "koncept512", "koncept512-top-left")


@dataclass(frozen=True)
class Variant:
    """What a name asks for beyond its model."""

    model: str
    head: str | None = None
    mals: int | None = None
    votes: bool = False

    @property
    def plain(self) -> bool:
        """True where it is the model itself."""
        return self == Variant(self.model)

    @property
    def name(self) -> str:
        """The name that `parse` reads."""
        parts = [self.head, None if self.mals is None else f"mal{self.mals}", VOTES if self.votes else None]
        return "+".join([self.model, *filter(None, parts)])


def parse(name: str) -> Variant:
    """The Variant that NAME+VARIANT... means. Raises UserError for a variant that the model does not have."""
    model, *parts = name.split("+")
    fields: dict[str, object] = {}
    for part in parts:
        field, value, models = _meaning(part)
        if field in fields or model not in models:
            raise UserError(
                f"a variant of {model}: {'; '.join(variants_of(model)) or 'it has none'}",
                repr(part) if field not in fields else f"{part!r} beside another one of its kind",
                "correct the name",
            )
        fields[field] = value
    return Variant(model, **fields)  # type: ignore[arg-type]


def _meaning(part: str) -> tuple[str, object, tuple[str, ...]]:
    if part in HEADS:
        return "head", part, HEADED
    if part in MALS:
        return "mals", MALS.index(part), MOBILE
    return "votes", True, VOTERS if part == VOTES else ()


def variants_of(model: str) -> list[str]:
    """The variants that a model has, in words."""
    kinds = ((HEADED, ", ".join(HEADS)), (MOBILE, ", ".join(MALS)), (VOTERS, VOTES))
    return [words for models, words in kinds if model in models]


def gives_votes(name: str) -> bool:
    """Whether the model of that name predicts the shares of the votes."""
    return VOTES in name.split("+")[1:]


def combined(model: str, head: str | None = None, mals: int | None = None, votes: bool = False) -> str:
    """The name of `model` with more variants. Raises UserError where the model does not have them."""
    parts = [head, None if mals in (None, 3) else f"mal{mals}", VOTES if votes else None]
    return parse("+".join([model, *filter(None, parts)])).name


def build(variant: Variant, model: "nn.Module | None") -> "nn.Module":
    """The variant; `model` is the plain one, which changes, or None where the number of MALs needs another build."""
    if variant.mals is not None:
        model = _with_mals(variant.model, variant.mals)
    assert model is not None, "only another number of MALs is built from nothing"
    outputs = VOTE_COUNT if variant.votes else 1
    if variant.head is not None:
        from mobileiqa.models.lar_iqa import set_head

        set_head(model, *HEADS[variant.head], outputs)
    elif variant.votes:
        from mobileiqa.models.votes import widen_last_layer

        widen_last_layer(model, outputs)
    if variant.votes:
        from mobileiqa.models.votes import VoteModel

        return VoteModel(model)
    return model


def _with_mals(model: str, count: int) -> "nn.Module":
    import dataclasses

    from mobileiqa.models import mobile_iqa

    layouts = dict(zip(MOBILE, (mobile_iqa.STUDENT, mobile_iqa.SMALL, mobile_iqa.TEACHER), strict=True))
    return mobile_iqa.MobileIQA(dataclasses.replace(layouts[model], opinions=count))


def prefixes(variant: Variant, published: dict[str, str]) -> dict[str, str]:
    """The variant's own key prefix -> the key prefix that its seeded weights depend on; never published."""
    if variant.mals is not None:
        published = {"": ""}
    if variant.head is not None and "head." in published:
        published = {**published, "head.": "head."}
    return {f"model.{own}": name for own, name in published.items()} if variant.votes else published
