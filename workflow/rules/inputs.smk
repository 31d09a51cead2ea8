"""Which files rules read: functions of their wildcards, in the order of the rules."""

from snakemake.io import IOFile

# ---- slides ----


def model_config(wildcards):
    """The config.json of a model that `local-dir:` names."""
    folder = EXPERIMENT.patch_encoder.folder
    return f"{folder}/config.json" if folder else []


def slides_of(wildcards):
    """The slides of a batch; without one, of the cohort."""
    if "batch" in wildcards.keys():
        return BATCHES[wildcards.cohort][int(wildcards.batch)]
    return SHEETS[wildcards.cohort]


def of_batches(pattern):
    """An input function: `pattern` for every batch of a cohort."""
    return lambda wildcards: expand(pattern, cohort=wildcards.cohort, batch=BATCHES[wildcards.cohort])


def slide_files(wildcards):
    """The files of slides, known by their size: of a batch, or the token files of a cohort."""
    return ancient([SHEETS[wildcards.cohort][slide].path for slide in slides_of(wildcards)])


def given_masks(wildcards):
    """The masks that the sheet has of the slides of a batch."""
    rows = (SHEETS[wildcards.cohort][slide] for slide in slides_of(wildcards))
    return [row.mask for row in rows if row.mask]


def given_slides(wildcards):
    """A param: what the sheet says of the slides of a batch that shapes their tissue (JSON)."""
    rows = (SHEETS[wildcards.cohort][slide] for slide in slides_of(wildcards))
    return json.dumps(
        {row.slide: {"path": row.path, "n_bytes": row.n_bytes, "mpp": row.mpp, "mask": row.mask} for row in rows}
    )


def made_of(wildcards):
    """A param: digest of all that the tokens of a batch are made of."""
    sections = [settings(section) for section in ("tissue", "regions", "patch_encoder", "reading")]
    versions = [result_version(stage) for stage in ("segment_tissue", "tile_regions", "encode_patches")]
    content = json.dumps([given_slides(wildcards), sections, versions])
    return f"tokens, digest {hashlib.sha256(content.encode()).hexdigest()[:12]}"


def verdict(wildcards):
    """The verdict on the cohort, which a batch waits for; one that is encoded as it would be now takes the last one.

    Otherwise a slide more would start the jobs of all batches, most of which would find their work done.
    """
    last = f"{LAYOUT.cohort(wildcards.cohort)}/check.txt"
    tokens = IOFile(str(LAYOUT.batch("tokens", wildcards.cohort, wildcards.batch)))
    recorded = workflow.persistence.params(tokens) if Path(tokens).exists() else None
    encoded = repr(made_of(wildcards)) in (recorded or []) and Path(last).exists()
    return ancient(before_update(last)) if encoded else last


def stage_folder(wildcards, output):
    """A param: where a stage leaves the files of slides."""
    return Path(output.records).parents[1]


def folder_of_records(wildcards, input):
    """A param: where the stage before has left the files of slides."""
    return Path(input.records).parents[1]


def files_gone_of_slides():
    """File of a batch -> files of its slides that were made once and are gone."""
    return {
        batch: files
        for cohort in BATCHES
        for folder, batches in batch_files(cohort).items()
        for batch, files in files_gone(LAYOUT.cohort(cohort) / folder, batches).items()
    }


def batch_files(cohort):
    """Folder of a cohort -> file of a batch in it -> its slides."""
    if starts_from_tokens(SHEETS[cohort].values()):
        return {"tokens": {LAYOUT.imported(cohort): list(SHEETS[cohort])}}
    return {
        folder: {LAYOUT.batch(folder, cohort, number): slides for number, slides in BATCHES[cohort].items()}
        for folder in SLIDE_FILES
    }


def token_records(wildcards):
    """The final records of all slides of a cohort, from the rule that writes their tokens."""
    if starts_from_tokens(SHEETS[wildcards.cohort].values()):
        return [str(LAYOUT.imported(wildcards.cohort))]
    return expand(LAYOUT.batch("tokens"), cohort=wildcards.cohort, batch=BATCHES[wildcards.cohort])


def manifest_of(wildcards, input):
    """A param: the manifest, for rules that read the used slides alone and depend on the digest of these."""
    return LAYOUT.manifest(wildcards.cohort)


def manifests_of_cohort(wildcards):
    """The manifests of the cohorts that a cohort is made of."""
    return expand(MANIFEST, cohort=COHORTS[wildcards.cohort].of)


# ---- pretraining ----


