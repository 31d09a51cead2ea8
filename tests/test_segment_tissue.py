"""segment_tissue: a usable slide gets mask and record; any other gets a reason and stands-in for every output."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.artifacts.slides.finished_slide import read_finished
from slpd.artifacts.slides.mask import read_mask
from slpd.artifacts.slides.picture import read_picture
from slpd.artifacts.slides.slide_record import SlideRecord

MakeSlide = Callable[..., Path]
Picture = NDArray[np.uint8]  # (h, w, 3)
Segment = Callable[..., dict[str, Path]]

SETTINGS = json.dumps({"mpp": 8, "min_area_mm2": 0.01, "min_hole_mm2": 0.01})


@pytest.fixture
def segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segment:
    def run(path: Path, mpp: str = "", mask: str = "") -> dict[str, Path]:
        given = {"path": str(path), "n_bytes": 0, "mpp": float(mpp) if mpp else None, "mask": mask}
        arguments = ["--slides", json.dumps({"s": given}), "--settings", SETTINGS, "--version", "1", "--threads", "1"]
        arguments += ["--folder", str(tmp_path / "tissue"), "--out", str(tmp_path / "batch.json")]
        monkeypatch.setattr("sys.argv", ["slpd", "segment_tissue", *arguments])
        assert main() == 0
        return {key: tmp_path / "tissue" / name for key, name in OUTPUTS.items()}

    return run


OUTPUTS = {"mask": "s.png", "thumbnail": "s.jpg", "overlay": "overlays/s.jpg", "record": "s.json"}


def read_record(path: Path) -> SlideRecord:
    finished = read_finished(path)
    assert finished
    return finished.record


def test_a_slide_with_tissue(segment: Segment, tmp_path: Path, make_slide: MakeSlide, tissue_picture: Picture) -> None:
    outputs = segment(make_slide(tmp_path / "s.tiff", tissue_picture, levels=(1, 2, 4)))
    record, mask = read_record(outputs["record"]), read_mask(outputs["mask"]).tissue
    assert (record.status, record.mpp_source, record.mask_source) == ("ok", "file", "segmenter")
    assert (record.pen_share, record.padding_share) == (0, 0)
    assert (record.width_lv0, record.height_lv0, record.tissue_mpp) == (1536, 1024, 8)
    assert record.slide_mpp == pytest.approx(0.5)
    assert record.tissue_mm2 == pytest.approx((768 * 0.5 / 1000) ** 2, rel=0.1)
    assert mask.shape == read_picture(outputs["thumbnail"]).shape[:2] == (64, 96)  # 1024 x 1536 px of 0.5 µm at 8 µm
    assert mask[10:54, 10:54].all()
    assert not mask[:, 62:].any()
    overlay = read_picture(outputs["overlay"])
    assert max(overlay.shape[:2]) >= 600
    green = (overlay.astype(int) @ (-1, 2, -1)) > 100  # the outline's colour
    assert green[:, : overlay.shape[1] * 58 // 96].any()
    assert not green[:, overlay.shape[1] * 62 // 96 :].any()


def test_the_sheet_supplies_a_missing_resolution(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide, tissue_picture: Picture
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue_picture, mpp=None)
    refused = read_record(segment(path)["record"])
    assert refused.status == "failed"
    assert "slide s: no resolution in the file; fill the mpp column" in refused.reason
    record = read_record(segment(path, "0.5")["record"])
    assert (record.status, record.slide_mpp, record.mpp_source) == ("ok", 0.5, "sheet")


def test_an_unusable_slide_fails_with_a_reason_and_all_outputs(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide
) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    blank = make_slide(tmp_path / "blank.tiff", np.full((512, 512, 3), 240, np.uint8))
    for path, reason in [
        (tmp_path / "absent.svs", "No such file"),
        (tmp_path / "text.svs", "not a slide"),
        (blank, "no tissue of 0.01 mm² or more"),
    ]:
        outputs = segment(path)
        record = read_record(outputs["record"])
        assert (record.status, record.stage) == ("failed", "segment_tissue")
        assert record.reason.startswith("slide s: ")
        assert reason in record.reason
        assert not read_mask(outputs["mask"]).tissue.any()
        assert read_picture(outputs["overlay"]).std() > 1  # the reason is written on it


def test_a_blank_slide_keeps_its_figures_and_its_picture(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide
) -> None:
    picture = np.full((1024, 1024, 3), 240, np.uint8)
    picture[256:768] = (30, 140, 110)  # green ink
    picture[:, :256] = 255
    outputs = segment(make_slide(tmp_path / "s.tiff", picture, compression=None))
    record = read_record(outputs["record"])
    assert (record.status, record.width_lv0, record.slide_mpp, record.tissue_mm2) == ("failed", 1024, 0.5, 0)
    assert record.padding_share == pytest.approx(0.25, abs=0.01)
    assert record.pen_share == pytest.approx(0.75 * (32 + 2 * 11) / 64, abs=0.02)  # rows of ink and two fading edges
    assert f"pen marks cover {record.pen_share:.1%}, padding {record.padding_share:.1%}" in record.reason
    assert read_picture(outputs["thumbnail"]).shape == (64, 64, 3)
    ground = read_mask(outputs["mask"])
    assert ground.pen[20:44, 20:].all()
    assert ground.padding[:, :15].all()


@pytest.mark.parametrize(("sheet_mpp", "conflict"), [("", False), ("0.51", False), ("0.54", True), ("0.25", True)])
def test_sheet_and_file_in_conflict_are_recorded(
    segment: Segment,
    tmp_path: Path,
    make_slide: MakeSlide,
    tissue_picture: Picture,
    sheet_mpp: str,
    conflict: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outputs = segment(make_slide(tmp_path / "s.tiff", tissue_picture, mpp=0.5), sheet_mpp)
    record = read_record(outputs["record"])
    assert record.file_mpp == pytest.approx(0.5)
    assert record.mpp_conflict is conflict
    assert ("in the sheet, 0.5 in the file" in caplog.text) == conflict


def test_a_given_mask_takes_the_place_of_the_segmenter(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide, tissue_picture: Picture
) -> None:
    tissue_picture[:100, 1200:] = 255
    path = make_slide(tmp_path / "s.tiff", tissue_picture, compression=None)
    drawn = tmp_path / "drawn.geojson"
    corners = [[1024, 0], [1536, 0], [1536, 512], [1024, 512], [1024, 0]]  # glass, and some padding
    drawn.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    outputs = segment(path, mask=str(drawn))
    record, ground = read_record(outputs["record"]), read_mask(outputs["mask"])
    assert (record.status, record.mask_source) == ("ok", "sheet")
    expected = np.zeros((64, 96), bool)
    expected[:32, 64:] = True
    assert np.array_equal(ground.tissue, expected)
    assert record.tissue_mm2 == pytest.approx((512 * 0.5 / 1000) ** 2, abs=1e-4)
    assert not (ground.padding & ground.tissue).any()


def test_a_wrong_mask_is_the_slides_status(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide, tissue_picture: Picture
) -> None:
    drawn = tmp_path / "drawn.geojson"
    drawn.write_text("no json")
    outputs = segment(make_slide(tmp_path / "s.tiff", tissue_picture), mask=str(drawn))
    record = read_record(outputs["record"])
    assert (record.status, record.stage) == ("failed", "segment_tissue")
    assert record.reason.startswith(f"slide s: mask {drawn} is no GeoJSON")


def test_a_truncated_slide_fails(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide, tissue_picture: Picture
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue_picture)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_record(segment(path)["record"]).status == "failed"


def test_outputs_are_the_same_bytes_again(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide, tissue_picture: Picture
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue_picture)
    first = {key: out.read_bytes() for key, out in segment(path).items()}
    (tmp_path / "tissue/s.json").unlink()
    assert first == {key: out.read_bytes() for key, out in segment(path).items()}


def test_a_full_disk_is_no_fault_of_the_slide(
    segment: Segment,
    tmp_path: Path,
    make_slide: MakeSlide,
    tissue_picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slpd.stages.segment_tissue.write_mask", full)
    with pytest.raises(AssertionError):  # exit status 2: the run fails
        segment(make_slide(tmp_path / "s.tiff", tissue_picture))
    assert capsys.readouterr().err.endswith("error: [Errno 28] No space left on device\n")
    assert not (tmp_path / "tissue/s.json").exists()
    assert not (tmp_path / "batch.json").exists()


def test_a_disk_that_is_away_is_no_fault_of_the_slide(segment: Segment, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):  # exit status 1: another try may do
        segment(tmp_path / "unmounted" / "s.tiff")
    assert not (tmp_path / "tissue/s.json").exists()


def test_a_slide_is_segmented_again_only_if_what_shapes_it_changes(
    segment: Segment, tmp_path: Path, make_slide: MakeSlide, tissue_picture: Picture
) -> None:
    path, drawn = make_slide(tmp_path / "s.tiff", tissue_picture), tmp_path / "drawn.geojson"
    shape = {"type": "Polygon", "coordinates": [[[0, 0], [512, 0], [512, 512], [0, 512], [0, 0]]]}
    drawn.write_text(json.dumps(shape))

    def is_done_again(mpp: str = "", mask: str = "") -> bool:
        before = (tmp_path / "tissue/s.png").stat().st_mtime_ns
        return segment(path, mpp, mask)["mask"].stat().st_mtime_ns != before

    segment(path)
    path.touch()
    assert not is_done_again()
    path.write_bytes(path.read_bytes()[:-1] + b"!")  # another file of the same size
    assert is_done_again()
    assert is_done_again("0.6")
    assert is_done_again("0.6", str(drawn))
    drawn.write_text(json.dumps(shape | {"bbox": [0, 0, 512, 512]}))
    assert is_done_again("0.6", str(drawn))
    assert not is_done_again("0.6", str(drawn))


def test_bad_settings_stop_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["--slides", "{}", "--settings", '{"mpp": 0}', "--version", "1", "--threads", "1"]
    arguments += ["--folder", str(tmp_path), "--out", str(tmp_path / "batch.json")]
    monkeypatch.setattr("sys.argv", ["slpd", "segment_tissue", *arguments])
    assert main() == 2
    assert "Tissue.mpp" in capsys.readouterr().err
