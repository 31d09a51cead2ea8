"""Outlines and regions of a slide (`<slide>.geojson`), as QuPath reads and writes them, in level-0 pixels.

Written: a FeatureCollection with an annotation `Tissue` per piece of tissue, and a tile per region of the table with
its classification (kept, or the reason for excluding it), `kept`, `reason` and the shares as measurements.

Read, from such a file after editing or from elsewhere: every polygon is tissue, whatever its class, except tiles
(`objectType` tile: the regions), which do not count, and areas that are cut out: those of class `Ignore*` (QuPath's own
class for what is to be left out) or as one of GrandQC's artefacts. Points and lines have no area and do not count.
TRIDENT's outlines (`contours_geojson`) have no class and are tissue. GrandQC's (`geojson_qc`) are artefacts alone.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slpd.artifacts.atomic import write_text
from slpd.artifacts.slides.colours import REGION, TISSUE, Colour
from slpd.artifacts.slides.region_table import Region
from slpd.errors import SlideError
from slpd.geometry.outlines import Polygon, Ring

Json = dict[str, Any]

ARTEFACTS = {"Fold", "Darkspot & Foreign Object", "PenMarking", "Edge & Air Bubble", "OOF"}  # GrandQC's classes


def write_geojson(path: Path, tissue: list[Polygon], regions: list[Region], region_lv0: int) -> None:
    """Write outlines and regions.

    Args:
        path: The file.
        tissue: Pieces of tissue, level-0 pixels.
        regions: The region table.
        region_lv0: Side of a region, level-0 pixels.
    """
    features = [piece_feature(polygon) for polygon in tissue]
    features += [region_feature(region, region_lv0) for region in regions]
    lines = ",\n".join(json.dumps(feature) for feature in features)
    write_text(path, f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n')


def piece_feature(polygon: Polygon) -> Json:
    """A piece of tissue as an annotation."""
    rings = [np.rint(ring).astype(int).tolist() for ring in (polygon.exterior, *polygon.holes)]
    return feature(rings, "annotation", "Tissue", TISSUE, {})


def region_feature(region: Region, side: int) -> Json:
    """A region as a tile."""
    left, top = region.x_lv0, region.y_lv0
    corners = [[left, top], [left + side, top], [left + side, top + side], [left, top + side], [left, top]]
    shares = {name: round(getattr(region, name), 4) for name in ("tissue_share", "pen_share", "padding_share")}
    about = {
        "name": f"row {region.row}, column {region.column}",
        "kept": not region.excluded,
        "reason": region.excluded,
        "measurements": shares,
    }
    name = f"Excluded: {region.excluded}" if region.excluded else "Region"
    return feature([corners], "tile", name, REGION[region.excluded], about)


def feature(rings: list[list[list[int]]], object_type: str, name: str, colour: Colour, about: Json) -> Json:
    """A polygon with the properties that QuPath knows, and others."""
    classification = {"name": name, "color": list(colour)}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"objectType": object_type, "classification": classification, **about},
    }


def read_polygons(slide: str, path: Path) -> tuple[list[Polygon], list[Polygon]]:
    """The polygons that are tissue, and those to be cut out of it.

    GrandQC's files have no tissue, only artefacts, and of a clean slide none.

    Raises:
        SlideError: the file cannot be read or is no GeoJSON, or holds no polygon.
    """
    tissue: list[Polygon] = []
    ignored: list[Polygon] = []
    try:
        parsed = json.loads(path.read_text(encoding="utf-8-sig"))
        cuts_alone = isinstance(parsed, dict) and "class_mapping" in (parsed.get("metadata") or {})  # GrandQC's
        for item in features_of(parsed):
            about = item.get("properties") or {}
            if about.get("objectType") == "tile":
                continue
            name = class_of(about.get("classification") or {})
            cut = name.startswith("Ignore") or name in ARTEFACTS
            (ignored if cut else tissue).extend(polygons_of(item.get("geometry") or {}))
    except OSError as error:
        raise SlideError(f"slide {slide}: mask {path}: {error.strerror}; correct the mask column") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SlideError(f"slide {slide}: mask {path} is no GeoJSON ({error}); export it again") from error
    if not (tissue or cuts_alone):
        raise SlideError(f"slide {slide}: mask {path} has no polygon that is tissue; draw one, or leave the cell empty")
    return tissue, ignored


def class_of(classification: Json | str) -> str:
    """The name of a class: QuPath writes an object, GrandQC the name alone."""
    return classification if isinstance(classification, str) else classification.get("name") or ""


def features_of(parsed: Json | list[Json]) -> list[Json]:
    """The features of a file: a FeatureCollection, a list of features, one feature, or a bare geometry."""
    if isinstance(parsed, list):
        return parsed
    if parsed["type"] == "FeatureCollection":
        return list(parsed["features"])
    return [parsed] if parsed["type"] == "Feature" else [{"geometry": parsed}]


def polygons_of(geometry: Json) -> Iterator[Polygon]:
    """The polygons of a geometry."""
    kind = geometry.get("type")
    if kind == "Polygon":
        yield polygon_of(geometry["coordinates"])
    elif kind == "MultiPolygon":
        yield from map(polygon_of, geometry["coordinates"])
    elif kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from polygons_of(part)


def polygon_of(rings: list[list[list[float]]]) -> Polygon:
    """A polygon: its exterior, then its holes."""
    exterior, *holes = map(ring_of, rings)
    return Polygon(exterior, holes)


def ring_of(points: list[list[float]]) -> Ring:
    """A ring of at least three points; a third coordinate is dropped."""
    ring = np.array([point[:2] for point in points], np.float64)
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise ValueError(f"a ring of {len(points)} points that are not all pairs of numbers")
    return ring
