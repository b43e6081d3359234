"""No image that a model was trained on is ever scored as a test image."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mobileiqa import evaluate, train
from mobileiqa.checkpoint import load_spec
from mobileiqa.datasets.registry import read
from mobileiqa.errors import UserError
from mobileiqa.evaluate import read_untrained
from mobileiqa.evaluation.report import Images
from mobileiqa.photos.loading import load_image
from mobileiqa.spec import InputSpec, ModelSpec
from mobileiqa.training import records
from mobileiqa.training_record import pixel_key
from mobileiqa.zoo import TRUNK
from tests.mobileiqa.training import replicas

SPEC = ModelSpec("lar-iqa-single", (InputSpec("image", 64, 64),), trained_on="a test")
LEVELS = (1, 3, 5)
FOUR = pytest.mark.parametrize("name", list(replicas.SETS))
FAMILIES = [
    *((recipe, name) for recipe in ("reference-mobile", "lar-iqa-branch", "reference") for name in replicas.SETS),
    ("mobileiqa-student", "spaq"), ("lar-iqa-kan", "tid2013"), ("reference-branch", "kadid-10k"),
]  # fmt: skip


def specs_of(name: str, path: Path, split_seed: int = 0) -> dict[str, ModelSpec]:
    training = records.of_sets([read(name, path, split_seed)])
    return {"model": dataclasses.replace(SPEC, training=training)}


def trained_pixels(spec: ModelSpec, images: Images) -> int:
    """Counted apart from the product's own way: evaluated files whose pixels are in the record."""
    assert spec.training is not None
    keys = spec.training.keys("train") | spec.training.keys("validation")
    return sum(pixel_key(load_image(sample.path)) in keys for sample in images.samples)


@FOUR
@pytest.mark.parametrize("split_seed", [0, 3407])
def test_default_evaluation_reads_no_trained_image(sets: dict[str, Path], name: str, split_seed: int) -> None:
    specs = specs_of(name, sets[name], split_seed)
    images = read_untrained(specs, (name, sets[name]))
    assert images.split == "test" and len(images.samples) >= 4
    assert trained_pixels(specs["model"], images) == 0
    assert images.dataset.split_seed == split_seed
    (leak,) = images.leaks
    assert leak.recorded and not leak.train and not leak.validation


@FOUR
def test_another_split_is_refused_until_insisted(sets: dict[str, Path], name: str) -> None:
    specs, data = specs_of(name, sets[name]), (name, sets[name])
    with pytest.raises(UserError, match=r"trained on [1-9]"):
        read_untrained(specs, data, split_seed=7)
    images = read_untrained(specs, data, "all")
    assert "model: trained on" in images.leaks[0].text(len(images.samples))
    assert len(images.leaks[0].train) == len(images.dataset.of("train"))
    assert len(images.leaks[0].validation) == len(images.dataset.of("validation"))


def test_trained_images_are_left_out_where_that_is_asked_for(sets: dict[str, Path]) -> None:
    specs, data = specs_of("spaq", sets["spaq"]), ("spaq", sets["spaq"])
    counts = []
    for seed in (1, 2, 3, 7):
        try:
            images = read_untrained(specs, data, split_seed=seed, skip_trained=True)
        except UserError as error:
            assert "none in test" in str(error)
            continue
        assert trained_pixels(specs["model"], images) == 0 and not images.leaks[0].train
        counts.append(len(images.samples))
        assert len(images.samples) + images.trained_left_out == 6
    assert counts


@pytest.mark.parametrize("name", ["spaq", "folder"])
@pytest.mark.parametrize("how", ["renamed", "saved again", "in another set"])
def test_a_copy_of_a_trained_image_does_not_get_through(
    sets: dict[str, Path], name: str, how: str, tmp_path: Path
) -> None:
    specs = specs_of(name, sets[name])
    dataset = read(name, sets[name])
    trained = dataset.of("train")[0].path
    own = tmp_path / "own"
    own.mkdir()
    for number, sample in enumerate(dataset.of("test")[:3]):
        shutil.copy(sample.path, own / f"t{number}{sample.path.suffix}")
    target = own / ("renamed" + trained.suffix if how == "renamed" else "again.tiff")
    if how == "renamed":
        shutil.copy(trained, target)
    else:
        load_image(trained).save(target)
    rows = [f"{path.name},{number},test" for number, path in enumerate(sorted(own.iterdir()))]
    (own / "labels.csv").write_text("\n".join(["image,score,split", *rows]))
    with pytest.raises(UserError, match=rf"trained on 1 of 4 images \(25%\) \({target.name}\)"):
        read_untrained(specs, ("folder", own))
    assert len(read_untrained(specs, ("folder", own), "all").leaks[0].train) == 1


