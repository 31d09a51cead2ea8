"""Ids in several spellings: refused where surely one, named where likely, no word where they only look alike."""

import logging
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slpd.artifacts.slides.sheet import SheetRow, parse_sheet
from slpd.artifacts.slides.spelling import likely_key, no_id, slide_key, sure_key
from slpd.errors import UserError
from slpd.inputs import warn_of_barcodes, warn_of_spellings

UUID = "d4ff32cd-38cf-40ea-8213-45c2b100ac01"

SURE = [
    ("TCGA-05-4210", "TCGA-05-4210-01Z-00-DX1"),
    ("TCGA-05-4210-01Z-00-DX1", f"tcga-05-4210-01Z-00-DX2.{UUID}"),
    ("TCGA_05_4210", "TCGA-05-4210"),
    ("C3L-00001", "C3L-00001-21"),
    ("GTEX-1117F", "GTEX-1117F-0226"),
    ("1014", "1014.0"),
    ("1014", "1014,0"),
    ("1014", "'1014"),
    ("P1", "P1\u200b"),
    ("P\u00a01", "P 1"),
    ("\uff11\uff12", "12"),
]
LIKELY = [
    ("P1", "p1"),
    ("P-1", "P1"),
    ("P 1", "P_1"),
    ("P-1", "P\u20131"),
    ("007", "7"),
    ("P01", "P1"),
    ("a-1-2", "A_1_2"),
]
ALIKE = [
    ("P1", "P10"),
    ("P1", "P11"),
    ("1", "10"),
    ("12-3", "1-23"),
    ("12-3", "123"),
    ("1-02", "1-2"),
    ("P1", "P1-2"),
    ("A+", "A-"),
    ("10.5", "10"),
    ("100", "1000"),
    ("TCGA-05-4210", "TCGA-05-4211"),
    ("TCGA-05-4210", "TCGA-06-4210"),
    ("C3L-00001", "C3N-00001"),
    ("S1a", "S1b"),
]


@pytest.mark.parametrize(("one", "other"), SURE)
def test_what_is_surely_one_id(one: str, other: str) -> None:
    assert sure_key(one) == sure_key(other)
    assert likely_key(one) == likely_key(other)


@pytest.mark.parametrize(("one", "other"), LIKELY)
def test_what_is_likely_one_id(one: str, other: str) -> None:
    assert sure_key(one) != sure_key(other)
    assert likely_key(one) == likely_key(other)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_only_looks_alike(one: str, other: str) -> None:
    assert sure_key(one) != sure_key(other)
    assert likely_key(one) != likely_key(other)


@given(st.lists(st.uuids(version=4).map(str), unique=True), st.lists(st.integers(0, 10**9).map(str), unique=True))
def test_ids_of_one_form_never_meet(random: list[str], numbers: list[str]) -> None:
    for ids in (random, numbers, [f"P{number}" for number in numbers], [f"site-{number}-1" for number in numbers]):
        assert len({likely_key(text) for text in ids}) == len(ids)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1014", "1014.0"),
        ("a1.svs", "A1.tif"),
        ("TCGA-05-4244-01Z-00-DX1", f"TCGA-05-4244-01Z-00-DX1.{UUID}.svs"),
        ("S_01", "S-1"),
    ],
)
def test_slide_ids_in_two_tables(one: str, other: str) -> None:
    assert slide_key(one) == slide_key(other)
    assert slide_key("TCGA-05-4244-01Z-00-DX1") != slide_key("TCGA-05-4244-01Z-00-DX2")


@pytest.mark.parametrize(
    "text", ["nan", "NaN", "N/A", "#N/A", "None", "unknown", "Not available", "?", "-", "#REF!", "<NA>"]
)
def test_placeholders_are_no_ids(text: str) -> None:
    assert no_id(text) == "stands for no id"


@pytest.mark.parametrize("text", ["1.2E+11", "1,2E+11", "1E+15", "1.20e-05"])
def test_rounded_numbers_are_no_ids(text: str) -> None:
    assert "rounded" in no_id(text)