def first_iteration(wildcards):
    """Where the block of iterations begins that ends with `iteration`."""
    return EXPERIMENT.first_of_block(int(wildcards.iteration))


def embeddings_after(wildcards, iterations):
    """The embeddings of a variant's encoder after so many iterations: at first those of the warm-up."""
    start = EXPERIMENT.warmups[wildcards.variant]
    return str(LAYOUT.embeddings_after(wildcards.cohort, wildcards.variant, iterations, start))


def checkpoint_of_warmup(wildcards):
    """What the training of a variant goes on from."""
    return f"{LAYOUT.warmup(wildcards.cohort, EXPERIMENT.warmups[wildcards.variant])}/checkpoint.pt"


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
    """What a block of plain DINO waits for: the block before, which others reach by their prototypes."""
    first = first_iteration(wildcards)
    waits = first and not recipe_of(wildcards).objective.needs_prototypes
    return embeddings_after(wildcards, first) if waits else []


def block_of(wildcards):
    """The group of jobs that make a block of iterations, or prototypes and graph of the trained encoder."""
    if "iteration" in wildcards.keys():
        place = f"{first_iteration(wildcards):03d}"
    else:
        place = Path(wildcards.at).name or "trained"
    return f"{wildcards.cohort}_{wildcards.variant}_{place}"


def encoder_weights(wildcards):
    """The region encoder of a variant, which is trained on a cohort or comes from elsewhere."""
    return encoder_on(wildcards.trained_on.removeprefix(OF_OTHER) or wildcards.cohort, VARIANTS[wildcards.variant])


def encoder_on(cohort, variant):
    """The same: what it is given, its last teacher on a cohort, or that of another cohort's variant."""
    if variant.pretrained:
        return ancient(variant.pretrained.checkpoint)  # known by its hash
    of, name = (variant.encoder_of.cohort, variant.encoder_of.variant) if variant.encoder_of else (cohort, variant.name)
    return trained_as(f"{VARIANT}/teacher.safetensors", of, name)


# ---- evaluation ----


def tested_bags(wildcards):
    """The region vectors that a variant is tested by: of the task's cohort, and of its test cohort."""
    return bags_of(wildcards.task, wildcards.variant)


def home_bags(wildcards):
    """The region vectors of the task's cohort alone."""
    return bags_of(wildcards.task, wildcards.variant)[0]


def bags_of(task, variant):
    """The same."""
    return [bags_by(TASKS[task].cohort, variant, cohort) for cohort in TASKS[task].cohorts]


def bags_by(home, variant, cohort):
    """Bags of a cohort; those of another cohort than `home` come from the encoder that is trained on `home`."""
    away = (VARIANTS[variant].trained or VARIANTS[variant].random) and cohort != home
    name = EXPERIMENT.trained_as(home, VARIANTS[variant]).name
    return str(LAYOUT.bags(cohort, name, OF_OTHER + home if away else ""))


def encoder_of_bags(wildcards):
    """The region encoder that made them; of variants without one nothing."""
    wanted = PREDICTIONS[wildcards.prediction] if "prediction" in wildcards.keys() else wildcards
    variant = VARIANTS[wanted.variant]
    without = variant.token_mean or variant.patch_tokens or variant.vectors
    return [] if without else encoder_on(TASKS[wanted.task].cohort, variant)


def foreign_vectors(wildcards):
    """The files of the slides of a cohort that a variant of vectors made elsewhere has."""
    folder = VARIANTS[wildcards.variant].vectors.of(wildcards.cohort)
    return list(map(str, vector_files(Path(folder), list(SHEETS[wildcards.cohort].values()))))


def absent_from_bags(wildcards):
    """The slides of which a variant of vectors made elsewhere has none, by cohort."""
    if not VARIANTS[wildcards.variant].vectors:
        return []
    return [str(LAYOUT.without_vectors(cohort, wildcards.variant)) for cohort in TASKS[wildcards.task].cohorts]


def absent_from_bags_in(wildcards):
    """The same of all such variants of a table."""
    files = without_vectors(EXPERIMENT, LAYOUT, TABLES[wildcards.table])
    return sorted({str(path) for of_task in files.values() for paths in of_task.values() for path in paths})


def task_sheet(wildcards):
    """The sheet that a task has its labels of."""
    return COHORTS[TASKS[wildcards.task].cohort].sheet


def used_in_task(wildcards):
    """Digests of the slides used of the cohorts of a task."""
    return expand(USED, cohort=TASKS[wildcards.task].cohorts)


