"""Training metrics come back from their file as they were written, also from a file older than a term of the loss."""

from pathlib import Path

from slpd.artifacts.learned.training_metrics import COLUMNS, EpochMetrics, read_metrics, write_metrics

VALUES = {name: 0.1 + place for place, name in enumerate(COLUMNS)} | {"epoch": 1}


def test_metrics_come_back(tmp_path: Path) -> None:
    epochs = [EpochMetrics.of(VALUES), EpochMetrics.of(VALUES | {"epoch": 2, "inter": 1 / 3})]
    write_metrics(tmp_path / "metrics.csv", epochs)
    assert read_metrics(tmp_path / "metrics.csv") == epochs
    assert epochs[1].terms["inter"] == 1 / 3
    assert epochs[0].columns() == VALUES


def test_the_columns_of_the_file_are_those_that_readers_know(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [])
    assert (tmp_path / "metrics.csv").read_text().strip() == (
        "epoch,loss,self_distillation,intra,inter,teacher_entropy,feature_spread,gradient_norm,learning_rate,"
        "weight_decay,teacher_momentum"
    )


def test_a_term_that_a_file_does_not_know_was_not_used(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [EpochMetrics.of(VALUES)])
    lines = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    place = lines[0].index("inter")
    older = "".join(",".join(cells[:place] + cells[place + 1 :]) + "\n" for cells in lines)
    (tmp_path / "metrics.csv").write_text(older)
    (epoch,) = read_metrics(tmp_path / "metrics.csv")
    assert epoch.terms == EpochMetrics.of(VALUES).terms | {"inter": 0}
