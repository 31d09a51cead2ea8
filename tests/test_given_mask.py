"""Masks from elsewhere: what counts as tissue, what is refused, and that what is written can be given back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from slpd.artifacts.slides.geojson import write_geojson
from slpd.artifacts.slides.given_mask import read_given_mask
from slpd.artifacts.slides.mask import Ground, write_mask
from slpd.artifacts.slides.region_table import Region
from slpd.errors import SlideError
from slpd.geometry.outlines import area, kept_points, outline, rasterise

SIZE_LV0 = (1000, 600)
SHAPE = (60, 100)  # 10 level-0 px per mask pixel


def square(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(rings: list[Any], name: str | None = None, **about: object) -> dict[str, Any]:
    properties = about | ({"classification": {"name": name}} if name else {})
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, "properties": properties}


def boxes(*places: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Mask that is True in boxes (left, top, right, bottom) of mask pixels."""
    mask = np.zeros(SHAPE, bool)
    for left, top, right, bottom in places:
        mask[top:bottom, left:right] = True
    return mask


def read(tmp_path: Path, content: object) -> NDArray[np.bool_]:
    path = tmp_path / "m.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_given_mask("s", path, SIZE_LV0, np.zeros(SHAPE, bool))


def test_polygons_holes_and_parts_are_filled(tmp_path: Path) -> None:
    holed = feature([square(100, 100, 500, 400), square(200, 200, 300, 300)])
    parts = {"type": "MultiPolygon", "coordinates": [[square(600, 0, 700, 100)], [square(800, 0, 900, 100)]]}
    expected = boxes((10, 10, 50, 40), (60, 0, 70, 10), (80, 0, 90, 10))
    expected[20:30, 20:30] = False
    content = [holed, {"type": "Feature", "geometry": parts, "properties": None}]
    assert np.array_equal(read(tmp_path, content), expected)
    assert np.array_equal(read(tmp_path, {"type": "FeatureCollection", "features": content}), expected)


def test_a_hole_of_one_polygon_does_not_cut_another(tmp_path: Path) -> None:
    content = [feature([square(0, 0, 500, 500), square(100, 100, 400, 400)]), feature([square(200, 200, 300, 300)])]
    expected = boxes((0, 0, 50, 50))
    expected[10:40, 10:40] = False
    expected[20:30, 20:30] = True
    assert np.array_equal(read(tmp_path, content), expected)
    assert np.array_equal(read(tmp_path, content[::-1]), expected)


def test_single_feature_bare_geometry_and_collection(tmp_path: Path) -> None:
    one = feature([square(0, 0, 100, 100)])
    assert np.array_equal(read(tmp_path, one), boxes((0, 0, 10, 10)))
    assert np.array_equal(read(tmp_path, one["geometry"]), boxes((0, 0, 10, 10)))
    collection = {
        "type": "GeometryCollection",
        "geometries": [one["geometry"], {"type": "Point", "coordinates": [5, 5]}],
    }
    assert np.array_equal(read(tmp_path, collection), boxes((0, 0, 10, 10)))


def test_classes_count_except_ignored_areas_and_tiles(tmp_path: Path) -> None:
    content = [
        feature([square(0, 0, 500, 500)], "Tumor", objectType="annotation"),
        feature([square(100, 100, 200, 200)], "Ignore*", objectType="annotation"),
        feature([square(600, 0, 900, 300)], "Region", objectType="tile"),
    ]
    expected = boxes((0, 0, 50, 50))
    expected[10:20, 10:20] = False
    assert np.array_equal(read(tmp_path, content), expected)


