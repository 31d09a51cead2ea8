"""A tissue mask from elsewhere (the `mask` column of a sheet): drawn by hand, or found by another segmenter.

PNG: grey over the whole slide at any resolution; above 127 is tissue. GrandQC's have classes instead, and are known by
their names: `<slide file>_MASK.png` (0 tissue) and `<slide file>_mask.png` (1 tissue without artefacts).
GeoJSON (`.geojson`, `.json`): polygons in level-0 pixels, as QuPath exports them; `slpd.artifacts.slides.geojson` says
which of them count.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.artifacts.slides.geojson import read_polygons
from slpd.artifacts.slides.mask import LEAST_TISSUE_GREY, Mask
from slpd.errors import SlideError
from slpd.geometry.outlines import rasterise

SHAPE_TOLERANCE = 0.02  # relative difference of the aspect ratios of mask and slide, beside one mask pixel


GRANDQC = {"_MASK.png": 0, "_mask.png": 1}  # end of a file's name -> the class that is tissue
LARGEST_CLASS = 7  # of GrandQC: background


def read_given_mask(slide: str, path: Path, size_lv0: tuple[int, int], segmented: Mask) -> Mask:
    """Read a mask and bring it to the resolution that tissue is looked for at.

    Args:
        slide: Slide id, for messages.
        path: The file.
        size_lv0: Width and height of the slide, level-0 pixels.
        segmented: (h, w) the segmenter's tissue, which areas are cut out of if the file has no others.

    Returns:
        (h, w) True on tissue.

    Raises:
        SlideError: the file cannot be read, does not fit the slide, or marks no tissue.
    """
    shape = segmented.shape
    if path.suffix.lower() == ".png":
        greys = read_greys(slide, path)
        check_shape(slide, path, greys.shape, size_lv0)
        binary = Image.fromarray(tissue_of(path, greys) * np.uint8(255))
        mask = np.asarray(binary.resize(shape[::-1], Image.Resampling.BOX)) >= LEAST_TISSUE_GREY
        likely_cause = f"its greys are {greys.min()} to {greys.max()}, and above 127 is tissue"
    else:
        tissue, ignored = read_polygons(slide, path)
        whole = rasterise(tissue, size_lv0, shape) if tissue else segmented
        mask = whole & ~rasterise(ignored, size_lv0, shape)
        likely_cause = f"none of its {len(tissue)} polygons covers a pixel of {size_lv0[0]} x {size_lv0[1]} level-0 px"
    if not mask.any():
        raise SlideError(
            f"slide {slide}: no tissue in mask {path}: {likely_cause}; correct the mask or its coordinates"
        )
    return mask


def tissue_of(path: Path, greys: NDArray[np.uint8]) -> Mask:
    """Where a picture says tissue: above 127, or in the class that GrandQC has for it."""
    for ending, tissue in GRANDQC.items():
        slide_file = path.name.removesuffix(ending)
        if slide_file != path.name and Path(slide_file).suffix and greys.max() <= LARGEST_CLASS:
            return np.equal(greys, tissue)
    return greys >= LEAST_TISSUE_GREY


def read_greys(slide: str, path: Path) -> NDArray[np.uint8]:
    """(h, w) grey values of a picture."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise SlideError(f"slide {slide}: mask {path} has more than 8 bits per pixel; save it as 8-bit grey")
            if "A" in image.getbands() or "transparency" in image.info:
                raise SlideError(f"slide {slide}: mask {path} has transparent parts; save it as grey without alpha")
            return np.asarray(image.convert("L"))
    except Image.DecompressionBombError as error:
        raise SlideError(f"slide {slide}: mask {path} is too large ({error}); save it at about 8 µm/px") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise SlideError(f"slide {slide}: mask {path} cannot be read ({error}); save it as PNG again") from error


def check_shape(slide: str, path: Path, shape: tuple[int, ...], size_lv0: tuple[int, int]) -> None:
    """Refuse a picture that is not as wide and high as the slide, up to its resolution."""
    height, width = shape
    expected = width * size_lv0[1] / size_lv0[0]
    if abs(height - expected) > 1 + SHAPE_TOLERANCE * expected:
        raise SlideError(
            f"slide {slide}: mask {path} is {width} x {height}, the slide {size_lv0[0]} x {size_lv0[1]} px;"
            " a mask covers the whole slide: export it without cropping"
        )
