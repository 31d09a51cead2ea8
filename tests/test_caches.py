"""Where the home cannot be written, caches go elsewhere: cuCIM stays, and doctor says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy

from slpd.caches import CACHES, can_write, own_folder, unwritable, use_writable_caches

HOMES = ["/proc/1", "/nonexistent/home"]


@pytest.fixture
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache is named, and none stays named."""
    for name in CACHES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("without_variables")
@pytest.mark.parametrize("home", HOMES)
def test_caches_of_a_home_that_cannot_be_written_move(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if home != "/proc/1" and can_write(Path(home)):
        pytest.skip("root may make any folder")
    monkeypatch.setenv("HOME", home)
    assert use_writable_caches().keys() == CACHES.keys()
    assert all(Path(os.environ[name]).parent == own_folder() for name in CACHES)
    assert unwritable() == {}
    assert own_folder().stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("without_variables")
def test_caches_that_can_be_written_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert use_writable_caches() == {}
    assert not os.environ.keys() & CACHES.keys()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("CUPY_CACHE_DIR", "/proc/1/cupy")
    assert use_writable_caches() == {"CUPY_CACHE_DIR": "/proc/1/cupy"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of slpd whose home cannot be written."""
    environment = {name: value for name, value in toy.environment().items() if name not in CACHES}
    environment |= {"HOME": "/proc/1", "PYTHONPATH": str(toy.ROOT)}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_doctor_finds_cucim_and_says_where_caches_are() -> None:
    found = run("-m", "slpd", "doctor").stdout
    assert "ok      packages: all import" in found
    assert "read by cucim" in found
    assert "ok      caches: /proc/1 cannot be written" in found


@pytest.mark.workflow
def test_the_workflow_starts(tmp_path: Path) -> None:
    """With its profiles: without one, Snakemake makes a folder in the home before it looks at any workflow."""
    command = ["-m", "snakemake", "--workflow-profile", "workflow/profiles/default", "--dry-run", "--quiet", "all"]
    command += ["-d", str(tmp_path), "--configfile", "toy.yaml"]
    toy.make_toy(tmp_path, lambda path, *_, **__: path.write_bytes(b"slide"))
    command[-1] = str(tmp_path / "toy.yaml")
    environment = {name: value for name, value in toy.environment().items() if name not in CACHES} | {"HOME": "/proc/1"}
    ran = subprocess.run(
        [sys.executable, *command], cwd=toy.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
