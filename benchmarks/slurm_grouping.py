"""How many slides should share a job of SLURM: jobs, wall time and overhead per slide for several sizes.

    python -m benchmarks.slurm_grouping [--slides 24]

Runs the two rules of single slides on a throw-away SLURM (`make test-slurm` installs it), and without
one. The baseline is one job per slide and rule; what jobs hold the cluster for, less the local run, is overhead.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tifffile
import yaml

ROOT = Path(__file__).resolve().parents[1]
SIZES = (0, 1, 8, 32)  # slides to a job; 0: one job per slide and rule
sys.path.insert(0, str(ROOT / "tests"))


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=24)
    n_slides = parser.parse_args().slides
    figures = {"local": measure(n_slides, None, {})}
    cluster = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        start = [
            str(ROOT / "tests/slurm_cluster.sh"),
            "start",
            str(cluster),
            "--port",
            str(22000 + os.getpid() % 2000 * 5),
        ]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        reach = {"PATH": f"{cluster}/bin:{os.environ['PATH']}", "SLURM_CONF": f"{cluster}/etc/slurm.conf"}
        for size in SIZES:
            figures[f"{size} slides to a job" if size else "a job per slide and rule"] = measure(n_slides, size, reach)
    finally:
        subprocess.run([ROOT / "tests/slurm_cluster.sh", "stop", cluster, "--purge"], check=True, stdout=sys.stderr)
    for what, figure in figures.items():
        print(f"{what:26} {figure}")
    print(json.dumps({"slides": n_slides, "figures": figures}))


def measure(n_slides: int, size: int | None, reach: dict[str, str]) -> dict[str, float]:
    """Run the rules of slides in a fresh folder; None: on this machine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder, n_slides)
        environment = {**os.environ, **reach, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--configfile", "toy.yaml"]
        where = ["--workflow-profile", "none", "--cores", "2"] if size is None else cluster_options(folder, size)
        started = time.perf_counter()
        run = subprocess.run(
            [*command, *where, "--until", "tile_regions"], cwd=folder, env=environment, capture_output=True, check=False
        )
        seconds = time.perf_counter() - started
        assert run.returncode == 0, run.stderr.decode()[-3000:]
        figures = {"wall_s": round(seconds, 1), "wall_s_per_slide": round(seconds / n_slides, 2)}
        return figures if size is None else figures | occupied(folder, environment, n_slides)


def cluster_options(folder: Path, size: int) -> list[str]:
    """The shipped profile with another number of slides to a job; the queue is looked at every 10 s."""
    profile = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
    profile["group-components"] = [f"slides={size}"]
    if not size:
        del profile["groups"], profile["group-components"]
    profile["slurm-init-seconds-before-status-checks"] = 10
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile))
    return ["--profile", "profile.yaml"]


def occupied(folder: Path, environment: dict[str, str], n_slides: int) -> dict[str, float]:
    """Jobs submitted from the folder, and the time they held."""
    command = ["sacct", "-X", "-n", "-P", "-o", "WorkDir,ElapsedRaw"]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    times = [int(line.split("|")[1]) for line in lines if line.startswith(f"{folder}|")]
    return {"jobs": len(times), "job_s_per_slide": round(sum(times) / n_slides, 2)}


def write_cohort(folder: Path, n_slides: int) -> None:
    """Small slides, their sheet and the toy's config."""
    import toy  # noqa: PLC0415  # of tests/, for this alone

    (folder / "slides").mkdir()
    lines = ["slide,path,patient,mpp,dx"]
    for i in range(n_slides):
        tifffile.imwrite(
            folder / f"slides/s{i}.tiff",
            toy.tissue_picture(i),
            photometric="rgb",
            tile=(64, 64),
            compression="jpeg",
            resolution=(20000, 20000),
            resolutionunit=3,
        )
        lines.append(f"s{i},slides/s{i}.tiff,p{i},,{'ab'[i % 2]}")
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    (folder / "toy.yaml").write_text(yaml.safe_dump(toy.TOY))


if __name__ == "__main__":
    main()
