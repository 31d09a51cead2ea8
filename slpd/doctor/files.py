"""Checks of the files that an experiment reads: every slide, and weights with their hashes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from slpd.artifacts.slides.sheet import is_token_file
from slpd.artifacts.slides.slide_files import files_of
from slpd.doctor.finding import Finding
from slpd.errors import UserError

THREADS = 16  # slides are on a network file system
SHOWN = 5


def file_findings(config: Mapping[str, Any], slides: Sequence[str]) -> Iterator[Finding]:
    """One finding for all slides, and one per weights file."""
    yield readable(slides)
    encoder = config["patch_encoder"]
    if encoder["checkpoint"] and not all(map(is_token_file, slides)):
        yield weights("patch_encoder.checkpoint", encoder["checkpoint"], encoder["sha256"])
    for variant in config["variants"]:
        if variant["pretrained"]:
            given = variant["pretrained"]
            yield weights(f"variants.{variant['name']}.pretrained", given["checkpoint"], given["sha256"])


def readable(slides: Sequence[str]) -> Finding:
    """Check that every slide can be opened and read."""
    with ThreadPoolExecutor(THREADS) as pool:
        faults = [fault for fault in pool.map(fault_of, slides) if fault]
    if not faults:
        return Finding("slides", True, f"all {len(slides)} can be read")
    more = f", and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    shown = ", ".join(faults[:SHOWN])
    return Finding("slides", False, f"{len(faults)} of {len(slides)} cannot be read: {shown}{more}", "mend access")


def fault_of(path: str) -> str:
    """Why a slide cannot be read; empty if it can."""
    try:
        for part in files_of(Path(path)):
            with open(part, "rb") as file:
                if not file.read(1):
                    return f"{part} (empty)"
        return ""
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{path} ({error.strerror})"


def weights(key: str, path: str | None, sha256: str) -> Finding:
    """Check that a weights file has the SHA-256 that the config states."""
    if path is None:
        return Finding(key, True, "null: not at hand, and tables say so")
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return Finding(key, False, f"{path}: {error.strerror}", "put the weights there, or correct the path")
    if found != sha256:
        return Finding(key, False, f"{path}: its SHA-256 is {found}, expected {sha256}", "get the right file")
    return Finding(key, True, f"{Path(path).name} has the expected SHA-256")
