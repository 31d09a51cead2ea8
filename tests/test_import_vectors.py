"""Vectors of slides made elsewhere: TRIDENT's and STAMP's files, from the folder to the row of a table."""

import copy
import csv
import json
import logging
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import toy
import yaml
from numpy.typing import NDArray

from slpd.__main__ import run as run_stage
from slpd.artifacts.checksums import damaged_slides, stated_checksums
from slpd.artifacts.evaluation.absent_slides import read_absent
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.learned.bags import read_bags, read_corners
from slpd.artifacts.outside.vector_files import vector_file
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import EvaluationError, UserError
from slpd.evaluation.folds_without import folds_without
from slpd.inputs import check_inputs, refuse_shared_vectors
from slpd.settings.load import load_experiment


def write_trident(path: Path, vector: NDArray[np.float32], n_patches: int = 5) -> None:
    """A slide's file as TRIDENT writes it: extensible datasets in chunks of one, `coords` of all patches beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = {"patch_size": 512, "patch_size_level0": 512, "target_magnification": 20, "overlap": 0, "name": path.stem}
    attributes = {"features": {"name": path.stem, "savetodir": str(path.parent)}, "coords": corners}
    arrays = {"features": vector, "coords": 512 * np.stack([np.arange(n_patches)] * 2, 1)}
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            data = file.create_dataset(
                key, array.shape, maxshape=(None, *array.shape[1:]), chunks=(1, *array.shape[1:]), dtype=array.dtype
            )
            data[:] = array
            data.attrs.update(attributes[key])


def write_stamp(path: Path, vector: NDArray[Any]) -> None:
    """A slide's file as STAMP writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["feats"] = vector
        file.attrs.update({"version": "2.3.0", "encoder": "titan", "precision": "torch.float32", "feat_type": "slide"})
        file.attrs.update({"stamp_version": "2.3.0", "code_hash": "0a1b2c3d"})


def vector(seed: int, width: int = 6) -> NDArray[np.float32]:
    """Random values."""
    return np.random.default_rng(seed).normal(size=width).astype(np.float32)


def imported(folder: Path, slides: list[str], key: str = "features", per: str = "slide") -> dict[str, str]:
    """Run the stage on slides that lie in `/data/<slide>.svs`; slide -> why it has no vectors."""
    rows = [
        ManifestRow(SlideRecord(slide=slide, path=f"/data/{slide}.svs", n_regions=1), folder / "t.h5")
        for slide in slides
    ]
    write_manifest(folder / "slides.csv", rows)
    options = {"manifest": "slides.csv", "folder": "vectors", "absent": "absent.csv", "out": "bags.h5"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(folder / value))]
    assert run_stage("import_vectors", [*words, "--key", key, "--per", per]) == 0
    return {slide.slide: slide.reason for slide in read_absent(folder / "absent.csv")}


def test_tridents_and_stamps_vectors_are_bags_of_one(tmp_path: Path) -> None:
    for i, slide in enumerate("ab"):
        write_trident(tmp_path / f"vectors/{slide}.h5", vector(i))
    assert imported(tmp_path, ["b", "a"]) == {}
    bags = read_bags(tmp_path / "bags.h5")
    assert list(bags) == ["a", "b"]
    assert len(stated_checksums(tmp_path / "bags.h5")) == 2
    assert damaged_slides(tmp_path / "bags.h5") == []
    assert np.array_equal(bags["a"], vector(0)[None])
    assert np.array_equal(bags["b"], vector(1)[None])
    assert (read_corners(tmp_path / "bags.h5")[0] == -1).all()  # of a whole slide; the file's are of its patches
    write_stamp(tmp_path / "vectors/a.h5", vector(2).astype(np.float16))
    write_stamp(tmp_path / "vectors/b.h5", vector(3)[None])
    assert imported(tmp_path, ["a", "b"], "feats") == {}
    assert np.array_equal(read_bags(tmp_path / "bags.h5")["a"], vector(2).astype(np.float16).astype(np.float32)[None])


