"""The JSON schema of a config file, made of the models: editors complete and check keys by it."""

from typing import Any, get_origin

from slpd.settings.experiment import Experiment
from slpd.settings.preset import PRESETS
from slpd.settings.section import nested
from slpd.settings.variant import SECTIONS


def config_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a config file, whole or with what differs from config/config.yaml.

    Mappings are merged key by key, so none of their keys is required; entries of lists are complete. A value of a
    section may be given once for each preset. What ties keys together (names, sizes) is checked when the workflow
    starts, not here.
    """
    schema = Experiment.model_json_schema()
    sections, models = schema["properties"], schema["$defs"]
    del schema["required"]
    for field in Experiment.model_fields.values():
        for model in nested(field.annotation) if get_origin(field.annotation) is not list else ():
            section = models[model.__name__]
            section.pop("required", None)
            section["properties"] = {key: given_for_presets(value) for key, value in section["properties"].items()}
    for entry, keys in {"Cohort": ("prototypes",), "Variant": SECTIONS}.items():
        for key in keys:  # what an entry changes of a section
            models[entry]["properties"][key] = sections[key]
    models["ForPresets"] = {
        "description": "a value for each preset",
        "type": "object",
        "properties": {preset: {} for preset in PRESETS},
        "required": list(PRESETS),
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def given_for_presets(value: dict[str, Any]) -> dict[str, Any]:
    """The schema of a key that has one value, or one for each preset."""
    said = {key: value[key] for key in ("title", "description") if key in value}
    plain = {key: part for key, part in value.items() if key not in said}
    return said | {"anyOf": [plain, {"$ref": "#/$defs/ForPresets"}]}
