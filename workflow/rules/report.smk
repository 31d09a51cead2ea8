"""The report: pages that open from a file."""


rule make_report:
    input:
        report_inputs,
    output:
        pages=report(
            directory(LAYOUT.report),
            htmlindex="index.html",
            caption="../report/report.rst",
            category="Report",
            labels={"experiment": EXPERIMENT.experiment},
        ),
    log:
        f"{LOGS}/make_report/report.log",
    conda:
        "../../envs/slpd.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        files=files_of(report_inputs),
        # What changes a result changes the inputs; as a function of them the config itself is no reason to run again.
        experiment=lambda wildcards, input: EXPERIMENT.model_dump_json(),
        settings=settings("report"),
        configfiles=given_configfiles,
        gpus=gpus_per_job,
        results=lambda wildcards, output: Path(output.pages).parent,
        version=result_version("make_report"),
    message:
        "Report"
    shell:
        "exec python -m slpd make_report --experiment {params.experiment:q} --results {params.results:q}"
        " --configfiles {params.configfiles:q} --gpus {params.gpus:q} --out {output.pages:q} > {log:q} 2>&1"
