"""Statistics of what weights multiply, checked against what the runtime computes with those weights.

The mean of an operator's output is W E[x] + b and its variance diag(W C W'), whatever the padding, stride, dilation
and layout of the weight.
"""

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.statistics.input_covariance import collect_covariances
from convert.int8.statistics.interpreter import activations
from convert.int8.weights import bias_of, matrices, stored, values, weighted
from tests.convert.int8.networks import SAME, VALID, convolution, linear

CASES = {
    "same": ({}, (6, 3, 3, 4), False),
    "stride on odd and even sizes": ({"strideH": 2, "strideW": 2}, (6, 3, 3, 4), False),
    "even kernel": ({"strideW": 2}, (6, 2, 4, 4), False),
    "dilated": ({"dilationHFactor": 2, "dilationWFactor": 3}, (6, 3, 3, 4), False),
    "valid": ({"padding": VALID, "strideH": 2}, (6, 3, 3, 4), False),
    "two groups": ({"padding": SAME}, (6, 3, 3, 2), False),
    "depthwise": ({"strideH": 2, "strideW": 2}, (1, 5, 5, 4), True),
    "two outputs of each channel": ({"padding": VALID}, (1, 3, 3, 8), True),
}


def images(count: int = 4) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"in0": rng.standard_normal((1, 9, 12, 4)).astype(np.float32) + i} for i in range(count)]


@pytest.mark.parametrize("case", CASES)
def test_means_and_variances_of_outputs_follow(flatbuffer, save, case: str) -> None:
    options, shape, depthwise = CASES[case]
    rng, b = np.random.default_rng(2), flatbuffer
    outputs = shape[-1] if depthwise else shape[0]
    y = convolution(
        b, b.input(1, 9, 12, 4), rng.standard_normal(shape), rng.standard_normal(outputs), depthwise=depthwise,
        **options,
    )  # fmt: skip
    check(save(b.build(y)), images())


def test_a_linear_layer(flatbuffer, save) -> None:
    b, rng = flatbuffer, np.random.default_rng(2)
    y = linear(b, b.input(7, 4), rng.standard_normal((3, 4)), rng.standard_normal(3))
    check(save(b.build(y)), [{"in0": rng.standard_normal((7, 4)).astype(np.float32) + i} for i in range(4)])


def check(path, images) -> None:
    model = fb.read(path)
    ((operator, weight),) = weighted(model)
    inputs = collect_covariances(model, path.read_bytes(), [(operator, weight)], images)[weight]
    w = matrices(fb.kind(model, operator), values(model, weight), 4).astype(np.float64)
    assert np.array_equal(
        stored(fb.kind(model, operator), w, values(model, weight).shape), values(model, weight)
    )
    result = np.concatenate(
        [t(int(operator.outputs[0])).reshape(-1, w.shape[0] * w.shape[1]) for t in activations(path, images)]
    )
    means = (w @ inputs.mean[:, :, None]).ravel() + values(model, bias_of(operator))
    assert means == pytest.approx(result.mean(0), rel=1e-4, abs=1e-4)
    if inputs.covariance is not None:
        variances = np.einsum("gok,gkl,gol->go", w, inputs.covariance, w).ravel()
        assert variances == pytest.approx(result.var(0), rel=1e-3)


def test_there_is_no_covariance_of_fewer_samples_than_inputs(flatbuffer, save) -> None:
    b = flatbuffer
    path = save(b.build(linear(b, b.input(1, 4), np.ones((3, 4)))))
    rng = np.random.default_rng(0)
    seen = [{"in0": rng.standard_normal((1, 4)).astype(np.float32)} for _ in range(4)]
    model = fb.read(path)
    rest = [
        next(
            iter(collect_covariances(model, path.read_bytes(), weighted(model), seen[:n]).values())
        ).covariance
        for n in (3, 4)
    ]
    assert rest[0] is None and rest[1].shape == (1, 4, 4)