def test_what_lies_outside_the_slide_is_cut_off(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, feature([square(-500, -500, 100, 5000)])), boxes((0, 0, 10, 60)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "is no GeoJSON"),
        ("[1, 2]", "is no GeoJSON"),
        ("7", "is no GeoJSON"),
        ({"features": []}, "is no GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "has no polygon that is tissue"),
        (feature([square(0, 0, 9, 9)], "Ignore*"), "has no polygon that is tissue"),
        ({"type": "Point", "coordinates": [1, 2]}, "has no polygon that is tissue"),
        (feature([[[0, 0], [1, 1]]]), "a ring of 2 points"),
        (feature([[[0, 0], [1, "x"], [2, 2]]]), "is no GeoJSON"),
        (feature([[[0, 0], [1], [2, 2]]]), "is no GeoJSON"),
        (feature([[[0, 0], [1, None], [2, 2]]]), "that are not all pairs of numbers"),
        (feature([square(2000, 0, 3000, 500)]), "none of its 1 polygons covers a pixel of 1000 x 600 level-0 px"),
        (feature([]), "is no GeoJSON"),
    ],
)
def test_wrong_geojson_names_slide_and_file(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(SlideError, match=r"^slide s: .*m\.geojson") as caught:
        read(tmp_path, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="No such file"):
        read_given_mask("s", tmp_path / "absent.geojson", SIZE_LV0, np.zeros(SHAPE, bool))
    (tmp_path / "m.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SlideError, match="is no GeoJSON"):
        read_given_mask("s", tmp_path / "m.json", SIZE_LV0, np.zeros(SHAPE, bool))


def picture(path: Path, greys: NDArray[Any]) -> Path:
    Image.fromarray(greys).save(path)
    return path


@pytest.mark.parametrize("scale", [1, 3, 0.5])
def test_a_picture_of_any_resolution_is_read(tmp_path: Path, scale: float) -> None:
    expected = boxes((10, 20, 50, 40))
    image = Image.fromarray(np.where(expected, 200, 90).astype(np.uint8))
    size = (round(100 * scale), round(60 * scale))
    image.resize(size, Image.Resampling.NEAREST).save(tmp_path / "m.PNG")
    assert np.array_equal(read_given_mask("s", tmp_path / "m.PNG", SIZE_LV0, np.zeros(SHAPE, bool)), expected)


def test_the_mask_of_segment_tissue_can_be_given_back(tmp_path: Path) -> None:
    tissue, pen = boxes((10, 20, 50, 40)), boxes((60, 0, 70, 60))
    write_mask(tmp_path / "m.png", Ground(tissue, pen, ~tissue & ~pen))
    assert np.array_equal(read_given_mask("s", tmp_path / "m.png", SIZE_LV0, np.zeros(SHAPE, bool)), tissue)


@pytest.mark.parametrize(
    ("greys", "message"),
    [
        (np.full((60, 60), 255, np.uint8), "is 60 x 60, the slide 1000 x 600 px; a mask covers the whole slide"),
        (np.eye(60, 100).astype(np.uint8), "its greys are 0 to 1, and above 127 is tissue"),
        (np.full((60, 100), 60000, np.uint16), "more than 8 bits"),
    ],
)
def test_wrong_pictures_name_slide_and_file(tmp_path: Path, greys: NDArray[Any], message: str) -> None:
    with pytest.raises(SlideError, match=r"^slide s: .*m\.png") as caught:
        read_given_mask("s", picture(tmp_path / "m.png", greys), SIZE_LV0, np.zeros(SHAPE, bool))
    assert message in str(caught.value)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "m.png", np.random.default_rng(0).integers(0, 255, (60, 100), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SlideError, match=r"slide s: mask .* cannot be read"):
        read_given_mask("s", path, SIZE_LV0, np.zeros(SHAPE, bool))


def blobs(seed: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Random pieces with holes, some touching the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 4)
    mask: NDArray[np.bool_] = noise > 0.02
    return mask


@pytest.mark.parametrize("seed", range(5))
def test_a_written_geojson_gives_the_same_mask_within_a_pixel(tmp_path: Path, seed: int) -> None:
    shape, size_lv0 = (150, 211), (211 * 16 + 3, 150 * 16 - 5)
    mask = blobs(seed, shape)
    path = tmp_path / "s.geojson"
    write_geojson(path, outline(mask, size_lv0), [Region(0, 0, 0, 0, 1.0), Region(0, 1, 512, 0, 0.1)], 512)
    back = read_given_mask("s", path, size_lv0, np.zeros(shape, bool))
    cross = ndimage.generate_binary_structure(2, 2)
    assert not (back & ~ndimage.binary_dilation(mask, cross)).any()
    assert not (ndimage.binary_erosion(mask, cross, border_value=1) & ~back).any()
    assert (back ^ mask).mean() < 0.001
    stairs = 2 * (np.abs(np.diff(mask.astype(int), axis=0)).sum() + np.abs(np.diff(mask.astype(int), axis=1)).sum())
    n_points = sum(len(ring) for polygon in outline(mask, size_lv0) for ring in (polygon.exterior, *polygon.holes))
    assert n_points < stairs / 4


def test_outlines_have_the_area_and_the_holes_of_the_mask() -> None:
    mask = boxes((10, 10, 50, 40), (70, 0, 100, 30))
    mask[20:30, 20:30] = False
    first, second = sorted(outline(mask, SIZE_LV0), key=lambda polygon: -area(polygon.exterior))
    assert (len(first.holes), len(second.holes)) == (1, 0)
    assert area(first.exterior) == pytest.approx(400 * 300, rel=0.01)
    assert area(first.holes[0]) == pytest.approx(100 * 100, rel=0.01)
    assert second.exterior.max(axis=0).tolist() == [1000, 300]
    assert np.array_equal(rasterise([first, second], SIZE_LV0, SHAPE), mask)


def test_a_simplified_line_leaves_no_point_farther_than_the_tolerance() -> None:
    """And none that could be left out: scikit-image keeps as many, where ties decide it others."""
    for contour in find_contours(np.pad(blobs(3, (150, 211)), 1).astype(np.float32), 0.5):
        line = contour[kept_points(contour, 0.4)]
        assert np.array_equal(line[[0, -1]], contour[[0, -1]])
        begin, chord = line[:-1, None], np.diff(line, axis=0)[:, None]
        along = np.clip(((contour - begin) * chord).sum(-1) / (chord**2).sum(-1), 0, 1)
        distances = np.linalg.norm(contour - begin - along[..., None] * chord, axis=-1)
        assert distances.min(axis=0).max() <= 0.4 + 1e-9
        assert len(line) == pytest.approx(len(approximate_polygon(contour, 0.4)), rel=0.05, abs=2)


def test_single_pixels_and_no_pixels() -> None:
    mask = boxes((0, 0, 1, 1), (5, 5, 7, 6), (99, 59, 100, 60))
    assert np.array_equal(rasterise(outline(mask, SIZE_LV0), SIZE_LV0, SHAPE), mask)
    assert outline(np.zeros(SHAPE, bool), SIZE_LV0) == []


def test_a_mask_with_transparent_parts_is_refused(tmp_path: Path) -> None:
    """Drawn in white on a transparent layer, all of it would be tissue: its transparent pixels are white too."""
    layer = np.full((*SHAPE, 4), 255, np.uint8)
    layer[..., 3] = boxes((10, 10, 30, 30)) * 255
    Image.fromarray(layer).save(tmp_path / "m.png")
    with pytest.raises(SlideError, match=r"m\.png has transparent parts; save it as grey without alpha"):
        read_given_mask("s", tmp_path / "m.png", SIZE_LV0, np.zeros(SHAPE, bool))


# ---- files of other segmenters, in the form that they write ---------------------------------------------------------


def test_tridents_outlines_are_tissue(tmp_path: Path) -> None:
    """By GeoPandas: a number per piece, a projection that is not meant, collections where a ring crossed itself."""
    line = {"type": "LineString", "coordinates": [[0, 0], [900, 500]]}
    mended = {"type": "GeometryCollection", "geometries": [shape_of(square(600, 100, 700, 200)), line]}
    pieces = [shape_of(square(100, 100, 500, 400), square(200, 200, 300, 300)), mended]
    content = {
        "type": "FeatureCollection",
        "name": "s",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}},
        "features": [
            {"type": "Feature", "properties": {"tissue_id": number}, "geometry": geometry}
            for number, geometry in enumerate(pieces)
        ],
    }
    expected = boxes((10, 10, 50, 40), (60, 10, 70, 20))
    expected[20:30, 20:30] = False
    assert np.array_equal(read(tmp_path, content), expected)
    with pytest.raises(SlideError, match="no polygon that is tissue"):
        read(tmp_path, content | {"features": []})  # as TRIDENT writes where it finds none


