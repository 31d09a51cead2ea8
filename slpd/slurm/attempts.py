"""What becomes of jobs that fail: said in a line at once; tried again where that may help, later or with more memory.

Snakemake tries every job again at once, as often as `retries` says. Here a mistake that would repeat itself ends the
job, a job asks for more memory only after it ran out of memory, and other failures wait a while: a disk that is away
comes back.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Timer
from typing import Any

from slpd.errors import UserError
from slpd.slurm.failures import Failure, Refusal, cause, failure_of, keep_last_words, keep_refusal
from slpd.slurm.jobs import ended_jobs

FIRST_WAIT_SECONDS = 30.0  # before the second attempt; four times as long before each later one
LONGEST_WAIT_SECONDS = 480.0
REPEATS_ITSELF = re.compile(r"invalid|not available|can ?not be satisfied|not found", re.IGNORECASE)  # of sbatch
SBATCH_SAYS = re.compile(r"The error message was '(?P<words>.*?)'\.?\n", re.DOTALL)


def seconds_before(attempt: int) -> float:
    """How long a job waits before an attempt from the second on: 30 s, 2 minutes, then 8 minutes each time."""
    return min(FIRST_WAIT_SECONDS * 4.0 ** (attempt - 2), LONGEST_WAIT_SECONDS)


class Attempts:
    """Takes the place of Snakemake's own report of a failed job; its objects are taken as they are."""

    def __init__(self, logs: Path, say: Callable[[str], object]) -> None:
        """Of a run.

        Args:
            logs: `slurm-logdir` of the profile.
            say: Prints a line.
        """
        self.logs, self.say = logs, say
        self.out_of_memory = Counter[tuple[str, str]]()  # rule and wildcards -> attempts that ran out of it

    def heed(self, scheduler: Any, rules: Any) -> None:  # noqa: ANN401  # Snakemake's
        """Report failures from now on; the memory of rules, where it is a figure, grows with those that ran out."""

        def report(job_info: Any, msg: str | None = None, **_: object) -> None:  # noqa: ANN401
            job = job_info.job
            failure = self.failure_of(job_info, msg or "")
            again, wait = self.judge(job, failure)
            self.say(f"{failure}{f'; tried again in {wait:.0f} s' if again and wait else ''}")
            if not again:
                job.attempt = job.restart_times + 1  # the last one
            timer = Timer(wait if again else 0, scheduler.error_callback, [job])
            timer.daemon = True
            timer.start()

        scheduler._executor.report_job_error = report
        for rule in rules:
            memory, most = rule.resources.get("mem_mb"), rule.resources.get("mem_mb_max")
            if memory is not None and not memory.is_evaluable():
                rule.resources["mem_mb"] = self.growing(rule.name, memory.value, most.value if most else memory.value)

    def growing(self, rule: str, memory: int, most: int) -> Callable[[Mapping[str, str]], int]:
        """The memory of a rule's jobs, MB: doubled each time that a job ran out, up to `most`."""

        def grown(wildcards: Mapping[str, str]) -> int:
            return max(memory, min(most, memory << self.out_of_memory[key_of(rule, wildcards)]))

        return grown

    def failure_of(self, job_info: Any, message: str) -> Failure | Refusal:  # noqa: ANN401
        """What is known of a failed job; kept for `failures`, since the next attempt writes over the rule's log."""
        job = job_info.job
        if job_info.external_jobid is None:
            words = SBATCH_SAYS.search(message)
            refusal = Refusal(time.time(), task_name(job), one_line(words["words"] if words else message))
            try:
                keep_refusal(self.logs, refusal)
            except OSError as error:
                self.say(f"not kept for `python -m slpd failures`: {error}")
            return refusal
        log = Path(job_info.aux["slurm_logfile"])
        try:
            known = ended_jobs([job_info.external_jobid]).get(job_info.external_jobid)
        except UserError:  # accounting is silent: the job's log tells most
            known = None
        try:
            failure = failure_of(log, known, job_info.external_jobid, task_name(job))
            keep_last_words(failure)
        except OSError as error:  # the disk of the logs is away
            return Failure(job_info.external_jobid, task_name(job), cause("", known), str(error), None, log)
        return failure

    def judge(self, job: Any, failure: Failure | Refusal) -> tuple[bool, float]:  # noqa: ANN401
        """Whether a job is tried again, and after how many seconds."""
        again = job.attempt <= job.restart_times
        wait = seconds_before(job.attempt + 1)
        if isinstance(failure, Refusal):
            return again and not REPEATS_ITSELF.search(failure.words), wait
        if failure.repeats_itself:
            return False, 0
        if failure.out_of_memory:
            for member in members_of(job):
                self.out_of_memory[key_of(member.rule.name, member.wildcards_dict)] += 1
            return again, 0
        return again, 0 if failure.out_of_time else wait


def members_of(job: Any) -> list[Any]:  # noqa: ANN401
    """The jobs of a group, or the one."""
    return list(job.jobs) if job.is_group() else [job]


def key_of(rule: str, wildcards: Mapping[str, str]) -> tuple[str, str]:
    """What a job is known by."""
    return rule, str(sorted(wildcards.items()))


def task_name(job: Any) -> str:  # noqa: ANN401
    """Rule and wildcards, for people."""
    return str(job.name) if job.is_group() else " ".join([job.rule.name, *map(str, job.wildcards_dict.values())])


def one_line(text: str) -> str:
    """A message of several lines in one."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
