"""The JSON schema of config files: editors and the workflow agree on what is a valid file."""

import copy
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import toy
import yaml
from snakemake.utils import update_config

from slpd.__main__ import run
from slpd.errors import UserError
from slpd.settings.load import load_experiment

ROOT = Path(__file__).parents[1]
PAPER = yaml.safe_load((ROOT / "config/config.yaml").read_text())
EXPERIMENTS = ["config", "demo", "trial", "trial_slides"]
Edit = Callable[[dict[str, Any]], object]


def faults(config: dict[str, Any]) -> list[str]:
    """Where the committed schema finds fault with a config file."""
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / "config/schema.json").read_text()))
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(config)]


def test_the_committed_schema_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    run("schema", [])
    assert (ROOT / "config/schema.json").read_text() == capsys.readouterr().out, "make reruns writes it"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads((ROOT / "config/schema.json").read_text()))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shipped_configs_are_valid_and_name_the_schema(name: str) -> None:
    path = ROOT / f"config/{name}.yaml"
    text = path.read_text()
    assert faults(yaml.safe_load(text)) == []
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, re.MULTILINE)
    assert Path(os.path.normpath(path.parent / schema)) == ROOT / "config/schema.json"


def test_the_toy_config_is_valid() -> None:
    assert faults(toy.TOY) == []


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda c: c.update(trainig={}), ""),
        (lambda c: c["training"].update(epoch=3), "training"),
        (lambda c: c["training"].update(epochs=-1), "training.epochs"),
        (lambda c: c["regions"].update(mpp="half"), "regions.mpp"),
        (lambda c: c["slide_graph"].update(correspondence="best"), "slide_graph.correspondence"),
        (lambda c: c["slide_graph"].update(correspondence={"paper": "matching"}), "slide_graph.correspondence"),
        (lambda c: c["variants"][0].pop("name"), "variants.0"),
        (lambda c: c["variants"][0].update(prototypes={"n_prototype": 3}), "variants.0.prototypes"),
        (lambda c: c["cohorts"][0].update(prototypes={"n_prototypes": 0}), "cohorts.0.prototypes.n_prototypes"),
        (lambda c: c["head_presets"]["modern"].update(epochs=0), "head_presets.modern.epochs"),
        (lambda c: c["heads"][0].update(kind="transformer"), "heads.0"),
    ],
)
def test_schema_and_workflow_refuse_the_same(edit: Edit, where: str) -> None:
    config = copy.deepcopy(PAPER)
    edit(config)
    assert faults(config) == [where]
    with pytest.raises(UserError):
        load_experiment(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"epochs": 30, "dino_epochs": 5}},
        {"head_presets": {"modern": {"learning_rate": 1e-3}}},
        {"prototypes": {"n_prototypes": {"paper": 4, "released": 2}}},
        {"variants": [{"name": "slpd", "slide_graph": {"correspondence": "nearest"}}], "tasks": [], "tables": []},
        {"patch_encoder": {"checkpoint": None, "sha256": None}},
    ],
)
def test_schema_and_workflow_take_a_file_of_what_differs(changes: dict[str, Any]) -> None:
    config = copy.deepcopy(PAPER)
    update_config(config, copy.deepcopy(changes))
    assert faults(changes) == []
    load_experiment(config)


def test_every_key_says_what_it_is() -> None:
    schema = json.loads((ROOT / "config/schema.json").read_text())
    assert schema["$defs"]["Training"]["properties"]["epochs"]["description"]
    assert schema["$defs"]["Tissue"]["properties"]["mpp"]["anyOf"][0] == {"type": "number", "minimum": 2, "maximum": 32}
