"""A folder of tiles: `manifest.csv` with the columns file, label, source_tile_cluster, and the tiles it names."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.artifacts.people_table import read_table
from slpd.errors import UserError

COLUMNS = ("file", "label", "source_tile_cluster")


@dataclass(frozen=True)
class TileGroup:
    """Tiles that must stay inside one slide, such as the cuttings and rotations of one picture."""

    name: str
    label: str
    files: tuple[str, ...]  # relative to the folder, in order of the manifest


def read_tile_groups(folder: Path) -> list[TileGroup]:
    """The groups of a tile folder in order of the manifest.

    Raises:
        UserError: the folder, manifest, a column or a tile is missing; a tile is listed twice; a group has two labels.
    """
    manifest = folder / "manifest.csv"
    files: dict[str, list[str]] = defaultdict(list)
    labels: dict[str, str] = {}
    for line, (file, label, group) in read_lines(manifest):
        if not (folder / file).is_file():
            raise UserError(f"{manifest}, line {line}: no tile {folder / file}; correct the line or add the tile")
        if labels.setdefault(group, label) != label:
            raise UserError(
                f"{manifest}, line {line}: group {group} has labels {labels[group]} and {label}; a group has one"
            )
        files[group].append(file)
    listed = [file for group in files.values() for file in group]
    if len(set(listed)) < len(listed):
        twice = next(file for file in listed if listed.count(file) > 1)
        raise UserError(f"{manifest}: tile {twice} is listed twice; keep one line per tile")
    return [TileGroup(name, labels[name], tuple(files[name])) for name in files]


def read_lines(manifest: Path) -> list[tuple[int, list[str]]]:
    """Line number and (file, label, group) of every tile of a manifest."""
    rows = read_table(manifest, "tile manifest", COLUMNS)
    lines = [(line, [cells[column] for column in COLUMNS]) for line, cells in rows]
    for line, cells in lines:
        if not all(cells):
            raise UserError(f"{manifest}, line {line}: an empty cell; fill {', '.join(COLUMNS)} of every tile")
    return lines


def read_tile(path: Path, tile_px: int) -> NDArray[np.uint8]:
    """(tile_px, tile_px, 3) RGB of a tile.

    Raises:
        UserError: the file is not an image, or of another size.
    """
    try:
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise UserError(f"tile {path}: cannot be read ({error}); replace it or take it out of the manifest") from error
    if rgb.shape[:2] != (tile_px, tile_px):
        raise UserError(
            f"tile {path}: {rgb.shape[1]} x {rgb.shape[0]} px, not tile_px = {tile_px} a side;"
            " all tiles have one size, which the config states"
        )
    return rgb
