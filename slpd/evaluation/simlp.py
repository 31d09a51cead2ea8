"""SiMLP: a multilayer perceptron on the mean of a slide's vectors (Li et al. 2025, arXiv 2502.20823).

The paper pools vectors of patches; here they are whatever a bag holds. We do not know the paper's widths: one hidden
layer with ReLU and dropout is ours.
"""

import torch
from torch import Tensor, nn

from slpd.evaluation.cases import TaskShape
from slpd.evaluation.dropout import Dropout
from slpd.evaluation.split_bags import split_bags
from slpd.settings.heads import SimlpHead


class Simlp(nn.Module):
    """Bags of region vectors -> logits, and the equal weight that every region of a bag has."""

    def __init__(self, head: SimlpHead, task: TaskShape) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(task.width, head.embedding), nn.ReLU(), Dropout(head.dropout))
        self.classify = nn.Linear(head.embedding, task.n_outputs)

    def forward(self, regions: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Regions (T, D) of B bags of these sizes -> logits (B, C), and weights (T,) that sum to 1 over each bag."""
        means = torch.stack([bag.mean(dim=0) for bag in split_bags(regions, sizes)])  # (B, D)
        counts = torch.tensor(sizes)
        return self.classify(self.embed(means)), (1 / counts).repeat_interleave(counts)
