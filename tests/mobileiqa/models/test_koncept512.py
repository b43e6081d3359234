"""KonCept512: the golden outputs, timm's body under the published names, both poolings, Keras's weights."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convert.runtimes.tool_environments import python_of, run_tool
from mobileiqa.checkpoint import load
from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.models.koncept512 import BODY, PREFIXES, KonCept512, Pool, keras_state
from mobileiqa.preprocess import prepare
from mobileiqa.spec import Resample
from mobileiqa.tokens import resized
from mobileiqa.zoo import MODELS, build, seed_weights


@pytest.fixture(scope="module")
def model(seeded_double) -> KonCept512:
    return seeded_double(KonCept512(), PREFIXES)


def score(model: KonCept512, image: torch.Tensor, pool: str) -> float:
    """With another pooling than it was built with: the weights are the same."""
    before, model.pool = model.pool, Pool(pool)
    with torch.inference_mode():
        value = model(image).item()
    model.pool = before
    return value


@pytest.mark.slow
@pytest.mark.parametrize("index", range(3))
def test_published_outputs(index: int, golden, model, captured, assert_same):
    case = golden.cases("koncept512")[index]
    image = golden.image(case["image"], case["height"], case["width"], case["image_seed"])
    image = torch.from_numpy(image)
    numbers = [int(key.removeprefix("base.")) for key in case["features"]]
    outputs = captured(model, [f"body.{BODY[n]}" for n in numbers], image)
    for n in numbers:
        assert_same(outputs[f"body.{BODY[n]}"], case["features"][f"base.{n}"])
    assert outputs["score"].item() == pytest.approx(case["score_global_average"], rel=1e-9)
    last = outputs["body.conv2d_7b"]
    top_left = last[:, :, :8, :8].mean((2, 3))
    assert_same(last.mean((2, 3)), case["global_pooled"])
    assert_same(top_left, case["pooled"])
    with torch.inference_mode():
        port = model.forward_head(top_left).item()
    assert port == pytest.approx(case["public_avgpool8_then_flatten"], rel=1e-9)


def independent_head(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    for i in (0, 4, 8):
        x = (x @ state[f"fc.{i}.weight"].T + state[f"fc.{i}.bias"]).clamp(min=0)
        mean, variance = state[f"fc.{i + 2}.running_mean"], state[f"fc.{i + 2}.running_var"]
        x = (x - mean) / torch.sqrt(variance + 1e-5) * state[f"fc.{i + 2}.weight"] + state[f"fc.{i + 2}.bias"]
    return x @ state["fc.12.weight"].T + state["fc.12.bias"]


@pytest.mark.slow
def test_timms_whole_body_and_a_head_written_independently_agree(seeded_double):
    import timm

    seed = 7

    model = seeded_double(KonCept512(), PREFIXES, seed)
    own = model.state_dict()
    state = {published: own[key] for key, published in to_published(own, PREFIXES).items()}
    theirs = timm.create_model("inception_resnet_v2", pretrained=False, num_classes=0).double().eval()
    body = {key.removeprefix("body."): value for key, value in own.items() if key.startswith("body.")}
    theirs.load_state_dict(body, strict=True)
    image = torch.randn(1, 3, 320, 364, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.inference_mode():
        maps = theirs.forward_features(image)
        assert maps.shape == (1, 1536, 8, 10)
        for pool, pooled in (("global", maps.mean((2, 3))), ("top-left-8x8", maps[..., :8].mean((2, 3)))):
            assert score(model, image, pool) == pytest.approx(
                independent_head(state, pooled).item(), rel=1e-9
            )
    assert score(model, image, "global") != score(model, image, "top-left-8x8")


def test_the_head_and_the_poolings(seeded_double):
    """Of the head alone: the body takes seconds."""
    with torch.device("meta"):
        model = KonCept512("top-left-8x8")
    model.head.to_empty(device="cpu")
    seeded_double(model.head, {"": "fc."})
    state = {f"fc.{key}": value for key, value in model.head.state_dict().items()}
    model.body = torch.nn.Identity()
    maps = torch.rand(2, 1536, 10, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        corner = model(maps)
        np.testing.assert_allclose(
            corner, independent_head(state, maps[:, :, :8, :8].mean((2, 3)))[:, 0], rtol=1e-9
        )
        model.pool = Pool.GLOBAL
        np.testing.assert_allclose(model(maps), independent_head(state, maps.mean((2, 3)))[:, 0], rtol=1e-9)
    assert corner.shape == (2,)


def test_published_keys_shapes_and_types(published_keys, keys_of):
    assert keys_of("koncept512-top-left") == keys_of("koncept512") == published_keys("koncept512")


def test_the_number_of_keys_and_values(keys_of):
    keys = keys_of("koncept512")
    assert (
        len(keys) == 1327
        and sum(key.endswith("conv.weight") or ".conv2d.weight" in key for key in keys) == 244
    )
    assert sum(key.endswith(".conv2d.bias") for key in keys) == 40


def test_names_and_poolings():
    assert MODELS["koncept512"].spec.inputs[0].shape == (1, 3, 384, 512)
    with torch.device("meta"):
        pools = {name: build(name).pool for name in ("koncept512", "koncept512-top-left")}
    assert pools == {"koncept512": "global", "koncept512-top-left": "top-left-8x8"}
    with pytest.raises(ValueError, match="center"):
        KonCept512("center")


def test_pixels_are_in_minus_one_to_one(photo: Callable[..., Any]):
    image = photo(1, 512, 384)
    array = prepare(image, MODELS["koncept512"].spec)["image"][0]
    np.testing.assert_allclose(array, np.asarray(image).transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


# Checkpoints.


def keras_arrays(model: KonCept512) -> dict[str, np.ndarray]:
    """The model's tensors as keras.applications and the public notebook name them, body layers numbered as made."""
    arrays: dict[str, np.ndarray] = {}
    convolutions = norms = 203  # Keras goes on counting from another model of the same process
    blocks = {"repeat": "block35", "repeat_1": "block17", "repeat_2": "block8"}
    for name, module in model.named_modules():
        in_head = name.startswith("head.")
        if isinstance(module, torch.nn.Conv2d):
            stage, _, rest = name.removeprefix("body.").partition(".")
            if name == "body.conv2d_7b.conv":
                layer = "conv_7b"
            elif module.bias is None:
                convolutions += 1
                layer = f"conv2d_{convolutions}"
            else:
                layer = (
                    "block8_10_conv"
                    if stage == "block8"
                    else f"{blocks[stage]}_{int(rest.split('.')[0]) + 1}_conv"
                )
                arrays[f"{layer}/{layer}/bias:0"] = module.bias.detach().numpy()
            arrays[f"{layer}/{layer}/kernel:0"] = module.weight.detach().numpy().transpose(2, 3, 1, 0)
        elif isinstance(module, torch.nn.Linear):
            layer = {"0": "fc_fc0", "4": "fc_fc1", "8": "fc_fc2", "12": "fc_out"}[name.removeprefix("head.")]
            arrays[f"{layer}/{layer}/kernel:0"] = module.weight.detach().numpy().T
            arrays[f"{layer}/{layer}/bias:0"] = module.bias.detach().numpy()
        elif isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            if in_head:
                layer = f"fc_bn{int(name.removeprefix('head.')) // 4}"
                arrays[f"{layer}/{layer}/gamma:0"] = module.weight.detach().numpy()
            elif name == "body.conv2d_7b.bn":
                layer = "conv_7b_bn"
            else:
                norms += 1
                layer = f"batch_normalization_{norms}"
            for tensor, kind in ((module.bias, "beta"), (module.running_mean, "moving_mean"),
                                 (module.running_var, "moving_variance")):  # fmt: skip
                arrays[f"{layer}/{layer}/{kind}:0"] = tensor.detach().numpy()
    return arrays


