"""A slide is read from the node's own disk where that has room, and the copy is gone afterwards."""

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from dicom import write_dicom

from slpd.artifacts.slides.node_copy import node_copy
from slpd.errors import UserError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A slide of a file and a folder, as MRXS is."""
    (tmp_path / "store" / "a" / "data").mkdir(parents=True)
    (tmp_path / "store" / "a.mrxs").write_bytes(b"slide")
    (tmp_path / "store" / "a" / "data" / "Data0000.dat").write_bytes(b"pixels")
    (tmp_path / "store" / "b.svs").write_bytes(b"another")
    return tmp_path / "store" / "a.mrxs"


def test_the_copy_has_all_that_belongs_to_the_slide_and_is_removed(slide: Path, tmp_path: Path) -> None:
    node = tmp_path / "node" / "scratch"
    with node_copy("a", slide, str(node)) as copy:
        assert copy.parent.parent == node
        found = {str(path.relative_to(copy.parent)): path.read_bytes() for path in copy.parent.rglob("*.*")}
        assert found == {"a.mrxs": b"slide", "a/data/Data0000.dat": b"pixels"}
    assert list(node.iterdir()) == []
    with pytest.raises(KeyError), node_copy("a", slide, str(node)):
        raise KeyError
    assert list(node.iterdir()) == []
    assert slide.read_bytes() == b"slide"


def test_a_folder_that_is_only_named_like_a_slide_is_not_copied(slide: Path, tmp_path: Path) -> None:
    (slide.parent / "b").mkdir()
    (slide.parent / "b" / "results.bin").write_bytes(b"terabytes")
    with node_copy("b", slide.parent / "b.svs", str(tmp_path / "node")) as copy:
        assert [path.name for path in copy.parent.iterdir()] == ["b.svs"]


def test_formats_of_several_files_are_known_by_their_content(slide: Path, tmp_path: Path) -> None:
    store = slide.parent
    write_dicom(store / "series", np.zeros((512, 512, 3), np.uint8), ["0", "1"])
    write_dicom(store / "series", np.zeros((256, 256, 3), np.uint8), ["other"], series="4.5.6")
    (store / "c.txt").write_text("[Virtual Microscope Specimen]\nImageFile=c(1).jpg\nImageFile(0,1)=gone.jpg\n")
    (store / "c(1).jpg").write_bytes(b"pixels")
    for path, expected in [
        (store / "series" / "1", {"0", "1"}),
        (store / "series" / "other", {"other"}),
        (store / "c.txt", {"c.txt", "c(1).jpg"}),
        (store / "b.svs", {"b.svs"}),
    ]:
        with node_copy("x", path, str(tmp_path / "node")) as copy:
            assert copy.name == path.name
            assert {file.name for file in copy.parent.iterdir()} == expected


def test_the_folder_may_be_named_by_the_node(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_SCRATCH", str(tmp_path / "node"))
    with node_copy("a", slide, "$NODE_SCRATCH/slides") as copy:
        assert copy.is_relative_to(tmp_path / "node" / "slides")
    monkeypatch.delenv("NODE_SCRATCH")
    with (
        pytest.raises(UserError, match="NODE_SCRATCH/slides: the variable is not set"),
        node_copy("a", slide, "$NODE_SCRATCH/slides"),
    ):
        pass


def test_without_room_the_slide_is_read_in_place(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(20, 10, 10))  # 11 bytes are needed
    with node_copy("a", slide, str(tmp_path / "node")) as copy:
        assert copy == slide
        assert list((tmp_path / "node").iterdir()) == []
    assert "slide a: not copied to" in caplog.text
    assert "read in place" in caplog.text


@pytest.mark.parametrize("fault", ["file in the way", "gone"])
def test_what_cannot_be_copied_is_read_in_place(
    slide: Path, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    node, path = tmp_path / "node", slide
    if fault == "file in the way":
        node.write_bytes(b"")
    else:
        path = slide.with_suffix(".svs")
    with node_copy("a", path, str(node)) as copy:
        assert copy == path
    assert "slide a: not copied to" in caplog.text


def test_copies_of_killed_jobs_are_removed_and_those_of_living_ones_kept(slide: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    program = (
        "import sys; from pathlib import Path; from slpd.artifacts.slides.node_copy import node_copy\n"
        f"with node_copy('a', Path({str(slide)!r}), {str(node)!r}) as copy: print(copy, flush=True); sys.stdin.read()"
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    copies = [Path(job.stdout.readline().strip()).parent for job in jobs if job.stdout]
    jobs[0].kill()
    jobs[0].wait()
    (node / "not ours").mkdir()
    with node_copy("a", slide, str(node)) as copy:
        assert sorted(node.iterdir()) == sorted([copies[1], copy.parent, node / "not ours"])
    jobs[1].communicate("")
    assert list(node.iterdir()) == [node / "not ours"]
