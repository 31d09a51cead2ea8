"""Max-pooling multiple-instance learning: HIPT's `mil` (Chen et al., CVPR 2022, released code; from CLAM).

Every region is classified by itself; one region speaks for the slide. With two classes it is the one in which class 1
is most probable, with more the one in which any class is most probable (CLAM's rule), in survival tasks the one at
most risk; where each has one value, the one with the highest. Weights begin as CLAM's: Xavier's normal distribution,
biases 0.
"""

import torch
from torch import Tensor, nn

from slpd.evaluation.cases import TaskShape
from slpd.evaluation.dropout import Dropout
from slpd.evaluation.split_bags import split_bags
from slpd.settings.heads import MaxMilHead


class MaxMil(nn.Module):
    """Bags of region vectors -> the logits of one region each, and which one it was."""

    def __init__(self, head: MaxMilHead, task: TaskShape) -> None:
        super().__init__()
        self.survival = task.survival
        embed = nn.Linear(task.width, head.embedding)
        self.embed = nn.Sequential(embed, nn.ReLU(), Dropout(head.dropout))
        self.classify = nn.Linear(head.embedding, task.n_outputs)
        for layer in (embed, self.classify):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Regions (T, D) of B bags -> logits (B, C), and weights (T,): 1 for the region that speaks, else 0."""
        logits = self.classify(self.embed(regions))  # (T, C)
        bags = split_bags(self.scores(logits.detach()), sizes)
        weights = torch.cat([nn.functional.one_hot(scores.argmax(), len(scores)) for scores in bags])  # (T,)
        return logits[weights.bool()], weights.float()

    def scores(self, logits: Tensor) -> Tensor:
        """What makes a region speak, (T, C) -> (T,)."""
        if logits.shape[1] == 1:
            return logits[:, 0]
        if self.survival:
            return -(-nn.functional.softplus(logits).cumsum(dim=1)).exp().sum(dim=1)  # less its survival function
        probabilities = logits.softmax(dim=1)
        return probabilities[:, 1] if logits.shape[1] == 2 else probabilities.amax(dim=1)
