"""What a region encoder was trained with: the sections of the config as its variant and cohort have them."""

from slpd.settings.section import Name, Section
from slpd.settings.slides import PatchEncoder, Reading, Regions, Tissue
from slpd.settings.training import Objective, Prototypes, RegionEncoder, SlideGraph, Training


class Recipe(Section):
    """All settings that shaped a variant's region encoder on a cohort."""

    experiment: Name
    cohort: Name
    variant: Name
    tissue: Tissue
    regions: Regions
    reading: Reading
    min_sharpness: float  # of `manifest`
    patch_encoder: PatchEncoder
    region_encoder: RegionEncoder
    training: Training
    objective: Objective
    prototypes: Prototypes | None  # None: no term of the objective needs them
    slide_graph: SlideGraph | None  # None: no term needs one
