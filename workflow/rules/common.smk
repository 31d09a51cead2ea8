"""What the rules share: the checked config, its sheets, paths, and the params that settings travel in."""

import hashlib
import json
import shlex
import shutil
import sys
import time
from pathlib import Path

# The package beside the Snakefile serves, wherever the workflow is started from and in conda environments.
sys.path.insert(0, workflow.basedir)
# exec: the shell between Snakemake and the stage would die of a SIGTERM and leave the stage behind.
shell.prefix(f"export PYTHONPATH={shlex.quote(workflow.basedir)}; exec ")

# Jobs call `python`; unless conda environments provide it, it must be the one that has the packages.
python = Path(shutil.which("python") or "python")
if (
    not workflow.deployment_settings.deployment_method
    and python.parent.resolve() != Path(sys.executable).parent.resolve()
):
    sys.exit(
        f"error: jobs would run {python}, not {sys.executable}; first: source {workflow.basedir}/.venv/bin/activate"
    )

from slpd.artifacts.slide_files import n_bytes_of
from slpd.batches import batches_of
from slpd.cohort_check import CohortPlan
from slpd.errors import UserError
from slpd.inputs import check_inputs, read_sheets
from slpd.settings.experiment import load_experiment
from slpd.settings.recipe import Recipe
from slpd.slurm.head import forget_head, record_head
from slpd.versions import RESULT_VERSIONS

try:
    EXPERIMENT = load_experiment(config)
    # Cohort -> slide -> row of its sheet. Jobs of a cluster parse the workflow too: what the head process has checked,
    # thousands of files on a network file system, they do not check again.
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

RESULTS = f"results/{EXPERIMENT.experiment}"
COHORT = f"{RESULTS}/cohorts/{{cohort}}"
WARMUP = f"{COHORT}/warmup"
VARIANT = f"{COHORT}/variants/{{variant}}"
TASK = f"{RESULTS}/tasks/{{task}}"
LOGS = f"logs/{EXPERIMENT.experiment}"
LIVE = f"{LOGS}/training"
BENCHMARKS = f"{RESULTS}/benchmarks"


def one_of(names):
    """The pattern of a wildcard that takes one of some names; of none it takes nothing."""
    return "|".join(map(re.escape, names)) or "none"


wildcard_constraints:
    cohort=one_of(COHORTS),
    variant=one_of(VARIANTS),
    task=one_of(TASKS),
    head=one_of(HEADS),
    table=one_of(TABLES),
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    batch=r"\d+",


def record_this_run(log, succeeded):
    """Write the manifest of this run, with the rule of every file that Snakemake knows; `log` as hooks have it."""
    from slpd.run_record import record_run  # when a run ends; parsing stays light

    stages = {
        str(Path(path).relative_to(RESULTS)): job.rule.name
        for job in workflow.dag.jobs
        for path in job.output
        if Path(path).is_relative_to(RESULTS)
    }
    record_run(EXPERIMENT, SHEETS, Path(RESULTS), stages, STARTED, Path(log[0]), succeeded)


def settings(section):
    """A section of the config as the JSON param of a rule."""
    return getattr(EXPERIMENT, section).model_dump_json()


def without_effect(section):
    """A section that changes no result: as a function of `input`, a param is no reason to run again."""
    return lambda wildcards, input: settings(section)


def result_version(stage):
    """The stage's entry in slpd/versions.py."""
    return RESULT_VERSIONS[stage]


def sheet_row(wildcards):
    """The line of the cohort's sheet that describes the slide."""
    return SHEETS[wildcards.cohort][wildcards.slide]


def n_bytes(row):
    """The size of a slide, by which a replaced one is told from one that was merely copied or touched."""
    return n_bytes_of(Path(row.path))


def labels_digest(cohort):
    """A digest of what the sheet says of slides beside their files, whatever the order of its lines and columns."""
    lines = sorted((row.slide, row.patient, sorted(row.labels.items())) for row in SHEETS[cohort].values())
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def slides_of(wildcards):
    """The slides of a batch."""
    return BATCHES[wildcards.cohort][int(wildcards.batch)]


