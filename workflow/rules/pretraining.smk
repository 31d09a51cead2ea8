"""Pretraining: plain DINO first, then iterations of prototypes, slide graph and distillation for each variant.

Iterations go in blocks of `jobs.iterations_per_job`: prototypes of the embeddings so far, the slide graph of these, and a
job that trains a block, renewing both by the same functions between two of its iterations. An epoch takes seconds on a
GPU, less than starting a process and loading tokens; 1 makes every iteration a node of the graph.
"""


rule pretrain_dino:
    input:
        used=rules.cohort_manifest.output.used,
    output:
        checkpoint=f"{WARMUP}/checkpoint.pt",
        teacher=f"{WARMUP}/teacher.safetensors",
        embeddings=f"{WARMUP}/embeddings.h5",
        metrics=f"{WARMUP}/metrics.csv",
    log:
        f"{LOGS}/pretrain_dino/{{cohort}}/warmup{{start}}.log",
    benchmark:
        f"{BENCHMARKS}/pretrain_dino/{{cohort}}/warmup{{start}}.tsv"
    conda:
        "../../envs/slpd.yaml"
    threads: 2
    resources:
        gpu=1,  # in all
        nodes=1,
        mpi="",  # the stage starts its own steps (slpd/launch.py) instead of the plugin's
        mem_mb=64000,
        runtime=1440,
    params:
        manifest=manifest_of,
        encoder=lambda wildcards: EXPERIMENT.starts[wildcards.start].region_encoder.model_dump_json(),
        training=lambda wildcards: EXPERIMENT.starts[wildcards.start].training.model_dump_json(),
        jobs=without_effect("jobs"),
        live=lambda wildcards, input: f"{LIVE}/{wildcards.cohort}/warmup{wildcards.start}",
        version=result_version("pretrain_dino"),
    message:
        "{wildcards.cohort}: plain DINO, shared by variants (warmup{wildcards.start})"
    shell:
        "exec python -m slpd --processes {resources.gpu} --nodes {resources.nodes} pretrain_dino --manifest {params.manifest:q}"
        " --encoder {params.encoder:q} --training {params.training:q} --jobs {params.jobs:q}"
        " --checkpoint {output.checkpoint:q} --teacher {output.teacher:q} --embeddings {output.embeddings:q}"
        " --metrics {output.metrics:q} --live {params.live:q} > {log:q} 2>&1"


rule cluster_regions:
    input:
        embeddings=embeddings_at,
    output:
        prototypes=f"{VARIANT}{{at}}/prototypes.npz",
    log:
        f"{LOGS}/cluster_regions/{{cohort}}/{{variant}}{{at}}.log",
    group:
        block_of
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        settings=lambda wildcards: EXPERIMENT.prototypes_of(
            COHORTS[wildcards.cohort], VARIANTS[wildcards.variant]
        ).model_dump_json(),
        version=result_version("cluster_regions"),
    message:
        "{wildcards.cohort}: prototypes of {wildcards.variant}{wildcards.at}"
    shell:
        "exec python -m slpd cluster_regions --embeddings {input.embeddings:q} --settings {params.settings:q}"
        " --out {output.prototypes:q} > {log:q} 2>&1"


rule link_slides:
    input:
        prototypes=rules.cluster_regions.output.prototypes,
    output:
        graph=f"{VARIANT}{{at}}/graph.npz",
    log:
        f"{LOGS}/link_slides/{{cohort}}/{{variant}}{{at}}.log",
    group:
        block_of
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=8000,
        runtime=20,
    params:
        settings=lambda wildcards: EXPERIMENT.slide_graph_of(VARIANTS[wildcards.variant]).model_dump_json(),
        version=result_version("link_slides"),
    message:
        "{wildcards.cohort}: slide graph of {wildcards.variant}{wildcards.at}"
    shell:
        "exec python -m slpd link_slides --prototypes {input.prototypes:q} --settings {params.settings:q}"
        " --out {output.graph:q} > {log:q} 2>&1"


rule distill_slpd:
    input:
        used=rules.cohort_manifest.output.used,
        start=checkpoint_of_warmup,
        prototypes=first_of("prototypes.npz", lambda objective: objective.needs_prototypes),
        graph=first_of("graph.npz", lambda objective: objective.needs_graph),
        before=block_before,
    output:
        embeddings=temp(f"{VARIANT}/iterations/{{iteration}}.h5"),
    log:
        f"{LOGS}/distill_slpd/{{cohort}}/{{variant}}/{{iteration}}.log",
    benchmark:
        f"{BENCHMARKS}/distill_slpd/{{cohort}}/{{variant}}/{{iteration}}.tsv"
    group:
        block_of
    conda:
        "../../envs/slpd.yaml"
    threads: 2
    resources:
        gpu=1,  # in all
        nodes=1,
        mpi="",  # the stage starts its own steps (slpd/launch.py) instead of the plugin's
        mem_mb=64000,
        runtime=1380,  # a day, with the two above, which share a job of the queue with it
    params:
        manifest=manifest_of,
        encoder=of_recipe("region_encoder"),
        training=of_recipe("training"),
        jobs=without_effect("jobs"),
        objective=of_recipe("objective"),
        prototypes=of_recipe("prototypes"),
        slide_graph=of_recipe("slide_graph"),
        # Functions of `input` and `output` are no reason to run again: other blocks give the same results.
        first=lambda wildcards, input: first_iteration(wildcards),
        until=lambda wildcards, input: int(wildcards.iteration),
        # What outlives a failed job: Snakemake would delete it with the outputs.
        folder=lambda wildcards, output: LAYOUT.training(wildcards.cohort, wildcards.variant),
        iterations=lambda wildcards, output: Path(output.embeddings).parent,
        live=lambda wildcards, input: f"{LIVE}/{wildcards.cohort}/{wildcards.variant}",
        version=result_version("distill_slpd"),
    message:
        "{wildcards.cohort}: {wildcards.variant}, iterations {params.first} to {params.until}"
    shell:
        "exec python -m slpd --processes {resources.gpu} --nodes {resources.nodes} distill_slpd --manifest {params.manifest:q}"
        " --encoder {params.encoder:q} --training {params.training:q} --jobs {params.jobs:q} --objective {params.objective:q}"
        " --prototypes {params.prototypes:q} --slide-graph {params.slide_graph:q} --start {input.start:q}"
        " --first {params.first} --until {params.until} --first-prototypes {input.prototypes:q}"
        " --first-graph {input.graph:q} --folder {params.folder:q} --iterations {params.iterations:q}"
        " --out {output.embeddings:q} --live {params.live:q} > {log:q} 2>&1"


