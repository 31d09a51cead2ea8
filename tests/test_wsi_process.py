"""A slide's reading process: what it costs, how it ends, and that nothing stays behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from slpd.errors import SlideError
from slpd.geometry.read_plan import plan_read
from slpd.wsi import READ_AHEAD, Slide

pytestmark = pytest.mark.slides

MakeSlide = Callable[..., Path]
Pixels = NDArray[np.uint8]  # (h, w, 3)
ROOT = Path(__file__).parents[1]


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (300, 420, 3), dtype=np.uint8)


def readers() -> list[psutil.Process]:
    """The reading processes: children of the one process that forks them."""
    return [reader for nursery in psutil.Process().children() for reader in nursery.children()]


def shared_files(reader: psutil.Process) -> list[str]:
    """Files of shared memory that a reader uses: pixels lie in memory without a name, which ends with its users."""
    return re.findall(r"/dev/shm/\S+", Path(f"/proc/{reader.pid}/maps").read_text())


def test_the_process_starts_light_and_its_user_lighter() -> None:
    program = "import sys, {module}; print(*[m for m in {names!r} if m in sys.modules])"
    for module, absent in [
        ("slpd.wsi.nursery", ["torch", "scipy", "pandas", "cucim", "pydantic"]),
        ("slpd.wsi", ["torch", "openslide", "cucim", "tifffile"]),
    ]:
        command = [sys.executable, "-c", program.format(module=module, names=absent)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert run.stdout.split() == []


def test_a_closed_slide_leaves_nothing(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels)
    Slide("s", path, None).__exit__()  # starts what forks readers
    files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with Slide("s", path, None) as slide:
            plan = plan_read(slide.mpp, slide.downsamples, 0.5, 128)
            regions = slide.read_regions([(0, 0)] * 9, plan)
            next(regions)  # the rest was asked for and is not wanted
            assert len(readers()) == 1
            assert shared_files(readers()[0]) == []
    del regions
    assert (readers(), len(list(Path("/proc/self/fd").iterdir()))) == ([], files)


def test_a_refused_slide_leaves_no_process(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    with pytest.raises(SlideError, match="no resolution"):
        Slide("s", make_slide(tmp_path / "s.tiff", pixels, mpp=None), None)
    assert readers() == []


def test_regions_that_are_not_wanted_do_not_disturb_the_next(
    tmp_path: Path, make_slide: MakeSlide, pixels: Pixels
) -> None:
    with Slide("s", make_slide(tmp_path / "s.tiff", pixels, compression=None), None) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 0.5, 64)
        for _ in slide.read_regions([(0, 0), (64, 0), (128, 0), (192, 0)], plan):
            break
        assert np.array_equal(slide.read_region(17, 33, plan), pixels[33:97, 17:81])
        assert slide.thumbnail(1.0).shape == (150, 210, 3)
        assert np.array_equal(slide.read_region(18, 33, plan), pixels[33:97, 18:82])


def test_a_region_stays_until_the_next_is_asked_for(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    with Slide("s", make_slide(tmp_path / "s.tiff", pixels, compression=None), None) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 0.5, 64)
        corners = [(10 * i, 20 * i) for i in range(3 * READ_AHEAD)]
        for (x, y), region in zip(corners, slide.read_regions(corners, plan), strict=True):
            time.sleep(0.02)  # time to decode ahead
            assert np.array_equal(region, pixels[y : y + 64, x : x + 64])


def test_a_crash_is_a_failure_of_the_slide(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels)
    with Slide("s", path, None) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 0.5, 64)
        regions = slide.read_regions([(0, 0)] * 9, plan)
        next(regions)
        readers()[0].send_signal(signal.SIGSEGV)
        with pytest.raises(SlideError, match=r"slide s: cucim ended with SIGSEGV while reading .*s\.tiff; set reading"):
            list(regions)
        with pytest.raises(SlideError, match="SIGSEGV"):
            slide.thumbnail(1.0)
    assert readers() == []


def test_a_killed_nursery_takes_its_readers_along_and_is_replaced(
    tmp_path: Path, make_slide: MakeSlide, pixels: Pixels
) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels)
    with Slide("s", path, None) as slide:
        reader = readers()[0]
        reader.parent().kill()
        assert psutil.wait_procs([reader])[1] == []
        with pytest.raises(SlideError, match="slide s: cucim ended with SIGKILL"):
            slide.thumbnail(1.0)
    with Slide("s", path, None) as slide:
        assert slide.thumbnail(1.0).shape == (150, 210, 3)
    assert readers() == []


def test_what_forks_readers_has_one_thread(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels)
    for _ in range(2):  # cuCIM is imported after the first
        with Slide("s", path, None) as slide:
            assert slide.reader == "cucim"
            assert [reader.parent().num_threads() for reader in readers()] == [1]


def test_slides_may_be_opened_in_several_threads(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels)

    def width(_: int) -> int:
        with Slide("s", path, None) as slide:
            return slide.width_lv0

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(width, range(12))) == [420] * 12
    assert readers() == []


class StopError(BaseException):
    """What a signal's handler raises."""


