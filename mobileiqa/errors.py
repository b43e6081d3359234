"""Errors a user can cause: always what was expected, what was found, and what to do.

A `UserError` becomes one line on stderr and exit code 2, a `RunError` one with exit code 1 (see cli.py). `assert` is
for internal invariants only.
"""

from mobileiqa.text import printable

# What each extra of pyproject.toml installs: the name that an import knows, and the requirement that an index knows.
EXTRAS = {
    "train": {
        "torch": "torch", "torchvision": "torchvision", "timm": "timm", "safetensors": "safetensors", "scipy": "scipy",
        "sklearn": "scikit-learn", "matplotlib": "matplotlib", "cv2": "opencv-python-headless", "openpyxl": "openpyxl",
        "tensorboardX": "tensorboardX", "piq": "piq==0.8.0",
    },
    "convert": {
        "litert_torch": "litert-torch==0.10.0", "ai_edge_quantizer": "ai-edge-quantizer==0.10.0", "onnx": "onnx",
        "onnxruntime": "onnxruntime", "onnxscript": "onnxscript",
    },
    "prompts": {"transformers": "transformers==5.23.0"},
    "heic": {"pillow_heif": "pillow-heif"},
    "ray": {"ray": "ray[data]"},
    "batch": {"fsspec": "fsspec", "pyarrow": "pyarrow", "simplejpeg": "simplejpeg"},
}  # fmt: skip


class UserError(ValueError):
    """The user's input was wrong; the message says what was expected, what was found and what to do."""

    def __init__(self, expected: str, actual: str, todo: str) -> None:
        self.expected, self.actual, self.todo = expected, actual, todo
        super().__init__(f"expected {expected}; found {actual}; {todo}")

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        """How worker processes send it home: an exception is rebuilt from its message alone otherwise."""
        return type(self), (self.expected, self.actual, self.todo)


class RunError(RuntimeError):
    """The input was right and the work failed: a runtime refused a file or crashed, a phone went away. Exit code 1."""


def install_command(extra: str) -> str:
    """What to type for the packages of an extra, by their own names: no package index has this project."""
    names = ("train", extra) if extra in ("convert", "prompts") else (extra,)
    return f"pip install {' '.join(package for name in names for package in EXTRAS[name].values())}"


def one_line(text: str) -> str:
    """`text` on one line: every run of white space is one blank, other control characters are written out."""
    return printable(" ".join(text.split()))
