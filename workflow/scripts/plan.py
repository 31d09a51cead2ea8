"""Say what a run would cost before it is submitted: jobs, GPU- and CPU-hours, disk and files per stage.

    python workflow/scripts/plan.py [--profile slurm] [--configfile FILE] [target ...]     arguments are snakemake's

Costs come from the experiment's own benchmarks where a stage has run before, else from throughput.yaml.
"""

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from planning import Plan, PlannedJob, connected, make_plan, shared_jobs, spared

from slpd.artifacts.slides.finished_slide import read_batch
from slpd.artifacts.slides.sheet import SheetRow
from slpd.settings.evaluation import GeneratedFolds, task_from_json
from slpd.settings.section import named
from slpd.settings.training import RegionEncoder, Training

STORED = yaml.safe_load(Path(__file__).with_name("throughput.yaml").read_text())
CHECKPOINT_BYTES = 3e8  # networks and optimiser at the paper's size: 23 million parameters, four arrays, float32
TOKEN_BYTES = 2 * 384  # of a patch: float16, ViT-S
FOLDS = 10  # where split files say how many there are


@dataclass
class Cost:
    """What a stage takes."""

    jobs: int = 0
    gpu_s: float = 0.0
    cpu_s: float = 0.0
    n_bytes: float = 0.0
    files: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Both together."""
        return Cost(*(getattr(self, key) + getattr(other, key) for key in vars(self)))


def main() -> None:
    """Print the table."""
    plan = make_plan(sys.argv[1:])
    print("\n".join(table(plan)) if plan.jobs else "Nothing would run.")


def table(plan: Plan) -> Iterator[str]:
    """A line per stage, the sum, and what a run may leave out."""
    yield f"{'stage':18}{'jobs':>7}{'submitted':>11}{'GPU-h':>9}{'CPU-h':>9}{'disk':>10}{'files':>9}  from"
    total, submitted = Cost(), submissions(plan)
    for rule in dict.fromkeys(job.rule for job in plan.jobs):
        of_rule = [job for job in plan.jobs if job.rule == rule]
        cost, source = stage_cost(rule, of_rule, plan)
        total += cost
        yield line(rule, cost, submitted[rule], source)
    yield line("all", total, str(sum(int(count) for count in submitted.values() if count.isdigit())), "")
    if unless := spared(plan.jobs):
        yield f"of these jobs, {unless}"


def submissions(plan: Plan) -> dict[str, str]:
    """Rule -> how many jobs of the queue it begins; `same`: it only shares those of others; `local`: it needs none."""
    begun = Counter[str]()
    for name, jobs in shared_jobs(plan).items():
        size = plan.groups.get(jobs[0].rule, ("", 1))[1]
        begun[name] += 0
        begun[jobs[0].rule] += math.ceil(len(connected(jobs)) / size)
    alone = Counter(job.rule for job in plan.jobs if not job.group and not job.local)
    rules = {job.rule: job for job in plan.jobs}
    return {rule: "local" if job.local else str(alone[rule] + begun[rule] or "same") for rule, job in rules.items()}


def line(name: str, cost: Cost, submitted: str, source: str) -> str:
    """One line of the table."""
    hours = f"{cost.gpu_s / 3600:>9.1f}{cost.cpu_s / 3600:>9.1f}"
    return (
        f"{name:18}{cost.jobs:>7}{submitted:>11}{hours}{cost.n_bytes / 1e9:>7.1f} GB{cost.files:>9}  {source}".rstrip()
    )


def stage_cost(rule: str, jobs: Sequence[PlannedJob], plan: Plan) -> tuple[Cost, str]:
    """What the jobs of a rule take, and where the figure comes from."""
    estimate = sum((ESTIMATES.get(rule, other)(job, plan) for job in jobs), Cost())
    own = own_seconds(rule, plan)
    if own is None:
        return estimate, "throughput.yaml"
    gpu_s = own * sum(job.resources.get("gpu", 0) for job in jobs)
    cpu_s = own * sum(job.resources["threads"] for job in jobs)
    return replace(estimate, gpu_s=gpu_s, cpu_s=cpu_s), "own benchmarks"


def n_bytes_wanted(plan: Plan) -> float:
    """The disk that results want besides those that they replace, bytes."""
    wanted = [(ESTIMATES.get(job.rule, other)(job, plan).n_bytes, job.outputs) for job in plan.jobs if job.needed]
    return sum(max(0, n_bytes - sum(map(n_bytes_there, outputs))) for n_bytes, outputs in wanted)


def n_bytes_there(path: str) -> int:
    """The size of a file; 0: it is not there."""
    return Path(path).stat().st_size if Path(path).is_file() else 0


def own_seconds(rule: str, plan: Plan) -> float | None:
    """Mean seconds of the experiment's finished jobs of the rule; None: there are none."""
    files = (plan.layout.benchmarks / rule).rglob("*.tsv")
    rows = [row for path in files for row in read_benchmark(path)]
    return sum(float(row["s"]) for row in rows) / len(rows) if rows else None


