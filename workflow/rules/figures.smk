"""Figures for the report."""


rule plot_losses:
    input:
        warmup=rules.pretrain_dino.output.metrics,
        variants=lambda wildcards: expand(
            rules.distill_slpd.output.metrics, cohort=wildcards.cohort, variant=trained_variants(wildcards.cohort)
        ),
    output:
        figure=report(
            f"{COHORT}/losses.svg",
            caption="../report/losses.rst",
            category="Training",
            labels={"cohort": "{cohort}", "figure": "loss curves"},
        ),
    log:
        f"{LOGS}/plot_losses/{{cohort}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        curves=loss_curves,
        version=result_version("plot_losses"),
    message:
        "{wildcards.cohort}: loss curves"
    shell:
        "python -m slpd plot_losses {params.curves:q} --out {output.figure:q} > {log:q} 2>&1"


rule plot_overlays:
    input:
        manifest=rules.cohort_manifest.output.manifest,
        overlays=of_slides(rules.tile_regions.output.overlay),
    output:
        figure=report(
            f"{COHORT}/overlays.jpg",
            caption="../report/overlays.rst",
            category="Slides",
            labels={"cohort": "{cohort}", "figure": "tissue and regions"},
        ),
    log:
        f"{LOGS}/plot_overlays/{{cohort}}.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        overlays=lambda wildcards, input: Path(input.overlays[0]).parent,
        version=result_version("plot_overlays"),
    message:
        "{wildcards.cohort}: contact sheet of all slides"
    shell:
        "python -m slpd plot_overlays --manifest {input.manifest:q} --overlays-dir {params.overlays:q}"
        " --out {output.figure:q} > {log:q} 2>&1"
