"""Ids that people and spreadsheets write in several ways: which are no ids, and which are one id written twice.

Two ids are *surely* one where only what cannot be seen differs, where a spreadsheet made a fraction of one (`1014.0`),
or where both begin with the same patient's barcode of a public archive. They are *likely* one where they also differ in
case, in separators, or in zeros before their number. Ids that merely look alike (`P1`, `P10`) are neither.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

# What programs, spreadsheets and people write where there is no id, in lower case.
NO_ID = {
    *("nan", "na", "n/a", "n.a.", "<na>", "#n/a", "none", "null", "nil", "nat", "undefined", "unknown", "unk"),
    *("missing", "not available", "not applicable", "tbd", "anonymous", "anonymized", "anonymised"),
    *("?", "??", "-", "--", "–", "—", ".", "#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!"),
}
# 1.2E+11 for 120000000123, and 1.2E-05
ROUNDED = re.compile(r"\d([.,]\d+)?e\+\d{2,}|\d[.,]\d+e-\d{2,}", re.IGNORECASE)
DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]00:00:00")
MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
DAY_AND_MONTH = re.compile(rf"\d{{1,2}}-{MONTH}|{MONTH}-\d\d", re.IGNORECASE)  # 1-Mar for 1-3, Mar-01 for MAR1
SEPARATORS = r"[\s\-_./\\\u2010-\u2015]+"
FRACTION = re.compile(r"(\d+)[.,]0+")  # of a whole number
# Archive -> parts of a barcode that are the patient's: TCGA-05-4244-01Z-00-DX1, C3L-00001-21, GTEX-1117F-0226
BARCODES = {"tcga": 3, "c3l": 2, "c3n": 2, "gtex": 2}
SUFFIX = re.compile(r"\.(svs|tiff?|ndpi|mrxs|scn|bif|czi|dcm|h5|hdf5|pt)$", re.IGNORECASE)
UUID = re.compile(r"\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)  # of a TCGA file, after the barcode


def no_id(text: str) -> str:
    """Why a text cannot be an id, or nothing."""
    if not visible_text(text):
        return "cannot be seen"
    if visible_text(text).lower() in NO_ID:
        return "stands for no id"
    if ROUNDED.fullmatch(text):
        return "is a number that a spreadsheet has rounded"
    return "is a date that a spreadsheet has made of it" if DATE_AND_TIME.fullmatch(text) else ""


def likely_date(text: str) -> bool:
    """Whether an id may be a date that a spreadsheet has made of another one."""
    return DAY_AND_MONTH.fullmatch(text) is not None


def sure_key(text: str) -> str:
    """What ids have in common that surely are one patient's."""
    whole = FRACTION.fullmatch(visible_text(text))
    return whole[1] if whole else barcode(text) or visible_text(text)


def visible_text(text: str) -> str:
    """A text without what cannot be seen: characters without width, and other forms of the same letters."""
    normal = unicodedata.normalize("NFKC", text)
    return "".join(letter for letter in normal if unicodedata.category(letter) != "Cf").strip(" '\"")


def look_alike(text: str, others: Iterable[str]) -> str:
    """A remark on one of the others that looks like a text and has other characters; empty: there is none."""
    twin = next((other for other in others if other != text and visible_text(other) == visible_text(text)), None)
    return "" if twin is None else f" (it only looks like {twin!a}: it is {text!a})"


def barcode(text: str) -> str:
    """The patient's part of a barcode, in lower case; empty: it has none."""
    parts = re.split(SEPARATORS, visible_text(text).lower())
    n_parts = BARCODES.get(parts[0], 0)
    return "-".join(parts[:n_parts]) if n_parts and len(parts) >= n_parts else ""


def likely_key(text: str) -> str:
    """What ids have in common that likely are one: runs of letters and of digits, whatever separates them.

    Zeros before a number count where there are other numbers in the id, in which they may be what tells ids apart.
    """
    runs = re.findall(r"[^\W\d_]+|\d+|[^\w\s]", re.sub(SEPARATORS, " ", sure_key(text).casefold()))
    if runs and [run.isdigit() for run in runs] in ([True], [False, True]):
        runs[-1] = runs[-1].lstrip("0") or "0"
    return " ".join(runs)


def slide_key(text: str) -> str:
    """What slide ids have in common that likely are one slide's: also without a file's suffix and TCGA's UUID."""
    whole = UUID.sub("", SUFFIX.sub("", visible_text(text)))
    return likely_key(whole) if not barcode(whole) else " ".join(re.split(SEPARATORS, whole.lower()))


def groups(ids: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """The ids, each once, that have their key in common with others, by key."""
    by_key: dict[str, list[str]] = {}
    for text in dict.fromkeys(ids):
        by_key.setdefault(key(text), []).append(text)
    return [same for same in by_key.values() if len(same) > 1]
