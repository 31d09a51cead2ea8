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

from slpd.artifacts.sheet import labels_digest, starts_from_tokens
from slpd.artifacts.split_files import split_files
from slpd.batches import batches_of
from slpd.cohort_check import CohortPlan
from slpd.errors import UserError
from slpd.inputs import check_inputs, read_sheets
from slpd.layout import Layout, logs_of, results_of
from slpd.report.sources import report_files
from slpd.settings.experiment import load_experiment
from slpd.settings.recipe import Recipe
from slpd.slurm.head import forget_head, record_head
from slpd.versions import RESULT_VERSIONS


def whole_config():
    """The config; an importer's, which Snakemake uses as it is, is laid over the defaults."""
    if workflow.modifier.is_main_snakefile():
        return config
    defaults = yaml.safe_load(Path(workflow.source_path("../../config/config.yaml")).read_text())
    update_config(defaults, config)
    return defaults


try:
    EXPERIMENT = load_experiment(whole_config())
    # Cohort -> slide -> row of its sheet. Jobs of a cluster parse the workflow too. They do not repeat the checks of the
    # head process: thousands of files on a network file system.
    SHEETS = check_inputs(EXPERIMENT) if workflow.is_main_process else read_sheets(EXPERIMENT)
except UserError as error:
    sys.exit(f"error: {error}")  # one line, without a traceback through the workflow

STARTED = time.time()
BATCHES = {cohort: batches_of(sheet) for cohort, sheet in SHEETS.items()}
COHORTS = {cohort.name: cohort for cohort in EXPERIMENT.cohorts}
VARIANTS = {variant.name: variant for variant in EXPERIMENT.variants}
TASKS = {task.name: task for task in EXPERIMENT.tasks}
HEADS = {head.name: head for head in EXPERIMENT.heads}
TABLES = {table.name: table for table in EXPERIMENT.tables}

LAYOUT = Layout(results_of(EXPERIMENT.experiment))
# Patterns, for f-strings in rules.
RESULTS, BENCHMARKS = LAYOUT.results, LAYOUT.benchmarks
COHORT, MANIFEST, WARMUP, VARIANT = LAYOUT.cohort(), LAYOUT.manifest(), LAYOUT.warmup(), LAYOUT.variant()
TASK, EVALUATION = LAYOUT.task(), LAYOUT.evaluation()
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
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    batch=r"\d+",
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


def sheet_row(wildcards):
    """The line of the cohort's sheet that describes the slide."""
    return SHEETS[wildcards.cohort][wildcards.slide]


def slide_file(wildcards):
    """The file of a slide; known by its size."""
    return ancient(sheet_row(wildcards).path)


def given_mask(wildcards):
    """The mask that the sheet has of a slide."""
    return sheet_row(wildcards).mask or []


def slides_of(wildcards):
    """The slides of a batch."""
    return BATCHES[wildcards.cohort][int(wildcards.batch)]


def slide_files(wildcards):
    """The files of a batch's slides."""
    return ancient([SHEETS[wildcards.cohort][slide].path for slide in slides_of(wildcards)])


def of_batch(pattern):
    """An input function: `pattern` for every slide of the batch."""
    return lambda wildcards: expand(pattern, cohort=wildcards.cohort, slide=slides_of(wildcards))


def of_slides(pattern):
    """An input function: `pattern` for every slide of the cohort."""
    return lambda wildcards: expand(pattern, cohort=wildcards.cohort, slide=SHEETS[wildcards.cohort])


def from_tokens(cohort):
    """Whether the cohort's sheet leads to token files instead of slides."""
    return starts_from_tokens(SHEETS[cohort].values())


def token_records(wildcards):
    """The final records of all slides of a cohort, from the rule that writes their tokens."""
    if from_tokens(wildcards.cohort):
        return expand(f"{COHORT}/tokens/imported.json", cohort=wildcards.cohort)
    return expand(f"{COHORT}/tokens/batch_{{batch}}.json", cohort=wildcards.cohort, batch=BATCHES[wildcards.cohort])


def plan_of(wildcards, input):
    """What a cohort needs before GPU time is spent on it."""
    return CohortPlan.of(EXPERIMENT, COHORTS[wildcards.cohort]).model_dump_json()


def recipe_of(wildcards):
    """All settings that shaped a variant's region encoder on a cohort."""
    return Recipe.of(EXPERIMENT, COHORTS[wildcards.cohort], VARIANTS[wildcards.variant])


def of_recipe(section):
    """A param: a section as the training of the variant has it; nothing where its objective does not need it."""

    def param(wildcards):
        found = getattr(recipe_of(wildcards), section)
        return found.model_dump_json() if found else []

    return param


def prototypes_of(wildcards):
    """The `prototypes` section as the cohort and the variant change it."""
    return EXPERIMENT.prototypes_of(COHORTS[wildcards.cohort], VARIANTS[wildcards.variant]).model_dump_json()


def slide_graph_of(wildcards):
    """The `slide_graph` section as the variant changes it."""
    return EXPERIMENT.slide_graph_of(VARIANTS[wildcards.variant]).model_dump_json()


def first_iteration(wildcards):
    """Where the block of iterations begins that ends with `iteration`."""
    return EXPERIMENT.first_of_block(int(wildcards.iteration))


