"""The parts of `python -m benchmarks.gpu`, each a process: `python -m benchmarks.gpu.parts PART`.

A part prints rows of the table as it finds them.
"""

import argparse
import importlib
from pathlib import Path

MODULES = {
    "environment": "machine",
    "ceilings": "machine",
    "attention": "machine",
    "training": "steps",
    "numbers": "steps",
    "repeated": "steps",
    "profiled": "steps",
    "readers": "slides",
    "encoding": "slides",
}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=MODULES)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path())
    args = parser.parse_args()
    module = importlib.import_module(f"benchmarks.gpu.{MODULES[args.part]}")
    for what, figure in getattr(module, args.part)(args):
        print(f"| {args.part} | {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
