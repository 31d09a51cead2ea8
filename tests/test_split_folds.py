"""Folds: stratified, grouped by patient, reproducible; imported folds equal HIPT's own lists."""

import csv
import io
import re
import zipfile
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_cases import survival_task

from slpd.artifacts.evaluation.absent_slides import read_absent
from slpd.artifacts.evaluation.folds import SPLITS, Fold, LabelledSlide, read_folds, write_folds
from slpd.artifacts.outside.split_files import read_split_file, read_split_files
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.sheet import SheetRow
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import UserError
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.imported_folds import absent_text, import_folds, patient_overlap
from slpd.evaluation.task_folds import fold_warnings
from slpd.evaluation.tasks import check_task, labelled_slides, patients_by_stratum
from slpd.evaluation.training_subset import thin_training
from slpd.settings.evaluation import ClassTask, GeneratedFolds, ImportedFolds, SurvivalTask
from slpd.stages import split_folds

HIPT = Path(__file__).parents[2] / "shared" / "hipt"
needs_hipt = pytest.mark.skipif(not HIPT.is_dir(), reason="HIPT's label tables are not here")


def generated(n_folds: int = 3, fraction: float = 0.2, seed: int = 0) -> GeneratedFolds:
    return GeneratedFolds(kind="generated", n_folds=n_folds, validation_fraction=fraction, seed=seed)


def task_of(folds: GeneratedFolds | ImportedFolds, classes: tuple[str, ...] = ("A", "B")) -> ClassTask:
    return ClassTask(name="grade", cohort="demo", label="class", classes=list(classes), folds=folds)


def slides_of(**patients: str) -> list[LabelledSlide]:
    """One slide per letter: p1="AAB" is patient p1 with slides p1_0 (A), p1_1 (A), p1_2 (B)."""
    return [
        LabelledSlide(f"{patient}_{i}", patient, label)
        for patient, labels in patients.items()
        for i, label in enumerate(labels)
    ]


@st.composite
def cohorts(draw: st.DrawFn) -> list[LabelledSlide]:
    counts = {name: draw(st.lists(st.integers(1, 4), min_size=4, max_size=12)) for name in "AB"}
    return slides_of(**{f"{name}{i}": name * n for name, sizes in counts.items() for i, n in enumerate(sizes)})


@given(cohorts(), st.integers(2, 4), st.sampled_from([0.0, 0.1, 0.3, 0.9]), st.integers(0, 5))
@example(slides_of(A0="A", A1="A", A2="A", A3="AAA", B0="B", B1="B", B2="B", B3="BBB"), 2, 0.1, 0)
@settings(max_examples=60, deadline=None)
def test_generated_folds_hold_what_they_promise(
    slides: list[LabelledSlide], n_folds: int, fraction: float, seed: int
) -> None:
    folds = generate_folds(["A", "B"], slides, generated(n_folds, fraction, seed))
    assert len(folds) == n_folds
    assert Counter(slide for fold in folds for slide in fold.test) == Counter(slides)  # every slide tested once
    for fold in folds:
        assert Counter(fold.train + fold.val + fold.test) == Counter(slides)
        patients = [{slide.patient for slide in fold.splits[split]} for split in SPLITS]
        assert sum(map(len, patients)) == len(set.union(*patients))  # every patient on one side
        assert {slide.label for slide in fold.train} == {slide.label for slide in fold.test} == {"A", "B"}
        assert {slide.label for slide in fold.val} <= {"A", "B"}
        assert bool(fold.val) == (fraction > 0)


def test_what_a_fold_does_not_test_is_said() -> None:
    a, b = slides_of(p0="A", p1="B")
    folds = [Fold([a, b], [], [a]), Fold([a, b], [], [a, b]), Fold([a, b], [], [a])]
    assert fold_warnings(task_of(generated()), folds) == ["no test slide of class B in folds 0, 2"]
    assert fold_warnings(task_of(generated()), [Fold([a, b])]) == []  # all slides of a cohort: another one is tested
    censored, seen = LabelledSlide("s0", "p0", "3", "0"), LabelledSlide("s1", "p1", "4", "1")
    of_time = [Fold([censored, seen], [], [censored]), Fold([censored, seen], [], [seen])]
    assert fold_warnings(survival_task(), of_time) == ["no test slide with an event in fold 0"]