@pytest.fixture(scope="module")
def keras() -> tuple[KonCept512, dict[str, np.ndarray]]:
    model = KonCept512().eval()
    seed_weights(model, PREFIXES)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # Keras's body has no gamma
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eps = 1e-3
        del name
    return model, keras_arrays(model)


@pytest.mark.slow
def test_keras_weights_give_the_same_scores(keras):
    theirs, arrays = keras
    ours = KonCept512().eval()
    state = keras_state(arrays, "model.h5")
    names = to_published(ours.state_dict(), PREFIXES)
    ours.load_state_dict({key: state[published] for key, published in names.items()}, strict=True)
    image = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        assert ours.double()(image).item() == pytest.approx(theirs.double()(image).item(), rel=1e-6)


@pytest.mark.slow
def test_keras_weights_of_another_network_are_refused(keras):
    _, arrays = keras
    without = {name: array for name, array in arrays.items() if "fc_bn1" not in name}
    fewer = {name: array for name, array in arrays.items() if not name.startswith("conv2d_204/")}
    odd = {**arrays, "fc_out/fc_out/kernel:0": np.ones((256, 1, 1))}
    del odd["fc_out/fc_out/bias:0"]
    more = {**arrays, "lstm/lstm/kernel:0": np.ones(2)}
    cases = (
        (without, "fc_bn1"),
        (fewer, r"202 others \(conv2d_205"),
        (odd, "fc_out"),
        (more, r"1 others \(lstm"),
    )
    for changed, message in cases:
        with pytest.raises(UserError, match=message):
            keras_state(changed, "model.h5")


