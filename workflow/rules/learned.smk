"""What was learned, for the report: attention, maps, and what neighbours in the slide graph share."""


rule attend_patches:
    input:
        used=rules.cohort_manifest.output.used,
        teacher=rules.collect_iterations.output.teacher,
    output:
        attention=f"{VARIANT}/patch_attention.h5",
    log:
        f"{LOGS}/attend_patches/{{cohort}}/{{variant}}.log",
    benchmark:
        f"{BENCHMARKS}/attend_patches/{{cohort}}/{{variant}}.tsv"
    conda:
        "../../envs/slpd.yaml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=120,
    params:
        manifest=manifest_of,
        version=result_version("attend_patches"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: what its encoder looks at in every region"
    shell:
        "exec python -m slpd attend_patches --manifest {params.manifest:q} --teacher {input.teacher:q}"
        " --out {output.attention:q} > {log:q} 2>&1"


rule map_prototypes:
    input:
        prototypes=f"{VARIANT}/prototypes.npz",
        embeddings=rules.collect_iterations.output.embeddings,
    output:
        prototypes=f"{VARIANT}/prototype_map.csv",
        slides=f"{VARIANT}/slide_map.csv",
    log:
        f"{LOGS}/map_prototypes/{{cohort}}/{{variant}}.log",
    benchmark:
        f"{BENCHMARKS}/map_prototypes/{{cohort}}/{{variant}}.tsv"
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        perplexity=EXPERIMENT.report.perplexity,
        seed=EXPERIMENT.report.seed,
        version=result_version("map_prototypes"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: maps of prototypes and slides"
    shell:
        "exec python -m slpd map_prototypes --prototypes {input.prototypes:q} --embeddings {input.embeddings:q}"
        " --perplexity {params.perplexity} --seed {params.seed} --prototype-map {output.prototypes:q}"
        " --slide-map {output.slides:q} > {log:q} 2>&1"


rule test_graph:
    input:
        graph=f"{VARIANT}/graph.npz",
        used=rules.cohort_manifest.output.used,
    output:
        tests=f"{VARIANT}/graph_test.csv",
    log:
        f"{LOGS}/test_graph/{{cohort}}/{{variant}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        manifest=manifest_of,
        permutations=EXPERIMENT.report.permutations,
        seed=EXPERIMENT.report.seed,
        labels=lambda wildcards: labels_digest(SHEETS[wildcards.cohort].values()),  # not the order of lines, nor the file's time
        sheet=lambda wildcards, input: COHORTS[wildcards.cohort].sheet,
        version=result_version("test_graph"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: what neighbours in the slide graph share"
    shell:
        "exec python -m slpd test_graph --graph {input.graph:q} --sheet {params.sheet:q} --manifest {params.manifest:q}"
        " --permutations {params.permutations} --seed {params.seed} --out {output.tests:q} > {log:q} 2>&1"
