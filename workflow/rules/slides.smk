"""From slides to patch tokens. A slide that cannot be used ends in a status record, not in a failed job."""


rule segment_tissue:
    input:
        slides=slide_files,
        masks=given_masks,
    output:
        # Files of single slides are beside it, undeclared: Snakemake would delete those of finished slides with a failed job.
        records=LAYOUT.batch("tissue"),
    log:
        f"{LOGS}/segment_tissue/{{cohort}}/{{batch}}.log",
    conda:
        "../../envs/slpd.yaml"
    threads: 2  # slides at a time
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        folder=stage_folder,
        slides=given_slides,
        settings=settings("tissue"),
        version=result_version("segment_tissue"),
    message:
        "{wildcards.cohort}: tissue of batch {wildcards.batch}"
    shell:
        "exec python -m slpd segment_tissue --slides {params.slides:q} --settings {params.settings:q}"
        " --version {params.version} --threads {threads} --folder {params.folder:q} --out {output.records:q} > {log:q} 2>&1"


rule tile_regions:
    input:
        records=rules.segment_tissue.output.records,
    output:
        records=LAYOUT.batch("regions"),
    log:
        f"{LOGS}/tile_regions/{{cohort}}/{{batch}}.log",
    conda:
        "../../envs/slpd.yaml"
    threads: 2  # slides at a time
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        tissue=folder_of_records,
        folder=stage_folder,
        settings=lambda wildcards: regions_of(wildcards).model_dump_json(),
        version=result_version("tile_regions"),
    message:
        "{wildcards.cohort}: regions of batch {wildcards.batch}"
    shell:
        "exec python -m slpd tile_regions --records {input.records:q} --tissue {params.tissue:q}"
        " --settings {params.settings:q} --version {params.version} --threads {threads} --folder {params.folder:q}"
        " --out {output.records:q} > {log:q} 2>&1"


rule picture_regions:
    input:
        slides=slide_files,  # if one is another, its region table is new too
        records=rules.tile_regions.output.records,
    output:
        records=LAYOUT.batch("pictures"),
    log:
        f"{LOGS}/picture_regions/{{cohort}}/{{batch}}.log",
    conda:
        "../../envs/slpd.yaml"
    threads: 2  # slides at a time
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        regions=folder_of_records,
        folder=stage_folder,
        picture_px=EXPERIMENT.report.picture_px,
        version=result_version("picture_regions"),
    message:
        "{wildcards.cohort}: pictures of the regions of batch {wildcards.batch}"
    shell:
        "exec python -m slpd picture_regions --records {input.records:q} --regions {params.regions:q}"
        " --picture-px {params.picture_px} --version {params.version} --threads {threads} --folder {params.folder:q}"
        " --out {output.records:q} > {log:q} 2>&1"


rule check_cohort:
    input:
        records=of_batches(rules.tile_regions.output.records),
    output:
        report=f"{COHORT}/check.txt",
    log:
        f"{LOGS}/check_cohort/{{cohort}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        # Functions of `input` are no reason to run again: a changed label or M encodes nothing anew, and the
        # stages that use them check them once more.
        plan=lambda wildcards, input: CohortPlan.of(EXPERIMENT, COHORTS[wildcards.cohort]).model_dump_json(),
        files=files_of(of_batches(rules.tile_regions.output.records)),
        sheet=lambda wildcards, input: COHORTS[wildcards.cohort].sheet,
        version=result_version("check_cohort"),
    message:
        "{wildcards.cohort}: enough slides and regions for the experiment?"
    shell:
        "exec python -m slpd check_cohort --sheet {params.sheet:q} --records {input.records:q} --plan {params.plan:q}"
        " --out {output.report:q} > {log:q} 2>&1"


