"""Every region equals what is computed from the level's pixels, or is refused, whichever library reads it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slpd.errors import SlideError
from slpd.geometry.read_plan import ReadPlan, plan_read
from slpd.wsi import Reader, Slide, UnreadableRegion
from slpd.wsi.reading_process import NURSERY
from slpd.wsi.tiff_levels import tiff_structure

pytestmark = pytest.mark.slides

MakeSlide = Callable[..., Path]
Pixels = NDArray[np.uint8]  # (h, w, 3)
Damage = Callable[[bytearray, tifffile.TiffPage, int], None]

DATA = Path(__file__).parents[2] / "shared" / "data"
APERIO = "Aperio Image Library v1\r\n|AppMag = 20|MPP = 0.5"
JPEG_2000 = 33005  # as Aperio writes it
INTERPOLATION = 3  # grey levels by which OpenSlide's 8-bit interpolation is off


def direct_region(level: Pixels, downsample: float, x: int, y: int, plan: ReadPlan, reader: str) -> NDArray[np.float64]:
    """The region from the pixels of its level: cut out, white beyond, averaged by area.

    OpenSlide reads at the whole level-0 pixel nearest to the level's pixel and interpolates between the level's pixels.
    """
    side = plan.level_px
    corner = [
        min(max(round(place / downsample), -side), n) for place, n in zip((x, y), level.shape[1::-1], strict=True)
    ]
    if reader == "openslide":
        across, down = (round(max(c, 0) * downsample) / downsample - max(c, 0) for c in corner)
        level = shifted(shifted(level.astype(float), down).swapaxes(0, 1), across).swapaxes(0, 1)
    canvas = np.full((level.shape[0] + 2 * side, level.shape[1] + 2 * side, 3), 255.0)
    canvas[side:-side, side:-side] = level
    window = canvas[side + corner[1] : side + corner[1] + side, side + corner[0] : side + corner[0] + side]
    weights = area_weights(side, plan.region_px)
    return np.einsum("ik,jl,klc->ijc", weights, weights, window, optimize=True)


def shifted(image: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
    """Rows read `shift` (-1 to 1) rows further down, interpolated linearly, with white beyond."""
    white = np.full((1, *image.shape[1:]), 255.0)
    neighbour = np.concatenate([image[1:], white]) if shift > 0 else np.concatenate([white, image[:-1]])
    return (1 - abs(shift)) * image + abs(shift) * neighbour


def area_weights(n_in: int, n_out: int) -> NDArray[np.float64]:
    """(n_out, n_in) overlap of output pixel and input pixel over the output pixel's length."""
    ratio = n_in / n_out
    overlap = [
        [max(0.0, min((i + 1) * ratio, k + 1) - max(i * ratio, k)) / ratio for k in range(n_in)] for i in range(n_out)
    ]
    return np.array(overlap)


@st.composite
def slides(draw: st.DrawFn) -> dict[str, object]:
    """Arguments of make_slide beside path and array."""
    compression = draw(st.sampled_from(["jpeg", "jpeg", "jpeg", JPEG_2000, "deflate", "lzw", None]))
    aperio = compression == JPEG_2000 or draw(st.booleans())
    return {
        "compression": compression,
        "description": APERIO if aperio else None,
        "subsampling": draw(st.sampled_from([(1, 1), (2, 1), (2, 2)])) if compression == "jpeg" else None,
        "levels": draw(st.sampled_from([(1,), (1, 2), (1, 2, 4), (1, 3), (1, 4)])),
        "mpp": draw(st.sampled_from([0.25, 0.2527, 0.5, 0.4])),
        "tile_px": draw(st.sampled_from([32, 64, 96, 160])),
    }


