"""Say what would run and why: stages, jobs, and the keys that were edited, old -> new.

python workflow/scripts/why.py [--configfile FILE] [target ...]
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from planning import MISSING, PlannedJob, planned_jobs, spared

from slpd.errors import first_of
from slpd.settings.experiment import Experiment
from slpd.settings.section import nested

FOLLOWS = "follows a stage above"
MOST_CAUSES = 5  # of a stage; slides may have one each
MOST_FILES = 3  # named in a cause
FILES = "files"  # the param that changes with the set of files that a job reads


def main() -> None:
    """Print a line per stage and cause."""
    jobs = planned_jobs(sys.argv[1:])
    print("\n".join(report(jobs)) if jobs else "Nothing would run: every result is as the config asks.")


def report(jobs: Sequence[PlannedJob]) -> Iterator[str]:
    """A line per stage, in order, with its causes."""
    yield "; ".join(filter(None, [f"{len(jobs)} job{'s' * (len(jobs) > 1)} would run", spared(jobs)]))
    for rule in dict.fromkeys(job.rule for job in jobs):
        of_rule = [job for job in jobs if job.rule == rule]
        causes = alike_in_one([cause for job in of_rule for cause in causes_of(job)])
        own = [cause for cause in dict.fromkeys(causes) if cause != FOLLOWS] or [FOLLOWS]
        if len(own) > MOST_CAUSES:
            own = [*own[:MOST_CAUSES], f"... and {len(own) - MOST_CAUSES} causes more"]
        for place, cause in enumerate(own):
            head = f"{rule:16} {len(of_rule):6}" if place == 0 else " " * 23
            count = causes.count(cause)
            yield f"{head}  {cause}" + (f" ({count} of them)" if cause != FOLLOWS and 0 < count < len(of_rule) else "")


def alike_in_one(causes: Sequence[str]) -> list[str]:
    """The causes of jobs, where several slides have the same one without their names."""
    unnamed = [re.sub(r"^(\w+) of slide \S+:", r"\1:", cause) for cause in causes]
    times = Counter(unnamed)
    return [text if times[text] > 1 else cause for text, cause in zip(unnamed, causes, strict=True)]


def causes_of(job: PlannedJob) -> Iterator[str]:
    """Why a job runs, in words."""
    if job.follows:
        yield FOLLOWS
    if job.gone:
        yield f"gone: {first_of(job.gone, MOST_FILES)}"
    elif MISSING in job.reasons:
        yield "has not run yet, or its files are gone"
    elif "forced" in job.reasons:
        yield "forced"
    if "incomplete output files" in job.reasons:
        yield "was interrupted"
    for path in job.updated:
        yield f"changed file: {path}"
    if job.params.get(FILES) in job.new_params:
        yield from other_files(job)
    yield from changed_params(job)


def other_files(job: PlannedJob) -> Iterator[str]:
    """Which files a job would read that its last run did not read, and the other way round."""
    for what, paths in (("reads now", job.new_inputs), ("reads no longer", job.old_inputs)):
        if paths:
            yield f"{what}: {first_of(paths, MOST_FILES)}"


def changed_params(job: PlannedJob) -> Iterator[str]:
    """Every changed key of the config with its old and new value."""
    old = [value for value in job.old_params if not is_digest(value) and not is_slides(value)]
    unmatched = []
    yield from changed_slides(job)
    for new in job.new_params:
        if is_digest(new) or is_slides(new):
            continue
        partner = next((value for value in old if alike(value, new)), None)
        if partner is None:
            unmatched.append(new)
        else:
            old.remove(partner)
            yield from differences(section_of(new), partner, new)
    for new, before in zip(unmatched, [*old, *([None] * len(unmatched))], strict=False):
        yield f"{param_name(job, new)}: {short(before)} -> {short(new)}"
    for before in old[len(unmatched) :]:
        yield f"{short(before)} is no longer given"


def changed_slides(job: PlannedJob) -> Iterator[str]:
    """What the sheet says of the slides of a batch now, and what it said when the batch was done."""
    before, now = ({} | next(filter(is_slides, params), {}) for params in (job.old_params, job.new_params))
    more, less = sorted(now.keys() - before), sorted(before.keys() - now)
    if before and more:
        yield f"slides more: {first_of(more, MOST_FILES)}"
    if less:
        yield f"slides less: {first_of(less, MOST_FILES)}"
    for slide in sorted(now.keys() & before):
        for key, value in now[slide].items():
            if before[slide].get(key) != value:
                yield f"{key} of slide {slide}: {short(before[slide].get(key))} -> {short(value)}"


def is_slides(value: object) -> bool:
    """Whether a param is what the sheet says of slides: `given_slides` in inputs.smk."""
    return isinstance(value, dict) and all(isinstance(line, dict) and "n_bytes" in line for line in value.values())


def is_digest(value: object) -> bool:
    """Whether a param only represents others: `files_of` in common.smk, `made_of` in inputs.smk."""
    return isinstance(value, str) and re.fullmatch(r"(\d+ files|tokens), digest \w+", value) is not None


def alike(old: object, new: object) -> bool:
    """Whether two params are the same section or entry of the config."""
    return isinstance(old, dict) and isinstance(new, dict) and len(old.keys() & new.keys()) > len(new) / 2


def section_of(value: dict[str, Any]) -> str:
    """Where a JSON param is in the config: `tissue`, `heads.abmil`."""
    for section, field in Experiment.model_fields.items():
        for model in nested(field.annotation):
            if value.keys() == model.model_fields.keys():
                return f"{section}.{value['name']}" if "name" in value else section
    return ""


def differences(where: str, old: Any, new: Any) -> Iterator[str]:  # noqa: ANN401  # any JSON value
    """The changed keys of a section."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield f"{where}: {short(old)} -> {short(new)}"
        return
    for key in [*new, *(key for key in old if key not in new)]:
        if old.get(key) != new.get(key):
            yield from differences(f"{where}.{key}".strip("."), old.get(key), new.get(key))


def param_name(job: PlannedJob, value: object) -> str:
    """The name of a param that is no section of the config."""
    name = next((name for name, given in job.params.items() if given == value), "param")
    return f"result version of {job.rule}" if name == "version" else name


def short(value: object) -> str:
    """A value in at most 60 characters."""
    text = "nothing" if value in (None, "", []) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


if __name__ == "__main__":
    main()
