"""encode_patches: tokens of every usable slide, once; reasons for the others."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
from dicom import write_dicom
from numpy.typing import NDArray
from waiting import wait_until

from slpd.__main__ import main
from slpd.artifacts.patch_tokens.token_file import read_coords, read_quality, read_source, read_tokens
from slpd.artifacts.patch_tokens.token_journal import EncodedRegion, TokenJournal, n_done
from slpd.artifacts.slides.finished_slide import FinishedSlide, read_finished, write_batch, write_finished
from slpd.artifacts.slides.region_table import Region, write_regions
from slpd.artifacts.slides.slide_record import SlideRecord, read_records
from slpd.errors import SlideError
from slpd.geometry.read_plan import ReadPlan
from slpd.models.patch_encoder import PatchEncoder
from slpd.settings.slides import PatchEncoderSettings as Settings
from slpd.slurm.limit import WARNING
from slpd.stages import encode_patches
from slpd.wsi import Slide, UnreadableRegion
from slpd.wsi.nvjpeg_reader import Images, NvjpegReader

MakeSlide = Callable[..., Path]
Encode = Callable[..., tuple[int, dict[str, SlideRecord]]]
Corners = Iterable[tuple[int, int]]
Pixels = Iterator[NDArray[np.uint8] | UnreadableRegion]

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[1]

ENCODER = {
    "model": "vit_small_patch16_224",
    "arguments": {"img_size": 16, "patch_size": 16, "depth": 1},
    "pooling": "model",
    "checkpoint": None,
    "sha256": None,
    "seed": 0,
    "patch_px": 16,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}
CORNERS = [(0, 0), (192, 64), (128, 64)]


def command(
    cohort: Path,
    slides: str,
    version: int = 1,
    copy_to: Path | None = None,
    shared: Path | None = None,
    batch_patches: int = 64,
    reader: str = "openslide",
    **changes: object,
) -> list[str]:
    """The command line of the stage; `changes` are keys of `patch_encoder`."""
    reading = {"reader": reader}
    jobs = {"batch_patches": batch_patches, "copy_to": copy_to and str(copy_to), "checkpoint_minutes": 10}
    jobs |= {
        "shared_tokens": shared and str(shared),
        "tokens": "auto",
        "regions_at_once": None,
        "iterations_per_job": None,
        "attention": "auto",
    }
    write_batch(cohort / "tiled.json", [slide for name in slides if (slide := read_finished(cohort / f"{name}.json"))])
    argv = ["encode_patches", "--records", str(cohort / "tiled.json"), "--regions", str(cohort)]
    argv += ["--settings", json.dumps(ENCODER | changes), "--reading", json.dumps(reading)]
    argv += ["--jobs", json.dumps(jobs), "--version", str(version)]
    return [*argv, "--tokens-dir", str(cohort / "tokens"), "--out", str(cohort / "batch.json")]


@pytest.fixture
def cohort(tmp_path: Path, make_slide: MakeSlide) -> Path:
    """Records and region tables of two slides and of one that failed before; regions of 64 px at 0.5 µm/px."""
    rng = np.random.default_rng(0)
    for slide in ("a", "b"):
        pixels = rng.integers(0, 256, (256, 320, 3), dtype=np.uint8)
        make_slide(tmp_path / f"{slide}.tiff", pixels, compression=None)
        record = SlideRecord(
            slide=slide,
            path=str(tmp_path / f"{slide}.tiff"),
            slide_mpp=0.5,
            requested_mpp=0.5,
            region_px=64,
            region_lv0=64,
            n_regions=3,
        )
        write_record(tmp_path, record)
        write_regions(tmp_path / f"{slide}.csv", [Region(y // 64, x // 64, x, y, 1.0) for x, y in CORNERS])
    write_record(tmp_path, SlideRecord(slide="c", path="c").failed("segment_tissue", "slide c: gone"))
    write_regions(tmp_path / "c.csv", [])
    return tmp_path


def write_record(folder: Path, record: SlideRecord) -> None:
    write_finished(folder / f"{record.slide}.json", FinishedSlide(fingerprint="f", record=record))


@pytest.fixture
def encode(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> Encode:
    def run(slides: str = "abc", **changes: object) -> tuple[int, dict[str, SlideRecord]]:
        monkeypatch.setattr("sys.argv", ["slpd", *command(cohort, slides, **changes)])
        status = main()
        return status, {record.slide: record for record in read_records(cohort / "batch.json")} if not status else {}

    return run


def test_tokens_are_those_of_the_regions_pixels(encode: Encode, cohort: Path) -> None:
    status, records = encode()
    assert status == 0
    assert [record.status for record in records.values()] == ["ok", "ok", "failed"]
    tokens = read_tokens(cohort / "tokens" / "a.h5")
    assert tokens.shape == (3, 16, 384)
    assert read_coords(cohort / "tokens" / "a.h5").tolist() == [list(corner) for corner in CORNERS]
    pixels = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    encoder = PatchEncoder(Settings(**ENCODER), None, 64)
    for (x, y), region in zip(CORNERS, tokens, strict=True):
        assert np.array_equal(region, encoder.encode(pixels[y : y + 64, x : x + 64], mpp=0.5).tokens)
    assert not (cohort / "tokens" / "c.h5").exists()


def test_regions_decoded_from_tiles_are_known_by_their_reader(
    encode: Encode, cohort: Path, make_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, where nvJPEG's stand-in decodes equal pixels: equal tokens, which are not taken for each other."""
    pixels = np.random.default_rng(1).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    make_slide(cohort / "a.tiff", pixels)
    encode("a")
    tokens, source = read_tokens(cohort / "tokens" / "a.h5"), read_source(cohort / "tokens" / "a.h5")
    monkeypatch.setattr("slpd.stages.encode_patches.decoding_device", lambda: torch.device("cpu"))
    _, records = encode("a", reader="nvjpeg", copy_to=cohort / "node")
    again = read_source(cohort / "tokens" / "a.h5")
    assert np.array_equal(read_tokens(cohort / "tokens" / "a.h5"), tokens)
    assert (source.reader, again.reader, records["a"].reader) == ("openslide", "nvjpeg", "nvjpeg")
    assert "0.5 grey levels" in records["a"].reader_reason
    assert again.fingerprint != source.fingerprint


