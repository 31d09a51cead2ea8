"""A slide may be several files: all are found, by content, and a folder stands for the slide in it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom import write_dicom

from slpd.artifacts.slides.dicom_header import series_of
from slpd.artifacts.slides.sheet import SheetRow
from slpd.artifacts.slides.slide_files import files_of, n_bytes_of, slide_file
from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import plan_read
from slpd.inputs import check_files
from slpd.wsi import Slide
from slpd.wsi.slide import hash_of_ends

MakeSlide = Callable[..., Path]


def picture(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(1024, 1024, 3) blocks of 32 px."""
    return np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8).repeat(32, 0).repeat(32, 1)


def sheet(*paths: Path) -> dict[str, SheetRow]:
    return {f"s{i}": SheetRow(f"s{i}", str(path), f"p{i}", None, {}) for i, path in enumerate(paths)}


def test_a_dicom_series_is_told_from_one_that_it_refers_to(tmp_path: Path) -> None:
    write_dicom(tmp_path, picture(), ["level0"], series="1.2.3.4")
    assert series_of(tmp_path / "level0") == "1.2.3.4"
    whole = (tmp_path / "level0").read_bytes()
    for end in (0, 100, 132, 140, 300):
        (tmp_path / "torn").write_bytes(whole[:end])
        assert series_of(tmp_path / "torn") is None


def test_a_header_without_types_is_read(tmp_path: Path) -> None:
    """Implicit value representation, the default of DICOM's transfer: a tag, 4 bytes of length, the value."""
    meta = b"\2\0\x10\0UI\x12\x001.2.840.10008.1.2\0"
    body = b"\x08\0\x60\0\2\0\0\0SM" + b"\x20\0\x0e\0\6\0\0\0001.2.3\0"
    (tmp_path / "a").write_bytes(b"\0" * 128 + b"DICM" + meta + body)
    assert series_of(tmp_path / "a") == "1.2.3"


def test_a_folder_with_one_series_is_that_slide(tmp_path: Path) -> None:
    write_dicom(tmp_path / "slide", picture(), ["b", "a"])
    assert slide_file(tmp_path / "slide") == tmp_path / "slide" / "a"
    assert {file.name for file in files_of(tmp_path / "slide")} == {"a", "b"}
    assert n_bytes_of(tmp_path / "slide") == sum(file.stat().st_size for file in (tmp_path / "slide").iterdir())
    check_files("sheet.csv", sheet(tmp_path / "slide"))
    with Slide("s", tmp_path / "slide", None) as whole, Slide("s", tmp_path / "slide" / "b", None) as by_file:
        assert (whole.width_lv0, whole.mpp) == (1024, pytest.approx(0.5))
        regions = [
            slide.read_region(128, 256, plan_read(slide.mpp, slide.downsamples, 1.0, 256)) for slide in (whole, by_file)
        ]
        assert np.array_equal(*regions)
        before = whole.identity()
    (tmp_path / "slide" / "b").write_bytes((tmp_path / "slide" / "b").read_bytes() + b"\0\0")
    with Slide("s", tmp_path / "slide" / "a", None) as slide:
        assert slide.identity() != before  # another of its files has changed


def test_a_series_without_its_base_level_is_refused_by_name(tmp_path: Path) -> None:
    """It would open as a slide of half the resolution."""
    write_dicom(tmp_path / "slide", picture(), ["a", "b", "c"])
    base = tmp_path / "slide" / "a"
    whole = base.read_bytes()
    assert b"ORIGINAL\\PRIMARY\\VOLUME\\NONE" in whole
    base.write_bytes(whole.replace(b"ORIGINAL\\PRIMARY\\VOLUME\\NONE", b"DERIVED\\PRIMARY\\VOLUME\\NONE "))
    check_files("sheet.csv", sheet(tmp_path / "slide"))  # converted from another format, and whole
    base.write_bytes(whole.replace(b"ORIGINAL\\PRIMARY\\VOLUME\\NONE", b"ORIGINAL\\PRIMARY\\LABEL\\NONE "))
    for path in (tmp_path / "slide", tmp_path / "slide" / "b"):
        missing = rf"{path}: the base level is missing: all 2 levels of its DICOM series are resampled; export or copy"
        with pytest.raises(UserError, match=rf"^sheet\.csv: slide s0: {missing}"):
            check_files("sheet.csv", sheet(path))
        with pytest.raises(SlideError, match=f"^slide s: {missing}"):
            Slide("s", path, None)


def test_a_file_that_is_twice_in_a_series_changes_no_pixel(tmp_path: Path) -> None:
    """As after two downloads; files have no suffix."""
    write_dicom(tmp_path / "slide", picture(), ["a", "b"])
    with Slide("s", tmp_path / "slide", None) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, 1.0, 256)
        once = slide.read_region(128, 256, plan)
    for name in ("a", "b"):
        (tmp_path / "slide" / f"{name} (1)").write_bytes((tmp_path / "slide" / name).read_bytes())
    with Slide("s", tmp_path / "slide", None) as slide:
        assert slide.downsamples == (1.0, 2.0)
        assert np.array_equal(slide.read_region(128, 256, plan), once)


