"""Cohort sheets: what is read, and what is refused with the line or the slide and what to write instead."""

from pathlib import Path

import pytest

from slpd.artifacts.slides.sheet import read_sheet
from slpd.errors import UserError

HEADER = "slide,path,patient,mpp,diagnosis\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_rows_keep_order_and_labels(tmp_path: Path) -> None:
    text = HEADER + "B-2,b.svs,P1,,LUAD\nA.1, a.svs ,P2,0.25,\n"
    first, second = read_sheet(write(tmp_path / "s.csv", text))
    assert (first.slide, first.mpp, first.labels) == ("B-2", None, {"diagnosis": "LUAD"})
    assert (second.slide, second.path, second.mpp, second.labels) == ("A.1", "a.svs", 0.25, {"diagnosis": ""})


def test_mask_column_is_optional_and_no_label(tmp_path: Path) -> None:
    text = "slide,path,patient,mpp,mask,dx\nA,a.svs,P,,m/a.geojson,x\nB,b.svs,P,,,x\nC,c.svs,P,,c.PNG,x\n"
    rows = read_sheet(write(tmp_path / "s.csv", text))
    assert [row.mask for row in rows] == ["m/a.geojson", "", "c.PNG"]
    assert rows[0].labels == {"dx": "x"}
    assert read_sheet(write(tmp_path / "s.csv", HEADER + "A,a.svs,P,,x\n"))[0].mask == ""


def test_mask_of_another_format_is_refused(tmp_path: Path) -> None:
    text = "slide,path,patient,mpp,mask\nA,a.svs,P,,a.tif\n"
    with pytest.raises(UserError, match=r"slide A has mask 'a.tif'; give a .png, .geojson, .json file"):
        read_sheet(write(tmp_path / "s.csv", text))


def test_spreadsheet_export_is_read(tmp_path: Path) -> None:
    """Spreadsheets put a byte-order mark before the header and end lines with CR LF."""
    text = (HEADER + "A,a.svs,P,0.5,LUAD\n").replace("\n", "\r\n")
    assert read_sheet(write(tmp_path / "s.csv", text, "utf-8-sig"))[0].slide == "A"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("../a,a.svs,P,,x\n", r"line 2: slide id '\.\./a' is not a safe file name; use letters"),
        ("a b,a.svs,P,,x\n", r"slide id 'a b' is not a safe file name"),
        ("a\x07,a.svs,P,,x\n", r"a control character in column 'slide'"),
        (".hidden,a.svs,P,,x\n", r"'\.hidden' is not a safe file name"),
        ("-n,a.svs,P,,x\n", r"'-n' is not a safe file name"),
        ("ä,a.svs,P,,x\n", r"'ä' is not a safe file name"),
        (f"{'a' * 121},a.svs,P,,x\n", r"at most 120 characters"),
        (",a.svs,P,,x\n", r"line 2: no slide id; fill the slide column, or delete the line"),
        (",,,,\n", r"line 2: no slide id; fill the slide column, or delete the line"),
        ("A,a.svs,P,,x\nA,b.svs,P,,x\n", r"slide A is listed twice; keep one line"),
        ("A,a.svs,P,,x\na,b.svs,P,,x\n", r"slide a is listed twice"),
        ("A,,P,,x\n", r"slide A has no path; fill the path column"),
        ("A,a.svs,,,x\n", r"slide A has no patient; fill the patient column"),
        ("A,a.svs,P,0.05,x\n", r"slide A has mpp '0\.05'; write µm per level-0 pixel, 0\.1 to 10"),
        ("A,a.svs,P,nan,x\n", r"slide A has mpp 'nan'"),
        ("A,a.svs,P,40x,x\n", r"slide A has mpp '40x'"),
        ("A,a.svs,P,0.5\n", r"line 2: .*more or fewer cells than the header"),
        ("A,a.svs,P,0.5,x,y\n", r"line 2: more or fewer cells than the header"),
        ('A,a.svs,P,,"5 mm\nB,b.svs,P,,x\n', r"line 3: .*close every quote"),
        ('A,a.svs,P,,"5 mm\nB,b.svs,P,,x"\n', r"a line break in column 'diagnosis', as an open quote makes one"),
        ("A,a.svs,P\0,,x\n", r"line 2: a control character in column 'patient' \('P\\x00'\); remove it"),
        ("A,a\0.svs,P,,x\n", r"line 2: a control character in column 'path'"),
        ("A,a.svs,\u200b,,x\n", r"patient '\\u200b' cannot be seen \(1 slides, A\); write the id of every patient"),
        (
            "A,a.svs,M\u00fc,,x\nB,b.svs,Mu\u0308,,x\n",
            r"patients 'M\\xfc' and 'Mu\\u0308' are one, written in two ways",
        ),
        ("", r"no slides; write one line per slide"),
    ],
)
def test_bad_line_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_sheet(write(tmp_path / "s.csv", HEADER + lines))


@pytest.mark.parametrize("text", ["", "\n", "\ufeff\r\n"])
def test_an_empty_file_is_named_as_such(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"s\.csv: it is empty; a cohort sheet has the columns slide, path"):
        read_sheet(write(tmp_path / "s.csv", text))


def test_empty_columns_of_a_spreadsheet_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"s\.csv: 2 columns have no name; name them, or remove them if they are empty"):
        read_sheet(write(tmp_path / "s.csv", "slide,path,patient,mpp,,\nA,a.svs,P,,,\n"))


def test_missing_column_and_missing_sheet_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'patient'"):
        read_sheet(write(tmp_path / "s.csv", "slide,path,mpp\nA,a.svs,\n"))
    with pytest.raises(UserError, match=r"absent\.csv: no such file"):
        read_sheet(tmp_path / "absent.csv")


def test_header_may_have_blanks_and_must_have_commas(tmp_path: Path) -> None:
    assert read_sheet(write(tmp_path / "s.csv", "slide, path, patient, mpp, dx\nA, a.svs, P, , x\n"))[0].path == "a.svs"
    with pytest.raises(UserError, match="separated by commas; found: slide;path;patient;mpp"):
        read_sheet(write(tmp_path / "s.csv", "slide;path;patient;mpp\nA;a.svs;P;\n"))


def test_folder_in_place_of_a_sheet_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory; give the path of a CSV file"):
        read_sheet(tmp_path)


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"slide,path,patient,mpp\n\xff\xfe,a,b,\n")
    with pytest.raises(UserError, match=r"s\.csv: not a UTF-8 text"):
        read_sheet(tmp_path / "s.csv")


def test_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column 'mpp' is there twice"):
        read_sheet(write(tmp_path / "s.csv", "slide,path,patient,mpp,mpp\nA,a.svs,P,1,2\n"))
