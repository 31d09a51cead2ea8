"""The page of settings: the exact config, versions, and the commands that repeat the experiment."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from slpd.artifacts.run_manifest import RunManifest
from slpd.report.summary import RUN_COLUMNS, machine, run_row
from slpd.settings.experiment import Experiment


@dataclass(frozen=True)
class Maker:
    """What made the report: code, packages and machine, as a run's manifest has them."""

    packages: Mapping[str, str]  # name -> version
    git: Mapping[str, str]
    hardware: Mapping[str, Any]


def config_text(experiment: Experiment) -> str:
    """The whole config as YAML, after defaults and preset; it is a config itself."""
    head = f"# Experiment {experiment.experiment}: every setting, after defaults and preset.\n"
    return head + str(
        yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    )


def settings_context(
    experiment: Experiment,
    versions: Mapping[str, int],
    maker: Maker,
    seeds: Mapping[str, int],
    runs: Sequence[RunManifest],
    configfiles: Sequence[str],
    config_path: str,
) -> dict[str, Any]:
    """What the page shows.

    Args:
        experiment: The config.
        versions: Stage -> result version.
        maker: What made the report.
        seeds: Key -> seed.
        runs: Manifests of earlier runs, in order.
        configfiles: What the workflow was started with.
        config_path: Of the config in the report.
    """
    text = config_text(experiment)
    sections = [(name, section_text(value)) for name, value in experiment.model_dump(mode="json").items()]
    columns = [{"title": "name", "kind": "text"}, {"title": "version", "kind": "text"}]
    return {
        "sections": sections,
        "config_path": config_path,
        "n_lines": text.count("\n"),
        "columns": columns,
        "packages": [list(item) for item in maker.packages.items()],
        "versions": [[stage, str(version)] for stage, version in versions.items()],
        "seeds": [[key, str(seed)] for key, seed in seeds.items()],
        "commit": maker.git.get("commit", ""),
        "changed_files": maker.git.get("changed_files", ""),
        "machine": machine(maker.hardware),
        "system": str(maker.hardware.get("system", "")),
        "run_columns": RUN_COLUMNS,
        "runs": [run_row(run) for run in runs],
        "commands": [shlex.join(run.command) for run in runs[-1:]],
        "repeat": repeat_commands(maker.git, configfiles),
    }


def section_text(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A section as YAML."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)).removesuffix("...\n")


def repeat_commands(git: Mapping[str, str], configfiles: Sequence[str]) -> list[str]:
    """The commands that make the same results from the same slides."""
    commit = [f"git checkout {git['commit']}"] if git.get("commit") else []
    files = shlex.join(configfiles) if configfiles else "config/config.yaml"
    return [*commit, "make setup", "source .venv/bin/activate", f"snakemake --cores all --configfile {files}"]
