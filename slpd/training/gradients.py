"""The gradients of a network in one piece of memory, so that a few operations act on all of them.

On the way back the last layer comes first. With 65,536 outputs it has two thirds of all values, so several GPUs sum its
gradient while each still computes the others.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from slpd.method.processes import begin_sum_over_processes, n_processes, sum_over_processes

ROW = 1024  # values; every tensor's gradient starts a new row, padded with zeros


class Gradients:
    """(rows, ROW) float32, of which the gradient of every parameter is a view.

    The last parameter is the last layer's weight.
    """

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
        self.others, self.last_layer = torch.split(self.rows, [len(self.rows) - lengths[-1], lengths[-1]])
        overlaps = device.type == "cuda" and n_processes() > 1
        # External: recorded in a CUDA graph too, it can be waited for outside it.
        self.ready = torch.cuda.Event(external=True) if overlaps else None  # type: ignore[no-untyped-call]
        self.beside = torch.cuda.Stream(device) if overlaps else None  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """Set all to 0; what is computed next is added."""
        self.rows.zero_()
        for p, view in zip(self.parameters, self.views, strict=True):
            p.grad = view

    def last_layer_is_ready(self) -> None:
        """Say that nothing of this step will be added to the last layer's gradient."""
        if self.ready is not None:
            self.ready.record()

    def sum_over_processes(self) -> None:
        """Make them those of all processes; on GPUs the last layer's from when it was ready, the others from now."""
        if self.ready is None or self.beside is None:
            sum_over_processes(self.rows)
            return
        with torch.cuda.stream(self.beside):
            self.beside.wait_event(self.ready)
            wait_for_last_layer = begin_sum_over_processes(self.last_layer)
        sum_over_processes(self.others)
        wait_for_last_layer()

    def norms(self) -> Tensor:
        """(parameters,) the norm of each tensor."""
        squares = torch.linalg.vector_norm(self.rows, dim=1).square()
        sums: Tensor = torch.segment_reduce(squares, "sum", lengths=self.lengths, unsafe=True)  # checks would wait
        return sums.sqrt()

    def multiply(self, factors: Tensor) -> None:
        """By one factor for each tensor, (parameters,)."""
        self.rows.mul_(factors[self.owner, None])
