"""The page of a cohort's slides: what was found of each, and the picture that shows it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slpd.artifacts.slides.manifest import ManifestRow
from slpd.artifacts.slides.sheet import SheetRow
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.report.navigation import page_name
from slpd.report.site import Fact, Rows, Site, columns
from slpd.report.words import count, decimal, plural

# Fields of the record that cards, filters and the table show, with their titles and units.
NUMBER_TITLES = {
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
TEXT_TITLES = {"reader": "reader", "mpp_source": "resolution from", "mask_source": "mask from"}
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
    def region_counts(self) -> list[int]:
        """Regions of each slide that is used."""
        return [record.n_regions or 0 for record in self.used]

    @property
    def tissue_areas(self) -> list[float]:
        """Tissue of each slide that is used, mm², where it is known."""
        return [record.tissue_mm2 for record in self.used if record.tissue_mm2 is not None]

    @property
    def n_patients(self) -> int:
        """Patients of the slides that are used."""
        return len({self.patient(record.slide) for record in self.used})

    def patient(self, slide: str) -> str:
        """The patient of a slide; empty where the sheet has changed since."""
        return self.sheet[slide].patient if slide in self.sheet else ""

    def columns_of(self, slide: str) -> dict[str, str]:
        """Patient and labels of a slide, by column."""
        return {"patient": self.patient(slide), **(self.sheet[slide].labels if slide in self.sheet else {})}

    @property
    def columns(self) -> list[str]:
        """The label columns of the sheet."""
        return list(next(iter(self.sheet.values())).labels) if self.sheet else []


def write_slides(site: Site, slides: Slides) -> None:
    """Write the page."""
    context = {
        "cohort": slides.cohort,
        "facts": slide_facts(slides),
        "left_out_columns": columns(["slide", "stage", "reason"]),
        "left_out": [[record.slide, record.stage, reason_of(record)] for record in slides.left_out],
        "data": slides_data(slides),
        "csv": site.write_csv(f"slides-{slides.cohort}", slides_table(slides)),
    }
    site.write_page(page_name("slides", slides.cohort), "slides.html.j2", context, scripts=["slides.js"])


def slide_facts(slides: Slides) -> list[Fact]:
    """How many slides and regions there are, and how much tissue."""
    regions, areas = slides.region_counts, slides.tissue_areas
    per_slide = f"median {statistics.median(regions):g} per slide" if regions else ""
    return [
        ("slides used", count(len(slides.used)), f"of {count(len(slides.manifest))}"),
        ("left out", count(len(slides.left_out)), ""),
        ("patients", count(slides.n_patients), ""),
        ("regions used", count(sum(regions)), per_slide),
        ("tissue", f"{decimal(sum(areas), 1)} mm²" if areas else "unknown", ""),
    ]


def slides_data(slides: Slides) -> dict[str, Any]:
    """What the page's script reads: every slide, and of columns and fields those that some slide has a value in."""
    known = {key for record in slides.records for key, value in record if value is not None}
    filters = {name: filter_values(slides, name) for name in ["patient", *slides.columns]}
    pictures = slides.pictures or [""] * len(slides.manifest)
    return {
        "slides": [as_script_data(slides, *shown) for shown in zip(slides.manifest, pictures, strict=True)],
        "columns": [{"name": name, "values": values} for name, values in filters.items() if values != [""]],
        "numbers": {key: title for key, title in NUMBER_TITLES.items() if key in known},
        "texts": {key: title for key, title in TEXT_TITLES.items() if key in known},
        "hasPictures": bool(slides.pictures),
    }


def as_script_data(slides: Slides, row: ManifestRow, picture: str) -> dict[str, Any]:
    """A slide as the page's script reads it."""
    record = row.record
    shown = {key: getattr(record, key) for key in (*NUMBER_TITLES, *TEXT_TITLES) if getattr(record, key) is not None}
    return {
        "slide": record.slide,
        "used": row.used,
        "stage": record.stage,
        "reason": reason_of(record),
        "picture": picture,
        "labels": slides.columns_of(record.slide),
        "conflict": conflict(record),
        **shown,
    }


def filter_values(slides: Slides, column: str) -> list[str]:
    """The values of a column in order, to choose from; none where there are too many."""
    of_slides = (slides.columns_of(record.slide).get(column, "") for record in slides.records)
    values = sorted(set(of_slides))
    return values if len(values) <= MANY_VALUES else []


def reason_of(record: SlideRecord) -> str:
    """Why a slide is left out, without its name in front."""
    return record.reason.removeprefix(f"slide {record.slide}: ")


def conflict(record: SlideRecord) -> str:
    """How sheet and file disagree on the resolution; empty: they do not."""
    if not record.mpp_conflict:
        return ""
    if not record.file_mpp:
        return "sheet and file differ"
    return f"sheet says {record.slide_mpp:g} µm/px, file {record.file_mpp:g}"


def slides_table(slides: Slides) -> Rows:
    """Everything the page shows."""
    keys = [*NUMBER_TITLES, *TEXT_TITLES, "mpp_conflict", "file_mpp"]
    labels = ["patient", *slides.columns]
    yield ["slide", "used", "stage", "reason", *labels, *keys]
    for row in slides.manifest:
        record, of_slide = row.record, slides.columns_of(row.record.slide)
        facts = ("" if getattr(record, key) is None else getattr(record, key) for key in keys)
        values = (of_slide.get(column, "") for column in labels)
        yield [record.slide, int(row.used), record.stage, record.reason, *values, *facts]


COHORT_COLUMNS = columns(
    ["cohort"],
    [
        *("slides", "used", "left out", "patients", "regions"),
        *("regions per slide (least · median · most)", "tissue, mm²", "µm/px"),
    ],
)


def cohort_row(slides: Slides) -> list[str]:
    """A cohort as a line of the summary."""
    regions, areas = slides.region_counts, slides.tissue_areas
    resolutions = sorted({record.slide_mpp for record in slides.used if record.slide_mpp is not None})
    counts = (len(slides.manifest), len(slides.used), len(slides.left_out), slides.n_patients, sum(regions))
    return [
        slides.cohort,
        *map(count, counts),
        f"{min(regions)} · {statistics.median(regions):g} · {max(regions)}" if regions else "–",
        decimal(sum(areas), 1) if areas else "–",
        "–".join(dict.fromkeys(f"{mpp:.3g}" for mpp in (resolutions[:1] + resolutions[-1:]))) or "–",
    ]


def warnings_of(slides: Slides) -> list[str]:
    """What a reader should know before trusting the slides."""
    n_conflicts = sum(bool(record.mpp_conflict) for record in slides.records)
    n_damaged = sum(bool(record.n_invalid or record.n_unreadable) for record in slides.used)
    warnings = {
        "slide": (n_conflicts, "sheet and file differ in resolution by more than 5 %."),
        "used slide": (n_damaged, "parts cannot be decoded and are left out."),
    }
    return [f"{plural(n, what)} of {slides.cohort}: {text}" for what, (n, text) in warnings.items() if n]