def of_batch(pattern):
    """An input function: `pattern` for every slide of the batch."""
    return lambda wildcards: expand(pattern, cohort=wildcards.cohort, slide=slides_of(wildcards))


def of_slides(pattern):
    """An input function: `pattern` for every slide of the cohort."""
    return lambda wildcards: expand(pattern, cohort=wildcards.cohort, slide=SHEETS[wildcards.cohort])


def starts_from_tokens(cohort):
    """Whether the cohort's sheet leads to token files instead of slides."""
    return any(row.holds_tokens for row in SHEETS[cohort].values())


def token_records(wildcards):
    """The final records of all slides of a cohort, from the rule that writes their tokens."""
    if starts_from_tokens(wildcards.cohort):
        return expand(f"{COHORT}/tokens/imported.json", cohort=wildcards.cohort)
    return expand(f"{COHORT}/tokens/batch_{{batch}}.json", cohort=wildcards.cohort, batch=BATCHES[wildcards.cohort])


def heads_on(task):
    """The heads that some table evaluates on the task."""
    names = {head for table in TABLES.values() if task in table.tasks for head in table.heads}
    return [head for head in HEADS.values() if head.name in names]


def trained_variants(cohort):
    """The variants whose region encoder is trained on a cohort."""
    return [variant.name for variant in EXPERIMENT.trained_on(cohort)]


def evaluations_of(pattern):
    """An input function: `pattern` for every evaluation that a table shows and that can be made."""

    def paths(wildcards):
        table = TABLES[wildcards.table]
        variants = [variant for variant in table.variants if not VARIANTS[variant].why_unavailable]
        return expand(pattern, task=table.tasks, variant=variants, head=table.heads)

    return paths


def why_unavailable(wildcards):
    """Variant -> why a table cannot have figures of it, as JSON."""
    variants = [VARIANTS[variant] for variant in TABLES[wildcards.table].variants]
    return json.dumps({variant.name: variant.why_unavailable for variant in variants if variant.why_unavailable})


def head_preset(wildcards):
    """How a head is trained, if it is trained in steps."""
    preset = EXPERIMENT.preset_of(HEADS[wildcards.head])
    return preset.model_dump_json() if preset else []


def cohort_of(task):
    """The cohort of a task."""
    return TASKS[task].cohort


def plan_of(cohort):
    """What a cohort must have before GPU time is spent on it, as the JSON param of check_cohort."""
    return CohortPlan(
        cohort=cohort,
        max_failed_fraction=EXPERIMENT.manifest.max_failed_fraction,
        batch_size=EXPERIMENT.training.batch_size if trained_variants(cohort) else 0,
        min_regions={
            variant: EXPERIMENT.prototypes_of(COHORTS[cohort], VARIANTS[variant]).min_regions
            for variant in trained_variants(cohort)
            if has_slide_prototypes(cohort, variant)
        },
        linked=[variant for variant in trained_variants(cohort) if EXPERIMENT.objective_of(VARIANTS[variant]).inter],
        tasks=[task for task in TASKS.values() if task.cohort == cohort],
        heads={task.name: heads_on(task.name) for task in TASKS.values() if task.cohort == cohort},
    ).model_dump_json()


def uses_prototypes(variant):
    """Whether the objective of a variant has prototype terms."""
    objective = EXPERIMENT.objective_of(VARIANTS[variant])
    return bool(objective.intra or objective.inter)


def has_slide_prototypes(cohort, variant):
    """Whether a variant trains with prototypes of each slide."""
    return EXPERIMENT.has_slide_prototypes(cohort, VARIANTS[variant])


def prototypes_of(wildcards):
    """The `prototypes` section as the cohort and the variant change it."""
    return EXPERIMENT.prototypes_of(COHORTS[wildcards.cohort], VARIANTS[wildcards.variant]).model_dump_json()


def slide_graph_of(wildcards):
    """The `slide_graph` section as the variant changes it."""
    return EXPERIMENT.slide_graph_of(VARIANTS[wildcards.variant]).model_dump_json()