@pytest.mark.torch
def test_torch_files_hold_a_tensor_or_a_dict(tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    torch.save(torch.from_numpy(vector(0)), tmp_path / "vectors/a.pt")
    torch.save({"features": torch.from_numpy(vector(1)).bfloat16()}, tmp_path / "vectors/b.pt")
    assert imported(tmp_path, ["a", "b"]) == {}
    assert np.array_equal(read_bags(tmp_path / "bags.h5")["a"], vector(0)[None])


def test_bags_made_elsewhere_keep_their_corners(tmp_path: Path) -> None:
    bag = np.stack([vector(i) for i in range(5)])
    write_trident(tmp_path / "vectors/a.h5", bag)
    write_trident(tmp_path / "vectors/b.h5", bag[None], n_patches=3)  # TRIDENT's older form; other corners than vectors
    assert imported(tmp_path, ["a", "b"], per="region") == {}
    bags = read_bags(tmp_path / "bags.h5")
    assert np.array_equal(bags["a"], bag)
    assert np.array_equal(bags["b"], bag)
    corners, offsets = read_corners(tmp_path / "bags.h5")
    assert corners[1].tolist() == [512, 512]
    assert (corners[offsets[1] :] == -1).all()


def test_what_is_no_vector_is_a_reason(tmp_path: Path) -> None:
    write_trident(tmp_path / "vectors/good.h5", vector(0))
    write_trident(
        tmp_path / "vectors/empty.h5", np.empty(0, np.float32)
    )  # as TRIDENT writes of a slide without patches
    write_trident(tmp_path / "vectors/zeros.h5", np.zeros(6, np.float32))
    write_trident(tmp_path / "vectors/nan.h5", np.full(6, np.nan, np.float32))
    write_trident(tmp_path / "vectors/many.h5", np.stack([vector(0), vector(1)]))
    write_trident(tmp_path / "vectors/whole.h5", np.arange(6))
    write_stamp(tmp_path / "vectors/other.h5", vector(0))
    (tmp_path / "vectors/torn.h5").write_bytes(b"no HDF5")
    slides = ["absent", "empty", "good", "many", "nan", "other", "torn", "whole", "zeros"]
    assert imported(tmp_path, slides) == {
        "absent": "no file",
        "empty": "empty features",
        "many": "features (2, 6), expected one vector (D,) or (1, D)",
        "nan": "features that are not finite",
        "other": "no features",
        "torn": "a file that cannot be read (OSError)",
        "whole": "features of int64, expected floating point numbers",
        "zeros": "features of zeros alone",
    }
    assert list(read_bags(tmp_path / "bags.h5")) == ["good"]


def test_two_encoders_and_no_vector_at_all_are_refused(tmp_path: Path) -> None:
    write_trident(tmp_path / "vectors/a.h5", vector(0))
    write_trident(tmp_path / "vectors/b.h5", vector(0, width=7))
    with pytest.raises(UserError, match="vectors of slide b have 7 values, those of slide a 6; a variant needs one"):
        imported(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=r"no slide of the cohort has vectors \(slide a: no feats\); correct folder or"):
        imported(tmp_path, ["a", "b"], key="feats")


@pytest.mark.parametrize("name", ["s1.h5", "scan 7.h5", "scan 7.svs.h5", "s1.pt", "scan 7.hdf5"])
def test_a_file_is_named_by_the_slides_id_or_by_its_file(tmp_path: Path, name: str) -> None:
    assert vector_file(tmp_path, "s1", "/data/scan 7.svs") is None
    (tmp_path / name).touch()
    assert vector_file(tmp_path, "s1", "/data/scan 7.svs") == tmp_path / name


def test_folds_keep_their_splits_without_absent_slides() -> None:
    a, b, c, d = (LabelledSlide(name, name, "x") for name in "abcd")
    folds = [Fold([a, b], [c], [d]), Fold([d, c], [], [a, b])]
    assert folds_without(folds, {"b"}) == [Fold([a], [c], [d]), Fold([d, c], [], [a])]
    with pytest.raises(EvaluationError, match="fold 0: none of its test slides has vectors"):
        folds_without(folds, {"d"})


def config_with_vectors() -> dict[str, Any]:
    """The toy's config with TITAN's vectors and the means of tokens in its table, and a survival task."""
    titan = {"name": "titan", "slide_vectors": {"folder": "titan/{cohort}", "key": "features"}}
    config = copy.deepcopy(toy.TOY) | {"variants": [titan, {"name": "mean", "token_mean": True}]}
    survival = {"name": "os", "cohort": "toy", "kind": "survival", "time": "months", "event": "dead", "n_bins": 2}
    config["tasks"] = [*config["tasks"], {**survival, "folds": config["tasks"][0]["folds"]}]
    config["heads"] = [*config["heads"], {"name": "lr", "kind": "logistic", "inverse_penalty": 1.0, "balanced": True}]
    rows = {"variants": ["titan", "mean"], "heads": ["knn", "lr"], "metrics": ["auc"]}
    config["tables"] = [{**config["tables"][0], **rows}]
    config["tables"].append(
        {**rows, "name": "os", "caption": "", "tasks": ["os"], "heads": ["abmil"], "metrics": ["c_index"]}
    )
    return config


def write_cohort(folder: Path, n_vectors: int) -> None:
    """Twelve slides of token files, labelled; the first `n_vectors` have a vector that tells the class."""
    rng = np.random.default_rng(0)
    lines = ["slide,path,patient,mpp,dx,months,dead"]
    (folder / "tokens").mkdir()
    for i in range(12):
        with h5py.File(folder / f"tokens/t{i}.h5", "w") as file:
            file["features"] = rng.normal(size=(6, 256, 24)).astype(np.float32)
            file["coords"] = np.stack([np.arange(6) * 4096] * 2, 1)
        lines.append(f"t{i},tokens/t{i}.h5,p{i},,{'ab'[i % 2]},{5 + i},{int(i % 3 > 0)}")
        if i < n_vectors:
            write_trident(folder / f"titan/toy/t{i}.h5", vector(i) * 0.01 + (i % 2))
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    (folder / "toy.yaml").write_text(yaml.safe_dump(config_with_vectors()))


@pytest.mark.workflow
def test_vectors_are_rows_of_the_tables_and_absent_slides_reasons_in_the_caption(tmp_path: Path) -> None:
    write_cohort(tmp_path, n_vectors=11)
    run = toy.snakemake(tmp_path, "--", "tables")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "titan/toy has no file of 1 of 12 slides of cohort toy, t11; its figures are of the others" in run.stderr
    assert "pretrain_dino" not in run.stderr
    with open(tmp_path / "results/toy/tables/toy.csv", newline="", encoding="utf-8") as file:
        auc = {(row["head"], row["variant"]): float(row["mean"]) for row in csv.DictReader(file)}
    assert auc["knn", "titan"] == auc["lr", "titan"] == 1  # the vectors tell the class
    assert set(auc) == {(head, variant) for head in ("knn", "lr") for variant in ("titan", "mean")}
    for name in ("toy", "os"):
        caption = (tmp_path / f"results/toy/tables/{name}.md").read_text()
        assert "titan without 1 slides of the folds, 1 no file (t11)" in " ".join(caption.split())
    predictions = (tmp_path / "results/toy/tasks/os/titan/abmil/predictions.csv").read_text()
    assert not re.search(r"\bt11\b", predictions)
    assert toy.planned(tmp_path, "--", "tables") == {}
    write_trident(tmp_path / "titan/toy/t11.h5", vector(11) + 1)
    rerun = toy.planned(tmp_path, "--", "tables")
    assert rerun.pop("import_vectors") == 1
    assert set(rerun) == {"evaluate", "make_table"}


def test_a_folder_without_any_slides_vectors_is_refused_before_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cohort(tmp_path, n_vectors=0)
    config = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    for section, value in config_with_vectors().items():
        config[section] = config[section] | value if isinstance(value, dict) and section != "head_presets" else value
    config["head_presets"]["modern"] = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())["head_presets"][
        "modern"
    ]
    config["regions"] |= {"region_px": 256}
    experiment = load_experiment(config)
    with pytest.raises(UserError, match=r"^variants\.titan: titan/toy has no file <slide>\.h5 or \.pt of any slide"):
        check_inputs(experiment)
    write_trident(tmp_path / "titan/toy/t3.h5", vector(3))
    with caplog.at_level(logging.WARNING):
        check_inputs(experiment)
    assert "no file of 11 of 12 slides" in caplog.text


def test_a_file_of_vectors_is_of_one_slide(tmp_path: Path) -> None:
    """Slides of two folders may have files of one name."""
    write_trident(tmp_path / "1.h5", vector(1))
    files = {slide: vector_file(tmp_path, slide, f"{slide}/1.svs") for slide in ("s1", "s2")}
    with pytest.raises(UserError, match=r"variants\.titan: .*1\.h5 would be of slides s1 and s2"):
        refuse_shared_vectors("titan", files)


def test_vectors_and_an_encoder_are_refused_together() -> None:
    config = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    folder = {"folder": "titan", "key": "features"}
    for other in ({"token_mean": True}, {"region_vectors": folder}, {"objective": {"intra": 0}}):
        config["variants"] = [*config["variants"][:6], {"name": "titan", "slide_vectors": folder, **other}]
        config["tables"] = []
        with pytest.raises(UserError, match=r"variants\.titan"):
            load_experiment(json.loads(json.dumps(config)))