def test_the_same_name_with_other_pixels_is_another_image(
    sets: dict[str, Path], tmp_path: Path, photo: Callable[..., Image.Image]
) -> None:
    for number in range(30):
        photo(1000 + number, 40, 40).save(tmp_path / f"p{number}.png")
    shutil.copy(sets["folder"] / "labels.csv", tmp_path)
    specs = specs_of("folder", sets["folder"])
    # The listing is that of the training's folder: its test side has no other name, so the default still is right.
    assert not read_untrained(specs, ("folder", tmp_path)).leaks[0].train
    (tmp_path / "labels.csv").write_text(
        "image,score,split\n" + "".join(f"p{n}.png,{n},test\n" for n in range(5))
    )
    assert not read_untrained(specs, ("folder", tmp_path)).leaks[0].train


def test_a_damaged_copy_of_a_trained_set_is_known_by_its_listing(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "small"
    shutil.copytree(sets["spaq"], root)
    for path in (root / "TestImage").iterdir():
        load_image(path).resize((36, 36)).save(path)  # other pixels, the same photos
    specs = specs_of("spaq", sets["spaq"])
    assert not read_untrained(specs, ("spaq", root)).leaks[0].train
    with pytest.raises(UserError, match=r"trained on [1-9]"):
        read_untrained(specs, ("spaq", root), split_seed=5)


def test_versions_of_a_trained_pristine_image_are_refused(
    photo: Callable[..., Image.Image], tmp_path: Path
) -> None:
    from mobileiqa.training.pixel_sources import synthetic

    (tmp_path / "pristine").mkdir()
    for number in range(6):
        photo(number, 48, 48).save(tmp_path / "pristine" / f"photo{number}.png")
    pristine = synthetic(tmp_path / "pristine", {(17, 1): 4.0, (17, 5): 2.0}, 0, 0.2)
    specs = {"model": dataclasses.replace(SPEC, training=records.of_sets([pristine]))}
    trained = pristine.of("train")[0].path

    def refused(reference: str, **about: object) -> None:
        rows = []
        for level in LEVELS:
            replicas.darkened(load_image(trained), level).save(tmp_path / f"d{level}.png")
            rows.append(f"d{level}.png,{level},{reference},17,{level},test")
        (tmp_path / "labels.csv").write_text(
            "\n".join(["image,score,reference,distortion,level,split", *rows])
        )
        (tmp_path / "dataset.json").write_text(json.dumps(about))
        with pytest.raises(UserError, match="trained on 3 of 3"):
            read_untrained(specs, ("folder", tmp_path))

    refused(trained.stem)
    refused(f"pristine/{trained.name.upper()}")
    refused("renamed", reference_keys={"renamed": pixel_key(load_image(trained))})


def test_a_resized_part_of_a_published_set_is_known_by_its_names(
    photo: Callable[..., Image.Image], sets: dict[str, Path], tmp_path: Path
) -> None:
    """Its listing is another, so its drawn sides are, and so are its pixels."""
    part = replicas.spaq(tmp_path / "part", photo, 25)
    for path in (part / "TestImage").iterdir():
        load_image(path).resize((36, 36)).save(path)
    specs = specs_of("spaq", sets["spaq"])
    with pytest.raises(UserError, match=r"trained on [1-9]"):
        read_untrained(specs, ("spaq", part))
    everything = read_untrained(specs, ("spaq", part), "all").leaks[0]
    assert len(everything.train) + len(everything.validation) >= 25 - 6
    images = read_untrained(specs, ("spaq", part), skip_trained=True)
    tests = {sample.path.name for sample in read("spaq", sets["spaq"]).of("test")}
    assert {sample.path.name for sample in images.samples} <= tests


@pytest.mark.parametrize("name", ["folder", "kadid-10k", "tid2013", "pipal"])
def test_versions_are_known_by_their_pristine_image_beside_them(
    name: str, photo: Callable[..., Image.Image], tmp_path: Path
) -> None:
    """Trained on under one name, in a set that has no references; there under another one."""
    trained = replicas.folder(tmp_path / "trained", photo)
    image = load_image(read("folder", trained).of("train")[0].path)
    root = tmp_path / name
    if name == "folder":
        (root / "ref").mkdir(parents=True)
        rows = [f"d{level}.png,{level},ref/other.png,test" for level in LEVELS]
        (root / "labels.csv").write_text("\n".join(["image,score,reference,split", *rows]))
        for level in LEVELS:
            replicas.darkened(image, level).save(root / f"d{level}.png")
        place = root / "ref" / "other.png"
    elif name == "kadid-10k":
        place = replicas.kadid_10k(root, photo) / "images" / "I01.png"
    elif name == "tid2013":
        place = replicas.tid2013(root, photo) / "reference_images" / "i01.BMP"
    else:
        (root / "Dist_Imgs").mkdir(parents=True)
        (root / "Train_Label").mkdir()
        names = [f"A00{number:02d}_00_00.bmp" for number in range(1, 6)]
        for number, distorted in enumerate(names):
            photo(number, 32, 32).save(root / "Dist_Imgs" / distorted)
        (root / "Train_Label" / "a.txt").write_text("".join(f"{n},{1000 + i}\n" for i, n in enumerate(names)))
        place = root / "Train_Ref" / "A0001.bmp"
    place.parent.mkdir(exist_ok=True)
    image.save(place)
    leak = read_untrained(specs_of("folder", trained), (name, root), "all").leaks[0]
    assert len(leak.train) == (1 if name == "pipal" else 3)
    specs = specs_of(name, root) if name != "folder" else {}
    for model in specs.values():  # and the other way: trained on versions, judged on the pristine image
        sides = model.training.keys("train") | model.training.keys("validation") if model.training else set()
        side = next(sample.split for sample in read(name, root).samples if sample.reference.endswith("01"))
        assert (pixel_key(image) in sides) == (side != "test")


def test_models_of_two_split_seeds_need_a_choice(sets: dict[str, Path]) -> None:
    path = sets["spaq"]
    specs = {"a": specs_of("spaq", path, 0)["model"], "b": specs_of("spaq", path, 1)["model"]}
    with pytest.raises(UserError, match="0 of a, 1 of b"):
        read_untrained(specs, ("spaq", path))


def test_another_set_keeps_the_default_split(sets: dict[str, Path]) -> None:
    """So that models trained on different sets by different seeds are compared on one test side."""
    specs = {
        "a": specs_of("spaq", sets["spaq"], 5)["model"],
        "b": specs_of("folder", sets["folder"], 7)["model"],
    }
    assert read_untrained(specs, ("kadid-10k", sets["kadid-10k"])).dataset.split_seed == 0


def test_accuracy_and_report_refuse_trained_images_too(sets: dict[str, Path], tmp_path: Path) -> None:
    from convert.accuracy_report.measure import images_of

    specs, data = specs_of("folder", sets["folder"], 5), ("folder", str(sets["folder"]))
    images = images_of(None, data, None, None, specs)
    assert images is not None and len(images.paths) == 6 and images.data == "folder, test"
    shutil.copytree(sets["folder"], tmp_path / "own")
    rows = (tmp_path / "own" / "labels.csv").read_text().splitlines()
    sides = ["image,score,split", *(f"{row},test" for row in rows[1:])]
    (tmp_path / "own" / "labels.csv").write_text("\n".join(sides))
    with pytest.raises(UserError, match="trained on 21 of 30"):
        images_of(None, ("folder", str(tmp_path / "own")), None, None, specs)
    everything = images_of(None, data, "all", None, specs)
    assert everything is not None and "trained on 21 of 30" in everything.data


def test_a_model_without_a_record_says_so(sets: dict[str, Path]) -> None:
    images = read_untrained({"old": SPEC}, ("spaq", sets["spaq"]))
    assert "not recorded" in images.leaks[0].text(4)
    untrained = dataclasses.replace(SPEC, trained_on="")
    assert read_untrained({"new": untrained}, ("spaq", sets["spaq"])).leaks == ()


def test_the_validation_side_may_be_evaluated_and_it_is_said(sets: dict[str, Path]) -> None:
    images = read_untrained(specs_of("spaq", sets["spaq"]), ("spaq", sets["spaq"]), "validation")
    assert "its best epoch was chosen on 3 of 3 images" in images.leaks[0].text(3)


def test_the_training_seed_never_moves_a_side(sets: dict[str, Path]) -> None:
    from mobileiqa.training.recipe import recipe
    from mobileiqa.training.run import Request, _dataset

    def sides(seed: int, split_seed: int) -> list[str]:
        of = dataclasses.replace(recipe("lar-iqa-branch"), seed=seed)
        request = Request(of, (("spaq", sets["spaq"]),), split_seed=split_seed)
        return [sample.split for sample in _dataset("spaq", sets["spaq"], request).samples]

    assert sides(1, 0) == sides(3407, 0) == [sample.split for sample in read("spaq", sets["spaq"]).samples]
    assert sides(1, 0) != sides(1, 1)


def command(recipe: str, name: str, path: Path, out: Path, *more: str) -> list[str]:
    return [
        "--recipe", recipe, "--data", name, str(path), "--from-scratch", "--out", str(out), *more,
        "--set", "epochs=1", "batch=4", "warmup_epochs=0", "epoch_images=4",
    ]  # fmt: skip


def last_line(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_trained_checkpoint_is_evaluated_on_its_own_test_side(
    sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = sets["folder"], tmp_path / "run"
    arguments = command("lar-iqa-branch", "folder", path, out, "--size", "64x64", "--split-seed", "5")
    assert train.main([*arguments, "seed=11"]) == 0
    capsys.readouterr()
    best = str(out / "best.safetensors")
    training = load_spec(best).training
    assert training is not None and (training.sets[0].split_seed, training.sets[0].train) == (5, 21)
    evaluated = [best, "--data", "folder", str(path)]
    assert evaluate.main(evaluated) == 0
    summary = last_line(capsys)
    assert (summary["split_seed"], summary["images"]) == (5, 6)
    assert (summary["models"][0]["trained_images"], summary["models"][0]["validation_images"]) == (0, 0)
    assert evaluate.main([*evaluated, "--split-seed", "0"]) == 2
    assert "--skip-trained" in capsys.readouterr().err
    assert evaluate.main([*evaluated, "--split", "all"]) == 0
    shown = capsys.readouterr().out
    assert "best.safetensors: trained on 21 of 30 images (70%)" in shown
    assert train.main([*command("lar-iqa-branch", "folder", path, out, "--size", "64x64"), "seed=11"]) == 2
    assert "--split-seed to go on" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "name"), FAMILIES)
def test_every_recipe_family_leaves_the_test_side_alone(
    sets: dict[str, Path], name: str, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = "64x64,64x64" if recipe == "lar-iqa-kan" else "64x64"
    more = ["--teacher", str(TRUNK)] if recipe == "reference-branch" else []
    out = tmp_path / "run"
    crop = ["crop_px=64"] if recipe.startswith("reference") else []
    assert train.main([*command(recipe, name, sets[name], out, "--size", size, *more), *crop]) == 0
    capsys.readouterr()
    spec = load_spec(out / "best.safetensors")
    images = read_untrained({"best": spec}, (name, sets[name]))
    assert trained_pixels(spec, images) == 0 and images.split == "test"
    assert evaluate.main([str(out / "best.safetensors"), "--data", name, str(sets[name])]) == 0
    assert last_line(capsys)["models"][0]["trained_images"] == 0


def test_a_converted_file_is_as_honest(
    tiny, with_metadata, sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its metadata holds the spec, as every conversion writes it, and with it the record."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    spec = dataclasses.replace(
        tiny[1], trained_on="a test", training=records.of_sets([read("folder", sets["folder"], 5)])
    )
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny[2].read_bytes(), 0))
    model.metadata = [entry for entry in model.metadata if entry.name != b"mobileiqa"]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = json.dumps({"spec": spec.to_json(), "precision": "fp32", "untrained": False}).encode()
    path = tmp_path / "toy.tflite"
    path.write_bytes(with_metadata(bytes(builder.Output()), "mobileiqa", content))
    evaluated = [str(path), "--data", "folder", str(sets["folder"])]
    assert evaluate.main(evaluated) == 0
    summary = last_line(capsys)
    assert (summary["split_seed"], summary["models"][0]["trained_images"]) == (5, 0)
    assert evaluate.main([*evaluated, "--split-seed", "0"]) == 2
    assert "toy.tflite: trained on" in capsys.readouterr().err
