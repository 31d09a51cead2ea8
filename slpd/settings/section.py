"""What every config section shares: unknown keys refused, values frozen, passed to stages as JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Protocol, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from slpd.errors import UserError

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # becomes part of file names
MASK_SUFFIXES = (".png", ".geojson", ".json")  # of masks from elsewhere
SHEET_COLUMNS = ("slide", "path", "patient", "mpp")  # of every cohort sheet; the rest of its columns are labels

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
        section: Self = checked_json(cls, text, cls.__name__)
        return section


class Named(Protocol):
    """An entry of a list of the config."""

    @property
    def name(self) -> str:
        """Its name."""


Entry = TypeVar("Entry", bound=Named)


def named(entries: Sequence[Entry], name: str) -> Entry:
    """The entry with a name that must exist."""
    return next(entry for entry in entries if entry.name == name)


def checked_json(kind: Any, text: str, where: str) -> Any:  # noqa: ANN401  # any annotation, and what is of it
    """What a JSON text holds, checked against a type.

    Args:
        kind: A section, or a type of sections such as `list[Task]`.
        text: The JSON.
        where: The key that messages begin with.

    Raises:
        UserError: a key is unknown, missing or out of range; the message names it.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        is_json = error.errors()[0]["type"] != "json_invalid"
        raise UserError(first_fault(error, kind, where, json.loads(text) if is_json else None)) from error


def first_fault(error: ValidationError, kind: object, where: str, given: object) -> str:
    """The first fault of a validation error in one line: key, value, what was expected.

    Args:
        error: The error.
        kind: The section that was asked for, or a type of sections.
        where: The key that the message begins with.
        given: What was checked.
    """
    fault = error.errors()[0]
    key = ".".join([where, *keys_of(fault["loc"], given)])
    match fault["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{suggestion(kind, fault['loc'])}; the files in config/ explain every key"
        case "missing":
            return f"{key}.{fault['loc'][-1]}: missing; the files in config/ explain it and have a value"
        case "union_tag_not_found":  # this key distinguishes entries of several kinds
            return f"{key}.kind: missing; the files in config/ explain it and have a value"
        case "union_tag_invalid":
            return f"{key}.kind: input should be one of {fault['ctx']['expected_tags']} (it is {fault['ctx']['tag']!r})"
    message = fault["msg"].removeprefix("Value error, ")
    value = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
    quotes = "; write it in quotes" if fault["type"] == "string_type" and is_unquoted(fault["input"]) else ""
    return f"{key}: {message[0].lower()}{message[1:]}{value}{quotes}"


def keys_of(location: Sequence[int | str], given: object) -> list[str]:
    """The keys of a fault as they are written: an entry of a list by its name, without pydantic's words for kinds."""
    keys = []
    for part in location:
        if isinstance(given, Mapping) and part in given:
            keys.append(str(part))
            given = given[part]
        elif isinstance(given, Sequence) and isinstance(part, int):
            keys.append(entry_key(given[part], part))
            given = given[part]
    return keys


def entry_key(entry: object, place: int) -> str:
    """What identifies an entry of a list: its name, or without a usable one its position."""
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) and re.search(SAFE_NAME, name) else str(place)


def is_unquoted(value: object) -> bool:
    """Whether YAML takes a text for something else: a number, a truth value, a date."""
    return value is not None and not isinstance(value, dict | list)


def suggestion(kind: object, location: Sequence[int | str]) -> str:
    """A likely spelling of an unknown key, as ", did you mean ...?", or nothing."""
    models = nested(kind)
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
