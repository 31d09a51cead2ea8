"""What surrounds the code holds together: commit hooks, container recipes, citation, issue forms."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toy
import yaml

from slpd.versions import VERSION

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()


def content(path: str) -> Any:  # noqa: ANN401  # any YAML
    return yaml.safe_load((ROOT / path).read_text())


def test_commit_hooks_run_all_parts_of_make_check_and_nothing_else() -> None:
    (repo,) = content(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local", "a hook from elsewhere would need a network"
    (parts,) = re.findall(r"^check: (.+)$", MAKEFILE, re.MULTILINE)
    assert [hook["entry"] for hook in repo["hooks"]] == [f"make {part}" for part in parts.split()]
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}


def test_hooks_are_valid() -> None:
    command = [Path(sys.executable).parent / "prek", "validate-config", ".pre-commit-config.yaml"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("recipe", ["envs/Dockerfile", "envs/slpd.def"])
def test_container_recipes_take_what_is_there(recipe: str) -> None:
    text = (ROOT / recipe).read_text()
    copied = re.findall(r"^(?:COPY| {4}) ?([\w./]+) /opt/slpd", text, re.MULTILINE)
    assert {Path(path).parts[0] for path in copied} == {"Snakefile", "config", "envs", "slpd", "slurm", "workflow"}
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert "--require-hashes --requirement /opt/slpd/envs/requirements.lock" in text


def test_both_recipes_do_the_same() -> None:
    docker, apptainer = ((ROOT / f"envs/{name}").read_text() for name in ("Dockerfile", "slpd.def"))
    copied = [re.findall(r"^(?:COPY| {4}) ?([\w./]+) /opt/slpd", text, re.MULTILINE) for text in (docker, apptainer)]
    assert sorted(copied[0]) == sorted(copied[1])
    commands = re.findall(r"^(?:RUN| {4}&&) (.+?)(?: \\)?$", docker, re.MULTILINE)
    (post,) = re.findall(r"^%post\n(.*?)^%", apptainer, re.MULTILINE | re.DOTALL)
    assert commands == [line.strip() for line in post.splitlines() if line.strip() and "#" not in line]
    assert re.findall(r"^(?:FROM|From:) (.+)$", docker + apptainer, re.MULTILINE) == ["debian:bookworm-slim"] * 2


@pytest.mark.workflow
def test_jobs_run_in_the_image_only_when_asked(tmp_path: Path, make_slide: toy.MakeSlide) -> None:
    """With a command in Apptainer's place that writes down what it is asked and runs it here."""
    toy.make_toy(tmp_path, make_slide)
    runtime = tmp_path / "bin/apptainer"
    runtime.parent.mkdir()
    runtime.write_text(
        "#!/bin/bash\n"
        'if [ "$1" = --version ]; then echo apptainer version 1.3.0; exit; fi\n'
        f'echo "$@" >> {tmp_path}/asked\n'
        'while [ "$1" != -c ]; do shift; done\n'
        'exec bash -c "$2"\n'
    )
    runtime.chmod(0o755)
    mask = "results/toy/cohorts/toy/tissue/s0.png"
    env = toy.environment()
    env["PATH"] = f"{runtime.parent}:{env['PATH']}"
    words = [*toy.command("--rerun-triggers", "mtime", "params", "--until", "segment_tissue", "--quiet", "rules")]
    plain = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    assert not (tmp_path / "asked").exists()
    words += ["--sdm", "apptainer"]
    again = subprocess.run([*words, "-n"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert re.search(r"^total +0$", again.stdout, re.MULTILINE), again.stdout
    (tmp_path / mask).unlink()
    inside = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert inside.returncode == 0, inside.stderr
    assert f"{ROOT}/slpd.sif" in (tmp_path / "asked").read_text()
    assert "slpd segment_tissue" in (tmp_path / "asked").read_text()


def test_the_citation_names_paper_and_version() -> None:
    citation = content("CITATION.cff")
    assert (citation["version"], citation["license"]) == (VERSION, "Apache-2.0")
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Yu", "Lin", "Xu"]
    assert "2307.10696" in (ROOT / "README.md").read_text()
    assert paper["identifiers"][0]["value"] == "arXiv:2307.10696"


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_issue_forms_have_what_github_needs(form: str) -> None:
    content_of_form = content(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= content_of_form.keys()
    fields = [field for field in content_of_form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    assert all(field["type"] in ("textarea", "input") and field["attributes"]["label"] for field in fields)
    assert form != "bug" or {"doctor", "failure", "config"} <= set(ids)


def test_make_check_formats_what_make_format_does() -> None:
    """Every tool that formats is one that checks."""
    (formats,) = re.findall(r"^format:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    tools = {line.split()[0] for line in formats.splitlines()}
    assert tools == {"ruff", "snakefmt", "biome", "ryl", "rumdl", "shfmt"}
    checks = MAKEFILE[MAKEFILE.index("check-python:") :]
    assert [tool for tool in tools if not re.search(rf"^\t{tool} ", checks, re.MULTILINE)] == []
    assert all((Path(sys.executable).parent / tool).exists() for tool in tools), os.environ["PATH"]
