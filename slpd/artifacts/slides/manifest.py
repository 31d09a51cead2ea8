"""Cohort manifest (`slides.csv`): every slide of the sheet, used or left out, in order of slide id.

Columns: the fields of SlideRecord, then `tokens`, the path of the slide's token file (empty: left out).
The order makes every later result independent of the order of the sheet.
"""

from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import checked_rows, read_cells, write_table
from slpd.artifacts.slides.slide_record import SlideRecord


@dataclass(frozen=True)
class ManifestRow:
    """One slide of a manifest."""

    record: SlideRecord
    tokens: Path | None  # None: left out

    @property
    def used(self) -> bool:
        """Whether later stages use the slide."""
        return self.record.status == "ok"


def write_manifest(path: Path, rows: list[ManifestRow]) -> None:
    """Write the manifest, ordered by slide id."""
    lines = []
    for row in sorted(rows, key=lambda row: row.record.slide):
        values = [*row.record.model_dump().values(), row.tokens]
        lines.append(["" if value is None else str(value) for value in values])
    write_table(path, [*SlideRecord.model_fields, "tokens"], lines)


def read_manifest(path: Path) -> list[ManifestRow]:
    """All slides of a manifest, ordered by slide id; empty cells are unknown values.

    Raises:
        UserError: the file is damaged.
    """
    lines = read_cells(path)
    tokens = [line.pop("tokens") for line in lines]
    known = [{column: cell for column, cell in line.items() if cell} for line in lines]
    records = checked_rows(path, SlideRecord, known)
    return [ManifestRow(record, Path(file) if file else None) for record, file in zip(records, tokens, strict=True)]


def used_slides(path: Path) -> list[ManifestRow]:
    """The slides of a manifest that later stages use, ordered by slide id."""
    return [row for row in read_manifest(path) if row.used]
