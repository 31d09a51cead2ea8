"""Failed jobs in a line each: what ended them, and the last words of their logs.

Snakemake's plugin prints the same words for every failure. The truth is in SLURM's accounting, in the job's SLURM
log, which Snakemake keeps for failed jobs (`<folder>/<rule>/<wildcards>/<job>.log`), and in the rule's own log.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from slpd.slurm.jobs import EndedJob, ended_jobs, seconds_of

ALIVE = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED"}
OUT_OF_MEMORY = re.compile(
    r"exceeded (?:job |step )?memory limit|oom[-_ ]kill|out of memory|OUT_OF_MEMORY", re.IGNORECASE
)
RULE_LOG = re.compile(r"^(?P<indent> +)log: (?P<path>.+?)(?: \(check log file|$)", re.MULTILINE)
FAILED_INDENT = " " * 4  # of a rule that failed; members of a group that failed are listed further in, all of them
START = "Provided remote nodes:"  # Snakemake says it at every start of a job; a job started again appends to its log
COMMAND = re.compile(r"returned non-zero exit status \d+|died with <Signals\.SIG\w+: \d+>")
ROOT_CAUSE = re.compile(r"^Root Cause \(first observed failure\):.*?^ *exitcode +: (\d+)", re.MULTILINE | re.DOTALL)
LAST_WORDS = 300  # characters of a log's last line
KEPT = re.compile(r"^cause: (?P<cause>.+)\nlast words, (?P<log>.+?): (?P<words>.*)$", re.MULTILINE)
REFUSED = "refused.txt"  # in the folder of SLURM logs: time, task and reason of jobs that sbatch did not take
LOGS = Path("logs/slurm")  # slurm-logdir of the profile
SLACK_SECONDS = 10.0  # between clocks of a node and of the file system
MISTAKE = "failed with exit status 2"  # of a UserError


@dataclass(frozen=True)
class Failure:
    """A job that failed."""

    job_id: str
    task: str  # rule and wildcards
    cause: str
    last_words: str
    rule_log: Path | None
    slurm_log: Path
    others: tuple[str, ...] = ()  # last words of other members of its group that failed

    def __str__(self) -> str:
        """One line for people."""
        where = self.rule_log or self.slurm_log
        return f"{self.task}: job {self.job_id} {self.cause}. {where}: {self.last_words or 'empty'}"

    @property
    def out_of_memory(self) -> bool:
        """Whether more memory may help."""
        return self.cause.startswith("ran out of memory")

    @property
    def out_of_time(self) -> bool:
        """Whether it hit its time limit."""
        return self.cause.startswith("hit its time limit")

    @property
    def repeats_itself(self) -> bool:
        """Whether the stage, and each member of a group that failed, said what is wrong, and would say it again."""
        return self.cause == MISTAKE and all(words.startswith("error:") for words in (self.last_words, *self.others))


@dataclass(frozen=True)
class Refusal:
    """A job that sbatch did not take."""

    seconds: float  # since the epoch
    task: str
    words: str  # of sbatch

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.task}: SLURM does not take the job: {self.words}"


def failures(logs: Path, since: float = 0.0) -> list[Failure | Refusal]:
    """The failed jobs of which SLURM logs lie under `logs`, oldest first, after those that sbatch refused.

    Args:
        logs: `slurm-logdir` of the profile.
        since: Seconds since the epoch; logs last written before it are left out.

    Raises:
        UserError: sacct cannot be asked.
    """
    paths = [path for path in logs.rglob("*.log") if path.stem.isdigit() and path.stat().st_mtime >= since]
    known = ended_jobs(sorted(path.stem for path in paths))
    jobs = [(path, known.get(path.stem)) for path in sorted(paths, key=lambda path: int(path.stem))]
    ended = [failure_of(path, job) for path, job in jobs if job is None or job.state not in ALIVE | {"COMPLETED"}]
    return [*refusals(logs, since), *ended]


def keep_refusal(logs: Path, refusal: Refusal) -> None:
    """Keep what sbatch said of a job, which leaves no log."""
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / REFUSED, "a") as file:
        file.write(f"{refusal.seconds:.0f}\t{refusal.task}\t{refusal.words}\n")


def refusals(logs: Path, since: float) -> list[Refusal]:
    """The jobs that sbatch refused."""
    lines = (logs / REFUSED).read_text().splitlines() if (logs / REFUSED).is_file() else []
    kept = [line.split("\t", 2) for line in lines]
    return [Refusal(float(seconds), *words) for seconds, *words in kept if float(seconds) >= since - 1]


def failure_of(slurm_log: Path, job: EndedJob | None, job_id: str = "", task: str = "") -> Failure:
    """The failure that a SLURM log belongs to.

    Args:
        slurm_log: It may be absent: a node that does not see the file system writes none.
        job: As accounting knows it.
        job_id: By default the log's name.
        task: Rule and wildcards; by default as the job's comment or the log's path has them.
    """
    text = slurm_log.read_text(errors="replace").rpartition(START)[2] if slurm_log.is_file() else ""
    task = task or (job.task if job else "") or " ".join(slurm_log.parent.parts[-2:]).removeprefix("rule_")
    *others, rule_log = [log if in_attempt(log, slurm_log, job) else None for log in failed_logs(text)] or [None]
    words, statement = last_line(rule_log or slurm_log), cause(text, job, status_of_first(rule_log))
    kept = KEPT.search(text)
    if kept:
        rule_log, words, statement = Path(kept["log"]), kept["words"], kept["cause"]
    shown = rule_log if rule_log != slurm_log else None
    said = tuple(last_line(log) if log else "" for log in others)
    return Failure(job_id or slurm_log.stem, task, statement, words, shown, slurm_log, said)


def status_of_first(rule_log: Path | None) -> str:
    """The exit status of the process that failed first, of several; torchrun itself ends with 1. Empty: of one."""
    statuses = ROOT_CAUSE.findall(rule_log.read_text(errors="replace")) if rule_log else []
    return statuses[-1] if statuses else ""


def failed_logs(text: str) -> list[Path]:
    """The logs of the rules that failed in a job; of the last member of a group that was ended from outside."""
    logs = list(RULE_LOG.finditer(text))
    failed = [log["path"] for log in logs if log["indent"] == FAILED_INDENT]
    return [Path(path) for path in dict.fromkeys(failed or [log["path"] for log in logs[-1:]])]


def in_attempt(rule_log: Path, slurm_log: Path, job: EndedJob | None) -> bool:
    """Whether a rule's log is of this attempt, which ended when it wrote its SLURM log for the last time."""
    if not rule_log.is_file():
        return False
    ended, written = slurm_log.stat().st_mtime, rule_log.stat().st_mtime
    began = ended - ((seconds_of(job.elapsed) if job else None) or ended)
    return began - SLACK_SECONDS <= written <= ended + SLACK_SECONDS