def test_generated_folds_do_not_depend_on_the_order_of_the_sheet() -> None:
    slides = slides_of(**{f"p{i}": "AB"[i % 2] * (1 + i % 3) for i in range(20)})
    assert generate_folds(["A", "B"], slides, generated()) == generate_folds(["A", "B"], slides[::-1], generated())
    assert generate_folds(["A", "B"], slides, generated()) != generate_folds(["A", "B"], slides, generated(seed=1))


def test_another_seed_tests_other_patients_together() -> None:
    slides = slides_of(**{f"p{i:02d}": "A" for i in range(20)})
    tested = [
        {frozenset(slide.slide for slide in fold.test) for fold in generate_folds(["A"], slides, generated(seed=seed))}
        for seed in range(3)
    ]
    assert all(not one & other for one, other in combinations(tested, 2))


def test_folds_draw_their_validation_independently() -> None:
    """Equal draws would take the patients of the same places in every fold."""
    slides = slides_of(**{f"p{i:02d}": "A" for i in range(40)})
    places = set()
    for fold in generate_folds(["A"], slides, generated(n_folds=5, fraction=0.25)):
        others = sorted(slide.slide for slide in fold.train + fold.val)
        places.add(frozenset(others.index(slide.slide) for slide in fold.val))
    assert len(places) == 5


@pytest.mark.parametrize(
    ("sizes", "tested"),
    [
        ((4, 2, 2), 4),  # the two of 2 first would leave 2 and 6
        ((9, 3, 3, 3, 3, 3), 12),  # as many patients on both sides would leave 15 and 9
    ],
)
def test_folds_test_as_many_slides_whatever_the_patients_have(sizes: tuple[int, ...], tested: int) -> None:
    slides = slides_of(**{f"p{i}": "A" * n for i, n in enumerate(sizes)})
    for seed in range(20):
        folds = generate_folds(["A"], slides, generated(n_folds=2, seed=seed))
        assert [len(fold.test) for fold in folds] == [tested, tested]


def test_classes_are_spread_evenly() -> None:
    slides = slides_of(**{f"p{i:02d}": "A" if i < 40 else "B" for i in range(50)})
    for fold in generate_folds(["A", "B"], slides, generated(n_folds=5, fraction=0.25)):
        assert Counter(slide.label for slide in fold.test) == {"A": 8, "B": 2}
        assert Counter(slide.label for slide in fold.val) == {"A": 8, "B": 2}  # a quarter of 32 and of 8 patients


def test_a_patient_counts_under_the_most_frequent_label() -> None:
    slides = slides_of(p1="ABB", p2="AB", p3="A")
    assert patients_by_stratum(["A", "B"], slides) == {"A": ["p2", "p3"], "B": ["p1"]}


