"""Heads: from the cases of every fold to what each head says of its test cases."""

from slpd.errors import UserError
from slpd.evaluation.cases import EvaluationData
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.train_heads import predict_trained
from slpd.settings.heads import AnyHead, HeadPreset, KnnHead, LogisticHead


def predict(head: AnyHead, preset: HeadPreset | None, data: EvaluationData) -> list[HeadOutput]:
    """Train the head on every fold; what it says of the fold's test cases.

    Args:
        head: The head.
        preset: How it is trained; None for heads that have nothing to train in steps.
        data: The cases of every fold.
    """
    if isinstance(head, KnnHead):
        from slpd.evaluation.knn import predict_knn  # noqa: PLC0415

        return predict_knn(head, data)
    if isinstance(head, LogisticHead):
        from slpd.evaluation.logistic import predict_logistic  # noqa: PLC0415

        return predict_logistic(head, data)
    if preset is None:
        raise UserError(f"head {head.name}: no preset says how it is trained; give --preset")
    return predict_trained(head, preset, data)
