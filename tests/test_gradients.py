"""Gradients in one piece of memory: norms and factors tensor by tensor, whatever the tensors' sizes."""

import pytest
import torch
from torch import nn

from slpd.training.gradients import ROW, Gradients

pytestmark = pytest.mark.torch

SHAPES = [(), (1,), (3, 5), (ROW,), (ROW + 1,), (7, ROW), (2, 3, 400)]


def drawn() -> tuple[list[nn.Parameter], Gradients]:
    """Parameters whose gradients are random; what they hold them in."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    gradients = Gradients(parameters)
    gradients.begin()
    for p in parameters:
        (p * torch.randn(p.shape, generator=generator)).sum().backward()
    return parameters, gradients


def test_norms_are_those_of_every_tensor() -> None:
    parameters, gradients = drawn()
    torch.testing.assert_close(gradients.norms(), torch.stack([p.grad.norm() for p in parameters]))


def test_a_factor_reaches_its_own_tensor() -> None:
    parameters, gradients = drawn()
    before, factors = [p.grad.clone() for p in parameters], torch.arange(1.0, 1 + len(SHAPES))
    gradients.multiply(factors)
    for p, old, factor in zip(parameters, before, factors, strict=True):
        assert torch.equal(p.grad, old * factor)


def test_backward_adds_to_what_is_there_until_the_next_beginning() -> None:
    parameters, gradients = drawn()
    once = [p.grad.clone() for p in parameters]
    parameters[2].grad = None  # a tensor that is not trained in this step
    gradients.begin()
    for _ in range(2):
        for p, gradient in zip(parameters, once, strict=True):
            (p * gradient).sum().backward()
    for p, gradient in zip(parameters, once, strict=True):
        assert torch.equal(p.grad, 2 * gradient)


def test_the_last_layer_and_the_others_are_all_gradients() -> None:
    """Each is summed over processes by itself."""
    parameters, gradients = drawn()
    gradients.others.mul_(2)
    gradients.last_layer.mul_(3)
    _, expected = drawn()
    for p, view in zip(parameters, expected.views, strict=True):
        assert torch.equal(p.grad, (3 if p is parameters[-1] else 2) * view)
