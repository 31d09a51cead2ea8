"""Measure everything on a GPU: `python -m benchmarks.gpu [--out FOLDER] [part ...]`; anywhere: `--device cpu --tiny`.

Every part is a process with a time limit, and the table is written anew after each: a part that fails, hangs or runs
out of time costs its own figures alone.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

PYTEST = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-n", "0", "-m", "gpu"]
GPU_TESTS = ["tests/test_gpu.py", "tests/test_learner.py", "tests/test_patch_encoder.py"]
TOY = "tests/test_gpu.py::test_every_stage_of_the_toy_runs_beside_a_gpu"
TESTS = {"tests": [*GPU_TESTS, f"--deselect={TOY}"], "toy": [TOY]}  # parts that are tests
# Part -> most seconds. The most telling come first, since the call as a whole has a limit too.
PARTS = {
    "environment": 40,
    "ceilings": 25,
    "training": 240,
    "numbers": 100,
    "readers": 60,
    "encoding": 75,
    "attention": 20,
    "tests": 120,
    "repeated": 60,
    "profiled": 60,
    "toy": 300,
}
PATIENCE = 10  # times longer on a CPU, which others may use too
LAST_LINES = 12  # of what a part that failed wrote


def main() -> int:
    """Run the parts; 1 if one failed."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    ends, failed = time.monotonic() + 60 * args.minutes, []
    rows = ["# Figures of a GPU", "", "| part | what | figure |", "|---|---|---|"]
    for part in args.parts or PARTS:
        limit = min(PARTS[part] * (PATIENCE if args.device == "cpu" else 1), ends - time.monotonic())
        started, fault = time.monotonic(), run(part, args, limit)
        said = (args.out / f"{part}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        rows += [line for line in said if line.startswith("| ")]
        rows.append(f"| {part} | {fault or 'done'} | {time.monotonic() - started:.0f} s |")
        if fault:
            failed.append(part)
            rows += [f"| {part} | | `{line[:300].replace('|', '/')}` |" for line in said[-LAST_LINES:] if line.strip()]
        (args.out / "results.md").write_text("\n".join([*rows, ""]), encoding="utf-8")
    print("\n".join(rows))
    return int(bool(failed))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("gpu_figures"), help="folder of results.md and of logs")
    parser.add_argument("--minutes", type=float, default=15, help="for all parts together")
    return parser.parse_args()


def run(part: str, args: argparse.Namespace, limit: float) -> str:
    """Run a part, its output into its log; what is wrong, if anything."""
    if part in TESTS:
        command = [*PYTEST, *TESTS[part]]
    else:
        command = [sys.executable, "-m", "benchmarks.gpu.parts", part, "--device", args.device, "--out", str(args.out)]
        command += ["--tiny"] if args.tiny else []
    with open(args.out / f"{part}.log", "w", encoding="utf-8") as log:
        if limit <= 0:
            return "no time left"
        try:
            status = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
    return f"exit status {status}" if status and (part in TESTS, status) != (True, 5) else ""  # 5: none, no GPU


if __name__ == "__main__":
    sys.exit(main())
