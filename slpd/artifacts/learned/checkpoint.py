"""Training checkpoints (`checkpoint.pt` of the warm-up, `state.pt` of a variant, `*.resume` while the warm-up runs).

identity: key -> value, what the checkpoint belongs to: settings, cohort, epochs trained.
learner: student, teacher, loss (both centres) and optimiser, as tensors by name.
progress: where training is; not in the warm-up's `checkpoint.pt`, which is at its end.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.disk import raise_if_away
from slpd.errors import UserError

Identity = dict[str, str | int | float]


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint; equal content gives equal bytes."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        torch.save(dict(checkpoint), file)  # to a file object: given a path, torch stores its name


def read_checkpoint(path: Path, device: torch.device, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint, its tensors on `device`; executes no code from the file.

    Args:
        path: The file.
        device: Where its tensors go.
        mapped: Read what is used when it is used; for a look at a file of which little is needed.

    Raises:
        UserError: the file is missing, damaged, or no checkpoint of ours.
        OSError: its disk is away.
    """
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise_if_away(path, error)
        reason = str(error).splitlines()[0]  # a file of another kind can trip the unpickler anywhere
        raise UserError(f"checkpoint {path}: cannot be read ({reason}); run the stage that makes it again") from error
    if not isinstance(checkpoint, dict) or not {"identity", "learner"} <= checkpoint.keys():
        raise UserError(f"checkpoint {path}: not a training checkpoint of this pipeline")
    return checkpoint


def differences(saved: Identity, expected: Identity) -> list[str]:
    """The keys in which two identities differ, with both values, for messages."""
    return [
        f"{key} ({saved.get(key, 'nothing')} there, {expected.get(key, 'nothing')} here)"
        for key in sorted(saved.keys() | expected.keys())
        if saved.get(key) != expected.get(key)
    ]