def shape_of(*rings: list[list[int]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def test_grandqcs_artefacts_are_cut_out_of_what_the_segmenter_finds(tmp_path: Path) -> None:
    classes = {"1": "Normal Tissue", "2": "Fold", "6": "OOF"}
    artefacts = [("Fold", 2, square(100, 100, 200, 200)), ("OOF", 6, square(300, 300, 400, 400))]
    features = [
        {
            "type": "Feature",
            "properties": {"class_id": number, "classification": name, "area": 100.0},
            "geometry": shape_of(ring),
        }
        for name, number, ring in artefacts
    ]
    content = {"type": "FeatureCollection", "features": features, "metadata": {"class_mapping": classes}}
    path = tmp_path / "a.svs.geojson"
    path.write_text(json.dumps(content, indent=2))
    segmented = boxes((5, 5, 60, 50))
    expected = segmented & ~boxes((10, 10, 20, 20), (30, 30, 40, 40))
    assert np.array_equal(read_given_mask("s", path, SIZE_LV0, segmented), expected)
    path.write_text(json.dumps(content | {"features": []}))  # a slide without artefacts
    assert np.array_equal(read_given_mask("s", path, SIZE_LV0, segmented), segmented)


@pytest.mark.parametrize(("name", "tissue", "rest"), [("a.svs_MASK.png", 0, 1), ("a.svs_mask.png", 1, 7)])
def test_grandqcs_pictures_have_classes(tmp_path: Path, name: str, tissue: int, rest: int) -> None:
    expected = boxes((10, 10, 50, 40))
    classes = np.where(expected, tissue, rest).astype(np.uint8)
    Image.fromarray(classes).save(tmp_path / name)
    assert np.array_equal(read_given_mask("s", tmp_path / name, SIZE_LV0, np.zeros(SHAPE, bool)), expected)
    Image.fromarray(np.where(expected, 255, 0).astype(np.uint8)).save(tmp_path / name)  # a mask of one's own
    assert np.array_equal(read_given_mask("s", tmp_path / name, SIZE_LV0, np.zeros(SHAPE, bool)), expected)
