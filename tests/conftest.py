"""Fixtures that several test files share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import slurm_runs
import tifffile
import toy
from numpy.typing import NDArray
from PIL import Image

# As in slpd/__main__.py, before a test imports torch: on two busy cores, threads that spin while they wait make a step
# of the small training take 280 ms of processor time instead of 10 ms.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

MakeSlide = Callable[..., Path]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of torch tests with `-m "not torch"`: merely collecting them would import torch."""
    if collection_path.suffix == ".py" and "not torch" in config.getoption("markexpr"):
        return "pytestmark = pytest.mark.torch" in collection_path.read_text() or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run the workflow come first: started last, one would keep a worker busy when the others have ended."""
    slow = {item.path for item in items if item.get_closest_marker("workflow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where every test was skipped, nothing was tested: not a success, as where none was found."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")  # workers have none
    if terminal and exitstatus == pytest.ExitCode.OK and not session.config.option.collectonly:
        session.exitstatus = pytest.ExitCode.OK if terminal.stats.get("passed") else pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """Environment in which SLURM's clients reach a throw-away cluster of this process."""
    yield from slurm_runs.throw_away_cluster()


@pytest.fixture
def nothing_left_running() -> Iterator[None]:
    """End the head processes of a test that failed: without their cluster they would wait for ever."""
    yield from slurm_runs.end_heads()


@pytest.fixture(scope="session")
def make_slide() -> MakeSlide:
    """Writes a tiled, pyramidal TIFF, for example `make_slide(path, array, mpp=0.5, levels=(1, 2, 4))`."""
    return write_test_slide


def write_test_slide(
    path: Path,
    array: NDArray[np.uint8],
    mpp: float | tuple[float, float] | None = 0.5,
    levels: tuple[int, ...] = (1,),
    compression: str | int | tuple[str, ...] | None = "jpeg",
    tile_px: int | None = 64,
    description: str | None = None,
    subsampling: tuple[int, int] | None = None,
) -> Path:
    """Write (h, w, 3) pixels as a slide.

    Args:
        path: The file.
        array: Level 0.
        mpp: µm per level-0 pixel (x, y if two); None: no resolution in the file.
        levels: Downsamples of the levels.
        compression: Of the tiles, or of each level's; None keeps pixels exactly; 33005 is Aperio's JPEG 2000.
        tile_px: Side of a tile; None: strips.
        description: ImageDescription; one that begins with "Aperio" makes it a file of that scanner.
        subsampling: Of colour in JPEG tiles, (1, 1) if None.
    """
    x_mpp, y_mpp = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        kinds = compression if isinstance(compression, tuple) else (compression,) * len(levels)
        for downsample, kind in zip(levels, kinds, strict=True):
            size = (array.shape[1] // downsample, array.shape[0] // downsample)
            level = np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BOX))
            resolution = (1, 1) if mpp is None else (1e4 / (x_mpp * downsample), 1e4 / (y_mpp * downsample))
            file.write(
                level,
                photometric="rgb",
                tile=(tile_px, tile_px) if tile_px else None,
                compression=kind,
                compressionargs={"level": 95} if kind == "jpeg" else None,
                subfiletype=0 if downsample == 1 else 1,
                resolution=resolution,
                resolutionunit="NONE" if mpp is None else "CENTIMETER",
                metadata=None,
                description=description,
                subsampling=subsampling,
            )
    return path


@pytest.fixture(scope="module")
def finished_toy(tmp_path_factory: pytest.TempPathFactory, make_slide: MakeSlide) -> Path:
    """The module's own copy of the toy that has been run to the end, undisturbed."""
    base = tmp_path_factory.getbasetemp()
    folder = tmp_path_factory.mktemp("toy") / "finished"
    toy.finished_toy(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, folder, make_slide)
    return folder


@pytest.fixture
def tissue_picture() -> NDArray[np.uint8]:
    """(1024, 1536, 3): glass with stained, speckled tissue in rows 128-896, columns 128-896."""
    rng = np.random.default_rng(0)
    picture = np.full((1024, 1536, 3), (240, 238, 242), np.uint8)
    cells = rng.random((48, 48)) < 0.4  # 16 px: 8 µm at 0.5 µm/px
    colours = np.where(cells[..., None], (110, 60, 140), (225, 160, 200)).astype(np.uint8)
    picture[128:896, 128:896] = np.kron(colours, np.ones((16, 16, 1), np.uint8))
    return picture
