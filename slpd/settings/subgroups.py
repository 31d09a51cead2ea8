"""Settings of subgroups: by which columns of the sheet test cases are parted, and which parts have figures."""

from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from slpd.settings.section import Section, Seed


class SubgroupColumn(Section):
    """A column of the sheet that parts test cases."""

    column: str = Field(
        min_length=1,
        description="column of the sheet; `site` is read from TCGA's barcodes where no column has this name",
    )
    edges: list[float] = Field(
        default=[],
        description="where bands of a column of numbers begin: [50, 65] gives below 50, 50 to below 65, 65 and above;"
        " empty: every value is a group",
    )

    @model_validator(mode="after")
    def edges_rise(self) -> Self:
        """Every edge is above the one before."""
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges: {self.edges} do not rise; list them from low to high, each once")
        return self


class Subgroups(Section):
    """Metrics of every evaluation for parts of its test cases, and tests of the gaps between them."""

    columns: list[SubgroupColumn] = Field(description="what parts the test cases; empty: nothing")
    min_patients: int = Field(ge=2, description="patients that a group needs for figures; smaller ones are only named")
    permutations: int = Field(ge=99, description="permutations in the test of the largest gap")
    seed: Seed = Field(description="seed of permutations and of the resamples of a group's patients")

    @model_validator(mode="after")
    def columns_are_distinct(self) -> Self:
        """Every column is listed once."""
        names = [entry.column for entry in self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"columns: {', '.join(names)} has a column twice; list every column once")
        return self
