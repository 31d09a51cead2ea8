"""The workflow as a module of another one: whole, rule by rule, under other names, from a clone and from a host."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy

pytestmark = pytest.mark.workflow

PAGE = (toy.ROOT / "docs/import.md").read_text()
# The page's Snakefile, with its hooks and without.
SHOWN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0].replace("/path/to/slpd", str(toy.ROOT))
IMPORT, HOOKS = SHOWN.split("\n\n\nonstart:")
ALL = "use rule * from slpd"
PROFILE = toy.ROOT / "workflow/profiles/default"


@pytest.fixture
def importer(tmp_path: Path, make_slide: toy.MakeSlide) -> Path:
    """A folder with slides and the config of an importing workflow: no keys but those that differ."""
    return write_importer(tmp_path, make_slide)


@pytest.fixture(scope="module")
def finished(finished_toy: Path) -> Path:
    """A folder in which the workflow itself has run to the end; the page's has made again what follows training."""
    keep_config_as_importers_do(finished_toy)
    results = finished_toy / "results/toy"
    for folder in ("tasks", "tables", "report", "runs", "cohorts/toy/variants/slpd/encoder"):
        shutil.rmtree(results / folder)
    (results / "cohorts/toy/variants/slpd/bags.h5").unlink()
    (finished_toy / "until_here").touch()
    run = snakemake(finished_toy, SHOWN)
    assert run.returncode == 0, run.stdout + run.stderr
    return finished_toy


def write_importer(folder: Path, make_slide: toy.MakeSlide) -> Path:
    toy.make_toy(folder, make_slide)
    keep_config_as_importers_do(folder)
    return folder


def keep_config_as_importers_do(folder: Path) -> None:
    """Where the page's workflow looks for it."""
    (folder / "config").mkdir()
    (folder / "toy.yaml").rename(folder / "config/config.yaml")


