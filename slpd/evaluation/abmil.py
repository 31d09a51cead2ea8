"""Attention-based multiple-instance learning: Ilse, Tomczak, Welling, ICML 2018 (arXiv 1802.04712).

Departures from the paper, all in the direction of the authors' published code or of common practice:
V and U have biases (as in the authors' code; the equations show none), w has none, since the softmax over the
regions cancels it. A softmax over classes with cross-entropy stands in place of the Bernoulli output, so that
tasks may have more than two classes.

Training: one bag per step, Adam, class-balanced sampling with replacement (as HIPT does). Region vectors are
standardised with the mean and standard deviation of the training regions, and the epoch with the lowest
class-balanced validation loss is kept (HIPT does neither and takes the last epoch); a fold without validation
slides takes the last epoch. All of it runs on the CPU: the networks are small, and results do not depend on a GPU.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from slpd.evaluation.fold_bags import FoldBags
from slpd.settings.evaluation import AbmilHead

log = logging.getLogger(__name__)


class Abmil(nn.Module):
    """Bag of region vectors -> class logits, and the attention each region received."""

    def __init__(self, region_width: int, n_classes: int, head: AbmilHead) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(region_width, head.embedding), nn.ReLU(), nn.Dropout(head.dropout))
        self.v = nn.Linear(head.embedding, head.attention)
        self.u = nn.Linear(head.embedding, head.attention) if head.gated else None
        self.w = nn.Linear(head.attention, 1, bias=False)
        self.classify = nn.Linear(head.embedding, n_classes)

    def forward(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and attention of padded bags.

        Args:
            bags: (B, N, D) region vectors; what stands in padded places is ignored.
            mask: (B, N) bool, true for regions, false for padding; at least one region per bag.

        Returns:
            Logits (B, C); attention (B, N), which sums to 1 over the regions of a bag and is 0 for padding.
        """
        h = self.embed(bags)  # (B, N, E)
        hidden = torch.tanh(self.v(h))  # (B, N, A)
        if self.u is not None:
            hidden = hidden * torch.sigmoid(self.u(h))  # (B, N, A), eq. 9; without it eq. 8
        scores = self.w(hidden).squeeze(-1)  # (B, N)
        attention = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)  # (B, N)
        z = torch.einsum("bn,bne->be", attention, h)  # (B, E), eq. 7
        return self.classify(z), attention


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch on one thread.

    A step on one bag is too small to share: on a busy machine threads that wait for each other make it ten times
    slower. It also makes results independent of the number of cores.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


@one_thread()
def predict_abmil(head: AbmilHead, folds: Sequence[FoldBags], n_classes: int) -> list[NDArray[np.float64]]:
    """Class probabilities of the test slides of every fold.

    Returns:
        (n test slides, n_classes) for each fold. Depends on (head.seed, number of the fold), not on other folds.
    """
    return [predict_fold(head, number, fold, n_classes) for number, fold in enumerate(folds)]


def predict_fold(head: AbmilHead, number: int, fold: FoldBags, n_classes: int) -> NDArray[np.float64]:
    """Class probabilities (n test slides, n_classes) of one fold."""
    mean, std = region_moments(fold.train.bags)
    train, val, test = (
        [torch.from_numpy((bag - mean) / std) for bag in split.bags] for split in (fold.train, fold.val, fold.test)
    )
    seed = int(np.random.SeedSequence((head.seed, number)).generate_state(1)[0])
    with random_stream(seed):
        model = Abmil(len(mean), n_classes, head)
        train_classes, val_classes = torch.from_numpy(fold.train.classes), torch.from_numpy(fold.val.classes)
        epoch = fit(model, head, (train, train_classes), (val, val_classes))
        with torch.inference_mode():
            logits, _ = model(*pad(test))  # (n, C)
    log.info("head %s, fold %d: kept epoch %d of %d", head.name, number, epoch + 1, head.epochs)
    probabilities: NDArray[np.float64] = logits.double().softmax(dim=-1).numpy()
    return probabilities


@contextmanager
def random_stream(seed: int) -> Iterator[None]:
    """Seed torch's global generator, the only one dropout knows, and put its state back at the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def region_moments(bags: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation (D,) of the regions of all bags; 1 in place of a deviation of 0."""
    regions = np.concatenate(bags)  # (R, D)
    mean, std = regions.mean(axis=0, dtype=np.float64), regions.std(axis=0, dtype=np.float64)
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def fit(
    model: Abmil, head: AbmilHead, train: tuple[Sequence[Tensor], Tensor], val: tuple[Sequence[Tensor], Tensor]
) -> int:
    """Train the model and leave it in evaluation mode, with the weights of the kept epoch.

    Args:
        model: Trained in place.
        head: The recipe.
        train: Bags (n, D) and their class numbers (B,).
        val: The same; may be empty.

    Returns:
        The epoch kept, counted from 0.
    """
    bags, classes = [pad([bag]) for bag in train[0]], train[1]  # each (1, n, D) and (1, n)
    optimiser = torch.optim.Adam(model.parameters(), lr=head.learning_rate, weight_decay=head.weight_decay, fused=True)
    weights = 1 / class_sizes(classes)[classes]  # (B,): every class is drawn equally often
    best_loss, best_epoch, best_weights = torch.inf, head.epochs - 1, None
    for epoch in range(head.epochs):
        model.train()
        for index in torch.multinomial(weights, len(bags), replacement=True).tolist():
            logits, _ = model(*bags[index])  # (1, C)
            loss = nn.functional.cross_entropy(logits, classes[index : index + 1])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        model.eval()
        val_loss = balanced_loss(model, *val) if len(val[0]) else torch.inf
        if val_loss < best_loss:
            best_loss, best_epoch, best_weights = val_loss, epoch, copy.deepcopy(model.state_dict())
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return best_epoch


@torch.no_grad()
def balanced_loss(model: Abmil, bags: Sequence[Tensor], classes: Tensor) -> float:
    """Cross-entropy of some bags in which every class that occurs weighs the same."""
    logits, _ = model(*pad(bags))  # (B, C)
    losses = nn.functional.cross_entropy(logits, classes, reduction="none")  # (B,)
    weights = 1 / class_sizes(classes)[classes]  # (B,)
    return float((losses * weights).sum() / weights.sum())


def class_sizes(classes: Tensor) -> Tensor:
    """Number of slides of each class (C,), as floats."""
    return torch.bincount(classes).float()


def pad(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Bags of (n, D) as one batch: (B, N, D) with zeros after each bag's regions, and the mask (B, N) of regions."""
    n_regions = torch.tensor([len(bag) for bag in bags])
    mask = torch.arange(int(n_regions.max())) < n_regions[:, None]  # (B, N)
    return pad_sequence(list(bags), batch_first=True), mask