@pytest.mark.parametrize(
    ("slides", "classes", "message"),
    [
        (slides_of(p1="A", p2="A", p3="A"), "AB", "task grade: slides of at least two classes .* A: 3, B: 0"),
        ([], "AB", "task grade: slides of at least two classes .* A: 0, B: 0"),
        (slides_of(p1="A", p2="B"), "ABC", "task grade: class C has no slides"),
        (slides_of(p1="AAA", p2="A", p3="A", p4="BBB", p5="B"), "AB", "class B has 2 patients, fewer than the 3 folds"),
    ],
)
def test_a_task_its_slides_cannot_carry_is_refused(slides: list[LabelledSlide], classes: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_task(task_of(generated(), tuple(classes)), slides)


def test_as_many_patients_as_folds_are_enough() -> None:
    slides = slides_of(p1="A", p2="A", p3="A", p4="B", p5="B", p6="B")
    check_task(task_of(generated()), slides)
    for fold in generate_folds(["A", "B"], slides, generated(fraction=0.5)):
        assert [len(fold.splits[split]) for split in SPLITS] == [2, 2, 2]


def test_labels_are_checked_by_name() -> None:
    rows = [SheetRow("s1", "s1.svs", "p1", None, {"class": "A"}), SheetRow("s2", "s2.svs", "p2", None, {"class": ""})]
    assert labelled_slides(task_of(generated()), rows) == [LabelledSlide("s1", "p1", "A")]
    wrong = SheetRow("s3", "s3.svs", "p3", None, {"class": "a"})
    with pytest.raises(UserError, match="slide s3 has class 'a', not one of A, B"):
        labelled_slides(task_of(generated()), [*rows, wrong])
    with pytest.raises(UserError, match=r"no label column 'class' .* label columns are: stage"):
        labelled_slides(task_of(generated()), [SheetRow("s1", "s1.svs", "p1", None, {"stage": "A"})])


def test_labels_that_only_look_alike_are_told_apart() -> None:
    """One letter of two characters, as a Macintosh writes it, and a character without width."""
    for label in ("Mu\u0308ller", "M\u00fcller\u200b"):
        row = SheetRow("s3", "s3.svs", "p3", None, {"class": label})
        with pytest.raises(UserError, match=re.escape(f"(it only looks like 'M\\xfcller': it is {label!a})")):
            labelled_slides(task_of(generated(), ("M\u00fcller", "B")), [row])
    row = SheetRow("s3", "s3.svs", "p3", None, {"class\u200b": "A"})
    with pytest.raises(
        UserError, match=re.escape("are: class\u200b (it only looks like 'class\\u200b': it is 'class')")
    ):
        labelled_slides(task_of(generated()), [row])


def test_folds_survive_the_file(tmp_path: Path) -> None:
    slides = slides_of(p1="A", p2="B", p3="A", p4='B"')
    folds = [Fold(slides[:2], [], slides[2:]), Fold(slides[2:][::-1], slides[:1], slides[1:2])]
    write_folds(tmp_path / "folds.csv", folds)
    assert read_folds(tmp_path / "folds.csv") == folds


def ids(train: str, val: str, test: str) -> dict[str, list[str]]:
    return {"train": train.split(), "val": val.split(), "test": test.split()}


def test_imported_folds_keep_usable_slides_in_the_order_of_the_sheet() -> None:
    slides = slides_of(p1="A", p2="B", p3="A", p4="B")
    (fold,) = import_folds("grade", [ids("p2_0.svs gone_0 p1_0", "p3_0", "p4_0")], slides, allow_patient_overlap=False)
    assert [slide.slide for slide in fold.train] == ["p1_0", "p2_0"]
    assert [slide.slide for slide in fold.val] == ["p3_0"]
    assert [slide.slide for slide in fold.test] == ["p4_0"]


def test_an_svs_ending_in_the_sheet_does_not_matter() -> None:
    slides = [LabelledSlide(f"{name}.svs", name, "A") for name in "abc"]
    (fold,) = import_folds("grade", [ids("a", "b.svs", "c")], slides, allow_patient_overlap=False)
    assert [slide.slide for slide in fold.train + fold.val + fold.test] == ["a.svs", "b.svs", "c.svs"]


def test_patients_in_train_and_test_are_refused_with_counts(caplog: pytest.LogCaptureFixture) -> None:
    slides = slides_of(p1="AA", p2="BB", p3="AA")
    splits = [ids("p1_0 p2_0", "p3_0", "p3_1"), ids("p1_0 p2_0", "p3_0", "p1_1 p2_1")]
    message = r"patients in both train and test \(fold 0: 0, fold 1: 2\), for example p1"
    with pytest.raises(UserError, match=message):
        import_folds("grade", splits, slides, allow_patient_overlap=False)
    assert len(import_folds("grade", splits, slides, allow_patient_overlap=True)) == 2
    assert "fold 0: 0, fold 1: 2" in caplog.text


def test_patients_in_val_and_test_are_refused_with_counts(caplog: pytest.LogCaptureFixture) -> None:
    slides = slides_of(p1="AA", p2="BB", p3="AA")
    splits = [ids("p1_0 p2_0", "p3_0", "p3_1")]
    message = r"patients in both val and test \(fold 0: 1\), for example p3; correct"
    with pytest.raises(UserError, match=message):
        import_folds("grade", splits, slides, allow_patient_overlap=False)
    import_folds("grade", splits, slides, allow_patient_overlap=True)
    assert "val and test (fold 0: 1), for example p3; allowed by folds.allow_patient_overlap" in caplog.text


@pytest.mark.parametrize("allowed", [False, True])
def test_patients_in_train_and_val_are_reported_but_not_refused(
    caplog: pytest.LogCaptureFixture, allowed: bool
) -> None:
    """They cannot make a test result too good."""
    slides = slides_of(p1="AA", p2="BB", p3="AA")
    splits = [ids("p1_0 p2_0", "p2_1", "p3_0"), ids("p1_0 p2_0", "p1_1 p2_1", "p3_0"), ids("p1_0 p2_0", "", "p3_0")]
    import_folds("grade", splits, slides, allow_patient_overlap=allowed)
    assert "patients in both train and val (fold 0: 1, fold 1: 2, fold 2: 0), for example p2" in caplog.text


def test_a_slide_listed_twice_in_a_split_counts_once_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    slides = slides_of(p1="A", p2="B", p3="A")
    (fold,) = import_folds("grade", [ids("p1_0 p2_0 p1_0.svs", "", "p3_0 p3_0")], slides, allow_patient_overlap=False)
    assert [slide.slide for slide in fold.train + fold.test] == ["p1_0", "p2_0", "p3_0"]
    assert "fold 0 (splits_0.csv): 2 slides are there twice" in caplog.text
    assert "for example p1_0 (train), p3_0 (test)" in caplog.text


def test_slides_that_split_files_cannot_tell_apart_are_refused() -> None:
    slides = [LabelledSlide(name, name, "A") for name in ("s0", "s1", "s2", "s0.svs")]
    with pytest.raises(UserError, match=r"task grade: slides s0 and s0\.svs have one id in split files"):
        import_folds("grade", [ids("s0", "s1", "s2")], slides, allow_patient_overlap=False)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (ids("p1_0 p2_0", "", "p2_0.svs"), r"fold 0 \(splits_0.csv\): slide p2_0 is in train and test"),
        (ids("p1_0 p3_0", "p3_0", "p2_0"), "slide p3_0 is in train and val"),
        (ids("p1_0", "", "q1 q2"), "none of the 2 test slides is labelled and usable; slide ids"),
        (ids("p1_0", "q1 q2", "p2_0"), "none of the 2 val slides is labelled and usable; slide ids"),
        (ids("p1_0", "P3_0.tif q2", "p2_0"), "none of the 2 val .*; P3_0.tif is p3_0 in the sheet: write slide ids"),
    ],
)
def test_split_files_that_cannot_be_used_are_refused(splits: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        import_folds("grade", [splits], slides_of(p1="A", p2="B", p3="A"), allow_patient_overlap=False)


def test_a_fold_may_do_without_validation() -> None:
    (fold,) = import_folds("grade", [ids("p1_0", "", "p2_0")], slides_of(p1="A", p2="B"), allow_patient_overlap=False)
    assert fold.val == []


def test_large_losses_and_other_spellings_are_reported() -> None:
    sheet = [str(number) for number in range(1001, 1021)]
    whole = {"train": sheet[:12], "val": sheet[12:14], "test": sheet[14:]}
    assert absent_text("dx", [whole], sheet) == ""
    assert absent_text("dx", [whole | {"train": [*sheet[:12], "x"]}], sheet) == ""  # 1 of 13
    lost = absent_text("dx", [whole, whole | {"train": [*sheet[:12], "x", "y"]}], sheet)
    task = "task dx: split files name slides that the sheet does not have:"
    assert lost == f"{task} 2 of 14 train slides of fold 1; for example x, y"
    padded = whole | {"test": [*sheet[14:16], *(f"{slide}.0" for slide in sheet[16:])]}
    assert absent_text("dx", [padded], sheet) == (
        f"{task} 4 of 6 test slides of fold 0; 1017.0 is 1017 in the sheet, 1018.0 is 1018 in the sheet, 1019.0 is"
        " 1019 in the sheet and 1 more: write slide ids in one way, as text"
    )
    one = whole | {"train": ["1001.0", *sheet[1:12]]}
    assert "have: 1 slides; 1001.0 is 1001 in the sheet" in absent_text("dx", [one], sheet)  # however few


def test_split_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / f"splits_{number}.csv").write_text(f",train,val,test\n0,a{number},b,c\n1,d,,\n")
    (tmp_path / "splits_0_bool.csv").write_text("not read")
    splits = read_split_files(tmp_path)
    assert [split["train"] for split in splits] == [[f"a{number}", "d"] for number in range(11)]
    assert splits[0]["val"] == ["b"]
    (tmp_path / "splits_4.csv").unlink()
    with pytest.raises(UserError, match=r"no splits_4\.csv, but splits_10\.csv; number the files"):
        read_split_files(tmp_path)
    (tmp_path / "splits_4.csv").write_text("train,test\na,b\n")
    with pytest.raises(UserError, match=r"splits_4\.csv: no column 'val'"):
        read_split_files(tmp_path)
    with pytest.raises(UserError, match=r"no files splits_<k>\.csv"):
        read_split_files(tmp_path / "absent")