@pytest.mark.parametrize(
    "text", ["P1", "0", "12E5", "E-11", "1E-05", "NA-12", "Nanette", "unknown-1", "x", "1.5", "3E4"]
)
def test_ids_that_pass(text: str) -> None:
    assert no_id(text) == ""


def sheet(*patients: str) -> str:
    lines = [f't{i},t{i}.h5,"{patient}",' for i, patient in enumerate(patients)]
    return "\n".join(["slide,path,patient,mpp", *lines]) + "\n"


def rows(*patients: str) -> dict[str, SheetRow]:
    return {row.slide: row for row in parse_sheet(Path("s.csv"), sheet(*patients))}


def test_no_ids_are_refused_with_their_count() -> None:
    with pytest.raises(UserError, match=r"^s\.csv: patient 'nan' stands for no id \(4 slides, t1, t2, t3 and 1 more\)"):
        rows("p0", *["nan"] * 4)
    with pytest.raises(UserError, match=r"patient '1.2E\+11' is a number that a spreadsheet has rounded \(2 slides"):
        rows("120000000000", "1.2E+11", "1.2E+11")


def test_one_patient_written_in_two_ways_is_refused_by_pairs() -> None:
    with pytest.raises(UserError, match=r"patients 'TCGA-05-4210' and 'TCGA-05-4210-01Z', '7' and '7\.0' are one"):
        rows("TCGA-05-4210", "TCGA-05-4210-01Z", "P1", "P10", "7", "7.0")
    assert len(rows("TCGA-05-4210", "TCGA-05-4210", "TCGA-05-4211", "P1", "P10")) == 5


def test_likely_patients_are_named_by_pairs(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_spellings({"s.csv": rows("P1", "p1", "P10", "P2", "P3")})
    assert caplog.messages == [
        "patients that are likely one, written in two ways: 'P1' (s.csv, slide t0) and 'p1' (s.csv, slide t1); write"
        " every patient in one way, or folds part them"
    ]
    caplog.clear()
    warn_of_spellings({"a.csv": rows("P1", "P2"), "b.csv": rows("P-01", "P2")})
    assert "'P1' (a.csv, slide t0) and 'P-01' (b.csv, slide t0);" in caplog.text


def test_a_slide_named_in_place_of_its_patient_is_named(caplog: pytest.LogCaptureFixture) -> None:
    row = SheetRow("P1-2", "a.svs", "P1-2", None, {})
    warn_of_spellings({"s.csv": {**rows("P1", "P10"), row.slide: row}})
    assert "'P1' (s.csv, slide t0) and 'P1-2' (s.csv, slide P1-2)" in caplog.text


def test_dates_of_spreadsheets_are_named(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_spellings({"s.csv": rows("1-Mar", "abc-01")})
    assert caplog.messages == ["patients that a spreadsheet may have turned into dates: '1-Mar' (s.csv, slide t0)"]


def test_slides_of_one_barcode_under_two_patients_are_named(caplog: pytest.LogCaptureFixture) -> None:
    slides = {
        name: SheetRow(name, f"{name}.svs", patient, None, {})
        for name, patient in [
            ("TCGA-05-4244-01Z-00-DX1", "p1"),
            ("TCGA-05-4244-01Z-00-DX2", "p2"),
            ("t1", "p1"),
            ("t2", "p2"),
        ]
    }
    warn_of_barcodes("s.csv", slides)
    assert "two by the sheet: TCGA-05-4244-01Z-00-DX1 (p1) and TCGA-05-4244-01Z-00-DX2 (p2)" in caplog.text


def test_nothing_is_said_of_ids_that_only_look_alike(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_spellings({"s.csv": rows(*dict.fromkeys(text for pair in ALIKE for text in pair if "-" not in text))})
        warn_of_spellings({"s.csv": rows(*(f"P{number}" for number in range(200)))})
    assert caplog.messages == []


@pytest.mark.slow
def test_checks_of_20000_slides_cost_seconds() -> None:
    """Measured: 0.17 s more for every reading of the sheet, 0.4 s for the warnings."""
    start = time.process_time()
    warn_of_spellings({"s.csv": rows(*(f"TCGA-{n // 10000:02}-{n % 10000:04}" for n in range(20_000)))})
    assert time.process_time() - start < 10