def read_benchmark(path: Path) -> list[dict[str, str]]:
    """The rows of a benchmark that Snakemake wrote."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


# ---- estimates of one job ------------------------------------------------------------------------------------------


def surveying(job: PlannedJob, plan: Plan) -> Cost:
    """A batch of slides, which are surveyed at low resolution, whatever their size."""
    stored, n_slides = STORED[job.rule], len(slides_of(job, plan))
    cpu_s = stored["cpu_s_per_job"] + n_slides * stored["cpu_s_per_slide"]
    return Cost(1, 0, cpu_s, n_slides * stored["bytes_per_slide"], n_slides * stored["files_per_slide"] + 2)


def encoding(job: PlannedJob, plan: Plan) -> Cost:
    """A batch of slides: regions are read, encoded, and kept as tokens."""
    stored, cohort = STORED[job.rule], job.wildcards["cohort"]
    slides = slides_of(job, plan)
    regions = sum(regions_of_slides(plan, cohort)[slide] for slide in slides)
    gpu_s, cpu_s = regions * stored["gpu_s_per_region"], regions * stored["cpu_s_per_region"]
    per_region = TOKEN_BYTES * patches_of_region(plan)
    return Cost(1, gpu_s, cpu_s, regions * per_region, len(slides) + 1)


def importing(job: PlannedJob, plan: Plan) -> Cost:
    """Token files of a cohort, as if all were copied: those that can be linked take no room."""
    sheet = plan.sheets[job.wildcards["cohort"]]
    return replace(other(job, plan), n_bytes=sum(row.n_bytes for row in sheet.values()), files=len(sheet) + 1)


def warm_up(job: PlannedJob, plan: Plan) -> Cost:
    """Epochs of plain DINO over all regions of a cohort."""
    epochs = json.loads(job.params["training"])["dino_epochs"]
    return trained(job, cohort_regions(job, plan) * epochs * STORED["pretrain_dino"]["gpu_s_per_region_epoch"])


def distillation(job: PlannedJob, plan: Plan) -> Cost:
    """A block of iterations: epochs, without prototypes as in the warm-up, and a pass to renew these or at the end.

    Files are counted with the last block of a variant: there is one state, and prototypes and graph of each iteration.
    """
    training, regions = Training.from_json(job.params["training"]), cohort_regions(job, plan)
    iterations = range(job.params["first"], job.params["until"])
    epochs = sum(len(training.epochs_of(iteration)) for iteration in iterations)
    per_epoch = STORED[job.rule if job.params["prototypes"] else "pretrain_dino"]["gpu_s_per_region_epoch"]
    passes = (len(iterations) if job.params["prototypes"] else 1) * STORED["embed_bags"]["gpu_s_per_region"]
    cost = trained(job, regions * (epochs * per_epoch + passes))
    n = training.n_iterations
    if iterations.stop < n:
        return replace(cost, n_bytes=0, files=0)
    return replace(cost, files=5 + 4 * n) if job.params["prototypes"] else cost


def trained(job: PlannedJob, gpu_s: float) -> Cost:
    """A training with this many seconds of a GPU."""
    return Cost(1, gpu_s, gpu_s * job.resources["threads"], CHECKPOINT_BYTES, len(job.outputs) + 1)


def embedding(job: PlannedJob, plan: Plan) -> Cost:
    """One pass over all regions of a cohort."""
    regions = cohort_regions(job, plan)
    gpu_s = regions * STORED[job.rule]["gpu_s_per_region"]
    width = region_encoder(job, plan).width
    return Cost(1, gpu_s, gpu_s * job.resources["threads"], regions * 4 * width, len(job.outputs) + 1)


def region_encoder(job: PlannedJob, plan: Plan) -> RegionEncoder:
    """The region encoder of the variant of a job."""
    variant = named(plan.experiment.every_variant, job.wildcards["variant"])
    encoder: RegionEncoder = plan.experiment.region_encoder_of(variant)
    return encoder


def attending(job: PlannedJob, plan: Plan) -> Cost:
    """One pass over all regions of a cohort, of which every head's attention to every patch is kept."""
    per_region = 2 * region_encoder(job, plan).heads * patches_of_region(plan)  # float16
    return replace(embedding(job, plan), n_bytes=cohort_regions(job, plan) * per_region)


