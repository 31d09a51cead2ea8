"""What a checkpoint belongs to: the settings and the cohort that shaped it, as flat keys for comparison."""

from slpd.artifacts.learned.checkpoint import Identity
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.settings.section import Section
from slpd.settings.training import RegionEncoder, Training
from slpd.versions import RESULT_VERSIONS


def result_version(stage: str) -> Identity:
    """The version of a stage's results: unfinished work of another one is not continued."""
    return {f"result version of {stage}": RESULT_VERSIONS[stage]}


def experiment_identity(encoder: RegionEncoder, training: Training, cohort: CohortTokens) -> Identity:
    """Settings and cohort of a training stage."""
    counts = (cohort.offsets[1:] - cohort.offsets[:-1]).tolist()
    slides = zip(cohort.slides, counts, cohort.fingerprints, strict=True)
    return {
        **section_identity("region_encoder", encoder),
        **section_identity("training", training),
        **{f"slide {slide}": f"{count} regions, tokens {tokens[:12]}" for slide, count, tokens in slides},
    }


def section_identity(name: str, section: Section) -> Identity:
    """The settings of a section."""
    return {f"{name}.{key}": value for key, value in section.model_dump().items()}
