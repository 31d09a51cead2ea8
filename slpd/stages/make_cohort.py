"""Draw a cohort of slides, procedurally or out of tiles, and write its sheet and the kinds of tissue laid into it.

Writes OUT/slides/<slide>.tiff and OUT/kinds/<slide>.csv, then OUT/kinds.csv and OUT/slides.csv. OUT/cohort.json has the
settings that the slides belong to: slides that are there already are kept, so a killed run continues and a finished one
is left alone.
"""

import argparse
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from slpd.artifacts.atomic import atomic_path, write_text
from slpd.artifacts.slides.known_kinds import Square, read_known_kinds, write_known_kinds
from slpd.errors import UserError
from slpd.settings.section import first_fault
from slpd.settings.synthetic import COHORTS, Cohort, ProceduralCohort, TileCohort
from slpd.synthetic.mosaic import lay_mosaic
from slpd.synthetic.planned_slide import PlannedSlide, sheet_text
from slpd.synthetic.procedural_cohort import paint_procedural, plan_procedural
from slpd.synthetic.seeding import named_rng
from slpd.synthetic.slide_file import write_slide
from slpd.synthetic.tile_cohort import plan_tiles
from slpd.synthetic.tile_folder import TileGroup, read_tile, read_tile_groups
from slpd.workers import end_with_parent

DRAWING = 3  # raised when a code change moves the pixels of a slide; then cohorts are drawn again
NOT_A_SLIDE_BYTES = 20_000

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of the stage."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file, such as config/demo_cohort.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cohort")
    parser.add_argument("--tiles", type=Path, help="folder of tiles, instead of the one that the config names")


def run(args: argparse.Namespace) -> None:
    """Draw the slides that are missing, then write the sheet."""
    settings = read_settings(args.config, args.tiles)
    groups = read_tile_groups(Path(settings.folder)) if isinstance(settings, TileCohort) else []
    planned = plan_tiles(settings, groups) if isinstance(settings, TileCohort) else plan_procedural(settings)
    claim_folder(args.out, fingerprint(settings, groups), planned)
    missing = [slide for slide in planned if not slide.is_drawn(args.out)]
    draw_all(settings, groups, missing, args.out)
    sheet, text = args.out / "slides.csv", sheet_text(planned, args.out, settings.label)
    if not missing and sheet.is_file() and sheet.read_text(encoding="utf-8") == text:
        logger.info("%s: finished already, %d slides; nothing to do", args.out, len(planned))
        return
    known = (read_known_kinds(slide.kinds_path(args.out)) for slide in planned if slide.is_slide)
    write_known_kinds(args.out / "kinds.csv", {slide: squares for of_one in known for slide, squares in of_one.items()})
    write_text(sheet, text)
    logger.info("%s: %d slides", sheet, len(planned))


def read_settings(config: Path, tiles: Path | None) -> Cohort:
    """The settings of a config file, with the tile folder replaced by `tiles` if given."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{config}: cannot be read ({error.strerror}); give the cohort's YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{config}: not YAML ({' '.join(str(error).split())})") from error
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in COHORTS:
        raise UserError(f"{config}: kind is {kind!r}, not one of {', '.join(COHORTS)}; see config/demo_cohort.yaml")
    try:
        cohort = COHORTS[kind].model_validate(content)
    except ValidationError as error:
        raise UserError(first_fault(error, COHORTS[kind], str(config), content)) from error
    if tiles is None:
        return cohort
    if not isinstance(cohort, TileCohort):
        raise UserError(f"--tiles {tiles}: {config} has kind: procedural, which takes no tiles; leave --tiles out")
    return cohort.model_copy(update={"folder": str(tiles)})


def fingerprint(settings: Cohort, groups: list[TileGroup]) -> str:
    """SHA-256 of all that decides the pixels: settings, tiles by name and size, version of the drawing."""
    content = settings.model_dump(exclude={"folder"})
    folder = Path(settings.folder) if isinstance(settings, TileCohort) else Path()
    tiles = [
        [group.name, group.label, file, (folder / file).stat().st_size] for group in groups for file in group.files
    ]
    return hashlib.sha256(json.dumps([DRAWING, content, tiles]).encode()).hexdigest()


def claim_folder(out: Path, own_fingerprint: str, planned: Sequence[PlannedSlide]) -> None:
    """Make `out` the folder of this cohort: what an earlier one with other settings drew is removed.

    Raises:
        UserError: `out` holds slides or a sheet that this stage did not make.
    """
    state = out / "cohort.json"
    if state.is_file():
        before = json.loads(state.read_text(encoding="utf-8"))
        if before["fingerprint"] == own_fingerprint:
            return
        logger.info("%s: drawn with other settings; drawing it again", out)
        (out / "slides.csv").unlink(missing_ok=True)
        for slide in before["slides"]:
            (out / "slides" / f"{slide}.tiff").unlink(missing_ok=True)
            (out / "kinds" / f"{slide}.csv").unlink(missing_ok=True)
    elif (out / "slides.csv").exists() or (out / "slides").exists():
        raise UserError(f"--out {out}: holds slides that are not of make_cohort; choose another folder")
    content = {"fingerprint": own_fingerprint, "slides": [slide.slide for slide in planned]}
    write_text(state, json.dumps(content, indent=1) + "\n")


def draw_all(settings: Cohort, groups: list[TileGroup], planned: list[PlannedSlide], out: Path) -> None:
    """Draw slides in as many processes as the machine has cores."""
    for remains in (out / "slides").glob(".*.partial.tiff"):  # of a killed run
        remains.unlink()
    if not planned:
        return
    by_name = {group.name: group for group in groups}
    with ProcessPoolExecutor(max_workers=os.cpu_count(), initializer=end_with_parent) as pool:
        futures = [pool.submit(draw_one, settings, by_name, slide, out) for slide in planned]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                logger.info("[%d/%d] %s", number, len(planned), future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def draw_one(settings: Cohort, groups: Mapping[str, TileGroup], planned: PlannedSlide, out: Path) -> str:
    """Draw and write one slide and its kinds of tissue; what was done, in words."""
    started, path = time.monotonic(), planned.path(out)
    with atomic_path(path) as temporary:
        if not planned.is_slide:
            temporary.write_bytes(named_rng(settings.seed, "bytes", planned.slide).bytes(NOT_A_SLIDE_BYTES))
            return f"{planned.slide}: {planned.label}, a file that is not a slide"
        rgb, squares = paint(settings, groups, planned)
        write_known_kinds(planned.kinds_path(out), {planned.slide: squares})
        write_slide(temporary, rgb, planned.mpp if planned.mpp_in_file else None, settings.jpeg_quality)
    size = f"{rgb.shape[1]} x {rgb.shape[0]} px at {planned.mpp} µm/px, {path.stat().st_size / 1e6:.1f} MB"
    return f"{planned.slide}: {planned.label}, {size}, {time.monotonic() - started:.1f} s"


def paint(
    settings: Cohort, groups: Mapping[str, TileGroup], planned: PlannedSlide
) -> tuple[NDArray[np.uint8], list[Square]]:
    """(H, W, 3) RGB of a planned slide, and the kinds of tissue laid into it."""
    if isinstance(settings, ProceduralCohort):
        return paint_procedural(settings, planned)

    tiles: dict[str, list[NDArray[np.uint8]]] = {}
    for group in (groups[name] for name in planned.groups):
        tiles.setdefault(group.label, []).extend(
            read_tile(Path(settings.folder) / file, settings.tile_px) for file in group.files
        )
    return lay_mosaic(tiles, named_rng(settings.seed, "slide", planned.slide))