def manifests_of_task(wildcards, input):
    """A param: the manifests of the cohorts of a task, that of its test cohort last."""
    return expand(MANIFEST, cohort=TASKS[wildcards.task].cohorts)


def external_sheet(wildcards):
    """The sheet of the cohort that a task is tested on."""
    return [COHORTS[name].sheet for name in TASKS[wildcards.task].cohorts[1:]]


def external_manifests(wildcards):
    """Task of a table -> manifest of the cohort that it is tested on."""
    tested = {task: TASKS[task].test_cohort for task in TABLES[wildcards.table].tasks if TASKS[task].test_cohort}
    return {task: str(LAYOUT.manifest(cohort)) for task, cohort in tested.items()}


def labels_of_task(wildcards):
    """A param: what its sheet says of slides; not the order of lines, nor the file's time."""
    return labels_digest(SHEETS[TASKS[wildcards.task].cohort].values())


def tested_cohort(wildcards):
    """The cohort whose slides a task tests."""
    return TASKS[wildcards.task].cohorts[-1]


def evaluated_on_task(file):
    """An input function: a file of every evaluation of a task."""
    return lambda wildcards: [
        f"{LAYOUT.evaluation(*names)}/{file}" for names in EXPERIMENT.evaluations_on(wildcards.task)
    ]


def imported_splits(wildcards):
    """The files of imported folds."""
    folds = TASKS[wildcards.task].folds
    return list(map(str, split_files(Path(folds.folder)))) if folds.kind == "imported" else []


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


def evaluation_of(wildcards):
    """The folder of the evaluation whose heads predict a cohort."""
    wanted = PREDICTIONS[wildcards.prediction]
    return LAYOUT.evaluation(wanted.task, wanted.variant, wanted.head)


def predicted_bags(wildcards):
    """Bags of the cohort that is predicted."""
    wanted = PREDICTIONS[wildcards.prediction]
    return bags_by(TASKS[wanted.task].cohort, wanted.variant, wanted.cohort)


def every_table(wildcards):
    """All tables, in every format."""
    return expand(list(rules.make_table.output), table=TABLES)


def every_comparison(wildcards):
    """Parts of the test cases compared, and robustness of vectors, where the config names columns."""
    return sorted({str(path) for table in TABLES.values() for path in comparison_files(EXPERIMENT, LAYOUT, table)})


# ---- report ----


def report_inputs(wildcards):
    """All that the report shows."""
    return [*map(str, report_files(EXPERIMENT, SHEETS, LAYOUT)), *every_table(wildcards)]


# ---- targets ----


def on_trained(pattern, variants_on):
    """`pattern` for all variants that a method of the experiment gives, cohort by cohort."""
    return [
        path for cohort, variant in on_cohorts(variants_on) for path in expand(pattern, cohort=cohort, variant=variant)
    ]


def every_result(wildcards):
    """What others are made of: a file that is gone is made again, though all that it led to is there."""
    workflow.dag.forcefiles.update(map(str, files_gone_of_slides()))  # of files of slides Snakemake knows nothing
    evaluated = sorted({names for table in TABLES.values() for names in EXPERIMENT.evaluations_of(table)})
    evaluations = [
        path
        for task, variant, head in evaluated
        for path in expand([*rules.split_folds.output, *rules.evaluate.output], task=task, variant=variant, head=head)
    ]
    bags = [path for task, variant, _ in evaluated for path in bags_of(task, variant)]
    drawn = [
        path
        for task, variant, _ in evaluated
        if VARIANTS[variant].random
        for path in expand(rules.draw_encoder.output, cohort=TASKS[task].cohort, variant=variant)
    ]
    trained = on_trained(list(rules.collect_iterations.output), EXPERIMENT.trained_on)
    made = [*evaluations, *bags, *drawn, *trained, *every_comparison(wildcards)]
    return [*made, *(path for cohort in COHORTS for path in results_of_cohort(cohort))]


def results_of_cohort(cohort):
    """The files of a cohort and of its slides, up to the warm-up."""
    paths = expand([MANIFEST, USED], cohort=cohort)
    if cohort in SHEETS and not starts_from_tokens(SHEETS[cohort].values()):
        batches = [*rules.segment_tissue.output, *rules.tile_regions.output]
        paths += expand(batches, cohort=cohort, batch=BATCHES[cohort])
        paths += expand(rules.check_cohort.output.report, cohort=cohort)
    return paths + expand(list(rules.pretrain_dino.output), cohort=cohort, start=EXPERIMENT.warmups_on(cohort))
