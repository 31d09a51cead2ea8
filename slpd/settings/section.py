"""What every config section shares: unknown keys refused, values frozen, passed to stages as JSON."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slpd.errors import UserError

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # becomes part of file names

Name = Annotated[str, Field(pattern=SAFE_NAME, max_length=120)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A section of the config."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The section from a rule's JSON param.

        Raises:
            UserError: a key is unknown, missing or out of range; the message names it.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(describe(error, cls.__name__)) from error


def describe(error: ValidationError, where: str) -> str:
    """The first fault of a validation error in one line: key, value, what was expected."""
    fault = error.errors()[0]
    key = ".".join([where, *(str(part) for part in fault["loc"])])
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key; see config/config.yaml for the keys of this section"
    if fault["type"] == "missing":
        return f"{key}: missing; see config/config.yaml for its meaning and a value"
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]} (it is {fault['input']!r})"
