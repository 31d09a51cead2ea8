"""Settings from slide to patch tokens: tissue, regions, patch encoder, manifest."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from slpd.settings.section import Fraction, Section, Seed

ON_GPU = {"nvjpeg", "cucim_gpu"}  # readers whose pixels are near those of OpenSlide, not equal
Positive = Annotated[float, Field(gt=0)]


class Tissue(Section):
    """`segment_tissue`: where the tissue is."""

    mpp: float = Field(ge=2, le=32, description="resolution at which tissue is detected, µm/px; made for 8")
    min_area_mm2: float = Field(ge=0, description="smaller pieces of tissue are dropped, mm²")
    min_hole_mm2: float = Field(ge=0, description="smaller holes in tissue are filled, mm²")


class Regions(Section):
    """`tile_regions`: the grid of square regions."""

    mpp: float = Field(ge=0.1, le=10, description="resolution regions are read at, µm/px")
    region_px: int = Field(gt=0, description="side of a region at `mpp`, px")
    min_tissue: Fraction = Field(description="least share of a region that is tissue, or patches of features")
    max_pen: Fraction = Field(description="largest share of a region's area under pen marks")
    max_padding: Fraction = Field(description="largest share of a region's area that was not scanned: black or white")


class Reading(Section):
    """`encode_patches`: how pixels are read."""

    reader: Literal["auto", "nvjpeg", "cucim_gpu", "cucim", "openslide"] = Field(
        description="auto: the first of the others that reads a slide as OpenSlide does; nvjpeg and cucim_gpu on a GPU"
    )


DOWNLOADED = ("hf-hub:", "hf_hub:")  # what timm's names of models that it fetches begin with

ON_DISK = "local-dir:"  # timm's, before a folder


RANDOM = "random-"  # begins what random weights are known by


class PatchEncoderSettings(Section):
    """`encode_patches`: the frozen encoder of patches."""

    model: str = Field(description="timm model name, or local-dir: and a folder with the config.json of timm's hub")
    # Sorted by name, so that another order in the config repeats nothing.
    arguments: Annotated[dict[str, Any], AfterValidator(lambda given: dict(sorted(given.items())))] = Field(
        description="keyword arguments of timm.create_model; layers by their names in timm.layers or torch.nn;"
        " num_classes: a token is what the last, linear layer gives"
    )
    pooling: Literal["model", "class_and_mean", "attention"] = Field(
        description="patch token. model: what the timm model gives; class_and_mean: class token, then mean of the"
        " others; attention: CONCH's contrastive pool"
    )
    checkpoint: str | None = Field(description="weights file; null: random weights drawn from `seed`")
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the weights file")
    seed: Seed = Field(description="seed of random weights")
    patch_px: int = Field(gt=0, description="side of a patch, px")
    mean: tuple[float, float, float] = Field(description="RGB mean of the input normalisation, 0-1")
    std: tuple[Positive, Positive, Positive] = Field(
        description="RGB standard deviation of the input normalisation, 0-1"
    )

    @field_validator("model")
    @classmethod
    def is_at_hand(cls, model: str) -> str:
        """Jobs download nothing."""
        for scheme in DOWNLOADED:
            if model.startswith(scheme):
                page = f"https://huggingface.co/{model.removeprefix(scheme)}"
                raise ValueError(
                    f"jobs download nothing; fetch pytorch_model.bin or model.safetensors of {page} yourself, give its"
                    " path as checkpoint, and name the `architecture` of config.json there;"
                    " config/encoders has files for many encoders"
                )
        return model

    @property
    def folder(self) -> str | None:
        """The folder whose config.json names the model, if `local-dir:` does."""
        return self.model.removeprefix(ON_DISK) if self.model.startswith(ON_DISK) else None

    @property
    def weights(self) -> str:
        """What the weights are known by: the SHA-256 of their file, or `random-<seed>`."""
        return self.sha256 or f"{RANDOM}{self.seed}"

    @model_validator(mode="after")
    def linear_layer_is_used(self) -> "PatchEncoderSettings":
        """Other poolings take their tokens before the model's last layer."""
        if self.arguments.get("num_classes") and self.pooling != "model":
            raise ValueError(f"pooling {self.pooling} leaves out the layer that num_classes adds; set pooling: model")
        return self

    @model_validator(mode="after")
    def weights_are_identified(self) -> "PatchEncoderSettings":
        """A checkpoint comes with its hash, random weights without one."""
        if (self.checkpoint is None) != (self.sha256 is None):
            raise ValueError(
                "checkpoint and sha256 are given together, or both are null; sha256sum prints the SHA-256 of a file"
            )
        return self


class Manifest(Section):
    """`cohort_manifest`: which regions are used, and how many slides may fail."""

    max_failed_fraction: Fraction = Field(description="largest share of a cohort's slides that may fail")
    min_sharpness: float = Field(
        ge=0, description="least standard deviation of the Laplacian of optical density; 0 keeps blurred regions"
    )
