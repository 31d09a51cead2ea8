"""Known kinds of tissue: what the file holds, which kind a region is of, how prototypes agree with kinds."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from slpd.analysis.kind_agreement import UNKNOWN, kind_agreement, region_kinds
from slpd.artifacts.slides.known_kinds import Square, read_known_kinds, write_known_kinds
from slpd.errors import UserError

HEADER = "slide,x_lv0,y_lv0,side_lv0,kind\n"


def test_squares_are_read_as_they_were_written(tmp_path: Path) -> None:
    squares = {"b": [Square(0, 10, 5, "fat"), Square(5, 10, 5, "dense stroma")], "a": [Square(1, 2, 3, "fat")]}
    write_known_kinds(tmp_path / "kinds.csv", squares)
    assert read_known_kinds(tmp_path / "kinds.csv") == squares


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("s,0,0.5,4,fat", "line 2: invalid literal .*whole pixels"),
        ("s,0,0,0,fat", "line 2: side_lv0 0"),
        ("s,0,0,4,", "line 2: side_lv0 4, kind ''"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "kinds.csv").write_text(f"{HEADER}{line}\n")
    with pytest.raises(UserError, match=message):
        read_known_kinds(tmp_path / "kinds.csv")


def test_a_region_is_of_the_kind_that_covers_most_of_it() -> None:
    squares = [Square(x, y, 10, "fat" if x < 20 else "stroma") for x in (0, 10, 20, 30) for y in (0, 10)]
    corners = np.array([(0, 0), (5, 0), (16, 0), (25, 0), (100, 100)])
    kinds = region_kinds(corners, 20, squares)
    assert kinds == ["fat", "fat", "stroma", "stroma", UNKNOWN]
    large = [Square(0, 0, 20, "fat"), *(Square(20, y, 5, "stroma") for y in range(0, 20, 5))]
    assert region_kinds(np.array([(0, 0)]), 40, large) == ["fat"]  # one large square covers more than four small ones
    assert region_kinds(corners, 20, []) == [UNKNOWN] * 5


def test_agreement_is_one_for_equal_groups_whatever_their_numbers() -> None:
    kinds = ["fat", "fat", "gland", "gland", "gland", UNKNOWN]
    groupings = np.array([[2, 2, 0, 0, 0, 1], [0, 1, 0, 1, 0, 1]], np.int16)
    (agreement,) = kind_agreement(groupings, np.array([0, 6]), kinds)
    assert agreement[0] == pytest.approx(1)
    assert agreement[1] < 0.1


def test_agreement_is_zero_on_average_for_groups_by_chance() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(["a", "b", "c"], 8)
    groupings = np.stack([rng.permutation(np.repeat([0, 1, 2], 8)) for _ in range(400)]).astype(np.int16)
    (agreement,) = kind_agreement(groupings, np.array([0, 24]), kinds.tolist())
    assert agreement.mean() == pytest.approx(0, abs=0.02)
    assert mutual_info_score(kinds, groupings[0]) > 0  # which the adjustment takes away


def test_slides_without_prototypes_or_kinds_have_no_agreement() -> None:
    groupings = np.array([[0, 1, -1, -1, 0, 1]], np.int16)
    kinds = ["a", "b", "a", "b", UNKNOWN, UNKNOWN]
    agreement = kind_agreement(groupings, np.array([0, 2, 4, 6]), kinds)
    np.testing.assert_array_equal(np.isnan(agreement[:, 0]), [False, True, True])
