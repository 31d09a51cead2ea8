"""Weights and published figures are looked at before any job starts, and none are named in vain."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from slpd.artifacts.slides.sheet import SheetRow
from slpd.errors import UserError
from slpd.inputs import check_files, check_published, check_weights
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment

PAPER = yaml.safe_load((Path(__file__).parents[1] / "config/config.yaml").read_text())
HIPT = {  # the hash is that of HIPT's Git LFS pointer
    "checkpoint": "weights/vit4k_xs_dino.pth",
    "sha256": "2b0bd9e9a602a35f2bb3f76da39d2b53a91f23fc3f115dc59a63267d95ad2b7b",
}

SLIDES = {"nsclc": {"s": SheetRow("s", "s.svs", "p", None, {})}}
TOKENS = {"nsclc": {"s": SheetRow("s", "s.h5", "p", None, {})}}


def experiment(patch_weights: str | None = None, **changes: object) -> Experiment:
    """The paper's, with the variant `hipt` beside its four trained ones."""
    patch_encoder = PAPER["patch_encoder"] | {"checkpoint": patch_weights, "sha256": patch_weights and "0" * 64}
    variants = [*PAPER["variants"][:4], {"name": "hipt", **changes}]
    return load_experiment(PAPER | {"patch_encoder": patch_encoder, "variants": variants, "tables": []})


def test_weights_that_are_there_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_weights(experiment(), SLIDES)
    (tmp_path / "weights").mkdir()
    for name in ("vit4k_xs_dino.pth", "vit256.pth"):
        (tmp_path / "weights" / name).touch()
    check_weights(experiment("weights/vit256.pth", pretrained=HIPT), SLIDES)


def test_weights_that_are_not_at_hand_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    without = experiment(pretrained=HIPT | {"checkpoint": None})
    check_weights(without, SLIDES)
    assert without.variants[-1].why_unavailable == "no weights: variants.hipt.pretrained.checkpoint is null"


def test_absent_weights_are_named_by_their_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^variants\.hipt\.pretrained\.checkpoint: no file weights/vit4k_xs_dino\.pth"):
        check_weights(experiment(pretrained=HIPT), SLIDES)
    with pytest.raises(UserError, match=r"^patch_encoder\.checkpoint: no file weights/vit256\.pth"):
        check_weights(experiment("weights/vit256.pth", pretrained=HIPT), SLIDES)
    with pytest.raises(UserError, match=r"^variants\.hipt\.pretrained\.checkpoint: \{x\}\.pth has braces"):
        check_weights(experiment(pretrained=HIPT | {"checkpoint": "{x}.pth"}), SLIDES)


def test_token_files_need_no_patch_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_weights(experiment("weights/vit256.pth"), TOKENS)
    with pytest.raises(UserError, match=r"^patch_encoder\.checkpoint: no file"):
        check_weights(experiment("weights/vit256.pth"), TOKENS | {"brca": SLIDES["nsclc"]})
    with pytest.raises(UserError, match=r"^variants\.hipt\.pretrained\.checkpoint: no file"):
        check_weights(experiment(pretrained=HIPT), TOKENS)


@pytest.mark.parametrize(
    "changes", [{"objective": {"intra": 0}}, {"prototypes": {"seed": 1}}, {"slide_graph": {"n": 1}}]
)
def test_training_settings_of_a_pretrained_variant_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=rf"^config\.variants\.hipt: pretrained stands beside {next(iter(changes))}, but"
    ):
        experiment(pretrained=HIPT, **changes)


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ({"checkpoint": "w.pth"}, r"variants\.hipt\.pretrained\.sha256: missing"),
        (HIPT | {"sha256": "abc"}, r"variants\.hipt\.pretrained\.sha256: .*'abc'"),
        (HIPT | {"sha": "abc"}, r"variants\.hipt\.pretrained\.sha: unknown key, did you mean 'sha256'"),
    ],
)
def test_pretrained_weights_are_known_by_their_hash(pretrained: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(pretrained=pretrained)


def test_misspelt_names_of_published_figures_are_reported_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other names are no fault: a paper's file may hold more than an experiment runs, as the shipped ones do."""
    check_published(load_experiment(PAPER))
    assert caplog.messages == []
    monkeypatch.chdir(tmp_path)
    config = PAPER | {"tables": [PAPER["tables"][0] | {"published": ["p.csv"]}]}
    header, good = "task,variant,head,metric,value,std,source", "brca_subtype,dino,abmil,auc,0.8,,a paper"
    Path("p.csv").write_text(f"{header}\n{good}\n")
    check_published(load_experiment(config))
    assert caplog.messages == []
    Path("p.csv").write_text("\n".join([header, good, good.replace("dino", "dinoo")]) + "\n")
    check_published(load_experiment(config))
    assert caplog.messages == [
        "p.csv: the config has no variant 'dinoo' (line 3; did you mean 'dino'?); no table shows their figures"
    ]


def test_a_long_check_of_files_reports_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {}
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.svs").write_text(name)
        rows[name] = SheetRow(name, str(tmp_path / f"{name}.svs"), name, None, {})
    check_files("s.csv", rows)
    assert caplog.messages == []
    monkeypatch.setattr("slpd.inputs.PROGRESS_S", -1.0)
    check_files("s.csv", rows)
    assert caplog.messages == [f"s.csv: files looked at: {number} of 3" for number in (1, 2, 3)]
