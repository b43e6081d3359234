"""Gradients of depthwise convolutions equal torch's own, and what is no such convolution is left to torch."""

import pytest
import torch
from torch.nn import functional

from mobileiqa.training.depthwise import FastDepthwise, autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((10, 11), (5, 5), 1, 2), ((11, 9), (3, 3), 2, 0), ((13, 14), (5, 5), 2, 0), ((12, 15), (3, 3), 2, 1),
        ((12, 15), (3, 3), 1, 0), ((12, 15), (3, 5), (1, 2), (1, 0)), ((9, 8), (7, 7), 3, 3), ((5, 5), (5, 5), 2, 0),
        ((6, 6), (1, 1), 2, 0),
    ],
)  # fmt: skip
def test_gradients_are_those_of_float32(size, kernel, stride, padding):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 8, *size, generator=generator).bfloat16()
    weight = torch.randn(8, 1, *kernel, generator=generator).bfloat16()
    results = []
    for dtype, fast in ((torch.float32, False), (torch.bfloat16, True)):
        x, w = (each.to(dtype).requires_grad_() for each in (image, weight))
        if fast:
            with FastDepthwise():
                y = functional.conv2d(x, w, None, stride, padding, 1, 8)
            assert type(y.grad_fn).__name__ == "_DepthwiseBackward"
        else:
            y = functional.conv2d(x, w, None, stride, padding, 1, 8)
        upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
        y.backward(upstream.to(dtype))
        results.append((y.detach(), x.grad, w.grad))
    for exact, ours in zip(*results, strict=True):
        assert ours.dtype == torch.bfloat16 and ours.shape == exact.shape
        torch.testing.assert_close(ours.float(), exact, rtol=2**-7, atol=2**-7 * float(exact.abs().max()))


@pytest.mark.parametrize(
    "convolution",
    [
        torch.nn.Conv2d(8, 8, 3),  # of all channels
        torch.nn.Conv2d(8, 16, 3, groups=8, bias=False),  # two kernels a channel
        torch.nn.Conv2d(8, 8, 3, groups=8),  # with a bias
        torch.nn.Conv2d(8, 8, 3, groups=8, bias=False, dilation=2),
        torch.nn.Conv2d(8, 8, 3, groups=8, bias=False, padding="same"),
    ],
)
def test_another_convolution_is_left_to_torch(convolution):
    with autocast(CPU, torch.bfloat16):
        assert type(convolution(torch.randn(1, 8, 9, 9)).grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_another_precision_is_left_to_torch(dtype):
    convolution = torch.nn.Conv2d(8, 8, 3, groups=8, bias=False)
    with autocast(CPU, dtype):
        assert type(convolution(torch.randn(1, 8, 9, 9)).grad_fn).__name__ == "ConvolutionBackward0"


def test_weights_in_float32_get_gradients_in_float32():
    convolution = torch.nn.Conv2d(8, 8, 3, groups=8, bias=False)
    with autocast(CPU, torch.bfloat16):
        y = convolution(torch.randn(1, 8, 9, 9))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and convolution.weight.grad.dtype == torch.float32


def test_frozen_weights_get_none():
    convolution = torch.nn.Conv2d(8, 8, 3, groups=8, bias=False).requires_grad_(False)
    x = torch.randn(1, 8, 9, 9, requires_grad=True)
    with autocast(CPU, torch.bfloat16):
        convolution(x).float().sum().backward()
    assert convolution.weight.grad is None and x.grad is not None
