"""What a converted file says inside of itself, beside its spec: the JSON of the metadata entry `mobileiqa`."""

from dataclasses import asdict, dataclass
from typing import Any

from mobileiqa import typed_json

METADATA_ENTRY = "mobileiqa"


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning did (convert.int8.fine_tuning.train).

    before, after: the score's root mean square error on the held-back images, of the spread of FP32's scores.

    Equal where no state was better than the file as it came, which then stayed.
    """

    steps: int
    images: int  # that taught
    held_back: int  # that judged
    before: float
    after: float

    def __str__(self) -> str:
        gained = "" if self.after < self.before else "; nothing gained, the file is as it was"
        return (
            f"{self.steps} steps on {self.images} images, error of the score on {self.held_back} others "
            f"{self.before:.3f} -> {self.after:.3f} of FP32's spread{gained}"
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)


def fine_tuned_in_words(content: dict[str, Any] | None) -> str:
    """What the `fine_tuned` of a sidecar or of a file's metadata says, for people; "" for none."""
    if not content:
        return ""
    return str(
        typed_json.decode(FineTuned, content, "what a file says of its fine-tuning", "convert it again")
    )
