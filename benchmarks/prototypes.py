"""Time and memory of `cluster_regions` and `link_slides` by size of cohort.

Each runs as a process of its own, start included, on drawn embeddings of 60 regions per slide. The last line is JSON.
Usage: `python -m benchmarks.prototypes [--slides 1041 10000 100000]`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from slpd.settings.training import Prototypes, SlideGraph

REGIONS, DIMENSIONS, SHOWN, KINDS, RANK = 60, 256, 4, 24, 24
PROTOTYPES = Prototypes(
    n_prototypes=4, min_regions=32, features="bottleneck", kmeans_iterations=10, kmeans_restarts=5, seed=0
)
SLIDE_GRAPH = SlideGraph(n_neighbours=1, correspondence="matching")
BLOCK = 1000  # slides drawn at a time


def draw(rng: np.random.Generator, n_slides: int, n_each: int, spread: float) -> NDArray[np.float32]:
    """(slides, vectors of each, D) unit vectors: a slide shows four of the kinds, and has an offset of its own.

    As embeddings of trained encoders do, they vary in a few dimensions (here 24) and hardly in the others.
    """
    world = np.random.default_rng(0)
    kinds, axes = world.normal(size=(KINDS, RANK)), world.normal(size=(RANK, DIMENSIONS))
    shown = np.argsort(rng.random((n_slides, KINDS)), axis=1)[:, :SHOWN]
    of_each = shown[:, np.arange(n_each) % SHOWN]
    inner = (
        kinds[of_each] + 0.5 * rng.normal(size=(n_slides, 1, RANK)) + spread * rng.normal(size=(n_slides, n_each, RANK))
    )
    vectors = (inner @ axes).astype(np.float32)
    vectors += 0.15 * RANK**0.5 * rng.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return vectors


def write_embeddings(path: Path, n_slides: int) -> None:
    """An embeddings file, written block by block."""
    n_regions, rng = n_slides * REGIONS, np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        bottleneck = file.create_dataset("bottleneck", (n_regions, DIMENSIONS), np.float32)
        file["region_vector"] = np.zeros((n_regions, 1), np.float32)
        file["offsets"] = np.arange(0, n_regions + 1, REGIONS)
        file["slides"] = [f"slide_{i:06d}" for i in range(n_slides)]
        for start in range(0, n_slides, BLOCK):
            block = draw(rng, min(BLOCK, n_slides - start), REGIONS, spread=0.8)
            bottleneck[start * REGIONS : start * REGIONS + block[..., 0].size] = block.reshape(-1, DIMENSIONS)


def run_stage(stage: str, *arguments: str) -> dict[str, float]:
    """Wall time and peak memory of a stage in its own process."""
    program = (
        "import re, sys; from pathlib import Path; from slpd.__main__ import main; status = main();"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1], status)"
    )
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", program, stage, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.monotonic() - started
    kilobytes, status = run.stdout.split()[-2:]
    assert status == "0", run.stdout
    return {"seconds": seconds, "peak_mb": int(kilobytes) / 1024}


def measure(n_slides: int, folder: Path) -> dict[str, Any]:
    """Both stages on a cohort."""
    embeddings, prototypes, graph = (folder / name for name in ("embeddings.h5", "prototypes.npz", "graph.npz"))
    write_embeddings(embeddings, n_slides)
    clustering = ("--settings", PROTOTYPES.model_dump_json(), "--out", str(prototypes))
    linking = ("--settings", SLIDE_GRAPH.model_dump_json(), "--out", str(graph))
    return {
        "slides": n_slides,
        "embeddings_gb": embeddings.stat().st_size / 1e9,
        "cluster_regions": run_stage("cluster_regions", "--embeddings", str(embeddings), *clustering),
        "link_slides": run_stage("link_slides", "--prototypes", str(prototypes), *linking),
    }


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, nargs="+", default=[1041, 10_000, 100_000])
    args = parser.parse_args()
    results = []
    for n_slides in args.slides:
        with tempfile.TemporaryDirectory(prefix="prototypes-") as folder:
            results.append(measure(n_slides, Path(folder)))
            print(results[-1], flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