def test_other_names_of_split_files_are_named_with_those_expected(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"splits_{number:02d}.csv").write_text("train,val,test\na,b,c\n")
    message = (
        r"no splits_0\.csv, but splits_00\.csv, .*02\.csv and 2 more; number the files splits_0\.csv, splits_1\.csv,"
    )
    with pytest.raises(UserError, match=message):
        read_split_files(tmp_path)
    for number in range(5):
        (tmp_path / f"splits_{number}.csv").write_text("train,val,test\na,b,c\n")
    with pytest.raises(UserError, match=r"no splits_5\.csv, but splits_00\.csv"):  # each fold would be there twice
        read_split_files(tmp_path)


def hipt_slides(cohort: str, classes: tuple[str, ...]) -> list[LabelledSlide]:
    """HIPT's labelled slides, in the order of its label table."""
    with zipfile.ZipFile(HIPT / f"tcga_{cohort}_subset.csv.zip") as archive:
        name = next(name for name in archive.namelist() if "__MACOSX" not in name)
        table = io.TextIOWrapper(archive.open(name), encoding="utf-8")
        return [
            LabelledSlide(row["slide_id"], row["case_id"], row["oncotree_code"])
            for row in csv.DictReader(table)
            if row["oncotree_code"] in classes
        ]


@needs_hipt
@pytest.mark.parametrize(("cohort", "classes"), [("brca", ("IDC", "ILC")), ("lung", ("LUAD", "LUSC"))])
def test_imported_folds_equal_the_lists_hipt_wrote(cohort: str, classes: tuple[str, ...]) -> None:
    splits = read_split_files(HIPT / "splits" / f"tcga_{cohort}")
    folds = import_folds(cohort, splits, hipt_slides(cohort, classes), allow_patient_overlap=True)
    written = read_split_file(HIPT / "results" / f"{cohort}_mil_192_1.00" / "splits_0.csv")
    for split in SPLITS:
        assert [slide.slide.removesuffix(".svs") for slide in folds[0].splits[split]] == written[split]


