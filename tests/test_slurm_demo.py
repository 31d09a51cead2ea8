"""The workflow on a real SLURM of two pretended nodes: the demo.

`make test-slurm` installs SLURM where it may; without it these tests are skipped.
"""

from pathlib import Path

import toy
from slurm_runs import MARKS, finish, slpd, start, start_local

pytestmark = MARKS


def test_demo_gives_the_bytes_of_a_run_without_slurm(cluster: dict[str, str], tmp_path: Path) -> None:
    config = str(toy.ROOT / "config/demo_cohort.yaml")
    drawn = slpd(cluster, tmp_path, "make_cohort", "--config", config, "--out", "data/demo")
    assert drawn.returncode == 0, drawn.stderr
    for name in ("queue", "local"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").symlink_to(tmp_path / "data")
        (tmp_path / name / "slurm").symlink_to(toy.ROOT / "slurm")
        (tmp_path / name / "config").symlink_to(toy.ROOT / "config")  # the weights of the patch encoder
        (tmp_path / name / "toy.yaml").symlink_to(toy.ROOT / "config/demo.yaml")
    queue, local = start(cluster, tmp_path / "queue"), start_local(tmp_path / "local")
    finish(local, tmp_path / "local", "local.txt")
    finish(queue, tmp_path / "queue")
    words = ["verify", "results/demo", "--compare", str(tmp_path / "local/results/demo")]
    compared = slpd(cluster, tmp_path / "queue", *words)
    assert compared.returncode == 0, compared.stdout
    assert "make_table: " in compared.stdout
