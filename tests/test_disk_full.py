"""A disk that is really full: the stage fails and says so, no slide is left out for it, and with room it goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy

pytestmark = pytest.mark.workflow

OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
SCRIPT = """
disk=$1; shift
mount -t tmpfs -o size=300k none "$disk"
if "$@"; then exit 9; else echo "status $?"; fi
find "$disk" -type f -printf '%f '
echo
mount -o remount,size=10m "$disk"
"$@"
ls "$disk"
"""


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a small disk of his own."""
    if shutil.which("unshare") is None:
        return False
    mount = [*OWN_MOUNTS, f"mount -t tmpfs -o size=1m none {folder}"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


def test_full_disk_fails_the_stage_and_leaves_no_slide_out(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("no small disk can be mounted here")
    rng = np.random.default_rng(0)
    lines = ["slide,path,patient,mpp"]
    for i in range(3):  # 150 kB each: the second does not fit
        with h5py.File(tmp_path / f"t{i}.h5", "w") as file:
            file["features"] = rng.normal(size=(12, 256, 24)).astype(np.float32)
        lines.append(f"t{i},{tmp_path}/t{i}.h5,p{i},")
    (tmp_path / "slides.csv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "slpd", "import_tokens", "--sheet", f"{tmp_path}/slides.csv", "--version", "1"]
    command += [
        "--grid",
        "16",
        "--patch-px",
        "256",
        "--mpp",
        "0.5",
        "--min-tissue",
        "0.5",
        "--tokens-dir",
        str(disk),
        "--out",
        f"{disk}/imported.json",
    ]
    run = subprocess.run(
        [*OWN_MOUNTS, SCRIPT, "sh", str(disk), *command], cwd=toy.ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    status, left, *whole = run.stdout.splitlines()
    assert status == "status 2", run.stderr
    assert set(left.split()) < {"t0.h5", "t1.h5", "t2.h5"}  # files are written side by side: which one fits is chance
    assert whole == ["imported.json", "t0.h5", "t1.h5", "t2.h5"]
    assert "No space left on device" in run.stderr
    assert "left out" not in run.stderr
