"""Digest of a cohort's used slides (`used.txt`): equal where training would read the same tokens.

The manifest changes with slides that are left out. Stages that read used slides alone depend on this file in its place.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.artifacts.checksums import stated_checksums
from slpd.artifacts.patch_tokens.token_file import read_source
from slpd.artifacts.slides.manifest import ManifestRow


def write_used(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the digest of a manifest's used slides, in order of slide id."""
    used = sorted((described(row) for row in rows if row.used), key=lambda words: str(words[0]))
    digest = hashlib.sha256(json.dumps(used).encode()).hexdigest()
    write_text(path, f"{len(used)} slides, digest {digest}\n")


def described(row: ManifestRow) -> list[object]:
    """All of a used slide that later stages read. Its tokens: by checksum, those of earlier releases by fingerprint."""
    tokens, record = row.tokens or Path(), row.record
    values = stated_checksums(tokens) or read_source(tokens).fingerprint
    # The threshold of sharpness does not count, only how many regions pass it, which says which.
    return [record.slide, str(tokens), values, record.n_regions, record.slide_mpp]
