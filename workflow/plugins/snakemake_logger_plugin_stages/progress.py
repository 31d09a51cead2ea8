"""How far a run has come: jobs that start and end, counted by stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

TELLING = 3  # jobs that must have ended before they say how long others will take


@dataclass
class Stage:
    """The jobs of one rule; times in seconds."""

    jobs: int
    took: dict[str, float] = field(default_factory=dict)  # what an ended job said of itself -> how long it took

    @property
    def mean(self) -> float:
        """What an ended job took on average."""
        return sum(self.took.values()) / len(self.took)


@dataclass(frozen=True)
class Running:
    """A job that has started."""

    stage: str
    says: str  # its message
    since: float


class Progress:
    """What has ended, what runs, and how long the rest may take. Times are seconds of one clock."""

    def __init__(self, jobs: Mapping[str, int], now: float) -> None:
        """A run begins with a number of jobs per stage."""
        self.stages = {stage: Stage(count) for stage, count in jobs.items()}
        self.running: dict[int, Running] = {}
        self.began = now

    @property
    def total(self) -> int:
        """Jobs of the run."""
        return sum(stage.jobs for stage in self.stages.values())

    @property
    def ended(self) -> int:
        """Jobs that have ended well."""
        return sum(len(stage.took) for stage in self.stages.values())

    def start(self, job: int, stage: str, says: str, now: float) -> None:
        """A job starts, or starts again after a failure; one that was not announced counts from here."""
        known = self.stages.setdefault(stage, Stage(0))
        self.running[job] = Running(stage, says, now)
        same = sum(other.stage == stage for other in self.running.values())
        known.jobs = max(known.jobs, len(known.took) + same)

    def fail(self, job: int) -> Running | None:
        """A job fails: it is no longer running, and its stage is not done."""
        return self.running.pop(job, None)

    def end(self, job: int, now: float) -> str | None:
        """A job ends well; the line of its stage, if it was the last of it."""
        ended = self.running.pop(job, None)
        if ended is None:
            return None
        stage = self.stages[ended.stage]
        stage.took[f"{ended.says} ({job})" if ended.says in stage.took else ended.says] = now - ended.since
        return self.line(ended.stage) if len(stage.took) == stage.jobs else None

    def line(self, name: str) -> str:
        """What a stage was: its jobs, the time of all of them, the slowest."""
        took = self.stages[name].took
        slowest = max(took, key=lambda says: took[says])
        if len(took) == 1:
            return f"{name:<18} 1 job     {clock(took[slowest]):>8}"
        return (
            f"{name:<18} {len(took):<3} jobs  {clock(sum(took.values())):>8}  slowest {clock(took[slowest])}: {slowest}"
        )

    def summary(self, now: float) -> str:
        """Where the whole run is."""
        parts = [f"{self.ended} of {self.total} jobs, {clock(now - self.began)}"]
        left = self.seconds_left(now)
        if left is not None:
            parts.append(f"about {clock(left)} left")
        if self.running:
            longest = min(self.running.values(), key=lambda job: job.since)
            stage = self.stages[longest.stage]
            parts.append(
                f"{longest.stage} {len(stage.took)} of {stage.jobs}: {clock(now - longest.since)}: {longest.says}"
            )
        return "; ".join(parts)

    def seconds_left(self, now: float) -> float | None:
        """What the jobs that are left may take; None while too few have ended to say.

        A job takes as long as those of its stage did, else as all did; as many run side by side as until now.
        """
        if self.ended < TELLING:
            return None
        busy = sum(sum(stage.took.values()) for stage in self.stages.values())
        busy_now = sum(now - job.since for job in self.running.values())
        mean = busy / self.ended
        work = sum(
            (stage.jobs - len(stage.took)) * (stage.mean if stage.took else mean) for stage in self.stages.values()
        )
        at_once = max((busy + busy_now) / max(now - self.began, 1e-9), 0.1)
        return max(work - busy_now, 0) / at_once


def clock(seconds: float) -> str:
    """Minutes and seconds, from an hour on with hours: 0:07, 12:40, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
