"""Evaluation: folds, heads on frozen region vectors, tables."""


rule split_folds:
    input:
        sheet=lambda wildcards: COHORTS[cohort_of(wildcards.task)].sheet,
        manifest=lambda wildcards: f"{COHORT}/slides.csv".format(cohort=cohort_of(wildcards.task)),
        imported=split_files,
    output:
        folds=f"{TASK}/folds.csv",
    log:
        f"{LOGS}/split_folds/{{task}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        task=lambda wildcards: TASKS[wildcards.task].model_dump_json(),
        version=result_version("split_folds"),
    message:
        "{wildcards.task}: folds"
    shell:
        "python -m slpd split_folds --sheet {input.sheet:q} --manifest {input.manifest:q} --task {params.task:q}"
        " --out {output.folds:q} > {log:q} 2>&1"


rule evaluate:
    input:
        bags=lambda wildcards: f"{VARIANT}/bags.h5".format(cohort=cohort_of(wildcards.task), variant=wildcards.variant),
        folds=rules.split_folds.output.folds,
    output:
        predictions=f"{TASK}/{{variant}}/{{head}}/predictions.csv",
        metrics=f"{TASK}/{{variant}}/{{head}}/metrics.csv",
    log:
        f"{LOGS}/evaluate/{{task}}/{{variant}}/{{head}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{task}}/{{variant}}/{{head}}.tsv"
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        task=lambda wildcards: TASKS[wildcards.task].model_dump_json(),
        head=lambda wildcards: HEADS[wildcards.head].model_dump_json(),
        version=result_version("evaluate"),
    message:
        "{wildcards.task}: {wildcards.variant}, {wildcards.head}"
    shell:
        "python -m slpd evaluate --bags {input.bags:q} --folds {input.folds:q} --task {params.task:q}"
        " --head {params.head:q} --variant {wildcards.variant} --predictions {output.predictions:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


rule make_table:
    input:
        metrics=lambda wildcards: expand(
            rules.evaluate.output.metrics,
            task=TABLES[wildcards.table].tasks,
            variant=TABLES[wildcards.table].variants,
            head=TABLES[wildcards.table].heads,
        ),
        folds=lambda wildcards: expand(rules.split_folds.output.folds, task=TABLES[wildcards.table].tasks),
        manifests=lambda wildcards: [
            f"{COHORT}/slides.csv".format(cohort=cohort_of(task)) for task in TABLES[wildcards.table].tasks
        ],
    output:
        csv=f"{RESULTS}/tables/{{table}}.csv",
        markdown=f"{RESULTS}/tables/{{table}}.md",
        latex=f"{RESULTS}/tables/{{table}}.tex",
        html=report(
            f"{RESULTS}/tables/{{table}}.html",
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
        version=result_version("make_table"),
    message:
        "Table {wildcards.table}"
    shell:
        "python -m slpd make_table --table {params.table:q} --metrics {input.metrics:q} --folds {input.folds:q}"
        " --manifests {input.manifests:q} --csv {output.csv:q} --markdown {output.markdown:q}"
        " --latex {output.latex:q} --html {output.html:q} > {log:q} 2>&1"