def keep_last_words(failure: Failure) -> None:
    """Keep an attempt's cause and last words with its SLURM log: the next attempt writes over the rule's log."""
    if failure.slurm_log.is_file():
        with open(failure.slurm_log, "a") as file:
            log = failure.rule_log or failure.slurm_log
            file.write(f"\ncause: {failure.cause}\nlast words, {log}: {failure.last_words}\n")


def cause(slurm_log: str, job: EndedJob | None, status: str = "") -> str:
    """What ended a job, in words; `status`: of the process that failed first, where a launcher says 1 for it."""
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
    commands = " and ".join(dict.fromkeys(COMMAND.findall(slurm_log)))  # several: members of a group
    if status and commands == "returned non-zero exit status 1":
        commands = f"returned non-zero exit status {status}"
    if commands.endswith(" 143"):  # of stages that go on where they stopped
        return "was stopped by a signal or before its time limit, with its state saved"
    if commands:
        ended = commands.replace("returned non-zero exit status", "failed with exit status")
        return ended.replace("died with <Signals.", "was killed by ").replace(":", " =").replace(">", "")
    if job and job.signal:
        return f"was killed by signal {job.signal}"
    return f"failed with exit status {job.exit_code}" if job else "failed; SLURM's accounting does not know it"


def last_line(log: Path) -> str:
    """The last line of a log that says something: an `error:` if there is one."""
    if not log.is_file():
        return ""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or [""])[-1][:LAST_WORDS]
