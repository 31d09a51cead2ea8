"""The manifest of a run: what drifted since is found and named, what did not is not; two runs are compared by stage."""

import argparse
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import rerun_table

from slpd.artifacts.checksums import damaged_slides, stated_checksums
from slpd.artifacts.learned.bags import write_bags
from slpd.artifacts.learned.embeddings import CohortEmbeddings, write_embeddings
from slpd.artifacts.patch_tokens.token_file import TokenSource, read_tokens, write_tokens
from slpd.artifacts.runs.run_manifest import last_manifest, read_runs, sha256_of
from slpd.artifacts.slides.sheet import read_sheet
from slpd.artifacts.slides.slide_files import quick_sha256
from slpd.errors import UserError
from slpd.run_record import record_run, seeds
from slpd.settings.load import load_experiment
from slpd.stages import verify
from slpd.versions import RESULT_VERSIONS

RESULTS = Path("results/toy")
STAGES = {"tables/toy.csv": "make_table", "cohorts/toy/tokens/batch_0.json": "encode_patches"}
FILES = [*STAGES, "cohorts/toy/tokens/s0.h5"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slides, a sheet, weights and results of a run."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *(RESULTS / file for file in FILES),
        "slides/s0.tiff",
        "slides/s1.tiff",
        "given.safetensors",
        "figures.csv",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"content of {name}")
    Path("slides.csv").write_text("slide,path,patient,mpp,dx\ns0,slides/s0.tiff,p0,,a\ns1,slides/s1.tiff,p1,,b\n")
    return tmp_path


def record(started: float = 1e9, log: Path = Path("run.log")) -> None:
    """Write the manifest of a run that began at `started`."""
    experiment = load_experiment(rerun_table.merged(rerun_table.start_config()))
    sheets = {"toy": {row.slide: row for row in read_sheet(Path("slides.csv"))}}
    record_run(experiment, sheets, RESULTS, STAGES, started, log, True)


def verified(capsys: pytest.CaptureFixture[str], **given: object) -> tuple[int, str]:
    """Exit status and output of the command."""
    args = argparse.Namespace(results=RESULTS, compare=None, configfile=None)
    vars(args).update(given)
    return verify.run(args), capsys.readouterr().out


def test_manifest_says_what_went_in_and_came_out(folder: Path) -> None:
    Path("run.log").write_text("Job 3 has been submitted with SLURM jobid 41 (log: x)\n")
    record(log=Path("run.log"))
    manifest = last_manifest(RESULTS)
    assert manifest is not None
    assert manifest.run == "20010909-014640"
    assert set(manifest.inputs) == {
        "slides.csv",
        "given.safetensors",
        "figures.csv",
        "slides/s0.tiff",
        "slides/s1.tiff",
    }
    assert manifest.inputs["slides.csv"].sha256 == hashlib.sha256(Path("slides.csv").read_bytes()).hexdigest()
    assert {name: known.stage for name, known in manifest.results.items()} == {
        **STAGES,
        "cohorts/toy/tokens/s0.h5": "encode_patches",  # lies beside the record of its batch
    }
    assert manifest.config["training"]["epochs"] == 3
    assert manifest.config["slide_graph"]["correspondence"] == "matching"  # of the preset
    assert manifest.result_versions == RESULT_VERSIONS
    assert {"python", "torch", "numpy", "snakemake"} <= set(manifest.packages)
    assert manifest.jobs[0]["id"] == "41"


def test_seeds_are_listed_with_their_keys() -> None:
    config = {"training": {"seed": 3}, "heads": [{"name": "abmil", "seed": 1}, {"name": "knn", "k": 1}]}
    assert dict(seeds(config)) == {"training.seed": 3, "heads.abmil.seed": 1}


def test_nothing_touched_nothing_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record()
    assert verified(capsys) == (0, "run 20010909-014640: 5 inputs and 3 results are as they were\n")


def test_every_kind_of_drift_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record()
    Path("slides/s0.tiff").write_text("another slide")
    Path("slides/s1.tiff").unlink()
    (RESULTS / "tables/toy.csv").write_text("content of results/toy/tables/toy.CSV")
    (RESULTS / "cohorts/toy/tokens/s0.h5").unlink()
    (RESULTS / "more.txt").touch()
    recorded = RESULT_VERSIONS["evaluate"]
    monkeypatch.setitem(RESULT_VERSIONS, "evaluate", recorded + 1)
    status, text = verified(capsys)
    assert status == 1
    assert text.splitlines() == [
        "input changed: slides/s0.tiff, 25 -> 13 bytes",
        "input gone: slides/s1.tiff",
        "result gone: cohorts/toy/tokens/s0.h5 (of encode_patches)",
        "result changed: tables/toy.csv (of make_table) since run 20010909-014640",
        "not of the last run: more.txt",
        f"made by another version: evaluate {recorded}, now {recorded + 1}",
    ]


