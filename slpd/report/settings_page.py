"""The page of settings: the exact config, versions, and the commands that repeat the experiment."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from slpd.artifacts.runs.run_manifest import RunHead
from slpd.report.site import Site, columns
from slpd.report.summary_page import RUN_COLUMNS, machine, run_row
from slpd.settings.experiment import Experiment
from slpd.versions import RESULT_VERSIONS


@dataclass(frozen=True)
class Maker:
    """What made the report: code, packages, seeds and machine, as a run's manifest has them."""

    packages: Mapping[str, str]  # name -> version
    seeds: Mapping[str, int]  # key of the config -> seed
    git: Mapping[str, str]
    hardware: Mapping[str, Any]


def config_yaml(experiment: Experiment) -> str:
    """The whole config as YAML, after defaults and preset; it is a config itself."""
    head = f"# Experiment {experiment.experiment}: every setting, after defaults and preset.\n"
    return head + as_yaml(experiment.model_dump(mode="json"))


def write_settings(
    site: Site, experiment: Experiment, maker: Maker, runs: Sequence[RunHead], configfiles: Sequence[str]
) -> None:
    """Write the page; `configfiles` are those that the workflow was started with."""
    config, text = experiment.model_dump(mode="json"), config_yaml(experiment)
    context = {
        "sections": [(name, as_yaml(section).removesuffix("...\n")) for name, section in config.items()],
        "config_path": site.write_text("data/config.yaml", text),
        "n_lines": text.count("\n"),
        "columns": columns(["name", "version"]),
        "packages": [list(item) for item in maker.packages.items()],
        "versions": [[stage, str(version)] for stage, version in RESULT_VERSIONS.items()],
        "seed_columns": columns(["key"], ["seed"]),
        "seeds": [[key, str(seed)] for key, seed in maker.seeds.items()],
        "commit": maker.git.get("commit", ""),
        "changed_files": maker.git.get("changed_files", ""),
        "machine": machine(maker.hardware),
        "system": str(maker.hardware.get("system", "")),
        "run_columns": RUN_COLUMNS,
        "runs": [run_row(run) for run in runs],
        "commands": [shlex.join(run.command) for run in runs[-1:]],
        "repeat": repeat_commands(maker.git, configfiles),
    }
    site.write_page("settings.html", "settings.html.j2", context)


def as_yaml(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A part of the config as YAML."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


def repeat_commands(git: Mapping[str, str], configfiles: Sequence[str]) -> list[str]:
    """The commands that make the same results from the same slides."""
    commit = [f"git checkout {git['commit']}"] if git.get("commit") else []
    files = shlex.join(configfiles) if configfiles else "config/config.yaml"
    return [*commit, "make setup", "source .venv/bin/activate", f"snakemake --cores all --configfile {files}"]
