"""Slide-level prototypical distillation: from slides to tables, in the order the data flows."""

from snakemake.utils import min_version

min_version("9.21.1")


configfile: f"{workflow.basedir}/config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/slides.smk"
include: "workflow/rules/pretraining.smk"
include: "workflow/rules/learned.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"


# On a cluster: a second run beside the jobs of a killed one would submit them again, so would a recovery from another
# login node while this process lives; failed jobs get a line each.
onstart:
    if not workflow.local_exec:
        shell("python -m slpd recover --check")
        record_head(Path())


onsuccess:
    forget_head(Path())
    record_this_run(log, succeeded=True)


onerror:
    forget_head(Path())
    if not workflow.local_exec:
        shell("python -m slpd failures --since {STARTED}")
    record_this_run(log, succeeded=False)


rule all:
    default_target: True
    input:
        tables=every_table,
        report=LAYOUT.report,
        encoders=of_trained(f"{VARIANT}/encoder/region_encoder.safetensors", EXPERIMENT.trained_on),
        graphs=of_trained(f"{VARIANT}/graph.npz", EXPERIMENT.graphs_on),
