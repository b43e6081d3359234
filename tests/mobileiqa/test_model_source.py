"""Which model a text means: the same answer for scoring, calibration and conversion."""

import pytest

from mobileiqa.checkpoint import load_spec
from mobileiqa.errors import UserError
from mobileiqa.model_source import Form, resolve
from mobileiqa.zoo import MODELS, PACKAGED, REFERENCE


def test_nothing_and_reference_mean_the_checkpoint_that_ships():
    assert resolve(None) == resolve("reference") == resolve(str(REFERENCE))
    assert resolve(None).path == REFERENCE and resolve(None).spec() == load_spec(REFERENCE)
    assert resolve(None, default=PACKAGED).form is Form.TFLITE
    assert resolve("reference", default=PACKAGED).path == REFERENCE  # the word is the checkpoint everywhere


def test_a_name_is_untrained_weights_also_where_a_file_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lar-iqa-kan").write_bytes(b"")
    source = resolve("lar-iqa-kan")
    assert (source.form, source.path, source.spec()) == (Form.NAME, None, MODELS["lar-iqa-kan"].spec)


def test_a_tflite_file_says_its_spec_and_is_no_checkpoint(tiny):
    source = resolve(str(tiny[2]))
    assert source.form is Form.TFLITE and source.spec() == tiny[1]
    with pytest.raises(UserError, match=r"a \.tflite file is run with mobileiqa.score"):
        source.load()


@pytest.mark.parametrize("text", ["resnet", "absent.safetensors", "absent.tflite", "no/folder/x.pt", ""])
def test_nothing_there_is_said_with_the_names_there_are(text):
    with pytest.raises(UserError, match="or one of mobilenet-iqa") as error:
        resolve(text)
    assert f"nothing at {text or repr(text)}" in str(error.value) and "a .tflite file" in str(error.value)
    with pytest.raises(UserError, match="expected a checkpoint"):
        resolve(text, tflite=False)


def test_a_published_checkpoint_says_what_it_is_only_once_loaded(tmp_path):
    (tmp_path / "published.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"a \.safetensors checkpoint or one of"):
        resolve(str(tmp_path / "published.pt")).spec()


def test_weights_are_of_checkpoints_alone(tiny):
    for text in ("lar-iqa-kan", str(tiny[2])):
        with pytest.raises(UserError, match="raw and EMA"):
            resolve(text, "ema")
