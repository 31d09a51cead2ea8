"""The page of a cohort's slides: what was found of each, and the picture that shows it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slpd.artifacts.manifest import ManifestRow
from slpd.artifacts.sheet import SheetRow
from slpd.artifacts.slide_record import SlideRecord
from slpd.report.words import count, decimal, plural

# Fields of the record that cards, filters and the table show, with their titles and units.
NUMBERS = {
    "n_regions": "regions used",
    "n_little_tissue": "little tissue",
    "n_pen": "pen",
    "n_padding": "padding",
    "n_blurred": "blurred",
    "n_invalid": "invalid",
    "n_unreadable": "unreadable squares",
    "tissue_mm2": "tissue, mm²",
    "pen_share": "pen, share of the slide",
    "padding_share": "padding, share of the slide",
    "slide_mpp": "µm/px",
}
TEXTS = {"reader": "reader", "mpp_source": "resolution from", "mask_source": "mask from"}
MANY_VALUES = 40  # of a column that are offered as a filter; more are found by the search


@dataclass(frozen=True)
class Slides:
    """What a cohort consists of."""

    cohort: str
    manifest: Sequence[ManifestRow]  # in order of slide id
    sheet: Mapping[str, SheetRow]  # by slide id
    pictures: Sequence[str]  # of each slide, its path in the report; none: a cohort of tokens

    @property
    def records(self) -> list[SlideRecord]:
        """The record of every slide."""
        return [row.record for row in self.manifest]

    @property
    def left_out(self) -> list[SlideRecord]:
        """The records of slides that are not used."""
        return [row.record for row in self.manifest if not row.used]

    @property
    def used(self) -> list[SlideRecord]:
        """The records of slides that are used."""
        return [row.record for row in self.manifest if row.used]

    @property
    def n_regions(self) -> int:
        """Regions of the slides that are used."""
        return sum(record.n_regions or 0 for record in self.used)

    def patient(self, slide: str) -> str:
        """The patient of a slide; empty where the sheet has changed since."""
        return self.sheet[slide].patient if slide in self.sheet else ""

    def labels(self, slide: str) -> dict[str, str]:
        """The labels of a slide."""
        return self.sheet[slide].labels if slide in self.sheet else {}

    @property
    def columns(self) -> list[str]:
        """The label columns of the sheet."""
        return list(next(iter(self.sheet.values())).labels) if self.sheet else []


def slides_context(slides: Slides) -> dict[str, Any]:
    """What the page shows."""
    records = slides.used
    regions = [record.n_regions or 0 for record in records]
    areas = [record.tissue_mm2 for record in records if record.tissue_mm2 is not None]
    return {
        "cohort": slides.cohort,
        "facts": [
            ("slides used", count(len(records)), f"of {count(len(slides.manifest))}"),
            ("left out", count(len(slides.left_out)), ""),
            ("patients", count(len({slides.patient(record.slide) for record in records})), ""),
            (
                "regions used",
                count(sum(regions)),
                f"median {statistics.median(regions):g} per slide" if regions else "",
            ),
            ("tissue", f"{decimal(sum(areas), 1)} mm²", "") if areas else ("tissue", "unknown", ""),
        ],
        "left_out": [(r.slide, r.stage, reason_of(r)) for r in slides.left_out],
        "data": {
            "slides": [
                entry(slides, row, picture)
                for row, picture in zip(slides.manifest, slides.pictures or [""] * len(slides.manifest), strict=True)
            ],
            "columns": [
                {"name": column, "values": filter_values(slides, column)} for column in ["patient", *slides.columns]
            ],
            "numbers": NUMBERS,
            "texts": TEXTS,
            "hasPictures": bool(slides.pictures),
        },
    }


def entry(slides: Slides, row: ManifestRow, picture: str) -> dict[str, Any]:
    """A slide as the page's script reads it."""
    record = row.record
    shown = {key: getattr(record, key) for key in (*NUMBERS, *TEXTS) if getattr(record, key) is not None}
    return {
        "slide": record.slide,
        "used": row.used,
        "stage": record.stage,
        "reason": reason_of(record),
        "picture": picture,
        "labels": {"patient": slides.patient(record.slide), **slides.labels(record.slide)},
        "conflict": conflict(record),
        **shown,
    }


