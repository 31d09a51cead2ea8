"""Cohorts that differ in their slides: masks by a pattern, regions of their own, several of them in one pretraining."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import toy
import yaml

from slpd.__main__ import run as run_stage
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, read_manifest, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import UserError
from slpd.inputs import check_inputs, read_sheets
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment
from slpd.settings.recipe import Recipe
from slpd.settings.section import named

sys.path.insert(0, str(toy.ROOT / "workflow/scripts"))

from planning import planned_jobs

Edit = Callable[[dict[str, Any]], None]


def experiment(edit: Edit = lambda config: None) -> Experiment:
    """The paper's experiment with both cohorts pretrained on as one."""
    config = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    config["cohorts"].append({"name": "all", "of": ["nsclc", "brca"]})
    config["variants"].append({"name": "of_all", "encoder_of": {"cohort": "all", "variant": "slpd"}})
    config["tables"][0]["variants"].append("of_all")
    edit(config)
    return load_experiment(config)


def test_a_cohort_of_cohorts_is_trained_on_and_has_no_sheet_tasks_or_pages() -> None:
    both = experiment()
    assert [cohort.name for cohort in both.cohorts_of_slides] == ["nsclc", "brca"]
    assert [variant.name for variant in both.trained_on("all")] == ["slpd"]
    assert both.tested_on("all") == both.reported_on("all") == []
    assert "slpd" in {variant.name for variant in both.reported_on("nsclc")}


def test_regions_of_a_cohort_may_have_another_resolution() -> None:
    def finer(config: dict[str, Any]) -> None:
        config["cohorts"][1]["regions"] = {"mpp": 0.25}
        del config["cohorts"][2]
        config["tables"][0]["variants"].remove("of_all")

    both = experiment(finer)
    nsclc, brca = both.cohorts
    assert (both.regions_of(nsclc).mpp, both.regions_of(brca).mpp) == (0.5, 0.25)
    assert both.regions_of(brca).region_px == 4096
    assert Recipe.of(both, brca, named(both.variants, "slpd")).regions.mpp == 0.25


