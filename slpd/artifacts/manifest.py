"""Cohort manifest (`slides.csv`): every slide of the sheet, used or left out, in order of slide id.

Columns: the fields of SlideRecord, then `tokens`, the path of the slide's token file (empty: left out).
The order makes every later result independent of the order of the sheet.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.slide_record import SlideRecord


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
    columns = [*SlideRecord.model_fields, "tokens"]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in sorted(rows, key=lambda row: row.record.slide):
            writer.writerow({**row.record.model_dump(), "tokens": row.tokens or ""})


def read_manifest(path: Path) -> list[ManifestRow]:
    """All slides of a manifest, ordered by slide id."""
    with open(path, newline="", encoding="utf-8") as file:
        return [parse_row(cells) for cells in csv.DictReader(file)]


def parse_row(cells: dict[str, str]) -> ManifestRow:
    """One line of the manifest; empty cells are unknown values."""
    tokens = cells.pop("tokens")
    text = {"stage", "reason"}
    record = SlideRecord.model_validate({key: value for key, value in cells.items() if value or key in text})
    return ManifestRow(record, Path(tokens) if tokens else None)


def used_slides(path: Path) -> list[ManifestRow]:
    """The slides of a manifest that later stages use, ordered by slide id."""
    return [row for row in read_manifest(path) if row.used]