def objective_of(wildcards):
    """The `objective` section as the variant changes it."""
    return EXPERIMENT.objective_of(VARIANTS[wildcards.variant]).model_dump_json()


def training_of(wildcards):
    """The `training` section as the variant changes it."""
    return EXPERIMENT.training_of(VARIANTS[wildcards.variant]).model_dump_json()


def trained_prototypes(wildcards):
    """The `prototypes` section of a variant whose objective has prototype terms."""
    return prototypes_of(wildcards) if uses_prototypes(wildcards.variant) else []


def trained_slide_graph(wildcards):
    """The `slide_graph` section of a variant whose objective has the inter-slide term."""
    return slide_graph_of(wildcards) if EXPERIMENT.objective_of(VARIANTS[wildcards.variant]).inter else []


def trained_names(cohort, variant):
    """Cohort and variant under whose names a variant's region vectors are made: variants trained alike share them."""
    return {"cohort": cohort, "variant": EXPERIMENT.trained_as(cohort, VARIANTS[variant]).name}


def tested_bags(wildcards):
    """The region vectors that a variant is tested by."""
    return expand(f"{VARIANT}/bags.h5", **trained_names(cohort_of(wildcards.task), wildcards.variant))


def encoder_weights(wildcards):
    """The region encoder of a variant: what it is given, its last teacher, or that of another cohort's variant."""
    variant = VARIANTS[wildcards.variant]
    if variant.pretrained:
        return ancient(variant.pretrained.checkpoint)  # known by its hash
    trained = trained_names(**variant.encoder_of.model_dump()) if variant.encoder_of else wildcards
    return expand(f"{VARIANT}/teacher.safetensors", **trained)


def encoder_section(wildcards):
    """The `region_encoder` section where a variant's weights may not say their architecture."""
    return settings("region_encoder") if VARIANTS[wildcards.variant].pretrained else []


def encoder_sha256(wildcards):
    """The hash of a variant's weights, where they come from elsewhere."""
    pretrained = VARIANTS[wildcards.variant].pretrained
    return pretrained.sha256 if pretrained else []


def recipe_of(wildcards):
    """All settings that shaped a variant's region encoder on a cohort."""
    cohort, variant = COHORTS[wildcards.cohort], VARIANTS[wildcards.variant]
    objective = EXPERIMENT.objective_of(variant)
    return Recipe(
        experiment=EXPERIMENT.experiment,
        cohort=cohort.name,
        variant=variant.name,
        tissue=EXPERIMENT.tissue,
        regions=EXPERIMENT.regions,
        reading=EXPERIMENT.reading,
        min_sharpness=EXPERIMENT.manifest.min_sharpness,
        patch_encoder=EXPERIMENT.patch_encoder,
        region_encoder=EXPERIMENT.region_encoder,
        training=EXPERIMENT.training_of(variant),
        objective=objective,
        prototypes=EXPERIMENT.prototypes_of(cohort, variant) if uses_prototypes(variant.name) else None,
        slide_graph=EXPERIMENT.slide_graph_of(variant) if objective.inter else None,
    ).model_dump_json()


def split_files(wildcards):
    """The files of imported folds."""
    folds = TASKS[wildcards.task].folds
    return sorted(str(path) for path in Path(folds.folder).glob("splits_*.csv")) if folds.kind == "imported" else []


def every_encoder(wildcards):
    """The region encoder of every variant that a table uses and that is trained here."""
    return [
        path
        for cohort in COHORTS
        for path in expand(
            f"{VARIANT}/encoder/region_encoder.safetensors", cohort=cohort, variant=trained_variants(cohort)
        )
    ]


def every_slide_graph(wildcards):
    """The slide graph, and so the prototypes, of every encoder that was trained with prototypes."""
    return [
        path
        for cohort in COHORTS
        for path in expand(
            f"{VARIANT}/graph.npz",
            cohort=cohort,
            variant=[variant for variant in trained_variants(cohort) if has_slide_prototypes(cohort, variant)],
        )
    ]


