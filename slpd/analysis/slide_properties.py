"""What is known of slides beside their pixels: patient, site, resolution, and the columns of the sheet."""

import re
from collections.abc import Mapping, Sequence

from slpd.artifacts.slides.sheet import SheetRow

SITE = "site"
# TCGA-05-4244-...: project, tissue source site, participant (GDC Encyclopedia, "TCGA Barcode")
TCGA_BARCODE = re.compile(r"TCGA-([A-Z0-9]{2})-[A-Z0-9]{4}(?![A-Z0-9])")


def slide_properties(rows: Sequence[SheetRow], slide_mpp: Mapping[str, float | None]) -> dict[str, list[str]]:
    """Every property of slides, by name; an empty value is unknown.

    Args:
        rows: Lines of the sheet, in the order that the values are wanted in.
        slide_mpp: Slide -> µm per level-0 pixel. Scanners differ in it where no column tells them apart.

    Returns:
        `patient`; `site`, of TCGA's barcodes where the sheet does not say it; `slide_mpp`, to three digits; then the
        columns of the sheet by name, those that hold a value.
    """
    columns = sorted({column for row in rows for column, value in row.labels.items() if value})
    known = {
        "patient": [row.patient for row in rows],
        SITE: [tcga_site(row) for row in rows],
        "slide_mpp": [f"{mpp:.3g}" if (mpp := slide_mpp.get(row.slide)) else "" for row in rows],
    }
    return known | {column: [row.labels.get(column, "") for row in rows] for column in columns}


def column_value(row: SheetRow, column: str) -> str:
    """A slide's value in a column of the sheet, or the site of its barcode where none is so named; empty: unknown."""
    return row.labels.get(column, tcga_site(row) if column == SITE else "")


def tcga_site(row: SheetRow) -> str:
    """The tissue source site in a barcode of TCGA; empty: the ids are no such barcodes."""
    found = TCGA_BARCODE.match(row.slide) or TCGA_BARCODE.match(row.patient)
    return found[1] if found else ""
