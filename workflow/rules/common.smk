"""What the rules share: the checked config, its sheets, paths, and the params that settings travel in."""

import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import yaml
from snakemake.utils import update_config

# Jobs and conda environments use the package next to the rules, wherever the workflow is started from. Rules that
# another workflow imports from a hosting service have none next to them: there it must be installed.
if (ROOT / "slpd").is_dir():
    sys.path.insert(0, str(ROOT))
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    if workflow.deployment_settings.deployment_method:  # conda's environments are entered without the variable
        shell.prefix(f"export PYTHONPATH={shlex.quote(os.environ.get('PYTHONPATH'))}; ")
elif not importlib.util.find_spec("slpd"):
    sys.exit("error: no package slpd; docs/import.md of its repository says how to install it")

# Jobs call `python`; unless conda environments provide it, it must be the one that has the packages.
python = Path(shutil.which("python") or "python")
if (
    not workflow.deployment_settings.deployment_method
    and python.parent.resolve() != Path(sys.executable).parent.resolve()
):
    sys.exit(f"error: jobs would run {python}, not {sys.executable}; first: source {ROOT}/.venv/bin/activate")

from slpd.artifacts.slides.sheet import labels_digest, starts_from_tokens
from slpd.artifacts.outside.split_files import split_files
from slpd.artifacts.outside.vector_files import vector_files
from slpd.slide_batches import batches_of, files_gone
from slpd.cohort_check import CohortPlan
from slpd.errors import UserError
from slpd.inputs import check_inputs, read_sheets
from slpd.layout import OF_OTHER, SLIDE_FILES, Layout, logs_of, results_of
from slpd.report.sources import comparison_files, report_files, without_vectors
from slpd.settings.load import load_experiment, refuse_repeated_keys
from slpd.settings.recipe import Recipe, VectorRecipe
from slpd.versions import RESULT_VERSIONS


def whole_config():
    """The config; an importer's, which Snakemake uses as it is, is laid over the defaults."""
    if workflow.modifier.is_main_snakefile():
        return config
    defaults = yaml.safe_load(Path(workflow.source_path("../../config/config.yaml")).read_text())
    update_config(defaults, config)
    return defaults


try:
    refuse_repeated_keys(map(Path, workflow.configfiles))
    EXPERIMENT = load_experiment(whole_config())
    # Cohort -> slide -> row of its sheet. Jobs of a cluster parse the workflow too. They do not repeat the checks of the
    # head process: thousands of files on a network file system.
    SHEETS = check_inputs(EXPERIMENT) if workflow.is_main_process else read_sheets(EXPERIMENT)
except UserError as error:
    sys.exit(f"error: {error}")  # one line, without a traceback through the workflow

STARTED = time.time()
BATCHES = {cohort: batches_of(sheet) for cohort, sheet in SHEETS.items()}
COHORTS = {cohort.name: cohort for cohort in EXPERIMENT.cohorts}
VARIANTS = {variant.name: variant for variant in EXPERIMENT.every_variant}
TASKS = {task.name: task for task in EXPERIMENT.tasks}
HEADS = {head.name: head for head in EXPERIMENT.heads}
PREDICTIONS = {wanted.name: wanted for wanted in EXPERIMENT.predictions}
TABLES = {table.name: table for table in EXPERIMENT.tables}

LAYOUT = Layout(results_of(EXPERIMENT.experiment))
# Patterns, for f-strings in rules.
RESULTS, BENCHMARKS = LAYOUT.results, LAYOUT.benchmarks
COHORT, MANIFEST, USED = LAYOUT.cohort(), LAYOUT.manifest(), LAYOUT.used()
WARMUP, VARIANT = LAYOUT.warmup(), LAYOUT.variant()
BAGS, TASK, EVALUATION = str(LAYOUT.bags()), LAYOUT.task(), LAYOUT.evaluation()
LOGS = logs_of(EXPERIMENT.experiment)
LIVE = LOGS / "training"

moved = workflow.modifier.path_modifier.replace_prefix
if any(moved(f"{path}/") != f"{path}/" for path in ("any", RESULTS, LOGS)):
    sys.exit(
        "error: a module's prefix would move sheets and slides too; remove it: `experiment` names the results' folder"
    )


def one_of(names):
    """The pattern of a wildcard with one of some names; without names it matches nothing."""
    return "|".join(map(re.escape, names)) or "none"


