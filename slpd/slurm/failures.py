"""Failed jobs in a line each: what ended them, and the last words of their logs.

Snakemake's plugin prints the same words for every failure. The truth is in SLURM's accounting, in the job's SLURM
log, which Snakemake keeps for failed jobs (`<folder>/<rule>/<wildcards>/<job>.log`), and in the rule's own log.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from slpd.slurm.jobs import EndedJob, ended_jobs

ALIVE = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED"}
OUT_OF_MEMORY = re.compile(
    r"exceeded (?:job |step )?memory limit|oom[-_ ]kill|out of memory|OUT_OF_MEMORY", re.IGNORECASE
)
RULE_LOG = re.compile(r"^\s+log: (?P<path>.+?)(?: \(check log file|$)", re.MULTILINE)
COMMAND = re.compile(r"(?P<what>returned non-zero exit status \d+|died with <Signals\.SIG\w+: \d+>)")
LAST_WORDS = 300  # characters of a log's last line


@dataclass(frozen=True)
class Failure:
    """A job that failed."""

    job_id: str
    task: str  # rule and wildcards
    cause: str
    last_words: str
    rule_log: Path | None
    slurm_log: Path

    def __str__(self) -> str:
        """One line for people."""
        where = self.rule_log or self.slurm_log
        return f"{self.task}: job {self.job_id} {self.cause}. {where}: {self.last_words or 'empty'}"


def failures(logs: Path, since: float = 0.0) -> list[Failure]:
    """The failed jobs of which SLURM logs lie under `logs`, oldest first.

    Args:
        logs: `slurm-logdir` of the profile.
        since: Seconds since the epoch; logs last written before it are left out.

    Raises:
        UserError: sacct cannot be asked.
    """
    paths = [path for path in logs.rglob("*.log") if path.stem.isdigit() and path.stat().st_mtime >= since]
    known = ended_jobs(sorted(path.stem for path in paths))
    found = [describe(path, known.get(path.stem)) for path in sorted(paths, key=lambda path: int(path.stem))]
    return [failure for failure in found if failure is not None]


def describe(slurm_log: Path, job: EndedJob | None) -> Failure | None:
    """The failure that a SLURM log belongs to; None: the job lives or succeeded."""
    if job is not None and job.state in ALIVE | {"COMPLETED"}:
        return None
    text = slurm_log.read_text(errors="replace")
    named = RULE_LOG.findall(text)
    rule_log = Path(named[-1]) if named and Path(named[-1]).is_file() else None
    task = job.task if job and job.task else " ".join(slurm_log.parent.parts[-2:]).removeprefix("rule_")
    return Failure(slurm_log.stem, task, cause(text, job), last_line(rule_log or slurm_log), rule_log, slurm_log)


def cause(slurm_log: str, job: EndedJob | None) -> str:
    """What ended a job, in words."""
    ends = {
        "TIMEOUT": "hit its time limit of {0.time_limit}",
        "CANCELLED": "was cancelled after {0.elapsed}",
        "NODE_FAIL": "lost its node ({0.nodes})",
        "PREEMPTED": "was preempted after {0.elapsed}",
        "BOOT_FAIL": "found no node that starts ({0.nodes})",
        "DEADLINE": "missed its deadline",
    }
    if OUT_OF_MEMORY.search(slurm_log) or (job and job.state == "OUT_OF_MEMORY"):
        return "ran out of memory" + (f" ({job.memory_used} used of {job.memory_asked})" if job else "")
    if job and job.state in ends:
        return ends[job.state].format(job)
    command = COMMAND.search(slurm_log)
    if command and command["what"].endswith(" 124"):  # of slpd/launch.py
        return "was stopped before its time limit, with its state saved"
    if command:
        ended = command["what"].replace("returned non-zero exit status", "failed with exit status")
        return ended.replace("died with <Signals.", "was killed by ").replace(":", " =").replace(">", "")
    if job and job.signal:
        return f"was killed by signal {job.signal}"
    return f"failed with exit status {job.exit_code}" if job else "failed; SLURM's accounting does not know it"


def last_line(log: Path) -> str:
    """The last line of a log that says something: an `error:` if there is one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or [""])[-1][:LAST_WORDS]