def embeddings_after(wildcards, iterations):
    """The embeddings of a variant's encoder after so many iterations: at first those of the warm-up."""
    after = LAYOUT.embeddings_after(wildcards.cohort, wildcards.variant, iterations)
    return str(after if iterations else LAYOUT.warmup(wildcards.cohort) / "embeddings.h5")


def embeddings_at(wildcards):
    """The embeddings that prototypes are made of: those that an iteration begins with, or of the trained encoder."""
    return embeddings_after(wildcards, int(Path(wildcards.at).name)) if wildcards.at else f"{VARIANT}/embeddings.h5"


def first_of(name, needed):
    """An input function: a file that a block of iterations begins with, where the objective needs it."""

    def path(wildcards):
        folder = LAYOUT.iteration(wildcards.cohort, wildcards.variant, first_iteration(wildcards))
        return str(folder / name) if needed(recipe_of(wildcards).objective) else []

    return path


def block_before(wildcards):
    """What a block of plain DINO waits for: the block before. Other blocks wait for it by their prototypes."""
    first = first_iteration(wildcards)
    waits = first and not recipe_of(wildcards).objective.needs_prototypes
    return embeddings_after(wildcards, first) if waits else []


def last_embeddings(wildcards):
    """The embeddings after the last iteration."""
    return embeddings_after(wildcards, recipe_of(wildcards).training.n_iterations)


def block_of(wildcards):
    """The group of jobs that make a block of iterations, or prototypes and graph of the trained encoder."""
    if "iteration" in wildcards.keys():
        place = f"{first_iteration(wildcards):03d}"
    else:
        place = Path(wildcards.at).name or "trained"
    return f"{wildcards.cohort}_{wildcards.variant}_{place}"


def trained_as(pattern, cohort, variant):
    """A file of the variant under whose name a variant's training is done: variants trained alike share it."""
    return expand(pattern, cohort=cohort, variant=EXPERIMENT.trained_as(cohort, VARIANTS[variant]).name)


def encoder_weights(wildcards):
    """The region encoder of a variant: a given one, its last teacher, or that of another cohort's variant."""
    variant = VARIANTS[wildcards.variant]
    if variant.pretrained:
        return ancient(variant.pretrained.checkpoint)  # known by its hash
    of = variant.encoder_of or wildcards
    return trained_as(f"{VARIANT}/teacher.safetensors", of.cohort, of.variant)


def encoder_section(wildcards):
    """The `region_encoder` section where a variant's weights may not state their architecture."""
    return settings("region_encoder") if VARIANTS[wildcards.variant].pretrained else []


def encoder_sha256(wildcards):
    """The hash of a variant's weights, where they come from elsewhere."""
    pretrained = VARIANTS[wildcards.variant].pretrained
    return pretrained.sha256 if pretrained else []


def tested_bags(wildcards):
    """The region vectors of a variant."""
    return trained_as(f"{VARIANT}/bags.h5", TASKS[wildcards.task].cohort, wildcards.variant)


def task_sheet(wildcards):
    """The sheet with a task's labels."""
    return COHORTS[TASKS[wildcards.task].cohort].sheet


def imported_splits(wildcards):
    """The files of imported folds."""
    folds = TASKS[wildcards.task].folds
    return list(map(str, split_files(Path(folds.folder)))) if folds.kind == "imported" else []


def head_preset(wildcards):
    """How a head is trained, if it is trained in steps."""
    preset = EXPERIMENT.preset_of(HEADS[wildcards.head])
    return preset.model_dump_json() if preset else []


def evaluations_of(file):
    """An input function: a file of every evaluation that a table shows and that can be made."""
    return lambda wildcards: [
        f"{LAYOUT.evaluation(*names)}/{file}" for names in EXPERIMENT.evaluations_of(TABLES[wildcards.table])
    ]


def of_tasks(pattern):
    """An input function: `pattern` for every task of a table."""
    return lambda wildcards: [
        path for task in TABLES[wildcards.table].tasks for path in expand(pattern, task=task, cohort=TASKS[task].cohort)
    ]


def of_trained(pattern, variants_on):
    """The file of every variant that a method of the experiment gives for each cohort."""
    return [
        path
        for cohort in COHORTS
        for path in expand(pattern, cohort=cohort, variant=[variant.name for variant in variants_on(cohort)])
    ]


def every_table(wildcards):
    """All tables, in every format."""
    return expand(list(rules.make_table.output), table=TABLES)


def report_inputs(wildcards):
    """All that the report shows."""
    return [*map(str, report_files(EXPERIMENT, SHEETS, LAYOUT)), *every_table(wildcards)]


def given_configfiles(wildcards, input):
    """Config files of the command line, to repeat it, without the defaults, which would override them if named last."""
    defaults = ROOT / "config/config.yaml"
    given = [Path(file).resolve() for file in workflow.configfiles]
    here = Path.cwd()
    return [
        file.relative_to(here) if file.is_relative_to(here) else file for file in given if file != defaults.resolve()
    ]


def gpus_per_job(wildcards, input):
    """Stage -> GPUs that a job of it asks for, as JSON: the report counts GPU-hours by it."""
    asked = {stage_of(rule): rule.resources["gpu"].raw for rule in workflow.rules if "gpu" in rule.resources}
    return json.dumps({stage: int(gpus) for stage, gpus in asked.items() if stage and str(gpus).isdigit()})
