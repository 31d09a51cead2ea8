"""Heads: from the cases of every fold to what each head says of its test cases, or of other cases."""

from slpd.errors import UserError
from slpd.evaluation.cases import Cases, EvaluationData
from slpd.evaluation.head_output import HeadOutput, Parameters
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


def apply_head(
    head: AnyHead, preset: HeadPreset | None, parameters: Parameters, data: EvaluationData, cases: Cases
) -> HeadOutput:
    """What a head that was trained before says of cases, by the parameters that `HeadOutput` had of it.

    Args:
        head: The head.
        preset: How it was trained.
        parameters: What it has learnt in one fold.
        data: The region vectors and the shape of the task; needs no folds.
        cases: Of `data`.
    """
    if isinstance(head, LogisticHead):
        from slpd.evaluation.logistic import apply_logistic  # noqa: PLC0415

        return apply_logistic(parameters, cases, data)
    if isinstance(head, KnnHead) or preset is None:
        raise UserError(f"head {head.name}: keeps no parameters that could be applied; choose another head")
    from slpd.evaluation.fold_training import NETWORKS  # noqa: PLC0415  torch
    from slpd.evaluation.head_network import CaseTensors, HeadNetwork  # noqa: PLC0415
    from slpd.evaluation.objectives import objective_of  # noqa: PLC0415

    objective = objective_of(data.task, None)
    network = HeadNetwork(NETWORKS[type(head)](head, data.shape), objective, None, preset.batch_size, data)
    network.load(parameters)
    return network.predict(CaseTensors(cases))