def test_inputs_that_cannot_be_read_are_noted_and_fail_no_run(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A folder in place of a slide, a link that leads nowhere, a sheet that went with its disk."""
    Path("slides/s0.tiff").unlink()
    Path("slides/s0.tiff").mkdir()
    Path("slides/s1.tiff").unlink()
    Path("slides/s1.tiff").symlink_to("gone.tiff")
    Path("figures.csv").unlink()
    (RESULTS / "runs").mkdir()
    (RESULTS / "runs/20000101-000000.json").write_bytes(b"\xff torn")
    record()
    manifest = last_manifest(RESULTS)
    assert manifest is not None
    faults = {name: known.fault for name, known in manifest.inputs.items()}
    assert faults == {
        "slides.csv": "",
        "given.safetensors": "",
        "figures.csv": "No such file or directory",
        "slides/s0.tiff": "Is a directory",
        "slides/s1.tiff": "No such file or directory",
    }
    assert "20000101-000000.json: no manifest of a run" in caplog.text
    assert {name: known.stage for name, known in manifest.results.items()}.keys() == set(FILES)
    status, text = verified(capsys)
    assert status == 1
    assert "input unknown: slides/s0.tiff could not be read when the run ended (Is a directory)" in text


def test_all_files_of_a_slide_are_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("slides/s0.mrxs").write_bytes(b"slide")
    Path("slides/s0").mkdir()
    Path("slides/s0/Data0000.dat").write_bytes(b"pixels")
    sheet = Path("slides.csv").read_text()
    Path("slides.csv").write_text(sheet.replace("slides/s0.tiff", "slides/s0.mrxs"))
    record()
    Path("slides/s0/Data0000.dat").write_bytes(b"PIXELS")
    assert verified(capsys) == (1, "input changed: slides/s0/Data0000.dat, 6 -> 6 bytes\n")


def test_result_keeps_the_run_that_made_it(folder: Path) -> None:
    record(1e9)
    time.sleep(0.01)
    (RESULTS / "tables/toy.csv").write_text("new")
    record(2e9)
    manifest = last_manifest(RESULTS)
    assert manifest is not None
    runs = {name: known.run for name, known in manifest.results.items()}
    assert runs == {name: "20330518-033320" if "toy.csv" in name else "20010909-014640" for name in FILES}


def test_runs_are_compared_stage_by_stage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record()
    shutil.copytree(RESULTS, "other")
    status, text = verified(capsys, compare=Path("other"))
    assert (status, text) == (0, "encode_patches: 2 files bit-equal\nmake_table: 1 files bit-equal\n")
    (RESULTS / "tables/toy.csv").write_text("new")
    record(2e9)
    status, text = verified(capsys, compare=Path("other"))
    assert (status, text.splitlines()[1]) == (1, "make_table: 1 of 1 files differ: tables/toy.csv")


def test_slide_is_known_by_size_and_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "slide"
    content = bytearray(os.urandom(300_000))
    path.write_bytes(content)
    before = quick_sha256(path)
    for place in (0, len(content) - 1):
        content[place] ^= 1
        path.write_bytes(content)
        assert quick_sha256(path) != before
        content[place] ^= 1
    path.write_bytes(content + b"\0")
    assert quick_sha256(path) != before


def test_slide_written_over_between_its_ends_is_named_by_its_time(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing has looked at what is in between, so this is no difference, and no silence either."""
    slide, content = Path("slides/s0.tiff"), bytearray(os.urandom(300_000))
    slide.write_bytes(content)
    record()
    assert "written or copied since" not in verified(capsys)[1]
    content[150_000] ^= 1
    slide.write_bytes(content)
    os.utime(slide, ns=(0, slide.stat().st_mtime_ns + 1))
    status, text = verified(capsys)
    assert (status, text.splitlines()[0].startswith("written or copied since that run: slides/s0.tiff; size")) == (
        0,
        True,
    )


def tokens_file(path: Path) -> None:
    values = iter(np.random.default_rng(0).normal(size=(3, 4, 8)).astype(np.float16))
    write_tokens(path, values, np.arange(6).reshape(3, 2), TokenSource("s0", "f", region_px=64))


def bags_file(path: Path) -> None:
    bags = {f"s{n}": np.random.default_rng(n).normal(size=(3, 8)).astype(np.float32) for n in range(3)}
    write_bags(path, bags, {slide: np.arange(6).reshape(3, 2) for slide in bags})


def embeddings_file(path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32)
    write_embeddings(path, CohortEmbeddings(vectors, vectors[:, :3], np.arange(0, 12, 3), ["s0", "s1", "s2"]))


TOKENS, BAGS, VECTORS = (
    f"cohorts/toy/{name}" for name in ("tokens/s0.h5", "variants/slpd/bags.h5", "warmup/embeddings.h5")
)
FROM_SLIDES = (
    "(of encode_patches): values of s0 are not those written; delete it and run with --forcerun encode_patches"
)


@pytest.mark.parametrize(
    ("write", "name", "place", "said"),
    [
        (tokens_file, TOKENS, ("features", 2), FROM_SLIDES),
        (tokens_file, TOKENS, ("coords", 1), FROM_SLIDES),
        (bags_file, BAGS, ("features", 4), "values of s1 are not"),
        (bags_file, BAGS, ("coords", 8), "values of s2 are not"),
        (embeddings_file, VECTORS, ("bottleneck", 0), "values of s0 are not"),
        (embeddings_file, VECTORS, ("region_vector", 5), "values of s1 are not"),
    ],
)
def test_a_flipped_byte_is_found_and_its_slide_named(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path], None],
    name: str,
    place: tuple[str, int],
    said: str,
) -> None:
    """The disk changed it: size and time of the file are as they were."""
    path = RESULTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    record()
    assert verified(capsys)[0] == 0
    flip_byte(path, *place)
    record(2e9)  # of the file nothing shows, so its record is kept
    status, text = verified(capsys)
    assert status == 1
    assert text.startswith(f"result damaged: {name} ")
    assert text.count("\n") == 1
    assert said in text


