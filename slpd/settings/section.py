"""What every config section shares: unknown keys refused, values frozen, passed to stages as JSON."""

from difflib import get_close_matches
from typing import Annotated, Self, get_args

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
            raise UserError(describe(error, cls, cls.__name__)) from error


def describe(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """The first fault of a validation error in one line: key, value, what was expected."""
    fault = error.errors()[0]
    key = ".".join([where, *(str(part) for part in fault["loc"])])
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key{suggestion(model, fault['loc'])}; the files in config/ explain every key"
    if fault["type"] == "missing":
        return f"{key}: missing; the files in config/ explain it and have a value"
    message = fault["msg"].removeprefix("Value error, ")
    value = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
    return f"{key}: {message[0].lower()}{message[1:]}{value}"


def suggestion(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """A likely spelling of an unknown key, as ", did you mean ...?", or nothing."""
    models = [model]
    for part in location[:-1]:
        models = [
            inner for m in models if part in m.model_fields for inner in nested(m.model_fields[part].annotation)
        ] or models
    keys = [key for m in models for key in m.model_fields]
    near = get_close_matches(str(location[-1]).lower(), keys, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def nested(annotation: object) -> list[type[BaseModel]]:
    """The models inside a type, as in `list[Task]` or `KnnHead | AbmilHead`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in nested(argument)]
