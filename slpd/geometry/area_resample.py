"""Area resampling of images: every output pixel is the mean of the input over its own footprint."""

import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (h, w, 3)


def area_resample(strips: Iterable[Picture], size_in: tuple[int, int], result: Picture) -> None:
    """Resample an image by area, in one go or from horizontal strips, so that the input need not be held whole.

    Within a grey level of the exact mean: from strips it is rounded across and down.

    Args:
        strips: (rows, width, 3) pieces of the input, from top to bottom.
        size_in: Height and width of the input, px.
        result: (height, width, 3) image to fill.
    """
    height, width = result.shape[:2]
    mean, top = np.zeros((height, width * 3), np.float32), 0
    for strip in strips:
        if len(strip) == size_in[0]:
            result[:] = resized(strip, height, width)
            return
        narrow = resized(strip, len(strip), width).reshape(len(strip), -1)
        rows, weights = overlaps(top, top + len(strip), size_in[0], height)
        mean[rows] += weights @ narrow.astype(np.float32)
        top += len(strip)
    result[:] = np.rint(mean, out=mean).reshape(result.shape)


def resized(image: Picture, height: int, width: int) -> Picture:
    """An image at another size, averaged by area.

    OpenCV averages images that become smaller. Of one that becomes less than twice as large in both directions, too,
    but where an output pixel begins just at an input pixel, rounding may make it take the one before: such an image is
    cut there. Of others, pixels are doubled, or more, before: the image is what it was, and becomes smaller.
    """
    down, across = height / image.shape[0], width / image.shape[1]
    if min(down, across) > 1 and max(down, across) < 2:
        return enlarged(image, height, width)
    if max(down, across) > 1:
        image = image.repeat(math.ceil(down), axis=0).repeat(math.ceil(across), axis=1)
    return shrunk(image, height, width)


def shrunk(image: Picture, height: int, width: int) -> Picture:
    """What OpenCV calls area interpolation."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def enlarged(image: Picture, height: int, width: int) -> Picture:
    """An image that becomes less than twice as large, cut where pixels of input and output begin together."""
    result = np.empty((height, width, 3), np.uint8)
    n_down, n_across = math.gcd(height, image.shape[0]), math.gcd(width, image.shape[1])
    for band, target in zip(np.split(image, n_down), np.split(result, n_down), strict=True):
        for piece, place in zip(np.split(band, n_across, 1), np.split(target, n_across, 1), strict=True):
            place[:] = shrunk(piece, *place.shape[:2])
    return result


def overlaps(first: int, last: int, n_in: int, n_out: int) -> tuple[slice, NDArray[np.float32]]:
    """What input pixels `first` to `last` of `n_in` add to the means of `n_out` output pixels.

    Returns:
        The output pixels that they take part in, and their (output, input) weights, share of the output pixel.
    """
    outputs = slice(first * n_out // n_in, -(-last * n_out // n_in))
    pixel = np.arange(first, last) * n_out  # edges in units of 1 / n_out input pixels: whole numbers
    box = np.arange(outputs.start, outputs.stop)[:, None] * n_in
    overlap = np.minimum(box + n_in, pixel + n_out) - np.maximum(box, pixel)
    weights: NDArray[np.float32] = (np.maximum(overlap, 0) / n_in).astype(np.float32)
    return outputs, weights