def test_other_folders_are_refused_with_the_file_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mirax").mkdir()
    (tmp_path / "mirax.mrxs").touch()
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "a.svs").touch()
    write_dicom(tmp_path / "two", picture(), ["a"], series="1.1")
    write_dicom(tmp_path / "two", picture(), ["b"], series="2.2")
    for name, message in [
        ("empty", r"sheet\.csv: slide s0: .*empty is a folder, and holds no slide"),
        ("mirax", r"give the file, as .*mirax\.mrxs"),
        ("export", r"give the file, as .*export/a\.svs"),
        ("two", r"folder of 2 DICOM series; give a file of the one meant, as .*two/a or .*two/b"),
    ]:
        with pytest.raises(UserError, match=message):
            check_files("sheet.csv", sheet(tmp_path / name))
    (tmp_path / "v1.2").mkdir()
    (tmp_path / "v1.2.mrxs").touch()
    monkeypatch.chdir(tmp_path / "export")
    for name, message in [("../v1.2", r"give the file, as \.\./v1\.2\.mrxs"), (".", r"give the file, as a\.svs")]:
        with pytest.raises(UserError, match=f"slide s0: {name} is a folder, {message}"):
            check_files("sheet.csv", sheet(Path(name)))


def test_files_that_are_gone_or_none_are_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "link.svs").symlink_to("gone.svs")
    (tmp_path / "loop.svs").symlink_to("loop.svs")
    (tmp_path / "a.svs").touch()
    (tmp_path / "Mu\u0308ller.svs").touch()  # as a Macintosh writes it
    for path, message in [
        (tmp_path / "absent.svs", r"slide s0: no file .*absent\.svs; correct the path or remove the line$"),
        (tmp_path / "link.svs", r"no file .*link\.svs; correct .* \(it is a link to gone\.svs, which is gone\)"),
        (tmp_path / "a.svs" / "b.svs", r"no file .*a\.svs/b\.svs"),
        (tmp_path / "loop.svs", r"slide s0: .*loop\.svs: Too many levels of symbolic links"),
        (tmp_path / "M\u00fcller.svs", r"only looks like 'Mu\\u0308ller\.svs': it is 'M\\xfcller\.svs'\)$"),
        (Path("/dev/null"), r"/dev/null is no file"),
    ]:
        with pytest.raises(UserError, match=message):
            check_files("sheet.csv", sheet(path))


def test_one_file_under_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"slide")
    (tmp_path / "b.svs").hardlink_to(tmp_path / "a.svs")
    (tmp_path / "c.svs").symlink_to("a.svs")
    (tmp_path / "d.svs").write_bytes(b"slide")
    check_files("sheet.csv", sheet(tmp_path / "a.svs", tmp_path / "d.svs"))  # a copy is found when it is opened
    for other in ("b.svs", "c.svs"):
        with pytest.raises(UserError, match=rf"slides s0 and s1 are the same file, .*a\.svs and .*{other}; keep one"):
            check_files("sheet.csv", sheet(tmp_path / "a.svs", tmp_path / other))


def test_two_files_of_one_series_are_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "one", picture(), ["a", "b"])
    write_dicom(tmp_path / "two", picture(), ["a"], series="7.7")
    check_files("sheet.csv", sheet(tmp_path / "one" / "b", tmp_path / "two"))
    for pair in [("one/a", "one/b"), ("one/b", "one")]:
        with pytest.raises(UserError, match=r"slides s0 and s1 are (files of one DICOM series|the same file)"):
            check_files("sheet.csv", sheet(*(tmp_path / name for name in pair)))


def test_copies_of_a_slide_have_its_content(tmp_path: Path, make_slide: MakeSlide) -> None:
    """By whatever names and in whatever format; another slide has another."""
    make_slide(tmp_path / "a.tiff", picture())
    make_slide(tmp_path / "other.tiff", picture(1))
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tiff").read_bytes())
    write_dicom(tmp_path / "series", picture(), ["0", "1"])
    write_dicom(tmp_path / "copy", picture(), ["x", "y"])
    write_dicom(tmp_path / "another", picture(), ["0", "1"], series="4.5")
    found = {}
    for name in ("a.tiff", "b.tif", "other.tiff", "series", "copy", "another"):
        with Slide(name, tmp_path / name, None) as slide:
            found[name] = slide.content()
    assert found["a.tiff"] == found["b.tif"]
    assert found["series"] == found["copy"]
    assert len({content for content, _ in found.values()}) == 4
    assert hash_of_ends([tmp_path / "a.tiff"]) == hash_of_ends([tmp_path / "b.tif"])
    assert hash_of_ends([tmp_path / "a.tiff"]) != hash_of_ends([tmp_path / "other.tiff"])