def test_a_signal_in_the_middle_of_an_answer_does_not_wait_for_the_rest(
    tmp_path: Path, make_slide: MakeSlide, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(connection: Connection) -> object:
        monkeypatch.undo()
        os.read(connection.fileno(), 6)  # the length of the message, and its first bytes
        raise StopError

    with Slide("s", make_slide(tmp_path / "s.tiff", pixels), None) as slide:
        regions = slide.read_regions([(0, 0)] * 9, plan_read(slide.mpp, slide.downsamples, 0.5, 128))
        next(regions)
        monkeypatch.setattr(Connection, "recv", begin)
        with pytest.raises(StopError):
            next(regions)
    assert readers() == []


def test_the_process_ends_with_a_killed_user(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels)
    program = (
        "import signal, sys; from pathlib import Path; from slpd.wsi import Slide;"
        "from slpd.geometry.read_plan import plan_read\n"
        "slide = Slide('s', Path(sys.argv[1]), None)\n"
        "regions = slide.read_regions([(0, 0)] * 99, plan_read(slide.mpp, slide.downsamples, 0.5, 256))\n"
        "next(regions); print(slide._process.number, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout
        reader = psutil.Process(int(user.stdout.readline()))
        assert shared_files(reader) == []
        user.kill()
    assert psutil.wait_procs([reader])[1] == []


def test_a_reader_that_hangs_ends_with_a_killed_user(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    """It does not come to notice: as in a decoder that never returns."""
    path = make_slide(tmp_path / "s.tiff", pixels)
    program = (
        "import signal, sys; from pathlib import Path; from slpd.wsi import Slide\n"
        "slide = Slide('s', Path(sys.argv[1]), None); print(slide._process.number, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout
        reader = psutil.Process(int(user.stdout.readline()))
        nursery = reader.parent()
        assert nursery
        reader.suspend()
        user.kill()
    assert psutil.wait_procs([reader, nursery])[1] == []


def test_readers_have_nothing_of_the_script_that_opens_a_slide(
    tmp_path: Path, make_slide: MakeSlide, pixels: Pixels
) -> None:
    """Torch above all, after which cuCIM crashes; and the script is run once, though nothing guards its main part."""
    path, script = make_slide(tmp_path / "s.tiff", pixels), tmp_path / "script.py"
    script.write_text(
        "import sys, torch; from pathlib import Path; from slpd.wsi import Slide\n"
        "with Slide('s', Path(sys.argv[1]), None) as slide:\n"
        "    maps = [Path(f'/proc/{number}/maps').read_text() for number in ('self', slide._process.number)]\n"
        "    print(slide.reader, *['libtorch' in text for text in maps])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, path]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["cucim", "True", "False"]


def test_memory_does_not_grow_with_regions(tmp_path: Path, make_slide: MakeSlide) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1100, 1100, 3), dtype=np.uint8)
    with Slide("s", make_slide(tmp_path / "s.tiff", pixels, tile_px=256), None) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 0.5, 1024)
        memory = []
        for number, _ in enumerate(slide.read_regions([(9, 9)] * 120, plan)):
            if number in (20, 119):
                memory.append(sum(p.memory_info().rss for p in (psutil.Process(), *readers())))
    assert memory[1] < memory[0] + 10e6  # a region has 3 MB


def test_a_slide_smaller_than_a_region_is_white_around(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    with Slide("s", make_slide(tmp_path / "s.tiff", pixels, compression=None), None) as slide:
        region = slide.read_region(-100, 0, plan_read(slide.mpp, slide.downsamples, 0.5, 1024))
    assert np.array_equal(region[:300, 100:520], pixels)
    assert (region[300:] == 255).all()
    assert (region[:, :100] == 255).all()
    assert (region[:, 520:] == 255).all()


def test_the_files_resolution_is_kept_next_to_the_sheets(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    for stated, known in [(0.25, 0.25), (25.4, 25.4), ((0.5, 0.504), 0.502), ((25.4, 30.0), 27.7), (None, None)]:
        with Slide("s", make_slide(tmp_path / "s.tiff", pixels, mpp=stated), 0.5) as slide:
            assert (slide.mpp, slide.mpp_source) == (0.5, "sheet")
            assert slide.file_mpp == (known if known is None else pytest.approx(known, rel=1e-5))


def test_files_with_the_wrong_suffix(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    """What is in a file counts: a tiled TIFF under any name is read, a picture named as a slide is refused."""
    with Slide("s", make_slide(tmp_path / "tiled.svs", pixels), None) as slide:
        assert slide.reader == "cucim"
    with Slide("s", make_slide(tmp_path / "tiled.ndpi", pixels), None) as slide:
        assert np.abs(slide.read_region(0, 0, plan_read(0.5, (1,), 0.5, 64)).mean() - pixels.mean()) < 9
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.svs")
    make_slide(tmp_path / "strips.svs", pixels, tile_px=None)
    for name in ("picture", "strips"):
        with pytest.raises(SlideError, match=f"slide s: .*{name}.svs is not a slide that can be read"):
            Slide("s", tmp_path / f"{name}.svs", None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path, make_slide: MakeSlide, pixels: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels)
    path.chmod(0)
    with pytest.raises(SlideError, match="Permission denied"):
        Slide("s", path, None)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_file_is_refused_or_gives_what_it_has(
    tmp_path: Path, make_slide: MakeSlide, pixels: Pixels, share: float
) -> None:
    path = make_slide(tmp_path / "s.tiff", pixels, levels=(1, 2))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SlideError, match=r"slide s: .* is not a slide that can be read"):
        Slide("s", path, None)
