"""Evaluation: region vectors without an encoder, folds, heads on frozen region vectors, tables."""


rule pool_tokens:
    input:
        used=rules.cohort_manifest.output.used,
    output:
        bags=f"{VARIANT}/bags.h5",
    log:
        f"{LOGS}/pool_tokens/{{cohort}}/{{variant}}.log",
    wildcard_constraints:
        variant=one_of(variant for variant in VARIANTS if VARIANTS[variant].token_mean),
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        manifest=manifest_of,
        version=result_version("pool_tokens"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: mean patch tokens of every region"
    shell:
        "exec python -m slpd pool_tokens --manifest {params.manifest:q} --out {output.bags:q} > {log:q} 2>&1"


rule bag_patches:
    input:
        used=rules.cohort_manifest.output.used,
    output:
        bags=f"{VARIANT}/bags.h5",
    log:
        f"{LOGS}/bag_patches/{{cohort}}/{{variant}}.log",
    wildcard_constraints:
        variant=one_of(variant for variant in VARIANTS if VARIANTS[variant].patch_tokens),
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        manifest=manifest_of,
        version=result_version("bag_patches"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: all patch tokens of every slide"
    shell:
        "exec python -m slpd bag_patches --manifest {params.manifest:q} --out {output.bags:q} > {log:q} 2>&1"


rule import_vectors:
    input:
        used=rules.cohort_manifest.output.used,
        vectors=foreign_vectors,
    output:
        bags=f"{VARIANT}/bags.h5",
        absent=LAYOUT.without_vectors(),
    log:
        f"{LOGS}/import_vectors/{{cohort}}/{{variant}}.log",
    wildcard_constraints:
        variant=one_of(variant for variant in VARIANTS if VARIANTS[variant].vectors),
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        manifest=manifest_of,
        files=files_of(foreign_vectors),
        folder=lambda wildcards: VARIANTS[wildcards.variant].vectors.of(wildcards.cohort),
        key=lambda wildcards: VARIANTS[wildcards.variant].vectors.key,
        per=lambda wildcards: "slide" if VARIANTS[wildcards.variant].slide_vectors else "region",
        version=result_version("import_vectors"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: vectors made elsewhere"
    shell:
        "exec python -m slpd import_vectors --manifest {params.manifest:q} --folder {params.folder:q} --key {params.key:q}"
        " --per {params.per} --absent {output.absent:q} --out {output.bags:q} > {log:q} 2>&1"


rule split_folds:
    input:
        sheet=task_sheet,
        test_sheet=external_sheet,
        used=used_in_task,
        imported=imported_splits,
    output:
        folds=f"{TASK}/folds.csv",
        absent=f"{TASK}/not_in_folds.csv",
        balance=f"{TASK}/balance.csv",
    log:
        f"{LOGS}/split_folds/{{task}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        files=files_of(task_sheet, external_sheet, imported_splits),
        manifest=lambda wildcards, input: manifests_of_task(wildcards, input)[0],
        test_manifest=lambda wildcards, input: manifests_of_task(wildcards, input)[1:],
        task=lambda wildcards: TASKS[wildcards.task].model_dump_json(),
        version=result_version("split_folds"),
    message:
        "{wildcards.task}: folds"
    shell:
        "exec python -m slpd split_folds --sheet {input.sheet:q} --manifest {params.manifest:q} --task {params.task:q}"
        " --test-sheet {input.test_sheet:q} --test-manifest {params.test_manifest:q} --absent {output.absent:q}"
        " --balance {output.balance:q} --out {output.folds:q} > {log:q} 2>&1"


rule evaluate:
    input:
        bags=tested_bags,
        absent=absent_from_bags,
        folds=rules.split_folds.output.folds,
        used=used_in_task,
        encoder=encoder_of_bags,
    output:
        predictions=f"{EVALUATION}/predictions.csv",
        metrics=f"{EVALUATION}/metrics.csv",
        intervals=f"{EVALUATION}/intervals.csv",
        calibration=f"{EVALUATION}/calibration.csv",
        weights=f"{EVALUATION}/region_weights.h5",
        heads=f"{EVALUATION}/heads.safetensors",
        resamples=f"{EVALUATION}/resamples.npz",
    log:
        f"{LOGS}/evaluate/{{task}}/{{variant}}/{{head}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{task}}/{{variant}}/{{head}}.tsv"
    conda:
        "../../envs/slpd.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=lambda wildcards, attempt: attempt * (1440 if VARIANTS[wildcards.variant].patch_tokens else 240),
    params:
        files=files_of(tested_bags),
        manifests=manifests_of_task,
        task=lambda wildcards: TASKS[wildcards.task].model_dump_json(),
        head=lambda wildcards: HEADS[wildcards.head].model_dump_json(),
        preset=lambda wildcards: as_json(EXPERIMENT.preset_of(HEADS[wildcards.head])),
        settings=settings("intervals"),
        # What it says of slides and vectors has its own effect before: no reason to run again.
        recipe=lambda wildcards, input: VectorRecipe.of(
            EXPERIMENT, COHORTS[TASKS[wildcards.task].cohort], VARIANTS[wildcards.variant]
        ).model_dump_json(),
        version=result_version("evaluate"),
    message:
        "{wildcards.task}: {wildcards.variant}, {wildcards.head}"
    shell:
        "exec python -m slpd evaluate --bags {input.bags:q} --absent {input.absent:q} --folds {input.folds:q} --task {params.task:q}"
        " --head {params.head:q} --preset {params.preset:q} --settings {params.settings:q} --variant {wildcards.variant}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q} --intervals {output.intervals:q}"
        " --calibration {output.calibration:q} --weights {output.weights:q} --heads {output.heads:q}"
        " --resamples {output.resamples:q} --manifests {params.manifests:q} --encoder {input.encoder:q} --recipe {params.recipe:q} > {log:q} 2>&1"


rule predict_slides:
    input:
        heads=lambda wildcards: f"{evaluation_of(wildcards)}/heads.safetensors",
        bags=predicted_bags,
        encoder=encoder_of_bags,
        manifest=lambda wildcards: expand(MANIFEST, cohort=PREDICTIONS[wildcards.prediction].cohort),
    output:
        folder=directory(LAYOUT.prediction()),
    log:
        f"{LOGS}/predict_slides/{{prediction}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        files=files_of(predicted_bags),
        sheet=lambda wildcards, input: COHORTS[PREDICTIONS[wildcards.prediction].cohort].sheet,
        patients=lambda wildcards: labels_digest(SHEETS[PREDICTIONS[wildcards.prediction].cohort].values()),
        tissue=lambda wildcards, input: LAYOUT.cohort(PREDICTIONS[wildcards.prediction].cohort) / "tissue",
        version=result_version("predict_slides"),
    message:
        "{wildcards.prediction}: what trained heads say of its slides; research use only"
    shell:
        "exec python -m slpd predict_slides --heads {input.heads:q} --bags {input.bags:q} --encoder {input.encoder:q}"
        " --manifest {input.manifest:q} --sheet {params.sheet:q} --tissue {params.tissue:q} --out {output.folder:q} > {log:q} 2>&1"


rule compare_subgroups:
    input:
        predictions=evaluated_on_task("predictions.csv"),
        metrics=evaluated_on_task("metrics.csv"),
    output:
        subgroups=LAYOUT.subgroups(),
        gaps=LAYOUT.subgroup_gaps(),
    log:
        f"{LOGS}/compare_subgroups/{{task}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        files=files_of(evaluated_on_task("predictions.csv")),
        labels=lambda wildcards: labels_digest(SHEETS[tested_cohort(wildcards)].values()),
        sheet=lambda wildcards, input: COHORTS[tested_cohort(wildcards)].sheet,
        task=lambda wildcards: TASKS[wildcards.task].model_dump_json(),
        settings=settings("subgroups"),
        intervals=settings("intervals"),
        evaluations=lambda wildcards, input: [Path(path).parent for path in input.predictions],
        version=result_version("compare_subgroups"),
    message:
        "{wildcards.task}: parts of the test cases"
    shell:
        "exec python -m slpd compare_subgroups --evaluations {params.evaluations:q} --sheet {params.sheet:q}"
        " --task {params.task:q} --settings {params.settings:q} --intervals {params.intervals:q}"
        " --gaps {output.gaps:q} --out {output.subgroups:q} > {log:q} 2>&1"


rule measure_robustness:
    input:
        bags=home_bags,
    output:
        robustness=LAYOUT.robustness(),
    log:
        f"{LOGS}/measure_robustness/{{task}}/{{variant}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        files=files_of(home_bags),
        labels=labels_of_task,
        sheet=lambda wildcards, input: task_sheet(wildcards),
        label=lambda wildcards: TASKS[wildcards.task].label,  # folds do not matter
        classes=lambda wildcards: json.dumps(TASKS[wildcards.task].classes),
        settings=settings("robustness"),
        intervals=settings("intervals"),
        version=result_version("measure_robustness"),
    message:
        "{wildcards.task}: {wildcards.variant}: class or site in its vectors"
    shell:
        "exec python -m slpd measure_robustness --bags {input.bags:q} --sheet {params.sheet:q} --label={params.label:q}"
        " --classes {params.classes:q} --settings {params.settings:q} --intervals {params.intervals:q} --out {output.robustness:q} > {log:q} 2>&1"


rule make_table:
    input:
        metrics=evaluations_of("metrics.csv"),
        intervals=evaluations_of("intervals.csv"),
        resamples=evaluations_of("resamples.npz"),
        published=lambda wildcards: TABLES[wildcards.table].published,
        folds=of_tasks(rules.split_folds.output.folds),
        absent=of_tasks(rules.split_folds.output.absent),
        manifests=of_tasks(MANIFEST),
        test_manifests=lambda wildcards: list(external_manifests(wildcards).values()),
        without_vectors=absent_from_bags_in,
    output:
        csv=LAYOUT.table(".csv"),
        differences=LAYOUT.table("_differences.csv"),
        markdown=LAYOUT.table(".md"),
        latex=LAYOUT.table(".tex"),
        html=report(
            LAYOUT.table(".html"),
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        f"{LOGS}/make_table/{{table}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        table=lambda wildcards: TABLES[wildcards.table].model_dump_json(),
        tasks=lambda wildcards: [TASKS[task].model_dump_json() for task in TABLES[wildcards.table].tasks],
        settings=settings("intervals"),
        test_manifests=lambda wildcards: json.dumps(external_manifests(wildcards)),
        unavailable=lambda wildcards: json.dumps(EXPERIMENT.unavailable_in(TABLES[wildcards.table])),
        repeats=lambda wildcards: json.dumps(EXPERIMENT.repeats_in(TABLES[wildcards.table])),
        evaluations=lambda wildcards, input: [Path(path).parent for path in input.metrics],
        without_vectors=lambda wildcards: json.dumps(
            without_vectors(EXPERIMENT, LAYOUT, TABLES[wildcards.table]), default=str
        ),
        version=result_version("make_table"),
    message:
        "Table {wildcards.table}"
    shell:
        "exec python -m slpd make_table --table {params.table:q} --settings {params.settings:q} --tasks {params.tasks:q}"
        " --unavailable {params.unavailable:q} --repeats {params.repeats:q} --evaluations {params.evaluations:q} --folds {input.folds:q}"
        " --manifests {input.manifests:q} --test-manifests {params.test_manifests:q} --absent {input.absent:q}"
        " --without-vectors {params.without_vectors:q} --csv {output.csv:q} --differences {output.differences:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q} --html {output.html:q} > {log:q} 2>&1"


rule tables:
    input:
        every_table,
        every_comparison,
