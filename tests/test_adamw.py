"""Our AdamW takes the steps of torch's, also when a parameter has no gradient for a while."""

import pytest
import torch
from torch import nn

from slpd.training.adamw import AdamW

pytestmark = pytest.mark.torch


def test_equals_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    optimiser = AdamW(dict(ours.named_parameters()))
    reference = torch.optim.AdamW([{"params": [theirs.weight]}, {"params": [theirs.bias], "weight_decay": 0.0}])
    for step in range(6):
        x = torch.randn(5, 4)
        for model in (ours, theirs):
            model.zero_grad(set_to_none=True)
            model(x).square().sum().backward()
            if step in (0, 1, 4):
                model.weight.grad = None
        for group in reference.param_groups:
            group["lr"] = 0.01 * (step + 1)
        reference.param_groups[0]["weight_decay"] = 0.1 * step
        optimiser.step(learning_rate=0.01 * (step + 1), weight_decay=0.1 * step)
        reference.step()
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
        saved = optimiser.state_dict()  # go on from saved state, in a new optimiser
        optimiser = AdamW(dict(ours.named_parameters()))
        optimiser.load_state_dict(saved)