def reported_variants(cohort):
    """The variants with pages of prototypes, slide graph and attention in the report."""
    return [variant.name for variant in EXPERIMENT.reported_on(cohort)]


def pictures_of(cohort):
    """The sheets of region pictures of a cohort; of token files none can be made."""
    slides = [] if starts_from_tokens(cohort) else SHEETS[cohort]
    return expand(f"{COHORT}/pictures/{{slide}}.jpg", cohort=cohort, slide=slides)


def every_report_part(wildcards):
    """What the report shows of what was learned: prototypes, slide graph and attention, with pictures of regions."""
    maps = ("patch_attention.h5", "prototype_map.csv", "slide_map.csv", "graph_test.csv")
    names = (*maps, "prototypes.npz", "embeddings.h5", "iterations.npz", "graph.npz", "bags.h5")
    return [
        path
        for cohort in COHORTS
        if reported_variants(cohort)
        for path in [
            *pictures_of(cohort),
            *expand(f"{VARIANT}/{{name}}", cohort=cohort, variant=reported_variants(cohort), name=names),
        ]
    ]


def slides_of_report(wildcards):
    """Thumbnails and region tables of the slides on which the report shows prototypes."""
    sliced = [cohort for cohort in COHORTS if reported_variants(cohort) and not starts_from_tokens(cohort)]
    return [
        path
        for cohort in sliced
        for pattern in (f"{COHORT}/tissue/{{slide}}.jpg", f"{COHORT}/regions/{{slide}}.csv")
        for path in expand(pattern, cohort=cohort, slide=SHEETS[cohort])
    ]


def every_table(wildcards):
    """All tables, in every format."""
    return expand(list(rules.make_table.output), table=TABLES)


def report_inputs(wildcards):
    """All that the report shows; where it lies, make_report knows from the config."""
    sliced = [cohort for cohort in COHORTS if not starts_from_tokens(cohort)]
    trained = {cohort: trained_variants(cohort) for cohort in COHORTS if trained_variants(cohort)}
    evaluations = [
        f"{TASK}/{variant}/{head}/{file}".format(task=task)
        for table in TABLES.values()
        for task in table.tasks
        for variant in table.variants
        for head in table.heads
        for file in ("predictions.csv", "metrics.csv", "intervals.csv", "calibration.csv", "region_weights.h5")
        if not VARIANTS[variant].why_unavailable
    ]
    return [
        *(cohort.sheet for cohort in COHORTS.values()),
        *expand(f"{COHORT}/slides.csv", cohort=COHORTS),
        *(
            path
            for cohort in sliced
            for path in expand(f"{COHORT}/regions/overlays/{{slide}}.jpg", cohort=cohort, slide=SHEETS[cohort])
        ),
        *expand(f"{WARMUP}/metrics.csv", cohort=trained),
        *(
            path
            for cohort, variants in trained.items()
            for path in expand(f"{VARIANT}/metrics.csv", cohort=cohort, variant=variants)
        ),
        *dict.fromkeys(evaluations),
        *expand(f"{TASK}/folds.csv", task={task for table in TABLES.values() for task in table.tasks}),
        *every_table(wildcards),
        *(path for table in TABLES.values() for path in table.published),
        *every_report_part(wildcards),
        *slides_of_report(wildcards),
    ]


def given_configfiles(wildcards, input):
    """Files of the command line, to repeat it: without the defaults, which would win where they are named last."""
    defaults = Path(workflow.basedir, "config/config.yaml").resolve()
    given = [Path(file).resolve() for file in workflow.configfiles]
    here = Path.cwd()
    return [file.relative_to(here) if file.is_relative_to(here) else file for file in given if file != defaults]


def gpus_per_job(wildcards, input):
    """Rule -> GPUs that a job of it asks for, as JSON: the report counts GPU-hours by it."""
    asked = {rule.name: rule.resources["gpu"].raw for rule in workflow.rules if "gpu" in rule.resources}
    return json.dumps({name: int(gpus) for name, gpus in asked.items() if str(gpus).isdigit()})