@needs_hipt
@pytest.mark.parametrize(
    ("cohort", "classes", "sizes", "overlap", "n_tested"),
    [  # ranges of slides in train, val, test and of patients in both train and test over the ten folds
        ("brca", ("IDC", "ILC"), [(708, 718), (75, 84), (77, 86)], (1, 10), 569),
        ("lung", ("LUAD", "LUSC"), [(785, 793), (82, 88), (81, 89)], (4, 12), 576),
        ("kidney", ("CCRCC", "PRCC", "CHRCC"), [(729, 734), (84, 89), (85, 88)], (2, 6), 570),
    ],
)
def test_hipt_folds_have_the_known_sizes_and_leaks(
    cohort: str,
    classes: tuple[str, ...],
    sizes: list[tuple[int, int]],
    overlap: tuple[int, int],
    n_tested: int,
) -> None:
    slides = hipt_slides(cohort, classes)
    splits = read_split_files(HIPT / "splits" / f"tcga_{cohort}")
    folds = import_folds(cohort, splits, slides, allow_patient_overlap=True)
    for split, expected in zip(SPLITS, sizes, strict=True):
        counts = [len(fold.splits[split]) for fold in folds]
        assert (min(counts), max(counts)) == expected
    overlaps = [len(patient_overlap(fold)) for fold in folds]
    assert (min(overlaps), max(overlaps)) == overlap
    assert len({slide for fold in folds for slide in fold.test}) == n_tested
    with pytest.raises(UserError, match="patients in both train and test"):
        import_folds(cohort, splits, slides, allow_patient_overlap=False)


