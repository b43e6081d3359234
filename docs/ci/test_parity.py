"""Copy this beside your tests, with the paths of your repository: does the file in the app score as the checkpoint?"""

from pathlib import Path

from convert.testing import assert_parity

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "ml" / "checkpoint.safetensors"
MODEL = ROOT / "app" / "src" / "main" / "assets" / "model.tflite"
PHOTOS = (
    ROOT / "ci" / "photos"
)  # 30 or more that differ in quality: an INT8 file is judged by how it ranks them


def test_the_app_scores_as_the_checkpoint() -> None:
    """Fails with a table of the images that moved most."""
    assert_parity(CHECKPOINT, MODEL, PHOTOS)
