"""Settings of how jobs do their work. They change no result, so editing them runs nothing again."""

from pydantic import Field

from slpd.settings.section import Section


class Jobs(Section):
    """`encode_patches`, `pretrain_dino`, `distill_slpd`: memory, disk and checkpoints."""

    batch_patches: int = Field(gt=0, description="patches encoded at a time")
    copy_to: str | None = Field(min_length=1, description="folder a slide is copied to while it is read; null: none")
    checkpoint_minutes: float = Field(gt=0, description="minutes between two resume checkpoints")
