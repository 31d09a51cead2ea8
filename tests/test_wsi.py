"""Slides are read in physical terms, and what is wrong with one is said by name."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from slpd.errors import SlideError
from slpd.geometry.read_plan import plan_read
from slpd.wsi import Reader, Slide

pytestmark = pytest.mark.slides

MakeSlide = Callable[..., Path]
Picture = NDArray[np.uint8]  # (h, w, 3)

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def pixels() -> Picture:
    return np.random.default_rng(1).integers(0, 256, (300, 420, 3), dtype=np.uint8)


def test_resolution_comes_from_the_sheet_else_from_the_file(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture
) -> None:
    path = make_slide(tmp_path / "a.tiff", pixels, mpp=0.25)
    with Slide("a", path, None) as slide:
        assert (slide.mpp, slide.mpp_source) == (pytest.approx(0.25, rel=1e-6), "file")
        assert (slide.width_lv0, slide.height_lv0) == (420, 300)
    with Slide("a", path, 0.5) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.5, "sheet")


@pytest.mark.parametrize(
    ("mpp", "sheet_mpp", "message"),
    [
        (None, None, "slide a: no resolution in the file; fill the mpp column of the cohort sheet"),
        (25.4, None, "slide a: 25.4 µm/px, expected 0.1 to 10"),
        (0.5, 0.01, "slide a: 0.01 µm/px, expected 0.1 to 10"),
        ((0.5, 0.52), None, "slide a: 0.5 µm/px across but 0.52 µm/px down"),
        ((0.5, 0.52), 0.5, "slide a: 0.5 µm/px across but 0.52 µm/px down"),
    ],
)
def test_no_credible_resolution_is_refused(
    tmp_path: Path,
    make_slide: MakeSlide,
    pixels: Picture,
    mpp: float | tuple[float, float] | None,
    sheet_mpp: float | None,
    message: str,
) -> None:
    path = make_slide(tmp_path / "a.tiff", pixels, mpp=mpp)
    with pytest.raises(SlideError, match=message):
        Slide("a", path, sheet_mpp)


def test_a_resolution_differing_by_less_than_one_percent_is_averaged(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture
) -> None:
    with Slide("a", make_slide(tmp_path / "a.tiff", pixels, mpp=(0.500, 0.504)), None) as slide:
        assert slide.mpp == pytest.approx(0.502, rel=1e-5)


def test_files_that_are_no_slides_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "text.svs").write_text("not a slide")
    (tmp_path / "link.svs").symlink_to(tmp_path / "gone.svs")
    (tmp_path / "folder.svs").mkdir()
    for name, message in [
        ("empty", "is empty"),
        ("text", "not a slide"),
        ("link", "No such file"),
        ("absent", "No such file"),
        ("folder", "is a folder, and holds no slide"),
    ]:
        with pytest.raises(SlideError, match=f"slide x: .*{name}.svs.*{message}"):
            Slide("x", tmp_path / f"{name}.svs", None)


def test_files_that_openslide_does_not_open_are_refused_by_their_cause(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture
) -> None:
    """Each with the remedy for it: to copy again what was copied well mends nothing."""
    Image.fromarray(pixels).save(tmp_path / "jpeg.jpg")
    (tmp_path / "photo.svs").write_bytes((tmp_path / "jpeg.jpg").read_bytes())
    (tmp_path / "lonely.mrxs").write_bytes((tmp_path / "jpeg.jpg").read_bytes())
    (tmp_path / "half.mrxs").write_bytes((tmp_path / "jpeg.jpg").read_bytes())
    (tmp_path / "half").mkdir()
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    tifffile.imwrite(tmp_path / "strips.tiff", pixels, photometric="rgb", rowsperstrip=16)
    make_slide(tmp_path / "whole.tiff", pixels)
    (tmp_path / "torn.tiff").write_bytes((tmp_path / "whole.tiff").read_bytes()[:100])
    (tmp_path / "zeros.svs").write_bytes(bytes(10_000))
    (tmp_path / "page.svs").write_text("\n<!DOCTYPE html><title>404</title>")
    (tmp_path / "pointer.svs").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "slide.zip").write_bytes(b"PK\3\4" + bytes(40))
    (tmp_path / "text.svs").write_text("anything")
    for name, cause in [
        ("photo.svs", "it is a JPEG picture; convert it to a tiled"),
        ("picture.png", "it is a PNG picture; convert it to a tiled"),
        ("lonely.mrxs", r"it has no folder .*lonely with its pixels beside it; copy the folder, too"),
        ("half.mrxs", r"it has no Slidedat.ini in its folder .*half; copy the folder again"),
        ("strips.tiff", "it is a TIFF in strips, not in tiles; convert it"),
        ("torn.tiff", r"it is a TIFF that cannot be read \(.*\); copy it again"),
        ("zeros.svs", "it begins with zeros, as what an interrupted copy leaves; copy it again"),
        ("page.svs", "it is a web page or XML; download the slide again"),
        ("pointer.svs", "it is a pointer of Git LFS; fetch the file that it stands for"),
        ("slide.zip", "it is a ZIP archive; unpack it"),
        ("text.svs", "it is of no format that OpenSlide knows"),
    ]:
        with pytest.raises(SlideError, match=f"slide x: .*{name} is not a slide that can be read: {cause}"):
            Slide("x", tmp_path / name, None)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_slide_of_channels_is_refused(tmp_path: Path, pixels: Picture, bits: int) -> None:
    """OpenSlide would read the first of them as a grey slide."""
    planes = pixels.transpose(2, 0, 1).astype(f"uint{bits}")
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, planes, tile=(64, 64), photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    with pytest.raises(
        SlideError, match="it holds 3 channels as images of their own, and OpenSlide reads one, not RGB"
    ):
        Slide("s", path, 0.5)


def test_a_resolution_meant_for_printers_is_named(tmp_path: Path, make_slide: MakeSlide, pixels: Picture) -> None:
    with pytest.raises(
        SlideError, match=r"352\.778 µm/px, expected 0\.1 to 10 \(it is 72 dots per inch, for printers\)"
    ):
        Slide("s", make_slide(tmp_path / "s.tiff", pixels, mpp=25_400 / 72), None)
    with pytest.raises(SlideError, match=r"50 µm/px, expected 0\.1 to 10; write"):
        Slide("s", make_slide(tmp_path / "s.tiff", pixels, mpp=50), None)


def test_a_region_at_the_level_s_own_resolution_is_untouched(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture
) -> None:
    path = make_slide(tmp_path / "a.tiff", pixels, compression=None)
    with Slide("a", path, None) as slide:
        region = slide.read_region(70, 30, plan_read(slide.mpp, slide.downsamples, 0.5, 100))
    assert np.array_equal(region, pixels[30:130, 70:170])


def test_a_region_is_resampled_by_area_from_the_coarsest_fine_enough_level(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture
) -> None:
    path = make_slide(tmp_path / "a.tiff", pixels, mpp=0.25, levels=(1, 2, 4), compression=None)
    with Slide("a", path, None) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 1.0, 50)
        assert (plan.level, plan.level_px) == (2, 50)
        plan = plan_read(slide.mpp, slide.downsamples, 0.75, 40)  # 120 level-0 px, 60 px of level 1
        assert (plan.level, plan.level_px) == (1, 60)
        region = slide.read_region(40, 80, plan)
    level = tifffile.imread(path, key=1)[40:100, 20:80].astype(float)
    halves = np.repeat(np.repeat(level, 2, 0), 2, 1)  # 120 px, three per output pixel
    expected = halves.reshape(40, 3, 40, 3, 3).mean((1, 3))
    assert np.abs(region - expected).max() <= 0.51


def test_regions_come_in_order(tmp_path: Path, make_slide: MakeSlide, pixels: Picture) -> None:
    path = make_slide(tmp_path / "a.tiff", pixels, compression=None)
    corners = [(0, 0), (200, 100), (17, 3)]
    with Slide("a", path, None) as slide:
        regions = list(slide.read_regions(corners, plan_read(slide.mpp, slide.downsamples, 0.5, 64)))
    for (x, y), region in zip(corners, regions, strict=True):
        assert np.array_equal(region, pixels[y : y + 64, x : x + 64])


def test_thumbnail_of_a_single_level_in_strips_is_an_area_average(tmp_path: Path, make_slide: MakeSlide) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8200, 2100, 3), dtype=np.uint8)  # two strips
    path = make_slide(tmp_path / "a.tiff", pixels, mpp=0.5, compression=None, tile_px=256)
    with Slide("a", path, None) as slide:
        thumbnail = slide.thumbnail(12.5)  # 25 px each
    assert thumbnail.shape == (328, 84, 3)
    assert np.abs(thumbnail - pixels.reshape(328, 25, 84, 25, 3).mean((1, 3))).max() <= 0.51


def ome_tiff(path: Path, array: Picture, compression: str | None, n_coarser: int = 2) -> list[Picture]:
    """Write pixels as QuPath and Bio-Formats do, coarser levels in SubIFDs; what tifffile reads of every level."""
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        options = {"tile": (64, 64), "photometric": "rgb", "compression": compression}
        file.write(array, subifds=n_coarser, **options)
        for number in range(n_coarser):
            size = (array.shape[1] >> number + 1, array.shape[0] >> number + 1)
            smaller = np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BOX))
            file.write(smaller, subfiletype=1, **options)
    with tifffile.TiffFile(path) as file:
        return [np.asarray(level.asarray()) for level in file.series[0].levels]


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "zlib", None])
def test_levels_in_subifds_are_levels_like_others(tmp_path: Path, pixels: Picture, compression: str | None) -> None:
    levels = ome_tiff(tmp_path / "a.ome.tif", pixels, compression)
    height, width = pixels.shape[:2]
    with Slide("a", tmp_path / "a.ome.tif", 0.25) as slide:
        assert slide.downsamples == pytest.approx([1, 2, 4], rel=0.01)
        for level, mpp in enumerate((0.25, 0.5, 1.0)):
            plan = plan_read(slide.mpp, slide.downsamples, mpp, 40)
            assert plan.level == level
            x, y = 60 >> level, 48 >> level  # 40 px over several tiles
            region = slide.read_region(x << level, y << level, plan)
            assert np.array_equal(region, levels[level][y : y + 40, x : x + 40])
        thumbnail = slide.thumbnail(4.0)
    assert thumbnail.shape[:2] == (round(height / 16), round(width / 16))
    expected = np.asarray(Image.fromarray(levels[2]).resize(thumbnail.shape[1::-1], Image.Resampling.BOX), int)
    assert np.abs(thumbnail - expected).mean() < 2


def test_a_damaged_tile_in_a_subifd_is_reported_with_its_position(tmp_path: Path, pixels: Picture) -> None:
    path = tmp_path / "a.ome.tif"
    ome_tiff(path, pixels, "jpeg")
    with tifffile.TiffFile(path) as file:
        page = file.pages.first.pages[0]
        offset, n_bytes = page.dataoffsets[1], page.databytecounts[1]
    content = bytearray(path.read_bytes())
    content[offset + n_bytes // 2 : offset + n_bytes] = bytes(n_bytes - n_bytes // 2)
    path.write_bytes(content)
    with Slide("a", path, 0.25) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 0.5, 40)
        with pytest.raises(SlideError, match="slide a: level 1 cannot be read at x 128, y 0"):
            slide.read_region(140, 0, plan)
        slide.read_region(0, 0, plan)


def test_an_overview_of_a_huge_level_is_decoded_tile_by_tile(
    tmp_path: Path, make_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slide of one level, 140 million pixels: of what it shows, and with a damaged tile white there alone."""
    tile = np.random.default_rng(0).integers(60, 250, (16, 16, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
    encoded = imagecodecs.jpeg8_encode(tile, level=90)
    path = tmp_path / "a.tif"
    shape = (512 * 20, 512 * 27, 3)
    with tifffile.TiffWriter(path) as file:
        file.write(
            (encoded for _ in range(20 * 27)),
            shape=shape,
            dtype=np.uint8,
            tile=(512, 512),
            photometric="ycbcr",
            subsampling=(2, 2),
            compression="jpeg",
        )
    with Slide("a", path, 0.25) as slide:
        assert len(slide.downsamples) == 1
        thumbnail, n_unreadable = slide.thumbnail(8.0), slide.n_unreadable
    expected = np.tile(imagecodecs.jpeg8_decode(encoded).reshape(16, 32, 16, 32, 3).mean((1, 3)), (20, 27, 1))
    assert n_unreadable == 0
    assert np.abs(thumbnail - expected).max() <= 1.001
    with tifffile.TiffFile(path) as file:
        offset, n_bytes = file.pages.first.dataoffsets[30], file.pages.first.databytecounts[30]
    content = bytearray(path.read_bytes())
    content[offset : offset + n_bytes] = bytes(n_bytes)
    path.write_bytes(content)
    with Slide("a", path, 0.25) as slide:
        damaged, n_unreadable = slide.thumbnail(8.0), slide.n_unreadable
    place = (slice(16, 32), slice(48, 64))  # second row, fourth column of tiles
    assert n_unreadable == 1
    assert (damaged[place] == 255).all()
    damaged[place] = thumbnail[place]
    assert np.array_equal(damaged, thumbnail)


def test_a_thumbnail_has_at_least_one_pixel(tmp_path: Path, make_slide: MakeSlide) -> None:
    path = make_slide(tmp_path / "a.tiff", np.full((16, 16, 3), 200, np.uint8), tile_px=16)
    with Slide("a", path, None) as slide:
        assert slide.thumbnail(50.0).shape == (1, 1, 3)


def test_a_damaged_tile_is_reported_with_its_place(tmp_path: Path, make_slide: MakeSlide, pixels: Picture) -> None:
    path = damage_a_tile(make_slide(tmp_path / "a.tiff", pixels), 9)
    with Slide("a", path, None) as slide, pytest.raises(SlideError, match=r"slide a: level 0 .* x 128, y 64"):
        slide.read_region(64, 64, plan_read(slide.mpp, slide.downsamples, 0.5, 128))


@pytest.mark.parametrize("reader", ["cucim", "openslide"])
def test_a_thumbnail_is_white_where_nothing_can_be_decoded(
    tmp_path: Path, make_slide: MakeSlide, reader: Reader
) -> None:
    picture = np.full((1024, 1280, 3), 100, np.uint8)
    path = damage_a_tile(make_slide(tmp_path / "a.tiff", picture), 16 + 2 * 20)  # row 2, column 16
    with Slide("a", path, None, reader) as slide:
        thumbnail = slide.thumbnail(16)  # 32 px each
        assert slide.n_unreadable == 1
        assert slide.thumbnail(0.5)[511, 1023:1025, 0].tolist() == [100, 255]  # as it is, without resampling
        slide.read_region(0, 0, plan_read(slide.mpp, slide.downsamples, 0.5, 64))
        assert slide.n_unreadable == 1
    white = np.zeros((32, 40), bool)
    white[:16, 32:] = True  # 512 px squares; the last is 256 px wide
    assert ((thumbnail == 255).all(2) == white).all()


def test_a_slide_of_which_nothing_can_be_decoded_has_no_thumbnail(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture
) -> None:
    path = make_slide(tmp_path / "a.tiff", pixels, levels=(1, 2))
    for number in range(35):
        damage_a_tile(path, number)
    with Slide("a", path, None) as slide, pytest.raises(SlideError, match=r"slide a: level 0 .* x 0, y 0 .*copy it"):
        slide.thumbnail(0.8)


@pytest.mark.parametrize(("size", "refused"), [((210, 150), False), ((210, 148), False), ((210, 160), True)])
def test_a_distorted_level_is_refused(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture, size: tuple[int, int], refused: bool
) -> None:
    path = make_slide(tmp_path / "a.tiff", pixels)
    level = np.asarray(Image.fromarray(pixels).resize(size))
    tifffile.imwrite(path, level, append=True, photometric="rgb", tile=(64, 64), subfiletype=1, metadata=None)
    if refused:
        with pytest.raises(SlideError, match=r"slide a: .*: level 1 has 210 x 160 px, expected 210 x 150 px; convert"):
            Slide("a", path, None)
    else:
        with Slide("a", path, None) as slide:
            assert len(slide.downsamples) == 2


@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_a_slide_that_does_not_lie_upright_is_refused(
    tmp_path: Path, make_slide: MakeSlide, pixels: Picture, reader: Reader
) -> None:
    """Viewers that heed the tag would show, and masks drawn there would fit, another picture than the one read here."""
    path = make_slide(tmp_path / "a.tiff", pixels)
    for orientation in (1, 6):
        with tifffile.TiffFile(path, mode="r+b") as file:
            # tifffile writes no such tag: one that nobody needs here becomes it
            tag = next(tag for tag in file.pages[0].tags.values() if tag.name in ("NewSubfileType", "Orientation"))
            with open(path, "r+b") as raw:
                raw.seek(tag.offset)
                raw.write((274).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little"))
                raw.write(orientation.to_bytes(4, "little"))
        if orientation == 1:
            Slide("a", path, 0.5, reader).__exit__()
    with pytest.raises(SlideError, match=r"slide a: .*a\.tiff: its TIFF tag Orientation is 6, expected 1 \(upright\)"):
        Slide("a", path, 0.5, reader)


def test_identity_follows_the_content(tmp_path: Path, make_slide: MakeSlide, pixels: Picture) -> None:
    paths = [make_slide(tmp_path / f"{i}.tiff", array) for i, array in enumerate((pixels, pixels, 255 - pixels))]
    identities = []
    for path in paths:
        with Slide("a", path, None) as slide:
            identities.append(slide.identity())
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
@pytest.mark.parametrize(
    ("name", "sheet_mpp", "outcome"),
    [
        ("slides/her2st_B4.tiff", None, 0.6878),
        ("slides/CMU-1-Small-Region.svs", None, 0.499),
        ("slides/TCGA-CR-7395-01A-01-TS1.svs", None, "no resolution in the file"),
        ("slides/TCGA-CR-7395-01A-01-TS1.svs", 0.5, 0.5),
        ("odd/garbage-bytes.svs", None, "not a slide"),
        ("odd/small-16px.svs", None, 0.499),
        ("odd/no-mpp_1024.tif", None, "no resolution in the file"),
        ("odd/mpp-1000um_205px.tif", None, "1000 µm/px"),
        ("odd/boxes-deflate-pyramid.tiff", None, "353 µm/px|352.778 µm/px"),
    ],
)
def test_real_files(name: str, sheet_mpp: float | None, outcome: str | float) -> None:
    if isinstance(outcome, str):
        with pytest.raises(SlideError, match=outcome):
            Slide("x", DATA / name, sheet_mpp)
    else:
        with Slide("x", DATA / name, sheet_mpp) as slide:
            assert slide.mpp == pytest.approx(outcome, rel=1e-3)


def damage_a_tile(path: Path, number: int) -> Path:
    """Overwrite the data of a tile."""
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[number], file.pages[0].databytecounts[number]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\0" * size)
    return path
