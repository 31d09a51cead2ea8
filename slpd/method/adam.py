"""Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019) as torch has them, without its compiler.

The methods of torch's optimisers import its compiler when they are first called, to be left out of what is compiled:
1.3 s of processor time in every process that trains. Here no step of an optimiser is compiled.
"""

from inspect import unwrap

import torch
from torch.optim import Optimizer


class Uncompiled(Optimizer):
    """The methods as torch has written them, without what it wraps around them."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))  # AdamW's too


class Adam(Uncompiled, torch.optim.Adam):
    """Weight decay is part of the gradient."""


class AdamW(Uncompiled, torch.optim.AdamW):
    """Weight decay is apart from the gradient."""
