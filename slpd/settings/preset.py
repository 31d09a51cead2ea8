"""Where the paper and the released code differ, a value is written once for each; the preset chooses."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from slpd.errors import UserError
from slpd.settings.section import entry_key

Preset = Literal["paper", "released"]
PRESETS = get_args(Preset)


def with_preset(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every `{paper: ..., released: ...}` replaced by the value of its `preset`.

    Raises:
        UserError: `preset` is missing or no preset, or a value is given for one preset alone.
    """
    preset = config.get("preset")
    if preset not in PRESETS:
        given = f"{preset!r}" if "preset" in config else "missing"
        raise UserError(f"config.preset: {given}; it is {' or '.join(PRESETS)}, as config/config.yaml explains")
    return {key: chosen(value, str(preset), f"config.{key}") for key, value in config.items()}


def chosen(value: Any, preset: str, where: str) -> Any:  # noqa: ANN401  # any YAML value
    """A value, or the part of it for one preset."""
    if isinstance(value, list):
        return [chosen(entry, preset, f"{where}.{entry_key(entry, place)}") for place, entry in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if not value.keys() & set(PRESETS):
        return {key: chosen(inner, preset, f"{where}.{key}") for key, inner in value.items()}
    others = [str(key) for key in value if key not in PRESETS]
    given = " and ".join(key for key in PRESETS if key in value)
    if others:
        raise UserError(
            f"{where}: {given} cannot stand beside {', '.join(others)}: as a key it is the value under that preset;"
            " rename it"
        )
    if value.keys() != set(PRESETS):
        raise UserError(f"{where}: given for {given}; give one value, or one each for {' and '.join(PRESETS)}")
    return value[preset]
