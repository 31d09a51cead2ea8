"""Settings of synthetic cohorts: the content of a `make_cohort` config file, one of two kinds."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from slpd.settings.section import SHEET_COLUMNS, Fraction, Name, Section, Seed


def no_sheet_column(name: str) -> str:
    """Refuse a label column that would replace a column of the sheet."""
    if name in SHEET_COLUMNS:
        raise ValueError(f"a label column cannot be called {', '.join(SHEET_COLUMNS)}")
    return name


class ProceduralClass(Section):
    """How a class of the procedural cohort differs from others: means over its patients."""

    glands: Fraction = Field(description="share of the epithelium that forms glands instead of solid tumour")
    infiltration: Fraction = Field(description="share of the lymphoid tissue that lies along the epithelium")


class ProceduralCohort(Section):
    """Slides with tissue drawn from scratch."""

    kind: Literal["procedural"]
    seed: Seed = Field(description="seed of the whole cohort")
    label: Name = Field(description="label column of the sheet")
    classes: dict[Name, ProceduralClass] = Field(min_length=2, description="class name -> how its tissue is mixed")
    spread: Fraction = Field(description="standard deviation between patients of these means")
    stain_spread: float = Field(ge=0, le=0.5, description="largest relative deviation of a slide's stain strengths")
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
        return self


class TileCohort(Section):
    """Slides laid out of the tiles of a folder; no two slides or patients share a group of tiles."""

    kind: Literal["tiles"]
    seed: Seed = Field(description="seed of the whole cohort")
    folder: str = Field(description="folder with manifest.csv and the tiles")
    label: Name = Field(description="label column of the sheet")
    classes: dict[Name, str] = Field(min_length=2, description="class name -> its tiles' label in the manifest")
    benign: str = Field(description="label in the manifest of the benign tiles, which every slide gets some of")
    slides_per_class: int = Field(gt=0, description="slides of each class")
    groups_per_slide: int = Field(gt=0, description="groups of tiles of the class in a slide")
    benign_groups_per_slide: int = Field(ge=0, description="groups of benign tiles in a slide")
    tile_px: int = Field(ge=16, description="side of a tile, px")
    mpp: float = Field(ge=0.1, le=10, description="resolution given to the slides, µm/px")
    jpeg_quality: int = Field(ge=50, le=100, description="quality of the JPEG compression")

    @model_validator(mode="after")
    def labels_differ(self) -> Self:
        """A tile belongs to one class, or is benign."""
        no_sheet_column(self.label)
        labels = [*self.classes.values(), self.benign]
        if len(set(labels)) < len(labels):
            raise ValueError("every class and benign must name a different label of the manifest")
        return self


Cohort = ProceduralCohort | TileCohort

COHORTS: dict[str, type[Cohort]] = {"procedural": ProceduralCohort, "tiles": TileCohort}  # by the key `kind`
