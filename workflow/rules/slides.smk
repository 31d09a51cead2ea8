"""From slides to patch tokens. A slide that cannot be used ends in a status record, not in a failed job."""


rule segment_tissue:
    input:
        slide=slide_file,
        given_mask=given_mask,
    output:
        mask=f"{COHORT}/tissue/{{slide}}.png",
        thumbnail=f"{COHORT}/tissue/{{slide}}.jpg",
        overlay=f"{COHORT}/tissue/overlays/{{slide}}.jpg",
        record=f"{COHORT}/tissue/{{slide}}.json",
    log:
        f"{LOGS}/segment_tissue/{{cohort}}/{{slide}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        mpp=lambda wildcards: SHEETS[wildcards.cohort][wildcards.slide].mpp or "",
        slide_bytes=lambda wildcards: SHEETS[wildcards.cohort][wildcards.slide].n_bytes,
        files=files_of(slide_file, given_mask),
        given_mask=lambda wildcards, input: ["--given-mask", input.given_mask] if input.given_mask else [],
        settings=settings("tissue"),
        version=result_version("segment_tissue"),
    message:
        "{wildcards.cohort}: tissue of {wildcards.slide}"
    shell:
        "exec python -m slpd segment_tissue --slide {wildcards.slide:q} --path {input.slide:q} --mpp={params.mpp:q}"
        " {params.given_mask:q} --settings {params.settings:q} --mask {output.mask:q} --thumbnail {output.thumbnail:q}"
        " --overlay {output.overlay:q} --record {output.record:q} > {log:q} 2>&1"


rule tile_regions:
    input:
        mask=rules.segment_tissue.output.mask,
        thumbnail=rules.segment_tissue.output.thumbnail,
        record=rules.segment_tissue.output.record,
    output:
        regions=f"{COHORT}/regions/{{slide}}.csv",
        geojson=f"{COHORT}/regions/{{slide}}.geojson",
        overlay=f"{COHORT}/regions/overlays/{{slide}}.jpg",
        record=f"{COHORT}/regions/{{slide}}.json",
    log:
        f"{LOGS}/tile_regions/{{cohort}}/{{slide}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings("regions"),
        version=result_version("tile_regions"),
    message:
        "{wildcards.cohort}: regions of {wildcards.slide}"
    shell:
        "exec python -m slpd tile_regions --record {input.record:q} --mask {input.mask:q} --thumbnail {input.thumbnail:q}"
        " --settings {params.settings:q} --regions {output.regions:q} --geojson {output.geojson:q}"
        " --overlay {output.overlay:q} --out-record {output.record:q} > {log:q} 2>&1"


rule picture_regions:
    input:
        slide=slide_file,  # if it is another one, the region table is new too
        regions=rules.tile_regions.output.regions,
        record=rules.tile_regions.output.record,
    output:
        pictures=f"{COHORT}/pictures/{{slide}}.jpg",
    log:
        f"{LOGS}/picture_regions/{{cohort}}/{{slide}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        picture_px=EXPERIMENT.report.picture_px,
        version=result_version("picture_regions"),
    message:
        "{wildcards.cohort}: pictures of the regions of {wildcards.slide}"
    shell:
        "exec python -m slpd picture_regions --record {input.record:q} --regions {input.regions:q}"
        " --picture-px {params.picture_px} --out {output.pictures:q} > {log:q} 2>&1"


rule check_cohort:
    input:
        records=of_slides(rules.tile_regions.output.record),
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
        files=files_of(of_slides(rules.tile_regions.output.record)),
        sheet=lambda wildcards, input: COHORTS[wildcards.cohort].sheet,
        records=lambda wildcards, input: Path(input.records[0]).parent,
        version=result_version("check_cohort"),
    message:
        "{wildcards.cohort}: enough slides and regions for the experiment?"
    shell:
        "exec python -m slpd check_cohort --sheet {params.sheet:q} --records {params.records:q} --plan {params.plan:q}"
        " --out {output.report:q} > {log:q} 2>&1"


rule encode_patches:
    input:
        slides=slide_files,
        regions=of_slides(rules.tile_regions.output.regions),
        records=of_slides(rules.tile_regions.output.record),
        checked=rules.check_cohort.output.report,
        weights=ancient(EXPERIMENT.patch_encoder.checkpoint or []),  # known by their hash
    output:
        records=f"{COHORT}/tokens/batch_{{batch}}.json",
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
        # Token files are here, undeclared: Snakemake would delete those of finished slides with a failed job.
        tokens=lambda wildcards, output: Path(output.records).parent,
        files=files_of(slide_files, of_slides(rules.tile_regions.output.record)),
        settings=settings("patch_encoder"),
        reading=settings("reading"),
        jobs=without_effect("jobs"),
        version=result_version("encode_patches"),
    message:
        "{wildcards.cohort}: patch tokens of batch {wildcards.batch}"
    shell:
        "exec python -m slpd encode_patches --records {input.records:q} --settings {params.settings:q}"
        " --reading {params.reading:q} --jobs {params.jobs:q} --version {params.version}"
        " --tokens-dir {params.tokens:q} --out {output.records:q} > {log:q} 2>&1"


rule import_tokens:
    input:
        tokens=slide_files,
    output:
        records=f"{COHORT}/tokens/imported.json",
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
        # Only for a check, which is no reason to run again.
        grid=lambda wildcards, input: EXPERIMENT.regions.region_px // EXPERIMENT.patch_encoder.patch_px,
        version=result_version("import_tokens"),
    message:
        "{wildcards.cohort}: patch tokens made elsewhere"
    shell:
        "exec python -m slpd import_tokens --sheet {params.sheet:q} --grid {params.grid} --version {params.version}"
        " --tokens-dir {params.tokens:q} --out {output.records:q} > {log:q} 2>&1"


rule cohort_manifest:
    input:
        batches=token_records,
    output:
        manifest=MANIFEST,
    log:
        f"{LOGS}/cohort_manifest/{{cohort}}.log",
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
        " --tokens-dir {params.tokens:q} --out {output.manifest:q} > {log:q} 2>&1"