def flip_byte(path: Path, dataset: str, row: int) -> None:
    """Change a bit of a row of a dataset on the disk."""
    with h5py.File(path, "r") as file:
        values = file[dataset]
        place = values.id.get_offset() + row * values.nbytes // len(values) + 1
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=times)


def test_attributes_and_structure_are_checked_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = RESULTS / "cohorts/toy/tokens/s0.h5"
    tokens_file(path)
    record()
    content = path.read_bytes()
    with h5py.File(path, "r+") as file:
        file["features"].attrs["region_px"] = 128
    assert "values of s0 are not those written" in verified(capsys)[1]
    path.write_bytes(content[:-100])
    assert "result damaged: cohorts/toy/tokens/s0.h5 (of encode_patches) cannot be read" in verified(capsys)[1]


def test_values_written_anew_are_changed_not_damaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = RESULTS / "cohorts/toy/tokens/s0.h5"
    tokens_file(path)
    record()
    write_tokens(path, iter(np.ones((3, 4, 8), np.float16)), np.arange(6).reshape(3, 2), TokenSource("s0", "f"))
    run = "20010909-014640"
    assert verified(capsys) == (1, f"result changed: cohorts/toy/tokens/s0.h5 (of encode_patches) since run {run}\n")


def test_files_of_an_earlier_release_are_told_and_not_called_damaged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their readers take them, and the record of the run knows them by all their bytes."""
    path = RESULTS / "cohorts/toy/tokens/s0.h5"
    tokens_file(path)
    with h5py.File(path, "r+") as file:
        del file["checksums"]
    record()
    assert read_tokens(path).shape == (3, 4, 8)
    status, text = verified(capsys)
    assert status == 0
    assert text.startswith(
        "without checksums, of an earlier release, known by their bytes alone: cohorts/toy/tokens/s0.h5"
    )
    flip_byte(path, "features", 1)
    assert "result changed: cohorts/toy/tokens/s0.h5" in verified(capsys)[1]


def test_checksums_do_not_depend_on_how_the_rows_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens_file(tmp_path / "s0.h5")
    (stated,) = stated_checksums(tmp_path / "s0.h5")
    for n_bytes in (1, 64, 100, 10**9):
        monkeypatch.setattr("slpd.artifacts.checksums.BLOCK_BYTES", n_bytes)
        assert damaged_slides(tmp_path / "s0.h5") == []
    assert len(stated) == 64


def test_a_new_result_with_checksums_is_not_read_for_the_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens_file(RESULTS / "cohorts/toy/tokens/s0.h5")
    read = []

    def noted(path: Path) -> str:
        read.append(path)
        return sha256_of(path)

    monkeypatch.setattr("slpd.artifacts.runs.run_manifest.sha256_of", noted)
    record()
    assert {path.suffix for path in read} == {".csv", ".json", ".safetensors"}


def test_the_report_reads_runs_without_their_files(folder: Path) -> None:
    record(1e9)
    record(2e9)
    (RESULTS / "tables/toy.csv").unlink()
    last = last_manifest(RESULTS)
    assert last is not None
    assert read_runs(RESULTS)[1].model_dump() == last.model_dump(exclude={"inputs", "results"})
    for path in (RESULTS / "runs").iterdir():  # as of thousands of slides
        head, files = path.read_text().split(' "inputs": {')
        path.write_text(f'{head} "inputs": {{ no JSON, {files}')
    assert [run.run for run in read_runs(RESULTS)] == ["20010909-014640", "20330518-033320"]
    (RESULTS / "runs/20010909-014640.json").write_text("{")
    with pytest.raises(UserError, match="no manifest of a run"):
        read_runs(RESULTS)


def test_folder_without_a_run_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="no manifest in runs/"):
        verify.needed(RESULTS)


def test_stages_of_another_release_are_compared_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STAGES, "tables/toy.csv", "draw_plot")
    record()
    shutil.copytree(RESULTS, "other")
    status, text = verified(capsys, compare=Path("other"))
    assert status == 0
    assert "draw_plot: 1 files bit-equal" in text