rule collect_iterations:
    input:
        embeddings=lambda wildcards: embeddings_after(wildcards, recipe_of(wildcards).training.n_iterations),
    output:
        teacher=f"{VARIANT}/teacher.safetensors",
        embeddings=f"{VARIANT}/embeddings.h5",
        metrics=f"{VARIANT}/metrics.csv",
        iterations=f"{VARIANT}/iterations.npz",
    log:
        f"{LOGS}/collect_iterations/{{cohort}}/{{variant}}.log",
    wildcard_constraints:
        variant=one_of(name for name, variant in VARIANTS.items() if variant.trained),
    localrule: True
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        objective=of_recipe("objective"),
        n_iterations=lambda wildcards: recipe_of(wildcards).training.n_iterations,
        folder=lambda wildcards, output: LAYOUT.training(wildcards.cohort, wildcards.variant),
        version=result_version("collect_iterations"),
    message:
        "{wildcards.cohort}: {wildcards.variant}, the trained encoder and the history of its iterations"
    shell:
        "exec python -m slpd collect_iterations --folder {params.folder:q} --last-embeddings {input.embeddings:q}"
        " --n-iterations {params.n_iterations} --objective {params.objective:q} --teacher {output.teacher:q}"
        " --embeddings {output.embeddings:q} --metrics {output.metrics:q} --iterations {output.iterations:q}"
        " > {log:q} 2>&1"


rule draw_encoder:
    input:
        used=rules.cohort_manifest.output.used,
    output:
        teacher=f"{VARIANT}/teacher.safetensors",
    log:
        f"{LOGS}/draw_encoder/{{cohort}}/{{variant}}.log",
    wildcard_constraints:
        variant=one_of(name for name, variant in VARIANTS.items() if variant.random),
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        manifest=manifest_of,
        encoder=of_recipe("region_encoder"),
        seed=lambda wildcards: VARIANTS[wildcards.variant].random.seed,
        version=result_version("draw_encoder"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: a region encoder with random weights"
    shell:
        "exec python -m slpd draw_encoder --manifest {params.manifest:q} --encoder {params.encoder:q} --seed {params.seed}"
        " --out {output.teacher:q} > {log:q} 2>&1"


rule embed_bags:
    input:
        used=rules.cohort_manifest.output.used,
        teacher=encoder_weights,
    output:
        bags=BAGS,
    log:
        f"{LOGS}/embed_bags/{{cohort}}/{{variant}}{{trained_on}}.log",
    benchmark:
        f"{BENCHMARKS}/embed_bags/{{cohort}}/{{variant}}{{trained_on}}.tsv"
    wildcard_constraints:
        variant=one_of(
            name
            for name, variant in VARIANTS.items()
            if not (variant.token_mean or variant.patch_tokens or variant.vectors)
        ),
    conda:
        "../../envs/slpd.yaml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=64000,
        runtime=120,
    params:
        manifest=manifest_of,
        files=files_of(encoder_weights),
        # Weights from elsewhere may not say their architecture.
        encoder=lambda wildcards: (
            of_recipe("region_encoder")(wildcards) if VARIANTS[wildcards.variant].pretrained else []
        ),
        sha256=lambda wildcards: pretrained.sha256 if (pretrained := VARIANTS[wildcards.variant].pretrained) else [],
        version=result_version("embed_bags"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: region vectors of every slide"
    shell:
        "exec python -m slpd embed_bags --manifest {params.manifest:q} --teacher {input.teacher:q}"
        " --encoder {params.encoder:q} --sha256 {params.sha256:q} --out {output.bags:q} > {log:q} 2>&1"


rule export_encoder:
    input:
        manifest=rules.cohort_manifest.output.manifest,
        teacher=rules.collect_iterations.output.teacher,
    output:
        weights=f"{VARIANT}/encoder/region_encoder.safetensors",
        card=f"{VARIANT}/encoder/README.md",
        config=f"{VARIANT}/encoder/config.json",
    log:
        f"{LOGS}/export_encoder/{{cohort}}/{{variant}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        recipe=lambda wildcards: recipe_of(wildcards).model_dump_json(),
        licence=EXPERIMENT.licence,
        version=result_version("export_encoder"),
    message:
        "{wildcards.cohort}: {wildcards.variant}: region encoder, laid out as the Hugging Face hub expects"
    shell:
        "exec python -m slpd export_encoder --manifest {input.manifest:q} --teacher {input.teacher:q}"
        " --recipe {params.recipe:q} --licence {params.licence:q} --weights {output.weights:q} --card {output.card:q}"
        " --config {output.config:q} > {log:q} 2>&1"