def pooling(job: PlannedJob, plan: Plan) -> Cost:
    """One read of all tokens of a cohort; a mean token, float32, is kept of each region."""
    regions = cohort_regions(job, plan)
    n_bytes = regions * 2 * TOKEN_BYTES
    return Cost(1, 0, regions * STORED[job.rule]["cpu_s_per_region"], n_bytes, len(job.outputs) + 1)


def bagging(job: PlannedJob, plan: Plan) -> Cost:
    """One read of all tokens of a cohort; each is kept once more, with the corner of its patch."""
    n_bytes = cohort_regions(job, plan) * patches_of_region(plan) * (TOKEN_BYTES + 16)
    return replace(pooling(job, plan), n_bytes=n_bytes)


def evaluating(job: PlannedJob, plan: Plan) -> Cost:
    """Folds of a head: short on vectors of regions; on all patch tokens as long as all epochs of all folds."""
    cost, variant = other(job, plan), named(plan.experiment.every_variant, job.wildcards["variant"])
    if not variant.patch_tokens:
        return cost
    task = task_from_json(job.params["task"])
    n_folds = (task.folds.n_folds if isinstance(task.folds, GeneratedFolds) else FOLDS) * task.folds.n_draws
    epochs = json.loads(job.params["preset"])["epochs"] if job.params["preset"] else 1
    patches = sum(regions_of_slides(plan, task.cohort).values()) * patches_of_region(plan)
    steps = STORED[job.rule]["cpu_s_per_patch_step"] * patches * epochs * n_folds
    return replace(cost, cpu_s=cost.cpu_s + steps, n_bytes=4 * patches)


def patches_of_region(plan: Plan) -> int:
    """P."""
    return int(plan.experiment.regions.region_px // plan.experiment.patch_encoder.patch_px) ** 2


def other(job: PlannedJob, plan: Plan) -> Cost:
    """A job that is short, or nearly."""
    stored = STORED.get(job.rule, STORED["other"])
    return Cost(1, 0, stored["cpu_s_per_job"], 1e5, len(job.outputs) + 1)


ESTIMATES: dict[str, Callable[[PlannedJob, Plan], Cost]] = {
    "segment_tissue": surveying,
    "tile_regions": surveying,
    "picture_regions": surveying,
    "encode_patches": encoding,
    "import_tokens": importing,
    "pretrain_dino": warm_up,
    "distill_slpd": distillation,
    "embed_bags": embedding,
    "attend_patches": attending,
    "pool_tokens": pooling,
    "bag_patches": bagging,
    "evaluate": evaluating,
}


def cohort_regions(job: PlannedJob, plan: Plan) -> float:
    """Regions of the cohort of a job, which may be made of others."""
    of = next(cohort for cohort in plan.experiment.cohorts if cohort.name == job.wildcards["cohort"])
    return sum(sum(regions_of_slides(plan, cohort).values()) for cohort in of.of or [of.name])


def slides_of(job: PlannedJob, plan: Plan) -> list[str]:
    """The slides of the batch of a job."""
    return plan.batches[job.wildcards["cohort"]][int(job.wildcards["batch"])]


def regions_of_slides(plan: Plan, cohort: str) -> dict[str, float]:
    """Slide -> its regions: as tiled, else by the size of its file; found out once for a plan."""
    if cohort not in plan.regions:
        plan.regions[cohort] = {
            slide: n_regions
            for batch, slides in plan.batches[cohort].items()
            for slide, n_regions in regions_of_batch(plan, cohort, batch, slides).items()
        }
    return plan.regions[cohort]


def regions_of_batch(plan: Plan, cohort: str, batch: int, slides: Sequence[str]) -> dict[str, float]:
    """Slide -> its regions, of a batch."""
    path = plan.layout.batch("regions", cohort, batch)
    records = [slide.record for slide in read_batch(path)] if path.is_file() else []
    tiled = {record.slide: float(record.n_regions or 0) for record in records}
    sheet = plan.sheets[cohort]
    return {slide: tiled[slide] if slide in tiled else by_size(sheet[slide], plan) for slide in slides}


def by_size(row: SheetRow, plan: Plan) -> float:
    """Regions that a slide may have."""
    per_region = TOKEN_BYTES * patches_of_region(plan) if row.holds_tokens else STORED["slide_bytes_per_region"]
    return row.n_bytes / float(per_region)


if __name__ == "__main__":
    main()
