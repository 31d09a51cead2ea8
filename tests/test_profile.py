"""The SLURM profile: an entry for every rule, and nothing that the plugin's known defects would turn against a run."""

import re
from typing import Any

import pytest
import toy
import yaml

PROFILE: dict[str, Any] = yaml.safe_load((toy.ROOT / "slurm/config.yaml").read_text())
RULES = "".join(path.read_text() for path in sorted((toy.ROOT / "workflow/rules").glob("*.smk")))
NAMES = [  # others collect, without a job, or run in the head process
    name
    for name, body in re.findall(r"^rule (\w+):\n((?:(?!^rule ).*\n)*)", RULES, re.MULTILINE)
    if "    shell:" in body and "    localrule: True" not in body
]
LOCAL: dict[str, Any] = yaml.safe_load((toy.ROOT / "workflow/profiles/default/config.yaml").read_text())


@pytest.mark.parametrize("rule", NAMES)
def test_memory_of_every_rule_is_a_figure(rule: str) -> None:
    """It grows after it ran out, not with every attempt; a figure costs planning nothing."""
    memory = PROFILE["set-resources"][rule]["mem_mb"]
    assert isinstance(memory, int)
    assert memory <= PROFILE["default-resources"]["mem_mb_max"]


def test_profile_names_no_rule_that_is_gone() -> None:
    assert set(PROFILE["set-resources"]) == set(NAMES)


def test_retries_stand_in_the_profile_alone() -> None:
    """In a rule they would happen inside the job as well, and multiply."""
    assert PROFILE["retries"] > 0
    assert not re.search(r"^\s+retries:", RULES, re.MULTILINE)


def test_what_the_plugin_cannot_do_is_not_asked_of_it() -> None:
    assert PROFILE["slurm-status-command"] == "squeue"  # sacct: cancelled jobs are waited for without end
    assert PROFILE["slurm-requeue"] is True  # else a preempted job is waited for without end
    assert "slurm-no-requeue" not in PROFILE
    assert not any(key.startswith("slurm-array") for key in PROFILE)  # unfinished tasks would count as done
    assert 3 * PROFILE["slurm-init-seconds-before-status-checks"] < 300  # SLURM's MinJobAge, unless a site shortens it


def test_gpu_rules_ask_for_gpus_alone() -> None:
    """`tasks`, or `gres` beside `gpu`, would start a training several times or be refused."""
    assert not re.search(r"\b(gres|tasks|tasks_per_gpu|gpu_model)=[\d\"]", RULES)


def test_many_ready_jobs_cost_little() -> None:
    """Snakemake's default scheduler is quadratic in them."""
    assert PROFILE["scheduler"] == LOCAL["scheduler"] == "greedy"


def test_code_is_no_reason_to_run_under_either_profile() -> None:
    assert PROFILE["rerun-triggers"] == LOCAL["rerun-triggers"] == ["mtime", "params"]


def test_no_profile_keeps_sources_in_the_home() -> None:
    """Which compute nodes may not be able to write; the workflow has no sources from elsewhere to keep."""
    assert PROFILE["shared-fs-usage"] == LOCAL["shared-fs-usage"]
    assert "source-cache" not in LOCAL["shared-fs-usage"]
    assert "input-output" in LOCAL["shared-fs-usage"]


def test_job_names_are_found_by_recover() -> None:
    from slpd.slurm.orphans import PREFIX

    assert PROFILE["slurm-jobname-prefix"] == PREFIX.rstrip("_")


def test_slurm_logs_are_found_by_failures() -> None:
    from slpd.slurm.failures import LOGS

    assert PROFILE["slurm-logdir"] == str(LOGS)


def test_a_block_of_iterations_asks_for_no_more_time_at_another_attempt() -> None:
    """Its three rules share a job, whose time is the sum of theirs: it must stay within the partition's limit."""
    times = [PROFILE["set-resources"][rule]["runtime"] for rule in ("cluster_regions", "link_slides", "distill_slpd")]
    assert all(isinstance(time, int) for time in times)
    assert sum(times) <= 24 * 60
