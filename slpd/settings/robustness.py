"""Settings of robustness: what vectors should not depend on, and how that is measured."""

from typing import Self

from pydantic import Field, model_validator

from slpd.settings.section import Section, Seed


class Robustness(Section):
    """Whether vectors are nearer to those of their class or of their site."""

    confounders: list[str] = Field(
        description="columns of the sheet that vectors should not depend on, as site and scanner; `site` is read from"
        " TCGA's barcodes where no column has this name; empty: nothing is measured"
    )
    neighbours: list[int] = Field(
        min_length=1,
        description="nearest neighbours in the robustness index; of several numbers the one with the best balanced"
        " accuracy of nearest neighbours for the class",
    )
    margin_neighbours: int = Field(ge=1, description="nearest neighbours of either kind in the margin CRoMa")
    regions: int = Field(ge=0, description="region vectors that are drawn, equally many of each slide; 0: slides alone")
    seed: Seed = Field(description="seed of the drawn regions")

    @model_validator(mode="after")
    def lists_make_sense(self) -> Self:
        """Confounders are listed once, numbers of neighbours are positive."""
        if len(set(self.confounders)) < len(self.confounders):
            raise ValueError(f"confounders: {', '.join(self.confounders)} has a column twice; list every column once")
        if min(self.neighbours) < 1:
            raise ValueError(f"neighbours: {self.neighbours} has a number below 1")
        return self
