"""A cohort of token files goes from the sheet to the table without a slide."""

import csv
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import rerun_table
import toy
import yaml

from slpd.versions import RESULT_VERSIONS

sys.path.insert(0, str(toy.ROOT / "workflow/scripts"))

from planning import planned_jobs

pytestmark = pytest.mark.workflow


def test_a_cohort_of_token_files_needs_no_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lines = ["slide,path,patient,mpp,dx"]
    for i in range(9):
        with h5py.File(tmp_path / f"t{i}.h5", "w") as file:
            file["features"] = rng.normal(size=(6, 256, 24)).astype(np.float32)
            file["coords"] = np.stack([np.arange(6) * 4096] * 2, 1)
        lines.append(f"t{i},t{i}.h5,p{i},,{'ab'[i % 2]}")
    (tmp_path / "slides.csv").write_text("\n".join(lines) + "\n")
    toy.make_toy(tmp_path / "other", lambda *_, **__: None)
    config = yaml.safe_load((tmp_path / "other" / "toy.yaml").read_text())
    config["patch_encoder"] |= {"checkpoint": "weights/absent.pth", "sha256": "0" * 64}  # nothing is encoded
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config))
    plan = toy.planned(tmp_path)
    assert plan["import_tokens"] == 1
    assert not plan.keys() & {"segment_tissue", "tile_regions", "check_cohort", "encode_patches"}
    run = toy.snakemake(tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(list((tmp_path / "results/toy/runs").glob("*.json"))) == 1
    with open(tmp_path / "results/toy/tables/toy.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 2  # variants, heads, metrics
    assert toy.planned(tmp_path) == {}
    sheet = (tmp_path / "slides.csv").read_text()
    (tmp_path / "slides.csv").write_text(sheet.replace("t0,t0.h5,p0,,a", "t0,t0.h5,p0,,b"))
    assert "import_tokens" not in toy.planned(tmp_path)  # a label is nothing to import anew
    (tmp_path / "slides.csv").write_text(sheet)
    monkeypatch.setitem(RESULT_VERSIONS, "import_tokens", RESULT_VERSIONS["import_tokens"] + 1)
    config = ["--configfile", str(tmp_path / "toy.yaml")]
    every = {job.rule for job in planned_jobs([*config, "--forceall"], tmp_path)}
    raised = {job.rule for job in planned_jobs(config, tmp_path)}
    assert raised == rerun_table.after(["import_tokens"]) & every
