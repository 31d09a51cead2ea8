"""The gradients of a network in one piece of memory, so that a few operations act on all of them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from slpd.method.processes import sum_over_processes

ROW = 1024  # values; every tensor's gradient starts a new row, padded with zeros


class Gradients:
    """(rows, ROW) float32, of which the gradient of every parameter is a view."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        device, lengths = self.parameters[0].device, [-(-p.numel() // ROW) for p in self.parameters]
        self.lengths = torch.tensor(lengths, device=device)  # rows of each
        self.owner = torch.repeat_interleave(torch.tensor(lengths)).to(device)  # (rows,) which parameter's a row is
        self.rows = torch.zeros((sum(lengths), ROW), device=device)
        self.views = [
            rows.view(-1)[: p.numel()].view_as(p)
            for rows, p in zip(torch.split(self.rows, lengths), self.parameters, strict=True)
        ]

    def begin(self) -> None:
        """Set all to 0; what is computed next is added."""
        self.rows.zero_()
        for p, view in zip(self.parameters, self.views, strict=True):
            p.grad = view

    def sum_over_processes(self) -> None:
        """Make them those of all processes."""
        sum_over_processes(self.rows)

    def norms(self) -> Tensor:
        """(parameters,) the norm of each tensor."""
        squares = torch.linalg.vector_norm(self.rows, dim=1).square()
        sums: Tensor = torch.segment_reduce(squares, "sum", lengths=self.lengths, unsafe=True)  # checks would wait
        return sums.sqrt()

    def multiply(self, factors: Tensor) -> None:
        """By one factor for each tensor, (parameters,)."""
        self.rows.mul_(factors[self.owner, None])
