"""Speed and memory of `import_tokens` on patch features in TRIDENT's layout, against copying the same files.

A slide has 10,000 patches of 1,536 values in float32, a chunk of the file each: two thirds of a disc of tissue make
regions. The stage runs in a process of its own; its largest resident memory is the kernel's figure. Files lie in a
temporary folder (TMPDIR), written just before, so that reading is from the page cache where memory allows. The last
line is JSON. Usage: `python -m benchmarks.patch_features [--slides 8] [--patches 10000] [--width 1536]`.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

STEP, SIDE = 512, 16


def write_slide(path: Path, n_patches: int, width: int, seed: int) -> None:
    """A slide's features, of the `n_patches` places of a lattice that are nearest to its middle."""
    n = int(1.3 * n_patches**0.5)
    rows, columns = np.divmod(np.arange(n * n), n)
    inside = np.sort(np.argsort((rows - n / 2) ** 2 + (columns - n / 2) ** 2)[:n_patches])
    corners = np.stack([columns[inside], rows[inside]], 1) * STEP
    features = np.random.default_rng(seed).standard_normal((n_patches, width), np.float32)
    with h5py.File(path, "w") as file:
        for name, values in (("features", features), ("coords", corners)):
            file.create_dataset(name, data=values, chunks=(1, values.shape[1]), maxshape=(None, values.shape[1]))
        file["coords"].attrs.update(
            patch_size=256, patch_size_level0=STEP, level0_magnification=40, target_magnification=20.0, overlap=0
        )


def copied(folder: Path, paths: list[Path]) -> float:
    """Seconds of copying the files and bringing the copies to the disk."""
    start = time.perf_counter()
    for path in paths:
        shutil.copyfile(path, folder / "copy")
        sync(folder / "copy")
    return time.perf_counter() - start


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def imported(folder: Path, paths: list[Path]) -> float:
    """Seconds of `import_tokens` on the files, start of the process and of torch included."""
    lines = [f"{path.stem},{path},{path.stem}," for path in paths]
    (folder / "sheet.csv").write_text("\n".join(["slide,path,patient,mpp", *lines]) + "\n")
    command = [sys.executable, "-m", "slpd", "import_tokens", "--sheet", f"{folder}/sheet.csv", "--version", "1"]
    command += ["--grid", str(SIDE), "--patch-px", "256", "--mpp", "0.5", "--min-tissue", "0.1"]
    start = time.perf_counter()
    subprocess.run([*command, "--tokens-dir", f"{folder}/tokens", "--out", f"{folder}/imported.json"], check=True)
    for path in paths:
        sync(folder / "tokens" / path.name)
    return time.perf_counter() - start


def main() -> None:
    """Write slides, copy them, import them."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("slides", 8), ("patches", 10_000), ("width", 1536)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = [folder / f"s{i}.h5" for i in range(args.slides)]
        for seed, path in enumerate(paths):
            write_slide(path, args.patches, args.width, seed)
        read = sum(path.stat().st_size for path in paths)
        copying, importing = copied(folder, paths), imported(folder, paths)
        written = sum((folder / "tokens" / path.name).stat().st_size for path in paths)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        **vars(args),
        "read_MB": round(read / 1e6),
        "written_MB": round(written / 1e6),
        "copy_s_per_slide": round(copying / args.slides, 2),
        "import_s_per_slide": round(importing / args.slides, 2),
        "import_cpu_s_per_slide": round((used.ru_utime + used.ru_stime) / args.slides, 2),
        "peak_MB": round(used.ru_maxrss / 1e3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
