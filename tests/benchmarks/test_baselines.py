import pytest

from benchmarks import baselines
from benchmarks.conversion_paths import Case
from mobileiqa.errors import UserError


def test_sizes_apply_where_the_input_is_free():
    assert baselines.cases("lar-iqa-kan,mobilenet-iqa", "320X224,64x64") == [
        Case("lar-iqa-kan"),
        Case("mobilenet-iqa", "320x224"),
        Case("mobilenet-iqa", "64x64"),
    ]


@pytest.mark.parametrize(
    "argv",
    [
        ["--models", "resnet"],
        ["--paths", "ours,tvm"],
        ["--sizes", "big"],
        ["--runs", "0"],
        ["--launches", "0"],
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(argv, tmp_path, capsys):
    assert baselines.main([*argv, "--out", str(tmp_path / "baselines.json")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "expected" in error
    assert not list(tmp_path.iterdir())


def test_existing_results_are_not_replaced(tmp_path, capsys):
    (tmp_path / "BASELINES.md").write_text("kept")
    assert baselines.main(["--out", str(tmp_path / "baselines.json")]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "BASELINES.md").read_text() == "kept"


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match="ours, executorch"):
        baselines.names_among("tvm", ["ours", "executorch"], "--paths")
