"""Batches of slides: what is finished is not done again, whatever ended the job, and what is gone is noticed."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from slpd.artifacts.slides.finished_slide import FinishedSlide, read_finished, write_batch
from slpd.artifacts.slides.slide_record import SlideRecord, write_records
from slpd.layout import files_of_slide
from slpd.slide_batches import files_gone
from slpd.slide_work import SlideWork, fingerprint_of, finish_slides, with_progress


class Stage:
    """A stage that writes the files of slides and notes which slides it worked on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, list[str]()

    def run(self, slides: Sequence[str], fingerprint: str = "f", bad: str = "", full: str = "") -> list[FinishedSlide]:
        """Run it: `bad` is the slide that fails, `full` the one at which the disk is full."""

        def do(slide: str) -> SlideRecord:
            self.done.append(slide)
            if slide == full:
                raise OSError(28, "No space left on device")
            for path in files_of_slide(self.folder, slide)[:-1]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{slide} {fingerprint}")
            record = SlideRecord(slide=slide, path=slide)
            return record.failed("regions", "torn") if slide == bad else record

        work = [SlideWork(slide, fingerprint, lambda slide=slide: do(slide)) for slide in slides]  # type: ignore[misc]
        self.done.clear()
        finished = finish_slides(work, self.folder, threads=1)
        write_batch(self.folder / "batches/0.json", finished)
        return finished


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "regions")


def test_finished_slides_are_not_done_again(stage: Stage) -> None:
    first = stage.run(["a", "b"])
    assert [slide.record.slide for slide in first] == stage.done == ["a", "b"]
    assert stage.run(["b", "c", "a"])[0] == first[1]
    assert stage.done == ["c"]
    assert stage.run(["a"]) == first[:1]
    assert stage.done == []


@pytest.mark.parametrize("name", ["a.csv", "a.geojson", "overlays/a.jpg", "a.json"])
def test_a_slide_without_one_of_its_files_is_done_again(stage: Stage, name: str) -> None:
    stage.run(["a", "b"])
    (stage.folder / name).unlink()
    stage.run(["a", "b"])
    assert stage.done == ["a"]


def test_a_slide_of_another_fingerprint_or_that_failed_is_done_again(stage: Stage) -> None:
    stage.run(["a", "b"], bad="b")
    stage.run(["a", "b"])
    assert stage.done == ["b"]
    stage.run(["a"], fingerprint="g")
    assert stage.done == ["a"]
    assert (stage.folder / "a.csv").read_text() == "a g"


def test_a_full_disk_ends_the_job_and_keeps_what_is_finished(stage: Stage) -> None:
    with pytest.raises(OSError, match="No space left"):
        stage.run(["a", "b"], full="b")
    assert read_finished(stage.folder / "a.json")
    assert not (stage.folder / "b.json").exists()
    assert not (stage.folder / "batches").exists()
    stage.run(["a", "b"])
    assert stage.done == ["b"]


def test_a_slide_whose_new_files_are_half_written_belongs_to_no_fingerprint(stage: Stage) -> None:
    """An edit is taken back after the job of the edit was killed at the slide."""
    stage.run(["a"])
    with pytest.raises(OSError, match="No space left"):
        stage.run(["a"], fingerprint="edited", full="a")
    stage.run(["a"])
    assert stage.done == ["a"]


def test_a_fingerprint_tells_everything_that_shapes_a_slide() -> None:
    given = ["content", {"mpp": None, "path": "a"}, {"min_tissue": 0.5}, 1]
    others = [["other", *given[1:]], [given[0], {"mpp": 0.5, "path": "a"}, *given[2:]], [*given[:3], 2]]
    assert len({fingerprint_of(*shaping) for shaping in (given, *others)}) == 4
    assert fingerprint_of(*given) == fingerprint_of(given[0], {"path": "a", "mpp": None}, *given[2:])


def test_files_of_finished_slides_that_are_gone_are_named(stage: Stage) -> None:
    batch = stage.folder / "batches/0.json"
    stage.run(["a", "b"])
    assert files_gone(stage.folder, {batch: ["a", "b"]}) == {}
    assert files_gone(stage.folder, {batch: ["a", "b", "new"]}) == {}, "a slide more was never there"
    (stage.folder / "overlays/a.jpg").unlink()
    (stage.folder / "b.csv").unlink()
    gone = [stage.folder / name for name in ("overlays/a.jpg", "b.csv")]
    assert files_gone(stage.folder, {batch: ["a", "b", "new"]}) == {batch: gone}
    assert files_gone(stage.folder, {stage.folder / "batches/1.json": ["a", "b"]}) == {}, "this batch has not run"
    assert files_gone(stage.folder.with_name("pictures"), {batch: ["a"]}) == {
        batch: [stage.folder.with_name("pictures") / name for name in ("a.jpg", "a.json")]
    }


def test_token_files_that_are_gone_are_named(tmp_path: Path) -> None:
    batch = tmp_path / "tokens/batch_0.json"
    failed = SlideRecord(slide="c", path="x").failed("segment_tissue", "no tissue")
    write_records(batch, [SlideRecord(slide="a", path="x"), SlideRecord(slide="b", path="x"), failed])
    (tmp_path / "tokens/a.h5").touch()
    assert files_gone(batch.parent, {batch: ["a", "b", "c", "new"]}) == {batch: [tmp_path / "tokens/b.h5"]}


def test_progress_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("slpd.slide_work.PROGRESS_S", 3600)  # whatever the machine does meanwhile
    assert list(with_progress(iter(range(1041)), 1041)) == list(range(1041))
    assert caplog.messages == ["slides: 1,041 of 1,041"], "within a few seconds there is one line"
    caplog.clear()
    monkeypatch.setattr("slpd.slide_work.PROGRESS_S", -1)
    list(with_progress(iter("ab"), 2))
    assert caplog.messages == ["slides: 1 of 2", "slides: 2 of 2"]
