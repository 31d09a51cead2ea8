"""Settings of how jobs work. They change no result, so editing them repeats nothing."""

from typing import Literal

from pydantic import Field

from slpd.settings.section import Section

TokenPlace = Literal["auto", "device", "host", "disk"]
AttentionBackend = Literal["auto", "short", "flash", "cudnn", "efficient"]


class Jobs(Section):
    """`encode_patches`, `pretrain_dino`, `distill_slpd`: memory, disk and checkpoints."""

    batch_patches: int = Field(gt=0, description="patches encoded at a time")
    copy_to: str | None = Field(min_length=1, description="folder a slide is copied to while it is read; null: none")
    shared_tokens: str | None = Field(
        min_length=1, description="folder through which experiments share patch tokens; null: none"
    )
    tokens: TokenPlace = Field(description="where training keeps patch tokens; auto: the first in which they fit")
    regions_at_once: int | None = Field(
        gt=0, description="most regions of a batch whose activations are held together; null: as many as fit"
    )
    iterations_per_job: int | None = Field(
        gt=0, description="iterations that a job of distill_slpd trains, one after another; null: all of them"
    )
    attention: AttentionBackend = Field(
        description="kernels of attention when training on a GPU; auto: the fastest, measured when a job starts"
    )
    checkpoint_minutes: float = Field(gt=0, description="minutes between two resume checkpoints")
