"""Layers of a model by their names, as cards of encoders give them: nothing of a config is ever evaluated."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm.layers
from torch import nn

SUFFIX = "_layer"  # of timm's arguments that take a class
HOMES = {"timm.layers": timm.layers, "torch.nn": nn}
TIMM_NAMES: dict[str, Any] = {  # arguments for which timm has names of its own
    "act_layer": timm.layers.get_act_layer,  # type: ignore[attr-defined]
    "norm_layer": timm.layers.get_norm_layer,  # type: ignore[attr-defined]
}


def layers_by_name(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a timm model with classes in place of the names of layers: `mlp_layer`, `act_layer`, ...

    Raises:
        ValueError: no layer has the name.
    """
    return {
        key: layer_of(key, value) if key.endswith(SUFFIX) and isinstance(value, str) else value
        for key, value in arguments.items()
    }


def layer_of(argument: str, name: str) -> Any:  # noqa: ANN401  # a class, or timm's function that makes a layer
    """The layer of timm.layers or torch.nn with a name, plain or after its module; else timm's of a short name."""
    home, _, short = name.rpartition(".")
    classes = {
        key: layer
        for module, content in HOMES.items()
        if home in ("", module)
        for key, layer in vars(content).items()
        if is_layer(layer)
    }
    if short in classes:
        return classes[short]
    try:
        return TIMM_NAMES[argument](name)
    except (KeyError, AttributeError, AssertionError):
        near = get_close_matches(short, classes, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise ValueError(f"{argument}: timm.layers and torch.nn have no layer {name!r}{hint}") from None


def is_layer(value: object) -> bool:
    """Whether something makes a layer: a class, or one with some arguments set, as timm has SwiGLUPacked."""
    maker = value.func if isinstance(value, partial) else value
    return isinstance(maker, type) and issubclass(maker, nn.Module)