def filter_values(slides: Slides, column: str) -> list[str]:
    """The values of a column in order, to choose from; none where there are too many."""
    of_column = (
        slides.patient(row.record.slide) if column == "patient" else slides.labels(row.record.slide).get(column, "")
        for row in slides.manifest
    )
    values = sorted(set(of_column))
    return values if len(values) <= MANY_VALUES else []


def reason_of(record: SlideRecord) -> str:
    """Why a slide is left out, without its name in front."""
    return record.reason.removeprefix(f"slide {record.slide}: ")


def conflict(record: SlideRecord) -> str:
    """How sheet and file disagree on the resolution; empty: they do not."""
    if not record.mpp_conflict:
        return ""
    return (
        f"sheet says {record.slide_mpp:g} µm/px, file {record.file_mpp:g}"
        if record.file_mpp
        else "sheet and file differ"
    )


def slides_table(slides: Slides) -> tuple[list[str], list[list[object]]]:
    """Everything the page shows, as the columns and rows of a CSV file."""
    keys = [*NUMBERS, *TEXTS, "mpp_conflict", "file_mpp"]
    columns = ["slide", "used", "stage", "reason", "patient", *slides.columns, *keys]
    rows: list[list[object]] = [
        [
            record.slide,
            int(row.used),
            record.stage,
            record.reason,
            slides.patient(record.slide),
            *(slides.labels(record.slide).get(column, "") for column in slides.columns),
            *("" if getattr(record, key) is None else getattr(record, key) for key in keys),
        ]
        for row in slides.manifest
        for record in [row.record]
    ]
    return columns, rows


def cohort_row(slides: Slides) -> list[str]:
    """A cohort as a line of the summary."""
    used = slides.used
    areas = [record.tissue_mm2 for record in used if record.tissue_mm2 is not None]
    resolutions = sorted({record.slide_mpp for record in used if record.slide_mpp is not None})
    regions = [record.n_regions or 0 for record in used]
    return [
        slides.cohort,
        count(len(slides.manifest)),
        count(len(used)),
        count(len(slides.left_out)),
        count(len({slides.patient(record.slide) for record in used})),
        count(sum(regions)),
        f"{min(regions)} · {statistics.median(regions):g} · {max(regions)}" if regions else "–",
        decimal(sum(areas), 1) if areas else "–",
        "–".join(dict.fromkeys(f"{mpp:.3g}" for mpp in (resolutions[:1] + resolutions[-1:]))) or "–",
    ]


COHORT_COLUMNS = [
    {"title": "cohort", "kind": "text"},
    {"title": "slides", "kind": "number"},
    {"title": "used", "kind": "number"},
    {"title": "left out", "kind": "number"},
    {"title": "patients", "kind": "number"},
    {"title": "regions", "kind": "number"},
    {"title": "regions per slide (least · median · most)", "kind": "number"},
    {"title": "tissue, mm²", "kind": "number"},
    {"title": "µm/px", "kind": "number"},
]


def warnings_of(slides: Slides) -> list[str]:
    """What a reader should know before trusting the slides."""
    n_conflicts = sum(bool(record.mpp_conflict) for record in slides.records)
    n_damaged = sum(bool(record.n_invalid or record.n_unreadable) for record in slides.used)
    found = []
    if n_conflicts:
        found.append(
            f"{plural(n_conflicts, 'slide')} of {slides.cohort}: sheet and file differ in resolution by more than 5 %."
        )
    if n_damaged:
        found.append(f"{plural(n_damaged, 'used slide')} of {slides.cohort}: parts cannot be decoded and are left out.")
    return found
