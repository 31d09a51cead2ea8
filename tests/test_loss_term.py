"""The term of the loss that docs/extending.md adds: its few files, and training with it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[1]
TRAIN = """
import sys
from pathlib import Path

import numpy as np
from small_training import OBJECTIVE, pretrain_arguments, stage, train_variant, write_cohort
from test_prototype_targets import CONTENT

from slpd.artifacts.learned.training_metrics import read_metrics
from slpd.method.prototype_targets import slide_means

folder = Path(sys.argv[1])
objective = OBJECTIVE.model_copy(update={"slide": 0.25})
stage("pretrain_dino", *pretrain_arguments(write_cohort(folder), folder / "warm"))
train_variant(folder / "slides.csv", folder / "out", folder / "warm", objective)
for epoch in read_metrics(folder / "out.csv"):
    values = epoch.terms
    total = values["self_distillation"] + values["intra"] + 0.5 * values["inter"] + 0.25 * values["slide"]
    assert abs(epoch.loss - total) < 1e-5 * total
    assert values["slide"] > 0
assert [epoch.terms["slide"] for epoch in read_metrics(folder / "warm.csv")] == [0, 0]

CONTENT.prototypes[0] = np.eye(4)[:2]
targets = slide_means(CONTENT, None)
assert targets.rows.tolist() == [[0, 0, -1, 2, 2]]  # of regions, two of slide 0, two of slide 2
np.testing.assert_allclose(targets.vectors[0], [0.5**0.5, 0.5**0.5, 0, 0], rtol=1e-6)
"""


def test_the_term_of_the_page_trains(tmp_path: Path) -> None:
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    (diff,) = re.findall(r"^```diff\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^\+\+\+ b/", diff, re.MULTILINE)) + len(["docs/reruns.md"]) <= 4  # files
    for folder in ("slpd", "config", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=tmp_path, check=True)
    (tmp_path / "train.py").write_text(f"import sys\nsys.path[:0] = ['.', 'tests']\n{TRAIN}")
    (tmp_path / "results").mkdir()
    subprocess.run([sys.executable, "train.py", "results"], cwd=tmp_path, check=True)
