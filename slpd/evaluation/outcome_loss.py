"""The loss of a case: cross-entropy of classes, or the likelihood of a time to an event, discrete or relative."""

import torch
from torch import Tensor, nn


def class_loss(logits: Tensor, numbers: Tensor) -> Tensor:
    """Cross-entropy of each case, (B,).

    Args:
        logits: (B, C).
        numbers: (B,) class numbers.
    """
    return nn.functional.cross_entropy(logits, numbers, reduction="none")


def survival_loss(logits: Tensor, numbers: Tensor, observed: Tensor) -> Tensor:
    """Negative log-likelihood of discrete-time hazards (Singer & Willett 1993; as a loss Zadeh & Schmid 2021), (B,).

    An event in interval y: it came through the intervals before, not through y. Censored in y: it came through y too.

    Args:
        logits: (B, bins), logits of the hazards.
        numbers: (B,) interval of the event or the censoring.
        observed: (B,) whether the event was seen.
    """
    interval = torch.arange(logits.shape[-1])
    at_event = (interval == numbers[..., None]) & observed[..., None]
    survived = (interval < numbers[..., None]) | ((interval == numbers[..., None]) & ~observed[..., None])
    return (nn.functional.softplus(-logits) * at_event + nn.functional.softplus(logits) * survived).sum(dim=-1)


def cox_loss(log_hazards: Tensor, times: Tensor, observed: Tensor) -> Tensor:
    """Negative log partial likelihood (Cox 1972; ties: Breslow 1974), (B,), 0 for a case without an event.

    A case with an event is compared with all that were still followed at its time. In a step these are those of the
    step, a sample of the whole risk set (Kvamme, Borgan, Scheel, JMLR 20, 2019).

    Args:
        log_hazards: (B,) logs of hazards relative to the baseline.
        times: (B,) time to event or censoring.
        observed: (B,) whether the event was seen.
    """
    at_risk = times >= times[:, None]  # (B, B)
    log_sums = log_hazards.expand(len(times), -1).masked_fill(~at_risk, -torch.inf).logsumexp(dim=1)
    return torch.where(observed, log_sums - log_hazards, 0)
