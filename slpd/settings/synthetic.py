"""Settings of synthetic cohorts: the content of a `make_cohort` config file, one of two kinds."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from slpd.settings.section import SHEET_COLUMNS, Fraction, Name, Section, Seed


def no_sheet_column(name: str) -> str:
    """Refuse a label column that would replace a column of the sheet."""
    if name in SHEET_COLUMNS:
        raise ValueError(f"a label column cannot be called {', '.join(SHEET_COLUMNS)}")
    return name


Kind = Literal["stroma", "lymphoid", "gland", "tumour", "necrosis", "fat"]
Flaw = Literal["pen", "blur", "padding"]
Spread = Annotated[float, Field(ge=0, le=0.5)]
WideSpread = Annotated[float, Field(ge=0, le=1)]  # of strengths, which do not change how much stain there is


class ProceduralCohort(Section):
    """Slides with tissue drawn from scratch. The kinds that occur together carry the class."""

    kind: Literal["procedural"]
    seed: Seed = Field(description="seed of the whole cohort")
    label: Name = Field(description="label column of the sheet")
    classes: dict[Name, Annotated[list[tuple[Kind, Kind]], Field(min_length=1)]] = Field(
        min_length=2,
        description="class -> pairs of kinds, one of which a patient shows; the first kind is more frequent",
    )
    common: list[Kind] = Field(min_length=1, description="kinds of all classes, one of which a patient shows")
    common_share: Fraction = Field(description="share of the tissue that is of the common kind, mean over patients")
    tilt: float = Field(
        ge=0, lt=0.5, description="the kinds of a pair have shares 0.5 + tilt and 0.5 - tilt of the rest"
    )
    spread: Spread = Field(description="standard deviation of both shares between patients")
    territory_um: float = Field(gt=0, description="length over which a kind is correlated: more than a region's side")
    parcel_um: float = Field(ge=4, description="side of the squares that hold one kind each: a multiple of 4 µm")
    look_spread: Spread = Field(
        description="how a kind differs between patients: standard deviation of the log of stain, size and spacing"
    )
    uneven_spread: Spread = Field(
        description="how a section differs from place to place: standard deviation of the logarithm of each stain"
    )
    uneven_um: float = Field(gt=0, description="length over which these differences are correlated")
    grain: Spread = Field(
        description="grain of the tissue: standard deviation of the logarithm of both stains by one of its 24 waves"
    )
    grain_of_kinds: WideSpread = Field(
        description="standard deviation, between kinds, of the logarithm of how strong a wave is"
    )
    grain_of_patients: WideSpread = Field(description="the same of one kind between patients")
    grain_of_slides: WideSpread = Field(description="the same of all kinds between slides")
    grain_of_parcels: WideSpread = Field(description="the same between parcels")
    stain_spread: Spread = Field(description="largest relative deviation of a slide's stain strengths")
    scanners: list[Name] = Field(min_length=1, description="column `scanner`: each has an equal share of every class")
    scanner_spread: Spread = Field(description="standard deviation of the logarithm of a scanner's optical densities")
    patients_per_class: int = Field(gt=0, description="patients of each class")
    second_slides_per_class: int = Field(ge=0, description="patients of each class that have a second slide")
    width_um: float = Field(ge=200, description="width of a slide, µm")
    height_um: float = Field(ge=200, description="height of a slide, µm")
    tissue_fraction: float = Field(gt=0, lt=0.9, description="share of a slide's area that is tissue")
    mpps: list[Annotated[float, Field(ge=0.1, le=0.5)]] = Field(
        min_length=1, description="resolutions that the slides of a class have in turn, µm/px"
    )
    slides_without_mpp: int = Field(ge=0, description="slides whose file lacks a resolution; the sheet supplies it")
    files_not_slides: int = Field(ge=0, description="further lines of the sheet whose file is not a slide")
    flaws: list[Flaw] = Field(description="faults of one slide each")
    jpeg_quality: int = Field(ge=50, le=100, description="quality of the JPEG compression")

    @model_validator(mode="after")
    def counts_fit(self) -> Self:
        """No patient has only a second slide; only slides that exist can lack a resolution."""
        no_sheet_column(self.label)
        if self.second_slides_per_class > self.patients_per_class:
            raise ValueError("second_slides_per_class cannot exceed patients_per_class")
        n_slides = len(self.classes) * (self.patients_per_class + self.second_slides_per_class)
        if self.slides_without_mpp > n_slides:
            raise ValueError(f"slides_without_mpp cannot exceed the {n_slides} slides")
        if any(len({*pair, *self.common}) < 2 + len(self.common) for pairs in self.classes.values() for pair in pairs):
            raise ValueError("the kinds of a pair and the common ones must differ")
        return self


class TileCohort(Section):
    """Slides laid out of the tiles of a folder; no two slides or patients share a group of tiles."""

    kind: Literal["tiles"]
    seed: Seed = Field(description="seed of the whole cohort")
    folder: str = Field(description="folder with manifest.csv and the tiles")
    label: Name = Field(description="label column of the sheet")
    classes: dict[Name, dict[str, Annotated[int, Field(gt=0)]]] = Field(
        min_length=2, description="class -> label of tiles in the manifest -> groups of them in a slide"
    )
    slides_per_class: int = Field(gt=0, description="slides of each class")
    tile_px: int = Field(ge=16, description="side of a tile, px")
    mpp: float = Field(ge=0.1, le=10, description="resolution given to the slides, µm/px")
    jpeg_quality: int = Field(ge=50, le=100, description="quality of the JPEG compression")

    @field_validator("label")
    @classmethod
    def is_no_sheet_column(cls, label: str) -> str:
        """The sheet keeps its columns."""
        return no_sheet_column(label)


Cohort = ProceduralCohort | TileCohort

COHORTS: dict[str, type[Cohort]] = {"procedural": ProceduralCohort, "tiles": TileCohort}  # by the key `kind`