rule encode_patches:
    input:
        slides=slide_files,
        records=rules.tile_regions.output.records,
        checked=verdict,
        weights=ancient(EXPERIMENT.patch_encoder.checkpoint or []),  # known by their hash
        model_config=model_config,
    output:
        records=LAYOUT.batch("tokens"),
    log:
        f"{LOGS}/encode_patches/{{cohort}}/{{batch}}.log",
    benchmark:
        f"{BENCHMARKS}/encode_patches/{{cohort}}/{{batch}}.tsv"
    conda:
        "../../envs/slpd.yaml"
    threads: 8  # decode for one GPU; fewer cores work too
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=720,
    params:
        # Token files are here, undeclared, as those of the stages above.
        tokens=lambda wildcards, output: Path(output.records).parent,
        regions=folder_of_records,
        settings=settings("patch_encoder"),
        reading=settings("reading"),
        made_of=made_of,
        jobs=without_effect("jobs"),
        version=result_version("encode_patches"),
    message:
        "{wildcards.cohort}: patch tokens of batch {wildcards.batch}"
    shell:
        "exec python -m slpd encode_patches --records {input.records:q} --regions {params.regions:q}"
        " --settings {params.settings:q} --reading {params.reading:q} --jobs {params.jobs:q} --version {params.version}"
        " --tokens-dir {params.tokens:q} --out {output.records:q} > {log:q} 2>&1"


rule import_tokens:
    input:
        tokens=slide_files,
    output:
        records=LAYOUT.imported(),
    log:
        f"{LOGS}/import_tokens/{{cohort}}.log",
    conda:
        "../../envs/slpd.yaml"
    threads: 4
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        tokens=lambda wildcards, output: Path(output.records).parent,
        slides=lambda wildcards: [
            (row.slide, row.path, row.mpp, row.n_bytes) for row in SHEETS[wildcards.cohort].values()
        ],
        sheet=lambda wildcards, input: COHORTS[wildcards.cohort].sheet,  # a changed label imports nothing again
        grid=lambda wildcards: regions_of(wildcards).region_px // EXPERIMENT.patch_encoder.patch_px,
        patch_px=EXPERIMENT.patch_encoder.patch_px,
        mpp=lambda wildcards: regions_of(wildcards).mpp,
        min_tissue=lambda wildcards: regions_of(wildcards).min_tissue,
        version=result_version("import_tokens"),
    message:
        "{wildcards.cohort}: patch tokens made elsewhere"
    shell:
        "exec python -m slpd import_tokens --sheet {params.sheet:q} --grid {params.grid} --version {params.version}"
        " --patch-px {params.patch_px} --mpp {params.mpp} --min-tissue {params.min_tissue}"
        " --tokens-dir {params.tokens:q} --out {output.records:q} > {log:q} 2>&1"


rule cohort_manifest:
    input:
        batches=token_records,
    output:
        manifest=MANIFEST,
        used=USED,
    log:
        f"{LOGS}/cohort_manifest/{{cohort}}.log",
    wildcard_constraints:
        cohort=one_of(SHEETS),
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        tokens=lambda wildcards, input: Path(input.batches[0]).parent,
        files=files_of(token_records),
        settings=without_effect("manifest"),  # its budget only stops a run; its other key changes results:
        min_sharpness=EXPERIMENT.manifest.min_sharpness,
        version=result_version("cohort_manifest"),
    message:
        "{wildcards.cohort}: slides used and left out"
    shell:
        "exec python -m slpd cohort_manifest --batches {input.batches:q} --settings {params.settings:q}"
        " --tokens-dir {params.tokens:q} --used {output.used:q} --out {output.manifest:q} > {log:q} 2>&1"


rule join_cohorts:
    input:
        manifests=manifests_of_cohort,
    output:
        manifest=MANIFEST,
        used=USED,
    log:
        f"{LOGS}/join_cohorts/{{cohort}}.log",
    wildcard_constraints:
        cohort=one_of(cohort for cohort in COHORTS if cohort not in SHEETS),
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        files=files_of(manifests_of_cohort),
        version=result_version("join_cohorts"),
    message:
        "{wildcards.cohort}: slides of several cohorts"
    shell:
        "exec python -m slpd join_cohorts --manifests {input.manifests:q} --used {output.used:q} --out {output.manifest:q}"
        " > {log:q} 2>&1"