def set_in(place: int, **changes: Any) -> Edit:  # noqa: ANN401
    return lambda config: config["cohorts"][place].update(changes)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_in(2, sheet="all.csv"), "cohort all has both a sheet and `of`"),
        (set_in(2, of=[]), "cohort all has neither a sheet nor `of`"),
        (set_in(2, of=["nsclc", "luad"]), r"cohorts\.all\.of: no cohorts with a sheet entry is named 'luad'"),
        (set_in(2, of=["nsclc", "all"]), r"cohorts\.all\.of: no cohorts with a sheet entry is named 'all'"),
        (set_in(2, of=["nsclc", "nsclc"]), "a cohort is listed twice in `of`"),
        (set_in(2, regions={"mpp": 1.0}), "masks, regions and known_kinds are those of the cohorts in `of`"),
        (
            set_in(0, regions={"mpp": 1.0}),
            r"regions of 4096 px at 0\.5 µm/px and 4096 px at 1 µm/px would",
        ),
        (set_in(0, regions={"region_px": 4000}), r"patch_px: 256 does not divide regions\.region_px \(4000\)"),
        (set_in(0, regions={"mp": 1}), r"cohorts\.nsclc\.regions\.mp: unknown key, did you mean 'mpp'"),
        (set_in(0, masks="masks/all.png"), r"needs \{slide\} or \{stem\} or \{file\}"),
        (set_in(0, masks="masks/{id}.png"), r"needs \{slide\} or \{stem\} or \{file\}"),
        (set_in(0, masks="masks/{slide}.svg"), r"leads to no \.png, \.geojson, \.json file"),
        (
            lambda config: config["tasks"][0].update(cohort="all"),
            r"nsclc_subtype\.cohort: no cohorts with a sheet",
        ),
    ],
)
def test_what_cannot_be_a_cohort_is_refused(edit: Edit, message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(edit)


def write_two(folder: Path, names: tuple[str, str] = ("a", "b")) -> dict[str, Any]:
    """Two cohorts of token files, with the toy's config for both and for their union."""
    rng = np.random.default_rng(0)
    for cohort, name in zip(("nsclc", "brca"), names, strict=True):
        lines = ["slide,path,patient,mpp,dx"]
        (folder / cohort).mkdir()
        for i in range(6):
            with h5py.File(folder / f"{cohort}/{name}{i}.h5", "w") as file:
                file["features"] = rng.normal(size=(6, 256, 24)).astype(np.float32)
                file["coords"] = np.stack([np.arange(6) * 4096] * 2, 1)
            lines.append(f"{name}{i},{cohort}/{name}{i}.h5,{cohort}{i},,{'ab'[i % 2]}")
        (folder / f"{cohort}.csv").write_text("\n".join(lines) + "\n")
    config = copy.deepcopy(toy.TOY)
    config["cohorts"] = [{"name": name, "sheet": f"{name}.csv"} for name in ("nsclc", "brca")]
    config["cohorts"].append({"name": "all", "of": ["nsclc", "brca"]})
    config["variants"] = [{"name": "slpd"}, {"name": "of_all", "encoder_of": {"cohort": "all", "variant": "slpd"}}]
    config["tasks"] = [{**toy.TOY["tasks"][0], "name": name, "cohort": name} for name in ("nsclc", "brca")]
    config["tables"] = [{**toy.TOY["tables"][0], "tasks": ["nsclc", "brca"], "variants": ["of_all"]}]
    (folder / "toy.yaml").write_text(yaml.safe_dump(config))
    return config


@pytest.mark.workflow
def test_slides_of_several_cohorts_are_encoded_once_and_trained_on_together(tmp_path: Path) -> None:
    write_two(tmp_path)
    jobs = planned_jobs(["--configfile", str(tmp_path / "toy.yaml")], tmp_path)
    cohorts = {
        rule: {job.wildcards.get("cohort") for job in jobs if job.rule == rule} for rule in {j.rule for j in jobs}
    }
    assert cohorts["import_tokens"] == cohorts["cohort_manifest"] == cohorts["embed_bags"] == {"nsclc", "brca"}
    assert cohorts["join_cohorts"] == cohorts["pretrain_dino"] == cohorts["distill_slpd"] == {"all"}
    (warmup,) = (job for job in jobs if job.rule == "pretrain_dino")
    assert warmup.inputs == ["results/toy/cohorts/all/used.txt"]
    folders = {job.wildcards["cohort"]: str(job.params["tokens"]) for job in jobs if job.rule == "cohort_manifest"}
    assert folders == {name: f"results/toy/cohorts/{name}/tokens" for name in ("nsclc", "brca")}
    teachers = {path for job in jobs if job.rule == "embed_bags" for path in job.inputs if "teacher" in path}
    assert teachers == {"results/toy/cohorts/all/variants/slpd/teacher.safetensors"}


def test_two_slides_of_one_id_or_one_file_are_not_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    given = write_two(tmp_path, ("a", "A"))
    config |= {key: given[key] for key in ("cohorts", "variants", "tasks", "tables")} | {"heads": config["heads"][:2]}
    with pytest.raises(UserError, match=r"cohorts\.all\.of: slide A0 of brca is also in nsclc; take it out of a sheet"):
        check_inputs(load_experiment(config))


def test_the_joined_manifest_has_every_slide_with_its_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for cohort, names in {"one": ["c", "a"], "two": ["b", "bad"]}.items():
        rows = []
        for name in names:
            record = SlideRecord(slide=name, path=name, n_regions=3)
            path = tmp_path / f"{name}.h5"
            write_tokens(
                path, rng.normal(size=(3, 4, 6)).astype(np.float16), np.arange(6).reshape(3, 2), TokenSource(name, "f")
            )
            failed = name == "bad"
            rows.append(
                ManifestRow(record.failed("segment_tissue", "no tissue"), None) if failed else ManifestRow(record, path)
            )
        write_manifest(tmp_path / f"{cohort}.csv", rows)
    words = [
        "--manifests",
        *(str(tmp_path / f"{name}.csv") for name in ("two", "one")),
        *("--used", str(tmp_path / "used.txt"), "--out", str(tmp_path / "all.csv")),
    ]
    assert run_stage("join_cohorts", words) == 0
    assert [(row.record.slide, row.used) for row in read_manifest(tmp_path / "all.csv")] == [
        ("a", True),
        ("b", True),
        ("bad", False),
        ("c", True),
    ]
    cohort = open_cohort_tokens(tmp_path / "all.csv")
    assert (cohort.slides, cohort.n_regions) == (["a", "b", "c"], 9)


def test_cohorts_whose_tokens_differ_in_width_are_not_joined(tmp_path: Path) -> None:
    for name, width in (("one", 6), ("two", 8)):
        path, tokens = tmp_path / f"{name}.h5", np.random.default_rng(width).normal(size=(3, 4, width))
        write_tokens(path, tokens.astype(np.float16), np.arange(6).reshape(3, 2), TokenSource(name, "f"))
        write_manifest(tmp_path / f"{name}.csv", [ManifestRow(SlideRecord(slide=name, path=name, n_regions=3), path)])
    manifests = [str(tmp_path / f"{name}.csv") for name in ("one", "two")]
    with pytest.raises(UserError, match=r"these cohorts cannot be one \(cohorts\.of\): .*two\.h5"):
        run_stage(
            "join_cohorts",
            ["--manifests", *manifests, "--used", str(tmp_path / "used.txt"), "--out", str(tmp_path / "all.csv")],
        )


def test_a_pattern_gives_no_mask_to_two_slides_and_none_to_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    config["cohorts"] = [{"name": name, "sheet": "slides.csv", "masks": "m/{stem}.png"} for name in ("nsclc", "brca")]
    config["tables"] = []
    for names in (("p1/1.svs", "p2/1.svs"), ("1.h5", "2.h5")):
        Path("slides.csv").write_text(f"slide,path,patient,mpp\ns1,{names[0]},p1,\ns2,{names[1]},p2,\n")
        for name in (*names, "m/1.png", "m/2.png"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(name)
        expected = r"m/1\.png would be the mask of s1 and of s2" if "svs" in names[0] else "slide s1 is a token file"
        with pytest.raises(UserError, match=rf"cohorts\.nsclc\.masks: {expected}"):
            check_inputs(load_experiment(config))


def test_masks_are_found_by_a_pattern_and_a_line_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("slides.csv").write_text("slide,path,patient,mpp,mask\ns1,in/scan 1.svs,p1,,\ns2,in/scan 2.svs,p2,,own.png\n")
    for pattern, expected in {
        "contours_geojson/{stem}.geojson": "contours_geojson/scan 1.geojson",
        "tis_det_mask/{file}_MASK.png": "tis_det_mask/scan 1.svs_MASK.png",
        "m/{slide}.json": "m/s1.json",
    }.items():
        config = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
        config["cohorts"] = [{"name": name, "sheet": "slides.csv", "masks": pattern} for name in ("nsclc", "brca")]
        config["tables"] = []
        sheets = read_sheets(load_experiment(config))
        assert [row.mask for row in sheets["nsclc"].values()] == [expected, "own.png"]
    Path("in").mkdir()
    for name in ("in/scan 1.svs", "in/scan 2.svs", "own.png"):
        Path(name).touch()
    with pytest.raises(UserError, match=r"slide s1: no mask m/s1\.json; correct the mask column or the cohort's masks"):
        check_inputs(load_experiment(config))
