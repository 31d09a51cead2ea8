"""Settings of the report."""

from pydantic import Field

from slpd.settings.section import Name, Section, Seed


class Report(Section):
    """What the report shows beyond tables and training curves."""

    variants: list[Name] | None = Field(
        description="variants with pages of prototypes, slide graph and attention; null: of each cohort the first with"
        " both prototype terms, else the first with one"
    )
    picture_px: int = Field(ge=32, le=1024, description="side of a region's picture, pixels")
    nearest_regions: int = Field(ge=1, le=64, description="regions shown as pictures per prototype, nearest first")
    cases: int = Field(ge=1, le=100, description="best and worst classified slides shown with their regions")
    permutations: int = Field(ge=99, description="permutations of a test whether neighbours share more than by chance")
    perplexity: float = Field(
        gt=1, description="of the t-SNE maps: about the number of neighbours a point keeps; fewer where points are few"
    )
    seed: Seed = Field(description="seed of maps and permutations")
