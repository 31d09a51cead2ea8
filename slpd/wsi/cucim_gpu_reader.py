"""Pixels of a slide's levels through cuCIM on a GPU.

It runs in the slide's reading process, which never imports torch: imported after torch, cuCIM hangs. The process has a
context of its own on the GPU (some 0.5 GB) and there one part of a level at a time, 3 bytes a pixel: 50 MB of 4096 px,
200 MB of 8192 px, besides what nvImageCodec needs to decode it. Pixels come back through the shared memory.

cuCIM has nvImageCodec decode, and that nvTIFF and nvJPEG. Where it does not find one of them, it decodes on the CPU,
and says of the result that it lies on the GPU: so both are loaded here first, and must be seen in use. They do not
interpolate colours of half resolution: a slide that has such is refused by the comparison with OpenSlide.
"""

import ctypes
import logging
import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.wsi.cucim_reader import CucimReader, Pixels
from slpd.wsi.jpeg_tiles import DamagedTileError, JpegTiles
from slpd.wsi.openslide_reader import OpenSlideReader
from slpd.wsi.tiff_levels import TileCheck, UnsuitableError, refuse_other_than_jpeg
from slpd.wsi.tolerance import are_near, stated

log = logging.getLogger(__name__)

LIBRARIES = {  # in this order
    "nvidia-nvjpeg": "libnvjpeg.so",
    "nvidia-nvtiff-cu13": "libnvtiff.so",
    "nvidia-nvimgcodec-cu13": "libnvimgcodec.so",
}
EXTENSIONS = "NVIMGCODEC_EXTENSIONS_PATH"  # where nvImageCodec looks for its decoders
DEVICE_MEMORY = 2  # cudaMemoryTypeDevice


class CucimGpuReader(CucimReader):
    """A slide that cuCIM reads on a GPU. What it cannot decode, OpenSlide reads."""

    name, equality = "cuCIM on a GPU", stated("OpenSlide")

    def __init__(self, path: Path, other: OpenSlideReader, check: TileCheck) -> None:
        refuse_other_than_jpeg(check.levels)
        self._tiles = [JpegTiles(path, level) for level in check.levels]
        load_decoders()
        super().__init__(path, other, check)

    def probe(self) -> str:
        """Compare a few tiles with OpenSlide; what decoded them is in use then."""
        found = super().probe()
        refuse_decoding_on_the_cpu()
        return found

    def decode(self, level: int, left: int, top: int, width: int, height: int) -> tuple[NDArray[np.uint8], str]:
        """What cuCIM makes of a part, and what went wrong, if anything."""
        try:
            return super().decode(level, left, top, width, height)
        except UnsuitableError:
            raise
        except Exception as error:  # whatever the GPU, its driver or a decoder raise, OpenSlide reads the part
            return np.empty((0, 0, 3), np.uint8), f"{type(error).__name__}: {error}"

    def _may_decode(self, level: int, row: int, column: int) -> bool:
        """Whether a tile looks sound, its coded data too: a decoder on a GPU does not complain of them."""
        try:
            return bool(self._tiles[level].image(row, column))
        except DamagedTileError:
            return False

    def _read_otherwise(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        self.n_otherwise += 1
        log.warning("%s: OpenSlide reads level %d at %d, %d; parts: %d", self.name, level, left, top, self.n_otherwise)
        return super()._read_otherwise(level, left, top, width, height)

    def _pixels(self, place: tuple[int, ...], size: tuple[int, int], level: int) -> NDArray[np.uint8]:
        import cupy  # noqa: PLC0415 - comes with cuCIM

        part = cupy.asarray(self._image.read_region(place, size, level, device="cuda"))
        if cupy.cuda.runtime.pointerGetAttributes(part.data.ptr).type != DEVICE_MEMORY:
            raise UnsuitableError("what cuCIM says lies on the GPU does not")
        pixels: NDArray[np.uint8] = cupy.asnumpy(part)
        return pixels

    def _agree(self, pixels: Pixels, expected: NDArray[np.uint8], rounding: int) -> bool:
        """Within the tolerance, which is wider than rounding."""
        return are_near(pixels, expected)


def load_decoders() -> None:
    """Load what cuCIM decodes with on a GPU, which it would not find by itself.

    Raises:
        UnsuitableError: there is no GPU, or a library is missing.
    """
    os.environ["ENABLE_CUSLIDE2"] = "1"  # cuCIM's plugin for GPUs
    for package, library in LIBRARIES.items():
        path = library_path(package, library)
        os.environ[EXTENSIONS] = str(path.parent / "extensions")  # the last one is nvImageCodec's
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise UnsuitableError(f"{library} cannot be loaded ({error})") from error
    import cupy  # noqa: PLC0415 - comes with cuCIM

    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise UnsuitableError(f"there is no GPU ({error})") from error


def library_path(package: str, library: str) -> Path:
    """Where a package has its library.

    Raises:
        UnsuitableError: it is not installed, or has none.
    """
    try:
        paths = [path for path in files(package) or [] if path.name.startswith(library)]
    except PackageNotFoundError:
        paths = []
    if not paths:
        raise UnsuitableError(f"{package} is not installed, without which cuCIM decodes on the CPU; run make setup")
    return Path(str(paths[0].locate()))


def refuse_decoding_on_the_cpu() -> None:
    """Refuse a cuCIM that decoded without the libraries for GPUs.

    Raises:
        UnsuitableError: one was not loaded.
    """
    loaded = Path("/proc/self/maps").read_text()
    for part in ("cuslide2", "libnvtiff_ext", "libnvjpeg_ext"):
        if part not in loaded:
            raise UnsuitableError(f"cuCIM decodes without {part}, thus on the CPU")
