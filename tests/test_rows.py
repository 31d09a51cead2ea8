"""Tables of results: the text is that of Python's csv module, cells come back as they were, faults are named."""

import csv
import io
import math
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slpd.artifacts.rows import read_rows, write_rows, write_table
from slpd.errors import UserError

HOSTILE = ["007", "NA", "nan", "None", "", "1e5", "-", "a,b", '"q"', " lead", "ü", "two\nlines", "True", "1.0"]


@dataclass(frozen=True)
class Line:
    """A row with a field of every type."""

    name: str
    count: int
    share: float
    why: str = ""


def as_csv(rows: list[Line]) -> bytes:
    """The same text by another way."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("name", "count", "share", "why"))
    writer.writerows(map(astuple, rows))
    return text.getvalue().encode()


@settings(deadline=None)  # the first example imports pandas
@given(
    names=st.lists(st.sampled_from(HOSTILE), max_size=8),
    share=st.floats(allow_infinity=False),
    count=st.integers(-(2**53), 2**53),
)
def test_rows_come_back_and_the_text_is_that_of_csv(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], share: float, count: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "table.csv"
    rows = [Line(name, count, share, name) for name in names]
    write_rows(path, Line, rows)
    assert path.read_bytes() == as_csv(rows)
    assert repr(read_rows(path, Line)) == repr(rows)


def test_no_rows_leave_a_header(tmp_path: Path) -> None:
    write_rows(tmp_path / "table.csv", Line, [])
    assert (tmp_path / "table.csv").read_bytes() == b"name,count,share,why\r\n"
    assert read_rows(tmp_path / "table.csv", Line) == []


def test_decimals_and_line_ends(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ("a", "b"), [(1, -0.00001), (2, math.nan)], line_end="\n", decimals=3)
    assert (tmp_path / "t.csv").read_bytes() == b"a,b\n1,-0.000\n2,nan\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,count,share,why\na,1,0.5,\nb,x,0.5,\n", r"t\.csv, line 3, column count: input should be .*it is 'x'"),
        ("name,count,share,why\na,1,,\n", r"t\.csv, line 2, column share: .*\(it is ''\); delete the file"),
        ("name,count,why\na,1,\n", r"t\.csv, line 2, column share: field required"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path / "t.csv", Line)


def test_an_older_table_may_lack_a_column_with_a_default(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,count,share\na,1,nan\n")
    (row,) = read_rows(tmp_path / "t.csv", Line)
    assert (row.name, row.count, row.why) == ("a", 1, "")
    assert math.isnan(row.share)
