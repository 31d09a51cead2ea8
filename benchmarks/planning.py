"""What planning the paper's experiment costs: 2,146 slides, 79 iterations, all variants and tables.

    python -m benchmarks.planning

Measured, each in a process of its own: a dry run before anything ran; one when all is finished, and after an edit;
what one job on a node pays to parse the workflow, against the head process that plans the same job. Goals: a dry
run under 10 s and 500 MB. Files are empty, on this machine's disk; on a network file system the calls that are counted
(`strace`, where it is installed) take longer.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COHORTS = {"nsclc": (1041, ("LUAD", "LUSC")), "brca": (1105, ("IDC", "ILC"))}  # slides: released; classes: the config's
GOAL_SECONDS, GOAL_MB = 10.0, 500.0
JOB = ["--target-jobs", "segment_tissue:cohort=nsclc,batch=3", "--allowed-rules", "segment_tissue"]


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohorts(folder)
        figures: dict[str, object] = {}
        for profile in ("workflow/profiles/default", "slurm"):
            figures[f"fresh, {Path(profile).name}"] = dry_run(folder, "--profile", str(ROOT / profile))
        figures["one job, as the head process"] = dry_run(folder, *JOB)
        figures["one job, on a node"] = dry_run(folder, *JOB, "--mode", "remote")
        finish(folder)
        figures["finished"] = dry_run(folder)
        figures["finished, edited"] = dry_run(folder, "--configfile", str(edit(folder)))
        for what, figure in figures.items():
            print(f"{what:32} {figure}")
        goals = {"seconds": GOAL_SECONDS, "megabytes": GOAL_MB}
        print(json.dumps({"slides": sum(n for n, _ in COHORTS.values()), "goals": goals, "figures": figures}))


def write_cohorts(folder: Path) -> None:
    """Sheets, slides of one byte, the weights, and published figures."""
    (folder / "config/cohorts").mkdir(parents=True)
    shutil.copytree(ROOT / "config/published", folder / "config/published")
    (folder / "weights").mkdir()
    (folder / "weights/vit256_small_dino.pth").touch()
    for name, (n_slides, classes) in COHORTS.items():
        (folder / name).mkdir()
        lines = ["slide,path,patient,mpp,oncotree_code"]
        for i in range(n_slides):
            (folder / name / f"{i:04d}.svs").write_bytes(b"x")
            lines.append(f"{name}-{i:04d},{name}/{i:04d}.svs,{name}-p{i:04d},0.25,{classes[i % 2]}")
        (folder / f"config/cohorts/tcga_{name}.csv").write_text("\n".join(lines) + "\n")


def command(*arguments: str) -> list[str]:
    """A snakemake command on the paper's config."""
    head = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--workflow-profile", "none"]
    return [*head, "--cores", "4", "--quiet", "all", *arguments]


def dry_run(folder: Path, *arguments: str) -> dict[str, float | int]:
    """Seconds, peak memory and file-system calls of a dry run."""
    words = [*command(*arguments), "--dry-run"]
    started = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    stderr = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    assert status == 0, stderr.decode()
    figures: dict[str, float | int] = {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
    }
    figures |= {"megabytes": round(usage.ru_maxrss / 1000)}
    return figures | ({"file_calls": file_calls(folder, words)} if shutil.which("strace") else {})


def file_calls(folder: Path, words: list[str]) -> int:
    """File-system calls of a command."""
    trace = subprocess.run(
        ["strace", "-f", "-c", "-e", "trace=%file", *words], cwd=folder, capture_output=True, text=True, check=True
    ).stderr
    found = re.search(r"^100\.00.*?(\d+)\s+\d*\s*total$", trace, re.MULTILINE)
    return int(found[1]) if found else 0


def edit(folder: Path) -> Path:
    """A config file with another k."""
    text = (ROOT / "config/config.yaml").read_text().replace("k: 5  # HIPT", "k: 7")
    (folder / "edited.yaml").write_text(text)
    return folder / "edited.yaml"


def finish(folder: Path) -> None:
    """Leave the folder as a finished run would: every output, and Snakemake's record of it."""
    sys.path.insert(0, str(ROOT / "workflow/scripts"))
    from planning import planned_jobs  # noqa: PLC0415  # Snakemake, for this alone

    for job in planned_jobs(folder=folder):
        for output in job.outputs:
            (folder / output).parent.mkdir(parents=True, exist_ok=True)
            (folder / output).mkdir() if job.rule == "make_report" else (folder / output).touch()
    subprocess.run(command("--touch", "--forceall"), cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    main()
