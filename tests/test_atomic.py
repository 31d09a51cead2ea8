"""Artefacts are whole or absent, whatever happens while they are written."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slpd.artifacts.atomic import atomic_path, write_text

ROOT = Path(__file__).parents[1]


def test_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ha")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_writer_leaves_nothing_that_looks_finished_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "tokens.h5"
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom slpd.artifacts.atomic import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as t:\n t.write_text('half')\n os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=False)
    assert killed.returncode < 0
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    write_text(path, "whole")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_many_files_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for every file takes quadratic time."""
    listed, glob = [], Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: listed.append(folder) or glob(folder, pattern))
    (tmp_path / f".b.{socket.gethostname()}.999999999.partial.txt").write_text("left by a killed process")
    for name in "abc":
        write_text(tmp_path / f"{name}.txt", "x")
    assert listed == [tmp_path]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "c.txt"]


def test_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f".a.{socket.gethostname()}.{os.getppid()}.partial.txt"
    elsewhere = tmp_path / ".a.other-machine.1.partial.txt"
    other.write_text("busy")
    elsewhere.write_text("busy")
    write_text(tmp_path / "a.txt", "x")
    assert other.exists()
    assert elsewhere.exists()
