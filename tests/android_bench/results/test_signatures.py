import pytest

from android_bench.results.signatures import labelled, read_signature, read_signatures
from mobileiqa.errors import UserError


def names(*paths, signature=None):
    return [entry.name for entry in read_signatures(paths, signature)]


def test_every_signature_is_a_part_of_its_own(tiny, camera, unsigned):
    result = names(tiny.path, camera, unsigned)
    assert result == [
        "tiny.tflite",
        "camera.tflite score_96x80",
        "camera.tflite score_80x96",
        "unsigned.tflite",
    ]
    assert [entry.runtime_name for entry in read_signatures([tiny.path, camera])] == [
        "",
        "score_96x80",
        "score_80x96",
    ]


def test_a_named_signature_chooses_among_several(tiny, camera):
    assert names(tiny.path, camera, signature="score_80x96") == ["tiny.tflite", "camera.tflite score_80x96"]
    assert names(tiny.path, signature="serving_default") == ["tiny.tflite"]


@pytest.mark.parametrize(
    ("files", "signature", "there"),
    [
        (["camera"], "tall", "score_96x80 and score_80x96 in camera.tflite; correct --signature"),
        (["tiny", "camera"], "serving_default", "score_96x80 and score_80x96 in camera.tflite"),
        (["tiny", "unsigned"], "tall", "serving_default in tiny.tflite; none with a name in unsigned.tflite"),
    ],
)
def test_a_signature_that_is_not_there_names_those_that_are(request, tiny, files, signature, there):
    paths = [tiny.path if name == "tiny" else request.getfixturevalue(name) for name in files]
    with pytest.raises(UserError, match=f"the signature '{signature}'; found {there}"):
        read_signatures(paths, signature)


def test_one_part_of_several_must_be_named(camera, tiny):
    with pytest.raises(UserError, match=r"one signature of .*; found score_96x80 and score_80x96; name one"):
        read_signature(camera)
    assert read_signature(camera, "score_96x80").signature.input_shapes == ((1, 80, 96, 3),)
    assert read_signature(tiny.path).name == "tiny.tflite"


def test_what_ran_is_said_in_full(camera, tmp_path):
    (entry,) = read_signatures([camera], "score_80x96")
    output = entry.identity()
    assert (output["signature"], output["input_types"], output["input_shapes"]) == (
        "score_80x96",
        ("uint8",),
        ((1, 96, 80, 3),),
    )
    assert entry.location == f"{camera} score_80x96"


def test_the_usual_signature_goes_without_saying():
    assert [labelled("a", name) for name in ("", "serving_default", "tall")] == ["a", "a", "a tall"]