def test_a_region_that_no_reader_can_read_is_of_no_other_reader(
    encode: Encode, cohort: Path, make_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_slide(cohort / "a.tiff", np.random.default_rng(1).integers(0, 256, (256, 320, 3), dtype=np.uint8))
    with tifffile.TiffFile(path) as file:
        end = file.pages.first.dataoffsets[0] + file.pages.first.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[end - 200 : end - 2] = bytes(198)
    path.write_bytes(content)
    monkeypatch.setattr("slpd.stages.encode_patches.decoding_device", lambda: torch.device("cpu"))
    _, records = encode("a", reader="nvjpeg")
    assert records["a"].n_invalid == 1
    assert "another reader" not in records["a"].reader_reason
    assert not len(read_quality(cohort / "tokens" / "a.h5").other_reader)


@pytest.fixture
def on_gpu(cohort: Path, make_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Slide `a` decoded as on a GPU; called with corners, the GPU's memory is full whenever it comes to these."""
    make_slide(cohort / "a.tiff", np.random.default_rng(1).integers(0, 256, (256, 320, 3), dtype=np.uint8))
    monkeypatch.setattr("slpd.stages.encode_patches.decoding_device", lambda: torch.device("cpu"))
    whole = NvjpegReader._decoded

    def fail_at(*corners: tuple[int, int]) -> None:
        def decoded(reader: NvjpegReader, corner: tuple[int, int], loaded: Future[Images]) -> torch.Tensor:
            if corner in corners:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return whole(reader, corner, loaded)

        monkeypatch.setattr(NvjpegReader, "_decoded", decoded)

    return fail_at


def test_a_rerun_knows_which_regions_another_reader_read(
    encode: Encode, cohort: Path, on_gpu: Callable[..., None]
) -> None:
    on_gpu(*CORNERS[:2])
    _, first = encode("a", reader="nvjpeg")
    assert first["a"].reader == "nvjpeg"
    assert first["a"].reader_reason.endswith("; regions read by another reader: 2")
    assert read_quality(cohort / "tokens" / "a.h5").other_reader.tolist() == [list(corner) for corner in CORNERS[:2]]
    on_gpu()
    assert encode("a", reader="nvjpeg") == (0, first)


def test_a_resumed_slide_knows_which_regions_another_reader_read(
    encode: Encode, cohort: Path, on_gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu(CORNERS[0])
    with monkeypatch.context() as patch:
        interrupt_reading(patch, 2, Interrupted(), NvjpegReader)
        with pytest.raises(Interrupted):
            encode("a", reader="nvjpeg")
    assert n_done(cohort / "tokens" / "a.h5.part") == 1
    on_gpu()
    _, records = encode("a", reader="nvjpeg")
    assert records["a"].reader_reason.endswith("; regions read by another reader: 1")
    assert read_quality(cohort / "tokens" / "a.h5").other_reader.tolist() == [list(CORNERS[0])]


def test_shared_tokens_tell_which_regions_another_reader_read(
    two: "TwoExperiments", on_gpu: Callable[..., None]
) -> None:
    on_gpu(CORNERS[1])
    first = two.first(reader="nvjpeg")
    on_gpu()
    records = two.second(reader="nvjpeg")
    assert two.tokens.samefile(first)
    assert records["a"].reader_reason.endswith("; regions read by another reader: 1")


class TwoExperiments:
    """Two that encode slide `a`, with a folder of shared tokens."""

    def __init__(self, cohort: Path, encode: Encode) -> None:
        self.cohort, self.encode, self.shared = cohort, encode, cohort / "shared"
        self.tokens = cohort / "tokens" / "a.h5"

    def first(self, **changes: object) -> Path:
        """The token file of the first, moved to where the first is."""
        assert self.encode("a", shared=self.shared, **changes)[0] == 0
        shutil.rmtree(self.cohort / "first", ignore_errors=True)
        return self.tokens.parent.rename(self.cohort / "first") / "a.h5"

    def second(self, **changes: object) -> dict[str, SlideRecord]:
        """The records of the second."""
        status, records = self.encode("a", shared=self.shared, **changes)
        assert status == 0
        return records


@pytest.fixture
def two(cohort: Path, encode: Encode) -> TwoExperiments:
    return TwoExperiments(cohort, encode)


def refuse_to_encode(*_: object) -> None:
    raise AssertionError("encoded anew")


def test_another_experiment_encodes_nothing_anew(two: TwoExperiments, monkeypatch: pytest.MonkeyPatch) -> None:
    _, alone = two.encode("a")
    shutil.rmtree(two.tokens.parent)
    first = two.first()
    monkeypatch.setattr(encode_patches, "PatchEncoder", refuse_to_encode)
    assert two.second() == alone
    assert two.tokens.samefile(first)
    (shared,) = two.shared.rglob("*.h5")
    shutil.rmtree(first.parent)
    assert two.second() == alone  # it has its own
    two.tokens.unlink()
    assert two.second() == alone  # and the folder has another
    shutil.rmtree(two.shared)
    assert two.tokens.stat().st_nlink == 1
    assert read_tokens(two.tokens).shape == (3, 16, 384)
    assert two.second() == alone
    assert shared.samefile(two.tokens)


def test_shared_tokens_that_changed_on_the_disk_are_not_taken(two: TwoExperiments) -> None:
    first = two.first()
    whole = first.read_bytes()
    with h5py.File(first, "r") as file:
        place = file["features"].id.get_offset() + 7
    damaged = bytearray(whole)
    damaged[place] ^= 1
    first.write_bytes(damaged)
    two.second()
    (shared,) = two.shared.rglob("*.h5")
    assert two.tokens.read_bytes() == shared.read_bytes() == whole


def test_tokens_that_cannot_show_that_they_are_whole_are_not_shared(two: TwoExperiments) -> None:
    """Those of releases before there were checksums; who has them keeps them."""
    first = two.first()
    (shared,) = two.shared.rglob("*.h5")
    with h5py.File(first, "r+") as file:  # the shared file is the same one
        del file["checksums"]
    two.second()
    assert not two.tokens.samefile(first)
    assert shared.samefile(two.tokens)
    shutil.copy(first, two.tokens)
    shared.unlink()
    kept = two.tokens.stat().st_ino
    two.second()
    assert two.tokens.stat().st_ino == kept
    assert not shared.exists()


def test_tokens_of_other_settings_are_not_taken(two: TwoExperiments) -> None:
    first = two.first()
    two.second(seed=1)
    assert not np.array_equal(read_tokens(first), read_tokens(two.tokens))
    assert len(list(two.shared.rglob("*.h5"))) == 2


def test_without_hard_links_every_experiment_encodes_and_says_why(
    two: TwoExperiments, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    first = two.first()
    two.second()
    assert first.read_bytes() == two.tokens.read_bytes()
    assert not list(two.shared.rglob("*.h5"))
    assert "Invalid cross-device link" in caplog.text


@pytest.mark.parametrize(
    ("copied", "fault"),
    [(["1"], "the base level is missing"), (["0"], "other levels"), (["torn"], "is not a slide")],
)
def test_a_copy_that_is_not_the_whole_slide_is_not_used(
    encode: Encode,
    cohort: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    copied: list[str],
    fault: str,
) -> None:
    """Whatever the list of a slide's files overlooks: here either level, and both."""
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    write_dicom(cohort / "a", pixels, ["0", "1"])
    finished = read_finished(cohort / "a.json")
    assert finished
    write_record(cohort, finished.record.model_copy(update={"path": str(cohort / "a" / "1")}))
    (cohort / "elsewhere").mkdir()
    (cohort / "elsewhere" / "torn").write_bytes(b"no slide")
    source = "elsewhere" if copied == ["torn"] else "a"
    monkeypatch.setattr(
        "slpd.artifacts.slides.node_copy.files_of", lambda _: [cohort / source / name for name in copied]
    )
    encode("a")
    in_place = read_tokens(cohort / "tokens" / "a.h5")
    (cohort / "tokens" / "a.h5").unlink()
    _, records = encode("a", copy_to=cohort / "node")
    assert records["a"].status == "ok"
    assert np.array_equal(read_tokens(cohort / "tokens" / "a.h5"), in_place)
    assert "slide a: its copy in" in caplog.text
    assert fault in caplog.text
    assert list((cohort / "node").iterdir()) == []


def test_a_copy_that_a_gpu_cannot_decode_is_not_used(
    encode: Encode,
    cohort: Path,
    make_slide: MakeSlide,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It looks like the slide to OpenSlide: levels, resolution and the coarsest level's tiles are the same."""
    pixels = np.random.default_rng(1).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    make_slide(cohort / "a.tiff", pixels, levels=(1, 2), compression=("jpeg", "deflate"))
    make_slide(cohort / "other.tiff", pixels, levels=(1, 2), compression=("deflate", "deflate"))
    monkeypatch.setattr("slpd.artifacts.slides.node_copy.files_of", lambda _: [cohort / "other.tiff"])
    monkeypatch.setattr("slpd.stages.encode_patches.decoding_device", lambda: torch.device("cpu"))
    status, records = encode("a", reader="nvjpeg", copy_to=cohort / "node")
    assert status == 0
    assert (records["a"].status, records["a"].reader) == ("ok", "nvjpeg")
    assert "slide a: its copy in" in caplog.text
    assert "tiles of level 0 are" in caplog.text
    assert list((cohort / "node").iterdir()) == []


def test_records_and_files_state_all_resolutions(encode: Encode, cohort: Path) -> None:
    _, records = encode()
    source = read_source(cohort / "tokens" / "a.h5")
    assert (records["a"].read_mpp, records["a"].effective_mpp) == (0.5, 0.5)
    assert (source.slide, source.requested_mpp, source.read_mpp, source.effective_mpp) == ("a", 0.5, 0.5, 0.5)
    assert (source.encoder, source.encoder_sha256, source.reader) == (ENCODER["model"], "random-0", "openslide")


def test_finished_slides_are_kept_and_the_rest_encoded(encode: Encode, cohort: Path) -> None:
    encode()
    paths = [cohort / "tokens" / f"{slide}.h5" for slide in "ab"]
    first = [path.read_bytes() for path in paths]
    paths[1].unlink()
    kept = paths[0].stat().st_mtime_ns
    encode(batch_patches=256)
    assert paths[0].stat().st_mtime_ns == kept
    assert [path.read_bytes() for path in paths] == first


def test_a_batch_of_finished_slides_builds_no_encoder(
    encode: Encode, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = encode()
    monkeypatch.setattr("slpd.stages.encode_patches.PatchEncoder", None)
    status, again = encode()
    assert (status, again) == (0, first)


@pytest.mark.parametrize("change", [{"version": 2}, {"seed": 1}, {"mean": [0.4, 0.5, 0.5]}])
def test_whatever_changes_tokens_encodes_again(encode: Encode, cohort: Path, change: dict[str, Any]) -> None:
    encode(slides="a")
    before = read_source(cohort / "tokens" / "a.h5").fingerprint
    encode(slides="a", **change)
    assert read_source(cohort / "tokens" / "a.h5").fingerprint != before


def test_other_regions_encode_again(encode: Encode, cohort: Path) -> None:
    encode(slides="a")
    write_regions(cohort / "a.csv", [Region(0, 0, 0, 0, 1.0)])
    encode(slides="a")
    assert len(read_tokens(cohort / "tokens" / "a.h5")) == 1


def test_a_damaged_token_file_is_made_again(encode: Encode, cohort: Path) -> None:
    encode(slides="a")
    path = cohort / "tokens" / "a.h5"
    whole = path.read_bytes()
    with h5py.File(path, "r") as file:
        place = file["features"].id.get_offset() + 7
    for damaged in (whole[:1000], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
        path.write_bytes(damaged)
        encode(slides="a")
        assert path.read_bytes() == whole


def test_a_slide_that_cannot_be_read_fails_alone_and_loses_its_tokens(encode: Encode, cohort: Path) -> None:
    encode()
    (cohort / "a.tiff").write_bytes(b"damaged since")
    status, records = encode()
    assert status == 0
    assert (records["a"].status, records["a"].stage) == ("failed", "encode_patches")
    assert "slide a" in records["a"].reason
    assert records["b"].status == "ok"
    assert not (cohort / "tokens" / "a.h5").exists()


def damage_tile(path: Path, index: int) -> None:
    """Overwrite a tile of level 0 with zeros."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[index], file.pages[0].databytecounts[index]
    with open(path, "r+b") as slide:
        slide.seek(offset)
        slide.write(b"\0" * size)


def test_a_region_with_a_damaged_tile_is_left_out_and_the_rest_encoded(
    encode: Encode, cohort: Path, make_slide: MakeSlide, caplog: pytest.LogCaptureFixture
) -> None:
    make_slide(cohort / "a.tiff", np.full((256, 320, 3), 128, np.uint8), compression="jpeg")
    encode()
    whole = read_tokens(cohort / "tokens" / "a.h5")
    damage_tile(cohort / "a.tiff", 8)  # at (192, 64)
    (cohort / "tokens" / "a.h5").unlink()
    _, records = encode()
    assert (records["a"].status, records["a"].n_regions, records["a"].n_invalid) == ("ok", 2, 1)
    assert "a: no region at x 192, y 64" in caplog.text
    assert np.array_equal(read_tokens(cohort / "tokens" / "a.h5"), whole[[0, 2]])
    assert read_coords(cohort / "tokens" / "a.h5").tolist() == [[0, 0], [128, 64]]
    assert read_quality(cohort / "tokens" / "a.h5").invalid.tolist() == [[192, 64]]
    assert (records["b"].n_regions, records["b"].n_invalid) == (3, 0)


def test_a_slide_that_was_copied_again_gets_back_its_unreadable_regions(
    encode: Encode, cohort: Path, make_slide: MakeSlide
) -> None:
    """OpenSlide's quick hash looks at the coarsest level alone: the damaged and the good copy have the same."""
    make_slide(cohort / "a.tiff", np.full((256, 320, 3), 128, np.uint8), compression="jpeg", levels=(1, 4))
    good = (cohort / "a.tiff").read_bytes()
    damage_tile(cohort / "a.tiff", 8)
    assert encode(slides="a")[1]["a"].n_invalid == 1
    (cohort / "a.tiff").write_bytes(good)
    assert encode(slides="a")[1]["a"].n_invalid == 0
    assert len(read_tokens(cohort / "tokens" / "a.h5")) == 3


def test_a_slide_without_a_readable_region_fails_with_the_count(
    encode: Encode, cohort: Path, make_slide: MakeSlide
) -> None:
    make_slide(cohort / "a.tiff", np.full((256, 320, 3), 128, np.uint8), compression="jpeg")
    for tile in (0, 8, 7):
        damage_tile(cohort / "a.tiff", tile)
    status, records = encode()
    assert status == 0
    assert (records["a"].status, records["a"].stage) == ("failed", "encode_patches")
    assert "slide a: none of its 3 regions can be read" in records["a"].reason
    assert sorted(path.name for path in (cohort / "tokens").iterdir()) == ["b.h5"]


def test_the_sharpness_of_every_region_is_stored(encode: Encode, cohort: Path, make_slide: MakeSlide) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (256, 320, 3), dtype=np.uint8)
    pixels[64:128, 192:256] = 100  # the second region: nothing in it
    make_slide(cohort / "a.tiff", pixels, compression=None)
    encode(slides="a")
    sharpness = read_quality(cohort / "tokens" / "a.h5").sharpness
    assert sharpness[1] == 0
    assert sharpness[[0, 2]].min() > 0.05


class Interrupted(BaseException):
    """Ends a run where no code catches it."""


def interrupt_reading(
    monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException, reader: type[Slide | NvjpegReader] = Slide
) -> None:
    """Let a slide end in `error` after some regions."""
    whole = reader.read_regions

    def part(slide: object, corners: Corners, plan: ReadPlan) -> Iterator[object]:
        yield from islice(whole(slide, corners, plan), after)
        raise error

    monkeypatch.setattr(reader, "read_regions", part)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interrupted_slide_resumes_with_the_next_region(
    encode: Encode, cohort: Path, monkeypatch: pytest.MonkeyPatch, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    encode(slides="a")
    undisturbed = (cohort / "tokens" / "a.h5").read_bytes()
    (cohort / "tokens" / "a.h5").unlink()
    with monkeypatch.context() as patch:
        interrupt_reading(patch, after, Interrupted())
        with pytest.raises(Interrupted):
            encode(slides="a")
    assert [path.name for path in (cohort / "tokens").iterdir()] == ["a.h5.part"]
    read = []
    whole = Slide.read_regions
    monkeypatch.setattr(Slide, "read_regions", lambda s, c, p: whole(s, read.append(list(c)) or read[-1], p))
    encode(slides="a")
    done = max(after - 1, 0)  # the last region under way is lost
    assert read == [CORNERS[done:]]
    assert ("a.h5.part: resumes after region" in caplog.text) == (done > 0)
    assert (cohort / "tokens" / "a.h5").read_bytes() == undisturbed
    assert [path.name for path in (cohort / "tokens").iterdir()] == ["a.h5"]


def journal_of_two(encode: Encode, cohort: Path) -> Path:
    """The journal of a slide that was interrupted behind its second region."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_reading(patch, 3, Interrupted())
        with pytest.raises(Interrupted):
            encode(slides="a")
    return cohort / "tokens" / "a.h5.part"


@pytest.mark.parametrize("damage", ["header", "first", "second", "tail", "empty"])
def test_only_what_is_intact_of_an_interrupted_slide_is_used(encode: Encode, cohort: Path, damage: str) -> None:
    path = journal_of_two(encode, cohort)
    content = bytearray(path.read_bytes())
    size = (len(content) - content.index(b"\n") - 1) // 2
    start = len(content) - 2 * size
    if damage == "empty":
        content.clear()
    elif damage == "tail":
        del content[-1]
    else:
        content[{"header": 3, "first": start + 100, "second": start + size + 100}[damage]] ^= 1
    path.write_bytes(content)
    encode(slides="a")
    resumed = (cohort / "tokens" / "a.h5").read_bytes()
    (cohort / "tokens" / "a.h5").unlink()
    encode(slides="a")
    assert (cohort / "tokens" / "a.h5").read_bytes() == resumed


def test_an_interrupted_slide_of_other_settings_is_started_over(
    encode: Encode, cohort: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal_of_two(encode, cohort)
    encode(slides="a", version=2)
    assert "a.h5.part: damaged, or of other regions or settings; started over" in caplog.text
    resumed = (cohort / "tokens" / "a.h5").read_bytes()
    (cohort / "tokens" / "a.h5").unlink()
    encode(slides="a", version=2)
    assert (cohort / "tokens" / "a.h5").read_bytes() == resumed


def test_a_crash_of_the_reader_costs_that_slide_alone(
    encode: Encode, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Slide.read_regions

    def crash(slide: Slide, corners: Corners, plan: ReadPlan) -> Pixels:
        for n, pixels in enumerate(whole(slide, corners, plan)):
            if slide.name == "a" and n == 2:
                raise SlideError("slide a: the reader cucim died (SIGSEGV)")
            yield pixels

    monkeypatch.setattr(Slide, "read_regions", crash)
    status, records = encode(slides="ab")
    assert status == 0
    assert (records["a"].status, records["a"].stage) == ("failed", "encode_patches")
    assert "SIGSEGV" in records["a"].reason
    assert records["b"].status == "ok"
    assert [path.name for path in (cohort / "tokens").iterdir()] == ["b.h5"]


def test_a_slide_that_is_replaced_while_it_is_read_has_no_tokens(
    encode: Encode, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Slide.read_regions

    def replaced(slide: Slide, corners: Corners, plan: ReadPlan) -> Pixels:
        yield from whole(slide, corners, plan)
        slide.path.write_bytes(slide.path.read_bytes())

    monkeypatch.setattr(Slide, "read_regions", replaced)
    _, records = encode(slides="a")
    assert "changed while it was read" in records["a"].reason
    assert list((cohort / "tokens").iterdir()) == []


@pytest.mark.parametrize("reader", ["openslide", "cucim"])
def test_a_reading_process_that_is_killed_is_replaced_once(
    encode: Encode,
    cohort: Path,
    make_slide: MakeSlide,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reader: str,
) -> None:
    """By the kernel, say, when memory is short: the regions behind the last one written are read by OpenSlide."""
    make_slide(cohort / "a.tiff", np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8))
    many_regions(cohort, 12)  # more than are decoded ahead
    encode(slides="a", reader=reader)
    undisturbed, bytes_before = read_tokens(cohort / "tokens" / "a.h5"), (cohort / "tokens" / "a.h5").read_bytes()
    (cohort / "tokens" / "a.h5").unlink()
    whole, killed = Slide.read_regions, []

    def kill(slide: Slide, corners: Corners, plan: ReadPlan) -> Pixels:
        for n, pixels in enumerate(whole(slide, corners, plan)):
            yield pixels
            if n == 0 and not killed:
                killed.append(os.kill(slide._process.number, signal.SIGKILL))

    monkeypatch.setattr(Slide, "read_regions", kill)
    _, records = encode(slides="a", reader=reader)
    assert killed
    assert records["a"].status == "ok"
    assert "SIGKILL" in caplog.text
    assert "OpenSlide continues" in caplog.text
    assert np.array_equal(read_tokens(cohort / "tokens" / "a.h5"), undisturbed)
    n_other = len(read_quality(cohort / "tokens" / "a.h5").other_reader)
    assert (n_other == 0) == (reader == "openslide")
    if reader == "openslide":
        assert (cohort / "tokens" / "a.h5").read_bytes() == bytes_before
    else:
        assert records["a"].reader_reason.endswith(f"; regions read by another reader: {n_other}")
    assert encode(slides="a", reader=reader)[1] == records


def start(cohort: Path, slides: str = "ab", **changes: object) -> subprocess.Popen[str]:
    """The stage in a process of its own."""
    argv = [sys.executable, "-m", "slpd", *command(cohort, slides, **changes)]
    return subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def many_regions(cohort: Path, n: int) -> None:
    """Give slide `a` many, overlapping regions."""
    write_regions(cohort / "a.csv", [Region(0, i, i % 256, i // 256, 1.0) for i in range(n)])


def wait_for(path: Path, size: int, process: subprocess.Popen[str]) -> None:
    wait_until(lambda: path.exists() and path.stat().st_size >= size, f"{path} of {size} bytes", process)


def test_near_its_time_limit_a_batch_has_its_job_started_again(
    encode: Encode, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_regions(cohort, 300)
    told = tmp_path / "told"
    (tmp_path / "bin").mkdir()
    for name, content in (("srun", ""), ("squeue", "echo '1:00:00|slpd_1f'"), ("scontrol", f"echo $@ >> {told}")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with start(cohort, slides="a") as process:
        wait_for(cohort / "tokens" / "a.h5.part", 5 * 12288, process)
        os.kill(process.pid, WARNING)
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert told.read_text() == "requeue 7\n"


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_resumes_and_gives_the_same_bytes(encode: Encode, cohort: Path, kill: signal.Signals) -> None:
    many_regions(cohort, 100)
    encode(slides="ab")
    undisturbed = [(cohort / "tokens" / f"{slide}.h5").read_bytes() for slide in "ab"]
    shutil.rmtree(cohort / "tokens")
    part = cohort / "tokens" / "a.h5.part"
    for n in (5, 20, 50):  # killed three times, at whatever instant that is
        before = part.stat().st_size if part.exists() else 0
        with start(cohort) as process:
            wait_for(part, max(n * 12288, before + 1), process)  # it works: it has got further
            os.killpg(process.pid, kill)  # the reading process too, as queues do
            _, errors = process.communicate()
        assert process.returncode == (-kill if kill == signal.SIGKILL else 128 + kill)
        assert ("stopped by SIGTERM" in errors) == (kill == signal.SIGTERM)
        assert not (cohort / "tokens" / "a.h5").exists()
    assert "resumes after region" in errors
    encode(slides="ab")
    assert [(cohort / "tokens" / f"{slide}.h5").read_bytes() for slide in "ab"] == undisturbed
    assert not part.exists()


@pytest.mark.parametrize("at_end", [False, True])  # while regions are written, at the end of the final file
def test_a_full_disk_names_the_file_and_leaves_none_of_its_name(encode: Encode, cohort: Path, at_end: bool) -> None:
    many_regions(cohort, 50)
    encode(slides="a")
    undisturbed = (cohort / "tokens" / "a.h5").read_bytes()
    limit = len(undisturbed) - 1000 if at_end else 100_000
    shutil.rmtree(cohort / "tokens")
    program = (
        "import resource, signal, sys\n"
        "from slpd.__main__ import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "sys.exit(main())"
    )
    argv = [sys.executable, "-c", program, *command(cohort, "a")]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert "tokens/a.h5" in run.stderr
    assert "make room and run again" in run.stderr
    assert sorted(path.name for path in (cohort / "tokens").iterdir()) == ["a.h5.part"]
    encode(slides="a")
    assert (cohort / "tokens" / "a.h5").read_bytes() == undisturbed


def test_copies_give_the_same_file_and_are_removed(encode: Encode, cohort: Path, tmp_path: Path) -> None:
    encode(slides="ab")
    undisturbed = (cohort / "tokens" / "a.h5").read_bytes()
    shutil.rmtree(cohort / "tokens")
    _, records = encode(slides="ab", copy_to=tmp_path / "node")
    assert (cohort / "tokens" / "a.h5").read_bytes() == undisturbed
    assert records["a"].path == str(cohort / "a.tiff")
    assert list((tmp_path / "node").iterdir()) == []


def test_a_job_that_is_stopped_removes_its_copy_and_the_next_one_that_of_a_killed_job(cohort: Path) -> None:
    node, part = cohort / "node", cohort / "tokens" / "a.h5.part"
    many_regions(cohort, 500)
    for kill, left in ((signal.SIGTERM, 0), (signal.SIGKILL, 1), (signal.SIGTERM, 0)):
        before = part.stat().st_size if part.exists() else 0
        with start(cohort, "a", copy_to=node) as process:  # the next slide would be copied ahead
            wait_for(part, before + 12288, process)
            assert len(list(node.iterdir())) == 1
            os.killpg(process.pid, kill)
        assert len(list(node.iterdir())) == left


def test_errors_of_the_run_stop_it(encode: Encode, cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode(patch_px=48, arguments=ENCODER["arguments"] | {"img_size": 48})[0] == 2
    assert "region_px 64 is no multiple of patch_encoder.patch_px 48" in capsys.readouterr().err
    assert encode(checkpoint="gone.pth", sha256="0" * 64)[0] == 2
    assert "gone.pth" in capsys.readouterr().err


def test_regions_after_one_that_cannot_be_read_are_no_progress(tmp_path: Path) -> None:
    """The next start tries that one again, and all after it."""
    path, region = tmp_path / "a.h5.part", EncodedRegion(np.zeros((4, 8), np.float16), 1.0)
    with TokenJournal(path, "x", 4, 8) as journal:
        for read in (region, None, region, region):
            journal.append(read)
    assert n_done(path) == 1
    assert n_done(tmp_path / "b.h5.part") == 0


def test_a_journal_of_an_earlier_release_is_resumed(tmp_path: Path) -> None:
    """Which knew of regions that could be read and of others, and of no other reader."""
    path = tmp_path / "a.h5.part"
    kind = [("place", "<u4"), ("readable", "?"), ("sharpness", "<f4"), ("tokens", "<f2", (4, 8))]
    records = [
        np.array((place, readable, 1.0, np.ones((4, 8))), kind).tobytes() for place, readable in ((0, 1), (1, 0))
    ]
    header = b'{"fingerprint": "x", "n_patches": 4, "width": 8}\n'
    path.write_bytes(header + b"".join(record + zlib.crc32(record).to_bytes(4, "little") for record in records))
    with TokenJournal(path, "x", 4, 8) as journal:
        assert len(journal) == 1
        assert journal.tokens(0).tolist() == np.ones((4, 8)).tolist()
        assert journal.other_reader == [False]
