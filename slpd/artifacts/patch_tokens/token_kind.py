"""Of what kind the tokens in a file are: what must agree between slides that one encoder or one head is to read."""

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from slpd.artifacts.patch_tokens.token_file import open_tokens, stated_source


class TokenKind(BaseModel):
    """None: the file does not say, as most files that other programs made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str | None  # of patches, by name
    encoder_sha256: str | None  # of its weights file
    patch_px: int | None
    region_px: int | None
    requested_mpp: float | None  # µm per pixel
    grid: int  # side of a region, patches
    token_width: int

    def differences(self, other: "TokenKind") -> list[str]:
        """What differs in `other`, for people: `region_px is 512, expected 4096`.

        What one of them does not state is no difference, but for the encoder's hash: without it nobody knows.
        """
        pairs = ((name, getattr(other, name), expected) for name, expected in self)
        return [
            f"{name} is {stated(value)}, expected {stated(expected)}"
            for name, value, expected in pairs
            if value != expected and (name == "encoder_sha256" or None not in (value, expected))
        ]


def stated(value: object) -> str:
    """A value for messages."""
    return "not stated" if value is None else str(value)


def read_token_kind(path: Path) -> TokenKind:
    """Of what kind the tokens in a file are.

    Raises:
        UserError: the file is no token file.
    """
    with open_tokens(path) as file:
        _, n_patches, width = file["features"].shape
        source = stated_source(file)
    stated_fields = set(TokenKind.model_fields) - {"grid", "token_width"}
    return TokenKind(
        **{name: source.get(name) for name in stated_fields}, grid=math.isqrt(n_patches), token_width=width
    )
