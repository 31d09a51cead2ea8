"""How much ink is found, and how much tissue is lost to it: `python -m benchmarks.pens [--slides FOLDER]`.

Strokes of six inks, dense, fading, dry and thin, are drawn over tissue and glass, as light that passes through both, at
several resolutions. Tissue is drawn (stroma, nuclei, blood, mucin, fat), or real: any slides of a folder.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from slpd.tissue import survey
from slpd.wsi import Slide

Picture = NDArray[np.uint8]  # (h, w, 3)
Share = NDArray[np.float64]  # (h, w) of the full ink, 0-1

BASE_MPP = 2.0
FACTORS = (1, 2, 4, 8, 12)  # of BASE_MPP: 2 to 24 µm/px
INKS = {
    "red": (210, 30, 45),
    "dark red": (160, 20, 30),
    "pink": (240, 60, 150),
    "green": (30, 140, 110),
    "blue": (40, 60, 160),
    "black": (40, 38, 42),
}
STROKES = ("dense", "fading", "dry", "thin")
INKED = 0.15  # share of the full ink from which a pixel counts as ink
CLEAR_UM = 160.0  # from ink: farther tissue must stay tissue
GLASS = (240, 236, 241)


def drawn_tissue(height: int = 1600, width: int = 2000, seed: int = 0) -> Picture:
    """Tissue in the right half: bands of stroma with nuclei, pale stroma, fat, mucin, blood; glass in the left half."""
    rng = np.random.default_rng(seed)
    picture = np.broadcast_to(np.array(GLASS, float), (height, width, 3)).copy()
    fibres = unit(ndimage.gaussian_filter(rng.normal(size=(height, width)), (4, 16)))
    stroma = np.array(GLASS) * (np.array((228, 165, 195)) / GLASS) ** (1 + 0.25 * fibres)
    bands = np.linspace(0, height, 6).astype(int)
    left = width // 2
    picture[:, left:] = stroma[:, left:]
    cells(picture[bands[0] : bands[1], left:], rng, 0.12, 3, (105, 60, 150))
    pale = slice(bands[1], bands[2])
    picture[pale, left:] = np.array(GLASS) * (stroma[pale, left:] / GLASS) ** 0.35
    fat(picture[bands[2] : bands[3], left:])
    mucin = unit(ndimage.gaussian_filter(rng.normal(size=(bands[4] - bands[3], width - left)), 6))
    picture[bands[3] : bands[4], left:] = np.array(GLASS) * (np.array((214, 200, 226)) / GLASS) ** (1 + 0.3 * mucin)
    cells(picture[bands[3] : bands[4], left:], rng, 0.004, 3, (110, 80, 160))
    cells(picture[bands[4] :, left:], rng, 0.6, 2, (207, 82, 101))  # red cells, in a lake
    return (picture + rng.normal(0, 1.5, picture.shape)).clip(0, 255).astype(np.uint8)


def unit(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """(h, w, 1) noise of deviation 1, cut off at 2."""
    cut: NDArray[np.float64] = (noise / noise.std()).clip(-2, 2)[..., None]
    return cut


def cells(
    part: NDArray[np.float64], rng: np.random.Generator, density: float, radius: int, colour: tuple[int, ...]
) -> None:
    """Draw discs of a colour that varies from cell to cell; `density` of cells per area of one."""
    height, width = part.shape[:2]
    image = Image.fromarray(part.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(density * height * width / (radius * 2) ** 2 * 2)):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        tone = tuple(int(min(255, c * t)) for c, t in zip(colour, rng.normal(1, 0.06, 3), strict=True))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tone)
    part[:] = np.asarray(image)


def fat(part: NDArray[np.float64]) -> None:
    """Draw empty cells of 80 µm between strands."""
    y, x = np.mgrid[: part.shape[0], : part.shape[1]]
    part[((y % 40) > 4) & ((x % 40) > 4)] = GLASS


def stroke(shape: tuple[int, int], kind: str, seed: int = 0) -> Share:
    """The share of ink of a stroke across a picture, at BASE_MPP."""
    height, width = shape
    points = [(0.06, 0.85), (0.35, 0.15), (0.66, 0.8), (0.95, 0.2)]
    image = Image.new("L", (width, height))
    line = [(x * width, y * height) for x, y in points]
    ImageDraw.Draw(image).line(line, fill=255, width=120 if kind == "thin" else 350, joint="curve")
    share = np.asarray(image.filter(ImageFilter.GaussianBlur(20)), float) / 255
    if kind == "fading":
        share *= np.linspace(1, 0.15, width)
    if kind == "dry":
        rng = np.random.default_rng(seed)
        streaks = ndimage.gaussian_filter1d(rng.normal(size=height + width), 12)
        y, x = np.mgrid[:height, :width]
        share *= np.clip(0.5 + 3 * streaks[(y + x // 2) % (height + width)], 0.05, 0.8)
    return share


def inked(picture: Picture, colour: tuple[int, int, int], share: Share) -> Picture:
    """The picture under ink: light passes through both."""
    return (picture * (np.array(colour) / 255) ** share[..., None]).astype(np.uint8)


def reduced(image: NDArray[np.generic], factor: int) -> NDArray[np.float64]:
    """An image averaged over squares."""
    height, width = (length // factor * factor for length in image.shape[:2])
    blocks = image[:height, :width].astype(float).reshape(height // factor, factor, width // factor, factor, -1)
    means: NDArray[np.float64] = blocks.mean((1, 3))
    return means


def scenes(slides: Path | None) -> Iterator[tuple[str, Picture]]:
    """Name -> picture at BASE_MPP."""
    yield "drawn", drawn_tissue()
    for path in sorted(slides.iterdir()) if slides else []:
        with Slide(path.stem, path, None if path.suffix != ".svs" else 0.5) as slide:
            picture = slide.thumbnail(BASE_MPP)
        top, left = max(0, (picture.shape[0] - 2000) // 2), max(0, (picture.shape[1] - 2400) // 2)
        yield path.stem, picture[top : top + 2000, left : left + 2400]


def measure(picture: Picture, share: Share, colour: tuple[int, int, int], factor: int) -> dict[str, float]:
    """Shares of ink that is pen and that is called tissue, and of clear tissue that is called pen."""
    mpp = BASE_MPP * factor
    small, ink = reduced(picture, factor).round().astype(np.uint8), reduced(share, factor)[..., 0]
    clean = survey(small, mpp, 0.05, 0.05)
    found = survey(reduced(inked(picture, colour, share), factor).round().astype(np.uint8), mpp, 0.05, 0.05)
    clear = clean.tissue & (ndimage.distance_transform_edt(ink < 0.02) * mpp > CLEAR_UM)
    marked = ink > INKED
    return {
        "pen": float(found.pen[marked].mean()),
        "tissue": float(found.tissue[marked].mean()),
        "lost": float(found.pen[clear].mean()) if clear.any() else 0.0,
        "clean_pen": float(clean.pen[clean.tissue | clean.pen].mean()) if (clean.tissue | clean.pen).any() else 0.0,
    }


def main() -> None:
    """Print a line per ink and stroke, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=Path, help="folder of slides without ink")
    parser.add_argument("--factors", type=int, nargs="+", default=FACTORS, help=f"resolutions, times {BASE_MPP} µm/px")
    args = parser.parse_args()
    pictures = dict(scenes(args.slides))
    figures: dict[str, dict[str, float]] = {}
    for ink, colour in INKS.items():
        for kind in STROKES:
            found = [
                measure(picture, stroke(picture.shape[:2], kind), colour, factor)
                for picture in pictures.values()
                for factor in args.factors
            ]
            row = {key: round(float(np.mean([one[key] for one in found])), 4) for key in found[0]}
            row |= {
                "worst_pen": round(min(one["pen"] for one in found), 4),
                "worst_lost": round(max(one["lost"] for one in found), 4),
            }
            figures[f"{ink}, {kind}"] = row
            print(
                f"{ink + ', ' + kind:20}" + "  ".join(f"{key} {value:6.1%}" for key, value in row.items()), flush=True
            )
    print(
        json.dumps(
            {"scenes": list(pictures), "mpp": [BASE_MPP * factor for factor in args.factors], "figures": figures}
        )
    )


if __name__ == "__main__":
    main()
