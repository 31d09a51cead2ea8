"""Before GPU time is spent: too many failures, too few regions, tasks without folds."""

import pytest

from slpd.artifacts.sheet import SheetRow
from slpd.artifacts.slide_record import SlideRecord
from slpd.cohort_check import CohortPlan, check_cohort, check_heads
from slpd.errors import UserError
from slpd.settings.evaluation import ClassTask, GeneratedFolds
from slpd.settings.heads import KnnHead

TASK = ClassTask(
    name="t",
    cohort="c",
    label="dx",
    classes=["a", "b"],
    folds=GeneratedFolds(kind="generated", n_folds=2, validation_fraction=0.2, seed=0),
)
SHEET = [SheetRow(f"s{i}", f"s{i}.svs", f"p{i}", None, {"dx": "ab"[i % 2]}) for i in range(8)]
GOOD = [SlideRecord(slide=row.slide, path=row.path, n_regions=5 + i) for i, row in enumerate(SHEET)]


def plan(max_failed_fraction: float = 0.25, least: int = 4, batch_size: int = 16) -> CohortPlan:
    return CohortPlan(
        cohort="c",
        max_failed_fraction=max_failed_fraction,
        batch_size=batch_size,
        min_regions={"slpd": least, "intra": least},
        linked=["slpd"],
        tasks=[TASK],
        heads=[KnnHead(kind="knn", name="near", k=3)],
    )


def fail(records: list[SlideRecord], *slides: int) -> list[SlideRecord]:
    return [r.failed("segment_tissue", f"slide {r.slide}: torn") if i in slides else r for i, r in enumerate(records)]


def test_good_cohort_reports_its_counts() -> None:
    findings = check_cohort(plan(least=7), fail(GOOD, 0), SHEET)
    assert findings[0] == "7 of 8 slides usable, 63 regions"  # 6 + 7 + ... + 12
    assert "left out at segment_tissue: slide s0: torn" in findings
    assert "variant slpd: 1 slides with fewer than 7 regions get no prototypes" in findings


def test_budget_is_inclusive_and_names_the_failed() -> None:
    check_cohort(plan(), fail(GOOD, 0, 1), SHEET)
    with pytest.raises(
        UserError,
        match=r"3 of 8 slides failed.*allows 0\.25.*segment_tissue: slide s0: torn; segment_tissue: slide s1:",
    ):
        check_cohort(plan(), fail(GOOD, 0, 1, 2), SHEET)


def test_no_slide_left_is_refused_whatever_the_budget() -> None:
    with pytest.raises(UserError, match="8 of 8 slides failed"):
        check_cohort(plan(max_failed_fraction=1.0), fail(GOOD, *range(8)), SHEET)


def test_more_prototypes_than_any_slide_carries_is_refused() -> None:
    message = (
        r"variant slpd: prototypes need 2 slides of prototypes.min_regions = 13 .* 12 in slide s7, 11 in slide s6;"
    )
    with pytest.raises(UserError, match=message):
        check_cohort(plan(least=13), GOOD, SHEET)


def test_an_inter_slide_term_needs_two_slides_with_prototypes() -> None:
    with pytest.raises(UserError, match=r"variant slpd: prototypes need 2 slides"):
        check_cohort(plan(least=12), GOOD, SHEET)  # s7 alone has as many
    check_cohort(plan(least=12).model_copy(update={"linked": []}), GOOD, SHEET)


def test_task_is_checked_on_the_usable_slides() -> None:
    with pytest.raises(UserError, match=r"task t: class b has 1 patients, fewer than the 2 folds"):
        check_cohort(plan(max_failed_fraction=0.5), fail(GOOD, 1, 3, 5), SHEET)


def test_head_that_wants_more_slides_than_a_fold_trains_on_is_refused() -> None:
    check_heads(plan(), "t", [3, 4])
    with pytest.raises(UserError, match="head near: k is 3, but task t has a fold with 2 training slides; lower k"):
        check_heads(plan(), "t", [3, 2])


def test_cohort_smaller_than_a_batch_is_refused() -> None:
    check_cohort(plan(batch_size=68), GOOD, SHEET)  # 5 + 6 + ... + 12
    with pytest.raises(UserError, match=r"cohort c: 68 regions are fewer than training.batch_size = 69; lower it"):
        check_cohort(plan(batch_size=69), GOOD, SHEET)
