"""Kernels of attention, run by Triton's interpreter, are attention as torch writes it out."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.torch

# Triton reads the variable when it is imported, so a process of its own runs the kernels.
COMPARED = """
import json, sys, torch
import torch.nn.functional as F
from slpd.models.short_attention import attend

def compared(views, n, n_out, heads, width, scale):
    D, packed = heads * width, n == n_out
    shapes = [(views, n, 3 * D)] if packed else [(views, n_out, D), (views, n, 2 * D)]
    made = [(scale * torch.randn(shape)).requires_grad_() for shape in shapes]
    if packed:
        q, k, v = made[0].view(views, n, 3, heads, width).permute(2, 0, 3, 1, 4)
    else:
        q = made[0].view(views, n_out, heads, width).transpose(1, 2)
        k, v = made[1].view(views, n, 2, heads, width).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(views, n_out, D)
    gradient = torch.randn_like(expected)
    result = attend(made[0], made[-1], heads)
    pairs = [(result, expected), *zip(*(torch.autograd.grad(r, made, gradient) for r in (result, expected)))]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)

torch.manual_seed(0)
print(json.dumps([compared(*case) for case in json.loads(sys.argv[1])]))
"""
CASES = [  # views, tokens, tokens asked for, heads, width of a head, size of values
    (2, 37, 37, 3, 32, 1.0),
    (1, 197, 197, 2, 32, 1.0),
    (3, 37, 1, 2, 32, 1.0),
    (1, 197, 1, 2, 32, 1.0),
    (1, 50, 50, 1, 16, 1.0),
    (2, 5, 5, 2, 64, 1.0),
    (1, 37, 37, 1, 32, 4.0),  # scores around 100: each softmax is nearly one token
]


def test_results_and_gradients_are_those_of_torch() -> None:
    command = [sys.executable, "-c", COMPARED, json.dumps(CASES)]
    run = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    off = json.loads(run.stdout)
    assert len(off) == len(CASES)
    assert max(off) < 1e-4, off
    assert max(off[:-1]) < 1e-6, off