wildcard_constraints:
    cohort=one_of(COHORTS),
    variant=one_of(VARIANTS),
    task=one_of(TASKS),
    head=one_of(HEADS),
    table=one_of(TABLES),
    prediction=one_of(PREDICTIONS),
    trained_on=f"({one_of(map(OF_OTHER.__add__, COHORTS))})?",  # the cohort of the encoder, where it is another
    batch=r"\d+",
    start=f"({one_of(filter(None, EXPERIMENT.starts))})?",  # end of the name of a warm-up
    iteration=r"\d\d\d+",
    at=r"(/iterations/\d\d\d+)?",  # of an iteration that begins, or nothing: of the trained encoder


def stage_of(rule):
    """The stage of a job, by its log folder, since importers may rename rules; empty: not one of ours."""
    log = Path(rule.log[0]) if rule.log else Path()
    return log.relative_to(LOGS).parts[0] if log.is_relative_to(LOGS) else ""


def record_this_run(log, succeeded):
    """Write the manifest of this run, with the rule of every file that Snakemake knows; `log` as hooks have it."""
    from slpd.run_record import record_run  # when a run ends; parsing stays light

    stages = {
        str(Path(path).relative_to(RESULTS)): stage_of(job)
        for job in workflow.dag.jobs
        for path in job.output
        if Path(path).is_relative_to(RESULTS)
    }
    record_run(EXPERIMENT, SHEETS, RESULTS, stages, STARTED, Path(log[0]), succeeded)


def settings(section):
    """A section of the config as the JSON param of a rule."""
    return getattr(EXPERIMENT, section).model_dump_json()


def without_effect(section):
    """A section that changes no result: as a function of `input`, a param is no reason to run again."""
    return lambda wildcards, input: settings(section)


def files_of(*inputs):
    """A param that changes with the set of files that input functions give.

    Snakemake's own trigger for it is off: it would also run training again whose jobs are cut another way. So whatever
    can read fewer, more or other files, none of them newer, has this param; `make why` names the files.
    """

    def param(wildcards):
        given = [paths(wildcards) for paths in inputs]
        every = sorted({str(path) for paths in given for path in ([paths] if isinstance(paths, str) else paths)})
        return f"{len(every)} files, digest {hashlib.sha256(json.dumps(every).encode()).hexdigest()[:12]}"

    return param


def result_version(stage):
    """The stage's entry in slpd/versions.py."""
    return RESULT_VERSIONS[stage]


def regions_of(wildcards):
    """The grid of regions of a cohort."""
    return EXPERIMENT.regions_of(COHORTS[wildcards.cohort])


def recipe_of(wildcards):
    """All settings that shaped a variant's region encoder on a cohort."""
    return Recipe.of(EXPERIMENT, COHORTS[wildcards.cohort], VARIANTS[wildcards.variant])


def of_recipe(section):
    """A param: a section as the training of the variant has it; nothing where its objective does not need it."""
    return lambda wildcards: as_json(getattr(recipe_of(wildcards), section))


def as_json(section):
    """A section as a param; of None nothing."""
    return section.model_dump_json() if section else []


def trained_as(pattern, cohort, variant):
    """A file of the variant under whose name a variant's training is done: variants trained alike share it."""
    return expand(pattern, cohort=cohort, variant=EXPERIMENT.trained_as(cohort, VARIANTS[variant]).name)


def on_cohorts(variants_on):
    """Cohort and variant of all variants that a method of the experiment gives, cohort by cohort."""
    return [(cohort, variant.name) for cohort in COHORTS for variant in variants_on(cohort)]


def given_configfiles(wildcards, input):
    """Files of the command line, to repeat it: without the defaults, which would win where they are named last."""
    given = [Path(file).resolve() for file in workflow.configfiles]
    here, defaults = Path.cwd(), (ROOT / "config/config.yaml").resolve()
    return [file.relative_to(here) if file.is_relative_to(here) else file for file in given if file != defaults]


def gpus_per_job(wildcards, input):
    """Stage -> GPUs that a job of it asks for, as JSON: the report counts GPU-hours by it."""
    asked = {stage_of(rule): rule.resources["gpu"].raw for rule in workflow.rules if "gpu" in rule.resources}
    return json.dumps({stage: int(gpus) for stage, gpus in asked.items() if stage and str(gpus).isdigit()})