@settings(
    max_examples=16,
    deadline=None,
    phases=[Phase.generate],  # shrinking would write hundreds of slides
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    slide_options=slides(),
    size=st.tuples(st.integers(100, 500), st.integers(100, 500)),
    regions=st.lists(
        st.tuples(
            st.floats(-0.2, 1.1), st.floats(-0.2, 1.1), st.sampled_from([0.5, 0.7, 1.0, 1.3]), st.integers(1, 60)
        ),
        min_size=4,
        max_size=8,
    ),
    seed=st.integers(0, 100),
)
def test_every_region_equals_a_direct_computation(
    tmp_path_factory: pytest.TempPathFactory,
    make_slide: MakeSlide,
    slide_options: dict[str, object],
    size: tuple[int, int],
    regions: list[tuple[float, float, float, int]],
    seed: int,
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path = make_slide(tmp_path_factory.mktemp("slides") / "s.tiff", pixels, **slide_options)
    levels = [tifffile.imread(path, key=key) for key in range(len(slide_options["levels"]))]  # type: ignore[arg-type]
    for reader in ("auto", "openslide"):
        with Slide("s", path, 0.5 if slide_options["description"] else None, reader) as slide:  # type: ignore[arg-type]
            assert (slide.reader == "cucim") == (reader == "auto" and slide_options["compression"] == "jpeg"), (
                slide.reader_reason
            )
            for right, down, mpp, region_px in regions:
                plan = plan_read(slide.mpp, slide.downsamples, mpp, region_px)
                x, y = round(right * size[1]), round(down * size[0])
                downsample = slide.downsamples[plan.level]
                expected = direct_region(levels[plan.level], downsample, x, y, plan, slide.reader)
                exact = slide.reader == "cucim" or downsample == round(downsample)
                tolerance = 0.51 if exact else 0.51 + INTERPOLATION
                tolerance += slide_options["compression"] == JPEG_2000  # another decoder rounds otherwise
                assert np.abs(slide.read_region(x, y, plan) - expected).max() <= tolerance


def tile_bytes(page: tifffile.TiffPage, number: int) -> slice:
    return slice(page.dataoffsets[number], page.dataoffsets[number] + page.databytecounts[number])


def set_tag(content: bytearray, page: tifffile.TiffPage, tag: str, number: int, value: int) -> None:
    entry = page.tags[tag]
    width = {3: 2, 4: 4}[int(entry.dtype)]
    content[entry.valueoffset + number * width : entry.valueoffset + (number + 1) * width] = value.to_bytes(
        width, "little"
    )


def zeroed(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    content[tile_bytes(page, number)] = bytes(page.databytecounts[number])


def half_zeroed(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    where, half = tile_bytes(page, number), page.databytecounts[number] // 2
    content[where.start + half : where.stop] = bytes(page.databytecounts[number] - half)


def cut_short(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    set_tag(content, page, "TileByteCounts", number, page.databytecounts[number] // 2)


def without_end(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    set_tag(content, page, "TileByteCounts", number, page.databytecounts[number] - 2)


def end_overwritten(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    content[tile_bytes(page, number).stop - 2 : tile_bytes(page, number).stop] = b"\0\0"


def bits_flipped(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    for place in np.random.default_rng(number).integers(
        page.databytecounts[number] // 3, page.databytecounts[number], 9
    ):
        content[page.dataoffsets[number] + int(place)] ^= 0x10


def noise(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    content[tile_bytes(page, number)] = np.random.default_rng(0).bytes(page.databytecounts[number])


def beyond_the_file(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    set_tag(content, page, "TileOffsets", number, len(content) + 1000)


def other_size(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    where = content.index(b"\xff\xc0", page.dataoffsets[number])
    content[where + 5 : where + 9] = (512).to_bytes(2, "big") * 2


def tail_zeroed(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
    content[tile_bytes(page, number).stop - 40 : tile_bytes(page, number).stop] = bytes(40)


DAMAGES = [
    zeroed, half_zeroed, tail_zeroed, cut_short, without_end, end_overwritten,
    bits_flipped, noise, beyond_the_file, other_size,
]  # fmt: skip


def damage(path: Path, change: Damage, number: int, level: int = 0) -> Path:
    """Change a tile of a level."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        change(content, file.pages[level], number)
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def tissue() -> Pixels:
    """(512, 640, 3): smooth noise, 8 x 10 tiles of 64 px."""
    coarse = np.random.default_rng(3).integers(60, 250, (64, 80, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


@pytest.mark.parametrize("change", DAMAGES, ids=lambda change: change.__name__)
def test_a_damaged_tile_spoils_its_region(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, change: Damage
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue, levels=(1, 4))  # the hash of the small level keeps the slide open
    sound = tifffile.imread(path, key=0)
    damage(path, change, 23)  # row 2, column 3
    corners = [(0, 0), (128, 128), (128, 0), (192, 128), (384, 256)]  # 128 px; the second and the fourth hold it
    results = {}
    for reader in ("cucim", "openslide"):
        with Slide("s", path, None, reader) as slide:  # type: ignore[arg-type]
            plan = plan_read(slide.mpp, slide.downsamples, 0.5, 128)
            results[reader] = [
                region if isinstance(region, UnreadableRegion) else region.copy()
                for region in slide.read_regions(corners, plan)
            ]
            again = slide.read_region(0, 0, plan)
        assert np.array_equal(again, sound[:128, :128])
        for (x, y), region in zip(corners, results[reader], strict=True):
            if isinstance(region, UnreadableRegion):
                assert (region.x_lv0, region.y_lv0) == (x, y)
                assert (x, y) in corners[1:4:2]
                assert "level 0 cannot be read at x 192, y 128 (" in region.reason
            else:
                assert (x, y) not in corners[1:4:2]
                assert np.array_equal(region, sound[y : y + 128, x : x + 128])
        lost_end = change in (half_zeroed, tail_zeroed, cut_short, without_end, end_overwritten)
        assert ("(the tile is cut short)" in str(results[reader][1])) >= lost_end


def pad(path: Path, numbers: range, n_bytes: int) -> Path:
    """Append copies of tiles to the file, with zeros after their end, and let the file refer to them."""

    def padded(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
        tile = bytes(content[tile_bytes(page, number)])
        set_tag(content, page, "TileOffsets", number, len(content))
        set_tag(content, page, "TileByteCounts", number, len(tile) + n_bytes)
        content += tile + bytes(n_bytes)

    for number in numbers:
        damage(path, padded, number)
    return path


@pytest.mark.parametrize(
    ("numbers", "n_bytes", "reader", "reason"),
    [
        (range(23, 24), 14, "cucim", "equal to OpenSlide, tiles compared: 5"),
        (range(80), 14, "cucim", "equal to OpenSlide, tiles compared: 5"),
        (range(80), 40, "openslide", "no tile to compare with OpenSlide"),  # ends are not looked for
    ],
)
def test_an_end_is_missed_only_where_other_tiles_have_it(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, numbers: range, n_bytes: int, reader: str, reason: str
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue)
    expected = tifffile.imread(path, key=0)[128:256, 128:256]
    with Slide("s", pad(path, numbers, n_bytes), None) as slide:
        assert (slide.reader, slide.reader_reason) == (reader, reason)
        region = slide.read_region(128, 128, plan_read(slide.mpp, slide.downsamples, 0.5, 128))
    assert np.array_equal(region, expected)


@pytest.mark.parametrize("change", [zeroed, cut_short, noise, without_end, end_overwritten, tail_zeroed, half_zeroed])
def test_a_damaged_jpeg_2000_tile_spoils_its_region(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, change: Damage
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue, levels=(1, 4), compression=JPEG_2000, description=APERIO)
    damage(path, change, 23)
    with Slide("s", path, None) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 0.5, 128)
        regions = list(slide.read_regions([(128, 128), (384, 256)], plan))
    assert isinstance(regions[0], UnreadableRegion)
    assert isinstance(regions[1], np.ndarray)


@pytest.mark.parametrize("reader", ["cucim", "openslide"])
def test_tiles_that_the_scanner_left_out_are_white(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, reader: Reader
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue)
    expected = tifffile.imread(path, key=0)[128:256, 128:256].copy()
    expected[:64, 64:] = 255
    damage(path, lambda content, page, number: set_tag(content, page, "TileByteCounts", number, 0), 23)
    with Slide("s", path, None, reader) as slide:
        assert slide.reader == reader
        assert np.array_equal(slide.read_region(128, 128, plan_read(slide.mpp, slide.downsamples, 0.5, 128)), expected)


def leave_out(path: Path, page: int, numbers: Iterable[int]) -> None:
    """Take tiles out of a level, as a writer does that leaves them out."""
    for number in numbers:
        damage(path, lambda content, of, n: set_tag(content, of, "TileByteCounts", n, 0), number, page)


def reduced(level: Pixels, factor: int) -> NDArray[np.float64]:
    """A level averaged over squares."""
    height, width = (length // factor for length in level.shape[:2])
    whole = level[: height * factor, : width * factor].astype(float)
    return whole.reshape(height, factor, width, factor, 3).mean((1, 3))


@pytest.mark.parametrize("reader", ["auto", "openslide"])
@pytest.mark.parametrize("options", [{}, {"compression": None}, {"description": APERIO}])
def test_holes_in_the_level_that_is_read_are_read_from_a_finer_one(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, reader: Reader, options: dict[str, Any]
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue, levels=(1, 2, 4), **options)
    finest = tifffile.imread(path, key=0)
    leave_out(path, 1, range(3, 12))
    leave_out(path, 2, range(2))
    with Slide("s", path, 0.5, reader) as slide:
        for downsample in (2, 4):
            plan = plan_read(slide.mpp, slide.downsamples, 0.5 * downsample, 128)
            assert plan.level == downsample // 2
            region = slide.read_region(0, 0, plan).astype(float)
            expected = reduced(finest, downsample)[:128, :128]
            assert np.abs(region - expected).mean() < 12  # JPEG of noise; left white it is 90
        assert np.abs(slide.thumbnail(2.0).astype(float) - reduced(finest, 4)).mean() < 12
        assert slide.n_unreadable == 0


@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_a_hole_whose_place_only_coarser_levels_show_is_unreadable(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, reader: Reader
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue, levels=(1, 2, 4))
    leave_out(path, 0, [23])
    with Slide("s", path, None, reader) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 0.5, 128)
        lost, whole = list(slide.read_regions([(128, 128), (256, 128)], plan))
    assert isinstance(lost, UnreadableRegion)
    assert "level 0 cannot be read at x 192, y 128 (the tile is missing, not its overview)" in lost.reason
    assert isinstance(whole, np.ndarray)


@pytest.mark.parametrize("reader", ["auto", "openslide"])
@pytest.mark.parametrize("coarser_too", [True, False])
def test_glass_that_was_left_out_is_white(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, reader: Reader, coarser_too: bool
) -> None:
    """At every level, or at the finest alone while the overview is whole."""
    glass = tissue.copy()
    glass[:128, :256] = 243
    path = make_slide(tmp_path / "s.tiff", glass, levels=(1, 2))
    columns = -(-glass.shape[1] // 64)
    leave_out(path, 0, [row * columns + column for row in range(2) for column in range(4)])
    if coarser_too:
        leave_out(path, 1, range(2))
    with Slide("s", path, None, reader) as slide:
        region = slide.read_region(0, 0, plan_read(slide.mpp, slide.downsamples, 0.5, 128))
    assert (region == 255).all()


def test_a_slide_that_breaks_off_gives_what_it_has(tmp_path: Path, make_slide: MakeSlide, tissue: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue, levels=(1, 4))
    sound = tifffile.imread(path, key=0)
    for number in range(45, 80):  # from the middle of row 4 on; as if level 0 were the last in the file
        damage(path, beyond_the_file, number)
    for reader in ("auto", "openslide"):
        with Slide("s", path, None, reader) as slide:  # type: ignore[arg-type]
            plan = plan_read(slide.mpp, slide.downsamples, 0.5, 256)
            regions = slide.read_regions([(0, 256), (0, 0)], plan)
            assert isinstance(next(regions), UnreadableRegion)
            assert np.array_equal(next(regions), sound[:256, :256])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"compression": "deflate"}, "tiles of level 0 are DEFLATE, not JPEG"),
        ({"compression": "lzw"}, "tiles of level 0 are LZW, not JPEG"),
        ({"compression": None}, "tiles of level 0 are NONE, not JPEG"),
        ({"compression": JPEG_2000, "description": APERIO}, "tiles of level 0 are APERIO_JP2000_RGB, not JPEG"),
    ],
)
def test_what_cucim_is_not_to_read_is_openslides(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, options: dict[str, object], reason: str
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue, **options)
    with Slide("s", path, 0.5) as slide:
        assert (slide.reader, slide.reader_reason) == ("openslide", reason)
    with pytest.raises(SlideError, match=f"slide s: cuCIM is not to read .*{reason}; set reading.reader to auto"):
        Slide("s", path, 0.5, "cucim")


def test_the_reader_can_be_chosen(tmp_path: Path, make_slide: MakeSlide, tissue: Pixels) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue, levels=(1, 2))
    for reader, chosen, reason in [
        ("auto", "cucim", "equal to OpenSlide, tiles compared: 10"),
        ("cucim", "cucim", "equal to OpenSlide, tiles compared: 10"),
        ("openslide", "openslide", "asked for"),
    ]:
        with Slide("s", path, None, reader) as slide:  # type: ignore[arg-type]
            assert (slide.reader, slide.reader_reason) == (chosen, reason)


def test_a_cucim_with_other_pixels_is_not_trusted(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, stand_in: Callable[[str], None]
) -> None:
    stand_in(IMPOSTOR)
    with Slide("s", make_slide(tmp_path / "s.tiff", tissue), None) as slide:
        assert (slide.reader, slide.reader_reason) == ("openslide", "cuCIM and OpenSlide differ at level 0, x 128, y 0")


def test_a_cucim_that_crashes_costs_only_the_trial(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, stand_in: Callable[[str], None]
) -> None:
    stand_in("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    path = make_slide(tmp_path / "s.tiff", tissue, compression=None)
    path = make_slide(tmp_path / "t.tiff", tissue)
    with Slide("s", path, None) as slide:
        assert (slide.reader, slide.reader_reason) == ("openslide", "trying cuCIM ended with SIGSEGV")
        assert slide.read_region(0, 0, plan_read(0.5, (1,), 0.5, 64)).shape == (64, 64, 3)
    with pytest.raises(SlideError, match="slide s: cucim ended with SIGSEGV while reading"):
        Slide("s", path, None, "cucim")


def odd_levels(make_slide: MakeSlide, path: Path, tissue: Pixels) -> Path:
    """A slide whose second level has a downsample of 3.005: OpenSlide reads it between its pixels."""
    return make_slide(path, np.pad(tissue, ((0, 1), (0, 1), (0, 0)), "edge"), levels=(1, 3))


@pytest.mark.parametrize("y_and_x", [(1, 1), (1, 62), (62, 1), (62, 62), None])
def test_a_cucim_with_another_pixel_between_openslides_is_not_trusted(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels, stand_in: Callable[[str], None], y_and_x: tuple[int, int]
) -> None:
    """Of a tile of 64 px all but the outermost pixels are compared, which are mixed with those of other tiles."""
    stand_in(ALMOST.format(y_and_x=y_and_x))
    with Slide("s", odd_levels(make_slide, tmp_path / "s.tiff", tissue), None) as slide:
        if y_and_x is None:
            assert (slide.reader, slide.reader_reason) == ("cucim", "equal to OpenSlide, tiles compared: 10")
        else:
            assert slide.reader == "openslide"
            assert slide.reader_reason.startswith("cuCIM and OpenSlide differ at level 1, x ")


def test_tiles_are_compared_though_those_around_them_are_damaged(
    tmp_path: Path, make_slide: MakeSlide, tissue: Pixels
) -> None:
    """Where OpenSlide reads between pixels, no tile is decoded that is not compared: that took three times as long."""
    path = odd_levels(make_slide, tmp_path / "s.tiff", tissue)
    with openslide.OpenSlide(path) as plain:
        telling = tiff_structure(path, plain.level_dimensions).levels[1].telling_tiles()
    for row, column in set(np.ndindex(3, 4)) - set(telling):
        damage(path, noise, 4 * row + column, level=1)
    with Slide("s", path, None) as slide:
        assert (slide.reader, slide.reader_reason) == ("cucim", "equal to OpenSlide, tiles compared: 10")


IMPOSTOR = """
import numpy as np
class CuImage:
    resolutions = {"level_dimensions": [(640, 512)]}
    cache = staticmethod(lambda kind: None)
    def __init__(self, path): pass
    def read_region(self, place, size, level, num_workers): return np.zeros((size[1], size[0], 3), np.uint8)
"""
ALMOST = """  # the levels' pixels; of the second level, one pixel of each tile is another
import numpy as np, tifffile
class CuImage:
    cache = staticmethod(lambda kind: None)
    def __init__(self, path):
        self._levels = [tifffile.imread(path, key=key) for key in (0, 1)]
        if {y_and_x}:
            y, x = {y_and_x}
            self._levels[1][y::64, x::64] += 128
        self.resolutions = {{"level_dimensions": [level.shape[1::-1] for level in self._levels]}}
    def read_region(self, place, size, level, num_workers):
        pixels = self._levels[level]
        downsample = np.mean(np.divide(self._levels[0].shape[:2], pixels.shape[:2]))
        left, top = (int(length / downsample) for length in place)
        return pixels[top : top + size[1], left : left + size[0]]
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A function that lets reading processes import a program as cucim.clara."""

    def set_up(program: str) -> None:
        (tmp_path / "modules/cucim").mkdir(parents=True)
        (tmp_path / "modules/cucim/__init__.py").touch()
        (tmp_path / "modules/cucim/clara.py").write_text(program)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
        NURSERY.stop()

    yield set_up
    NURSERY.stop()


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
@pytest.mark.parametrize(
    ("name", "reader", "reason"),
    [
        ("slides/her2st_B4.tiff", "cucim", "equal to OpenSlide, tiles compared: 20"),
        ("slides/CMU-1-Small-Region.svs", "cucim", "equal to OpenSlide, tiles compared: 5"),
        ("slides/TCGA-CR-7395-01A-01-TS1.svs", "openslide", "tiles of level 0 are APERIO_JP2000_RGB, not JPEG"),
        ("odd/small-16px.svs", "cucim", "equal to OpenSlide, tiles compared: 1"),
        ("odd/no-mpp_1024.tif", "openslide", "tiles of level 0 are NONE, not JPEG"),
        ("odd/boxes-deflate-pyramid.tiff", "openslide", "tiles of level 0 are ADOBE_DEFLATE, not JPEG"),
    ],
)
def test_readers_of_real_files_agree(name: str, reader: str, reason: str) -> None:
    with Slide("x", DATA / name, 0.5) as slide, Slide("x", DATA / name, 0.5, "openslide") as plain:
        assert (slide.reader, slide.reader_reason) == (reader, reason)
        plan = plan_read(0.5, slide.downsamples, 0.6, 1024)
        for corner in ((0, 0), (900, 1100), (slide.width_lv0 - 700, slide.height_lv0 - 500)):
            assert np.array_equal(slide.read_region(*corner, plan), plain.read_region(*corner, plan))


def test_what_openslide_refuses_cucim_refuses_too(tmp_path: Path, make_slide: MakeSlide, tissue: Pixels) -> None:
    """Three flipped bits in every other tile: refused, or the same pixels; cuCIM also refuses some that run over."""
    path = make_slide(tmp_path / "s.tiff", tissue, levels=(1, 4))
    for number in range(0, 80, 2):

        def flip(content: bytearray, page: tifffile.TiffPage, number: int) -> None:
            for place in np.random.default_rng(number).integers(700, page.databytecounts[number], 3):
                content[page.dataoffsets[number] + int(place)] ^= 0x10

        damage(path, flip, number)
    corners = [(x, y) for y in range(0, 512, 64) for x in range(0, 640, 64)]
    with Slide("s", path, None, "openslide") as plain, Slide("s", path, None) as slide:
        assert slide.reader == "cucim"
        plan = plan_read(0.5, (1.0,), 0.5, 64)
        expected = [r if isinstance(r, UnreadableRegion) else r.copy() for r in plain.read_regions(corners, plan)]
        found = [r if isinstance(r, UnreadableRegion) else r.copy() for r in slide.read_regions(corners, plan)]
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, UnreadableRegion) or np.array_equal(ours, theirs)  # type: ignore[arg-type]
    assert all(isinstance(region, np.ndarray) for region in found[1::2])