def write_cohort(folder: Path, slides: list[LabelledSlide], left_out: str = "") -> list[str]:
    """A sheet and a manifest; returns the arguments of the command that name them."""
    lines = [f"{slide.slide},{slide.slide}.tif,{slide.patient},,{slide.label}" for slide in slides]
    (folder / "sheet.csv").write_text("\n".join(["slide,path,patient,mpp,class", *lines]) + "\n")
    records = [SlideRecord(slide=slide.slide, path=f"{slide.slide}.tif") for slide in slides]
    rows = [
        ManifestRow(record.failed("segment_tissue", "no tissue"), None)
        if record.slide == left_out
        else ManifestRow(record, folder / f"{record.slide}.h5")
        for record in records
    ]
    write_manifest(folder / "slides.csv", rows)
    return ["--sheet", str(folder / "sheet.csv"), "--manifest", str(folder / "slides.csv")]


def run_stage(arguments: list[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    split_folds.add_arguments(parser)
    folder = Path(arguments[arguments.index("--manifest") + 1]).parent
    others = ["--absent", str(folder / "absent.csv"), "--balance", str(folder / "balance.csv")]
    split_folds.run(parser.parse_args([*arguments, *others]))


def test_only_used_and_labelled_slides_are_split(tmp_path: Path) -> None:
    slides = slides_of(p0="A", p1="A", p2="A", p3="A", p4="B", p5="B", p6="B")
    files = write_cohort(tmp_path, [*slides, LabelledSlide("p7_0", "p7", "")], left_out="p0_0")
    out = tmp_path / "folds.csv"
    run_stage([*files, "--task", task_of(generated()).model_dump_json(), "--out", str(out)])
    tested = [slide.slide for fold in read_folds(out) for slide in fold.test]
    assert sorted(tested) == ["p1_0", "p2_0", "p3_0", "p4_0", "p5_0", "p6_0"]
    first = out.read_bytes()
    run_stage([*files, "--task", task_of(generated()).model_dump_json(), "--out", str(out)])
    assert out.read_bytes() == first


def test_a_slide_left_out_can_make_a_task_impossible(tmp_path: Path) -> None:
    files = write_cohort(tmp_path, slides_of(p1="A", p2="A", p3="A", p4="B", p5="B", p6="B"), left_out="p4_0")
    with pytest.raises(UserError, match="class B has 2 patients, fewer than the 3 folds"):
        run_stage([*files, "--task", task_of(generated()).model_dump_json(), "--out", str(tmp_path / "folds.csv")])
    assert not (tmp_path / "folds.csv").exists()


def test_the_stage_imports_folds(tmp_path: Path) -> None:
    files = write_cohort(tmp_path, slides_of(p1="A", p2="B", p3="A", p4="B"), left_out="p4_0")
    (tmp_path / "splits_0.csv").write_text(",train,val,test\n0,p2_0,,p3_0\n1,p1_0,,p4_0\n")
    task = task_of(ImportedFolds(kind="imported", folder=str(tmp_path), allow_patient_overlap=False))
    run_stage([*files, "--task", task.model_dump_json(), "--out", str(tmp_path / "folds.csv")])
    (fold,) = read_folds(tmp_path / "folds.csv")
    assert [[slide.slide for slide in fold.splits[split]] for split in SPLITS] == [["p1_0", "p2_0"], [], ["p3_0"]]


def test_slides_that_split_files_name_and_no_fold_has_are_kept_with_their_reason(tmp_path: Path) -> None:
    slides = slides_of(p1="A", p2="B", p3="A", p4="B", p6="A")
    files = write_cohort(tmp_path, [*slides, LabelledSlide("p5_0", "p5", "")], left_out="p4_0")
    (tmp_path / "splits_0.csv").write_text("train,val,test\np2_0,gone.svs,p3_0\np1_0,p5_0,p4_0\n,p6_0,\n")
    (tmp_path / "splits_1.csv").write_text("train,val,test\np2_0,,p3_0\np1_0,,lost\n")
    task = imported_task(tmp_path, fraction=0.9)
    run_stage([*files, "--task", task.model_dump_json(), "--out", str(tmp_path / "folds.csv")])
    assert [(absent.slide, absent.reason) for absent in read_absent(tmp_path / "absent.csv")] == [
        ("gone", "not in the sheet"),
        ("p5_0", "without a label"),
        ("p4_0", "left out"),
        ("lost", "not in the sheet"),
    ]
    files = write_cohort(tmp_path, slides, left_out="")
    run_stage([*files, "--task", task_of(generated(2)).model_dump_json(), "--out", str(tmp_path / "folds.csv")])
    assert read_absent(tmp_path / "absent.csv") == []


def imported_task(folder: Path, classes: tuple[str, ...] = ("A", "B"), fraction: float = 1) -> ClassTask:
    folds = ImportedFolds(kind="imported", folder=str(folder), allow_patient_overlap=False, train_fraction=fraction)
    return task_of(folds, classes)


def test_imported_folds_that_no_head_can_learn_from_are_refused(tmp_path: Path) -> None:
    """By the stage, and so by check_cohort, which makes folds by the same function, before GPU time is spent."""
    files = write_cohort(tmp_path, slides_of(p1="A", p2="B", p3="A", p4="B"), left_out="p2_0")
    (tmp_path / "splits_0.csv").write_text("train,val,test\np1_0,,p3_0\np2_0,,p4_0\n")
    rest = ["--out", str(tmp_path / "folds.csv")]
    with pytest.raises(
        UserError, match=r"fold 0: all 1 training slides are of class A; correct splits_0.csv in .*, or"
    ):
        run_stage([*files, "--task", imported_task(tmp_path).model_dump_json(), *rest])
    slides = slides_of(p1="A", p2="B", p3="A", p4="B")
    with pytest.raises(UserError, match=r"fold 0: no training slides; raise folds.train_fraction of the task \(0.2\)"):
        split_folds.make_folds(imported_task(tmp_path, fraction=0.2), slides)  # a fifth of two slides is none


def test_a_class_that_is_not_trained_in_some_folds_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_cohort(tmp_path, slides_of(p1="A", p2="B", p3="C", p4="C", p5="A"), left_out="p5_0")
    (tmp_path / "splits_0.csv").write_text("train,val,test\np1_0,,p3_0\np2_0,,p4_0\n")
    (tmp_path / "splits_1.csv").write_text("train,val,test\np1_0,,p3_0\np4_0,,p2_0\n")
    task = imported_task(tmp_path, ("A", "B", "C"))
    run_stage([*files, "--task", task.model_dump_json(), "--out", str(tmp_path / "folds.csv")])
    assert "task grade: class B has no training slide in 1 of 2 folds (1), where heads cannot learn it" in caplog.text
    assert "task grade: class C has no training slide in 1 of 2 folds (0)" in caplog.text


def survival_rows(**events: str) -> list[SheetRow]:
    """Lines of a sheet: p1="5 1" is a patient with an event at 5."""
    return [
        SheetRow(f"{patient}_0", "x.svs", patient, None, dict(zip(("months", "dead"), text.split(" "), strict=True)))
        for patient, text in events.items()
    ]


def survival() -> SurvivalTask:
    return SurvivalTask(
        name="os", cohort="demo", kind="survival", time="months", event="dead", n_bins=2, folds=generated(n_folds=2)
    )


def test_times_and_events_are_read_strictly() -> None:
    rows = survival_rows(p1="5.5 1", p2="3 0", p3=" 1", p4="7 ")
    assert labelled_slides(survival(), rows) == [
        LabelledSlide("p1_0", "p1", "5.5", "1"),
        LabelledSlide("p2_0", "p2", "3", "0"),
    ]
    with pytest.raises(UserError, match="slide p9_0 has dead 'yes'; write 1"):
        labelled_slides(survival(), survival_rows(p9="5 yes"))
    with pytest.raises(UserError, match="task os: no slide has dead 1"):
        check_task(survival(), labelled_slides(survival(), survival_rows(p1="5 0", p2="3 0")))
    with pytest.raises(UserError, match="task os: dead 1 has 1 patients, fewer than the 2 folds"):
        check_task(survival(), labelled_slides(survival(), survival_rows(p1="5 0", p2="3 1")))


@pytest.mark.parametrize("time", ["0", "5.25", ".5", "1e3", "1e-05"])  # exports write large and small ones so
def test_any_way_to_write_a_number_is_a_time(time: str) -> None:
    assert labelled_slides(survival(), survival_rows(p1=f"{time} 1")) == [LabelledSlide("p1_0", "p1", time, "1")]


@pytest.mark.parametrize("time", ["-1", "1_0", "inf", "nan", "1e999", "0x10", "1,5", "ten", "\u0661\u0660"])
def test_what_is_no_time_is_refused(time: str) -> None:
    with pytest.raises(UserError, match=f"slide p9_0 has months '{time}'; write a time of 0 or more"):
        labelled_slides(survival(), survival_rows(p9=f"{time} 1"))


def test_events_are_spread_over_the_folds() -> None:
    rows = survival_rows(**{f"p{i:02d}": f"{i} {int(i % 4 == 0)}" for i in range(40)})
    slides = labelled_slides(survival(), rows)
    for fold in generate_folds(["0", "1"], slides, generated(n_folds=5, fraction=0.25)):
        assert Counter(slide.event for slide in fold.test) == {"0": 6, "1": 2}


def test_slides_of_a_patient_agree_where_patients_are_predicted() -> None:
    task = task_of(generated()).model_copy(update={"level": "patient"})
    rows = [SheetRow(f"s{i}", f"s{i}.svs", "p1", None, {"class": label}) for i, label in enumerate(("A", "", "A", "B"))]
    assert len(labelled_slides(task, rows[:3])) == 2
    with pytest.raises(UserError, match=r"patient p1 has slides of different labels \(s0: A, s3: B\)"):
        labelled_slides(task, rows)


def test_a_time_is_the_same_however_it_is_written() -> None:
    task = survival().model_copy(update={"level": "patient"})
    rows = [
        SheetRow(f"s{i}", "x.svs", "p1", None, {"months": text, "dead": "1"}) for i, text in enumerate(("12", "12.0"))
    ]
    assert len(labelled_slides(task, rows)) == 2
    later = SheetRow("s2", "x.svs", "p1", None, {"months": "12.5", "dead": "1"})
    with pytest.raises(UserError, match=r"patient p1 has slides of different labels \(s0: 12 1, s2: 12\.5 1\)"):
        labelled_slides(task, [*rows, later])


def test_a_share_of_the_training_slides_is_drawn_and_the_rest_left_alone() -> None:
    slides = slides_of(**{f"p{i:02d}": "A" for i in range(20)})
    (fold,) = thin_training([Fold(slides[:12], slides[12:15], slides[15:])], 0.25)
    assert len(fold.train) == 3
    assert set(fold.train) < set(slides[:12])
    assert (fold.val, fold.test) == (slides[12:15], slides[15:])