@pytest.fixture(scope="module")
def from_keras_itself(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that keras_koncept512.py fills; skips where TensorFlow's environment was not built."""
    try:
        python = python_of("onnx2tf")
    except UserError:
        pytest.skip("no TensorFlow: run `make onnx2tf`; arrays named by hand stand in")
    folder = tmp_path_factory.mktemp("keras")
    run_tool([python, Path(__file__).with_name("keras_koncept512.py"), folder], 600, folder)
    return folder


@pytest.mark.slow
def test_weights_that_keras_wrote_give_keras_scores(from_keras_itself: Path):
    """keras.applications' own network under the notebook's head: names, order of creation, epsilons."""
    with np.load(from_keras_itself / "arrays.npz") as arrays:
        state = keras_state(dict(arrays), "model.h5")
    model = KonCept512().eval()
    names = to_published(model.state_dict(), PREFIXES)
    model.load_state_dict({key: state[published] for key, published in names.items()}, strict=True)
    stored = np.load(from_keras_itself / "score.npz")
    with torch.inference_mode():
        scores = model(torch.from_numpy(stored["image"].transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(scores, stored["score"][:, 0], rtol=1e-3, atol=1e-6)
    assert abs(scores[0] - scores[1]) > 1e-3


@pytest.mark.slow
def test_the_gaussian_is_tensorflows(from_keras_itself: Path):
    """MUSIQ's, checked here because the same environment has TensorFlow; it works in float32."""
    stored = np.load(from_keras_itself / "gaussian.npz")
    image = stored["image"].transpose(2, 0, 1).astype(np.float64)
    for name in set(stored.files) - {"image"}:
        height, width = map(int, name.split("x"))
        ours = resized(image, height, width, Resample.GAUSSIAN).transpose(1, 2, 0)
        np.testing.assert_allclose(ours, stored[name], rtol=0, atol=1e-6, err_msg=name)


def test_a_keras_file_without_h5py_is_one_line(tmp_path: Path):
    path = tmp_path / "koncep512.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    expected = "h5py for a Keras file" if importlib.util.find_spec("h5py") is None else "a whole HDF5 file"
    with pytest.raises(UserError, match=expected) as error:
        load(path)
    assert len(str(error.value).splitlines()) == 1
    for content in (b"", b"words"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="an HDF5 file of weights"):
            load(path)


@pytest.mark.slow
def test_a_keras_file_is_read(tmp_path: Path, keras):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    theirs, arrays = keras
    with h5py.File(tmp_path / "model.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    model, spec = load(tmp_path / "model.h5")
    assert spec.name == "koncept512" and torch.equal(model.head[0].weight, theirs.float().head[0].weight)


@pytest.mark.slow
def test_the_ports_checkpoint_is_recognised_and_pools_as_it_was_trained(tmp_path: Path, keras):
    own = keras[0].float().state_dict()
    state = {published: own[key] for key, published in to_published(own, PREFIXES).items()}
    torch.save(state, tmp_path / "KonCept512.pth")
    model, spec = load(tmp_path / "KonCept512.pth")
    assert spec.name == "koncept512-top-left" and model.pool == "top-left-8x8"
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())
    del state["fc.0.bias"]
    torch.save(state, tmp_path / "KonCept512.pth")
    with pytest.raises(UserError, match=r"missing fc\.0\.bias"):
        load(tmp_path / "KonCept512.pth")
