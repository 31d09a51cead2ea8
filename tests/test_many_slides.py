"""A cohort of several batches, planned: an edit of a slide starts the jobs of its batch."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import toy

sys.path.insert(0, str(toy.ROOT / "workflow/scripts"))

from planning import PlannedJob, planned_jobs
from why import report

from slpd.slide_batches import batches_of

pytestmark = pytest.mark.workflow

SLIDES = [f"s{number}" for number in range(60)]
ON_SLIDES = ("segment_tissue", "tile_regions", "picture_regions", "encode_patches")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything seems to have been run, on slides of one byte."""
    folder = tmp_path_factory.mktemp("many")
    toy.make_toy(folder, lambda path, *_, **__: path.write_bytes(b"x"))
    for slide in SLIDES:
        (folder / f"slides/{slide}.tiff").write_bytes(b"x")
    lines = [f"{slide},slides/{slide}.tiff,p{slide},,{'ab'[len(slide) % 2]}" for slide in SLIDES]
    (folder / "slides.csv").write_text("\n".join(["slide,path,patient,mpp,dx", *lines]) + "\n")
    for job in plan(folder):
        for output in job.outputs:
            (folder / output).parent.mkdir(parents=True, exist_ok=True)
            (folder / output).mkdir() if job.rule == "make_report" else (folder / output).touch()
    run = toy.snakemake(folder, "--touch", "--forceall")
    assert run.returncode == 0, run.stderr
    return folder


def plan(folder: Path) -> Sequence[PlannedJob]:
    return planned_jobs(["--configfile", str(folder / "toy.yaml")], folder)


def test_a_cohort_has_a_job_per_stage_and_batch(finished: Path) -> None:
    assert plan(finished) == []
    run = toy.planned(finished, "--forceall")
    n_batches = len(batches_of(SLIDES))
    assert n_batches == 4
    assert [run[rule] for rule in ON_SLIDES] == [n_batches] * 4


@pytest.mark.parametrize(
    ("old", "new"),
    [("s7,slides/s7.tiff,ps7,,", "s7,slides/s7.tiff,ps7,0.5,"), ("s7,slides/s7.tiff,ps7,,a\n", ""), ("", "")],
    ids=["resolution", "less", "more"],
)
def test_an_edit_of_one_slide_starts_the_jobs_of_its_batch(finished: Path, old: str, new: str) -> None:
    """Others would only find their work done, some on a GPU."""
    sheet = finished / "slides.csv"
    text = sheet.read_text()
    (finished / "slides/new.tiff").write_bytes(b"x")
    edited = text.replace(old, new) if old else text + "new,slides/new.tiff,pnew,,a\n"
    assert edited != text
    sheet.write_text(edited)
    try:
        jobs = plan(finished)
        lines = list(report(jobs))
    finally:
        sheet.write_text(text)
    assert [Counter(job.rule for job in jobs)[rule] for rule in ON_SLIDES] == [1] * 4
    (batch,) = {job.wildcards["batch"] for job in jobs if job.rule in ON_SLIDES}
    slide = "s7" if old else "new"
    assert slide in batches_of([*SLIDES, slide])[int(batch)]
    (tissue,) = (line for line in lines if line.startswith("segment_tissue "))
    said = {"": "slides less: s7"}.get(new, "mpp of slide s7: nothing -> 0.5") if old else "slides more: new"
    assert tissue.split(maxsplit=2)[2] == said
    assert "encode_patches        1  follows a stage above" in lines
    (encoding,) = (job for job in jobs if job.rule == "encode_patches")
    assert "results/toy/cohorts/toy/check.txt" in encoding.inputs, "it waits for the verdict on the cohort"