def snakemake(folder: Path, text: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a workflow of that text, from the folder alone: the package is on no path that it was not put on."""
    (folder / "Snakefile").write_text(text)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", str(PROFILE), *arguments]
    environment = {**toy.environment(), "PYTHONPATH": "", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def planned(folder: Path, text: str, *arguments: str, **variables: str) -> dict[str, int]:
    """Rule -> number of jobs that a dry run plans."""
    run = snakemake(folder, text, "--dry-run", "--quiet", "rules", "--", *arguments, **variables)
    assert run.returncode == 0, run.stdout + run.stderr
    jobs = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in jobs if rule != "total"}


# ---- the whole workflow --------------------------------------------------------------------------------------------


def test_page_shows_an_import_of_three_statements() -> None:
    assert len(re.findall(r"^\S", IMPORT, re.MULTILINE)) == 3
    assert re.findall(r"^on\w+", f"onstart:{HOOKS}", re.MULTILINE) == ["onstart", "onsuccess", "onerror"]


def test_imported_workflow_runs_to_the_table(finished: Path) -> None:
    with open(finished / "results/toy/tables/toy.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 2  # variants, heads, metrics
    assert (finished / "results/toy/report/index.html").is_file()
    assert planned(finished, IMPORT) == {}


def test_imported_workflow_makes_only_what_is_gone(finished: Path) -> None:
    """What the workflow itself has made up to the trained encoder is taken as it is: every rule means the same."""
    logs, began = finished / "logs/toy", (finished / "until_here").stat().st_mtime
    written = {path.relative_to(logs).parts[0] for path in logs.rglob("*.log") if path.stat().st_mtime > began}
    assert written == {"embed_bags", "export_encoder", "split_folds", "evaluate", "make_table", "make_report"}


def test_hooks_that_are_passed_on_record_the_run(finished: Path) -> None:
    (path,) = (finished / "results/toy/runs").glob("*.json")
    record = json.loads(path.read_text())
    assert record["succeeded"]
    assert record["config"]["training"]["epochs"] == toy.TOY["training"]["epochs"]
    assert record["results"]["tables/toy.csv"]["stage"] == "make_table"


def test_results_are_those_of_the_workflow_itself(finished: Path) -> None:
    """Whoever stops importing, or renames rules, repeats nothing."""
    run = snakemake(finished, "", "-s", str(toy.ROOT / "Snakefile"), "--configfile", "config/config.yaml", "--dry-run")
    assert "Nothing to be done" in run.stdout + run.stderr
    assert planned(finished, IMPORT.replace(ALL, f"{ALL} as slpd_*")) == {}


def test_record_names_stages_whatever_the_rules_are_called(finished: Path) -> None:
    renamed = SHOWN.replace(ALL, f"{ALL} as slpd_*")
    folds = finished / "results/toy/tasks/dx/folds.csv"
    before = folds.read_bytes()
    folds.unlink()
    run = snakemake(finished, renamed, str(folds.relative_to(finished)))
    assert run.returncode == 0, run.stdout + run.stderr
    assert folds.read_bytes() == before
    newest = max((finished / "results/toy/runs").glob("*.json"))
    assert json.loads(newest.read_text())["results"]["tasks/dx/folds.csv"]["stage"] == "split_folds"


# ---- what is planned -----------------------------------------------------------------------------------------------


def test_import_plans_what_the_workflow_plans(importer: Path) -> None:
    """Three statements, a config of nothing but changes, and no hooks."""
    own = toy.snakemake(importer, "--dry-run", "--quiet", "rules", "--configfile", "config/config.yaml")
    assert own.returncode == 0, own.stderr
    expected = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", own.stdout + own.stderr, re.MULTILINE)}
    assert expected.pop("total") == sum(expected.values()) > 30
    assert planned(importer, IMPORT) == expected
    renamed = planned(importer, IMPORT.replace(ALL, f"{ALL} as slpd_*"))
    assert renamed == {f"slpd_{rule}": n for rule, n in expected.items()}
    root = planned(importer, IMPORT.replace("/workflow/Snakefile", "/Snakefile"))
    assert root == expected


def test_one_rule_alone(importer: Path) -> None:
    alone = IMPORT.replace(ALL, "use rule split_folds from slpd")
    manifest = importer / "results/toy/cohorts/toy/slides.csv"
    manifest.parent.mkdir(parents=True)
    for made in (manifest, manifest.with_name("used.txt")):
        made.write_text("what the importer made by rules of its own")
    assert planned(importer, alone, "results/toy/tasks/dx/folds.csv") == {"split_folds": 1}


def test_rules_of_the_importer_stay_as_they_are(importer: Path) -> None:
    """A prefix of shell commands would hold for them too: `exec`, which rules use, takes one command."""
    mine = """
rule mine:
    output:
        "mine.txt"
    shell:
        "cd . && echo mine > {output}"
"""
    run = snakemake(importer, IMPORT + mine, "mine.txt")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (importer / "mine.txt").read_text() == "mine\n"


def test_target_of_the_importer_in_place_of_all(importer: Path) -> None:
    own = IMPORT.replace(ALL, f"{ALL} exclude all as slpd_*")
    target = '\n\n\nrule all:\n    default_target: True\n    input:\n        "results/toy/cohorts/toy/check.txt"\n'
    assert planned(importer, own + target) == {
        **{"all": 1, "slpd_check_cohort": 1},
        **{"slpd_segment_tissue": 1, "slpd_tile_regions": 1},
    }


# ---- what cannot be imported ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ['prefix:\n        "elsewhere"', 'replace_prefix:\n        {"results/": "elsewhere/"}'])
def test_prefix_is_refused_in_a_line(importer: Path, key: str) -> None:
    run = snakemake(importer, IMPORT.replace("    config:\n", f"    {key}\n    config:\n"), "--dry-run")
    assert run.returncode != 0
    assert "error: a module's prefix would move sheets and slides too; remove it" in run.stderr
    assert "Traceback" not in run.stderr


def test_errors_in_the_importers_config_are_reported_in_one_line(importer: Path) -> None:
    with open(importer / "config/config.yaml", "a", encoding="utf-8") as file:
        file.write("epochs: 3\n")
    run = snakemake(importer, IMPORT, "--dry-run")
    assert run.returncode != 0
    assert "error: config.epochs: unknown key" in run.stderr
    assert "Traceback" not in run.stderr


def test_rules_from_a_host_need_the_package_installed(importer: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A repository without its package, as Snakemake sees one of which it fetches the rules."""
    host = tmp_path_factory.mktemp("host")
    for name in ("workflow", "config", "envs"):
        shutil.copytree(toy.ROOT / name, host / name)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "rules"], ["tag", "v1"]):
        subprocess.run([*git, *words], cwd=host, check=True)
    hosted = f'gitfile("{host}", path="workflow/Snakefile", tag="v1")'
    text = IMPORT.replace(f'"{toy.ROOT}/workflow/Snakefile"', hosted)
    assert hosted in text
    run = snakemake(importer, text, "--dry-run")
    assert run.returncode != 0
    assert "error: no package slpd; docs/import.md of its repository says how to install it" in run.stderr
    assert planned(importer, text, PYTHONPATH=str(toy.ROOT)) == planned(importer, IMPORT)
