"""`plot_losses`: every variant is drawn from its first epoch to its last, with equal bytes for equal metrics."""

import sys
from pathlib import Path

import pytest

from slpd.__main__ import main
from slpd.artifacts.training_metrics import EpochMetrics, read_metrics, write_metrics
from slpd.plots.losses import PANELS, draw_losses


def epochs(numbers: range, intra: float) -> list[EpochMetrics]:
    return [EpochMetrics(n, 5.0 / n + intra, 5.0 / n, intra, 0.0, 3.0, 0.5, 1.5, 1e-3, 0.04, 0.996) for n in numbers]


def test_metrics_survive_their_file(tmp_path: Path) -> None:
    written = epochs(range(1, 4), 0.1)
    write_metrics(tmp_path / "metrics.csv", written)
    assert read_metrics(tmp_path / "metrics.csv") == written


def test_a_curve_runs_from_the_warm_up_through_every_iteration() -> None:
    slpd = epochs(range(1, 3), 0.0) + epochs(range(3, 6), 0.7)
    figure = draw_losses({"dino": epochs(range(1, 6), 0.0), "slpd": slpd})
    self_panel, intra_panel = figure.axes[0], figure.axes[list(PANELS).index("intra")]
    assert [line.get_xdata().tolist() for line in self_panel.lines] == [[1, 2, 3, 4, 5]] * 2
    assert [line.get_xdata().tolist() for line in intra_panel.lines] == [[], [3, 4, 5]]  # only where it is used
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dino", "slpd"]


def test_equal_metrics_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / "warm.csv", tmp_path / "1.csv"]
    write_metrics(files[0], epochs(range(1, 3), 0.0))
    write_metrics(files[1], epochs(range(3, 5), 0.5))
    for name in ("a.svg", "b.svg"):
        curves = ["--curve", "dino", str(files[0]), "--curve", "slpd", *map(str, files)]
        monkeypatch.setattr(sys, "argv", ["slpd", "plot_losses", *curves, "--out", str(tmp_path / name)])
        assert main() == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
