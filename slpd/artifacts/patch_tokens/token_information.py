"""Whether tokens made elsewhere hold what they seem to: files of killed jobs have the right shape and hold nothing.

A *zero* region was never written. A *constant* one has a single token, and one that *repeats* another has all tokens of
one before: neither can be tissue. A *lost* one varies by less than float16, in which tokens are kept, can express.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

MOST_LOST = 0.05  # of a region's variation, by rounding to float16: 0.0003 where values are near their deviations

ZERO, CONSTANT, REPEATED = "hold zeros alone", "hold one token throughout", "repeat another region"
LOST = "vary by less than float16 can express"


class TokenInformation:
    """What the tokens of a slide hold, gathered as its regions pass.

    Attributes:
        n_zero_tokens: Tokens of zeros alone in regions that have others: background that was masked, or never written.
    """

    def __init__(self) -> None:
        self.n_regions = self.n_tokens = self.n_zero_tokens = 0
        self._counts = dict.fromkeys((ZERO, CONSTANT, REPEATED, LOST), 0)
        self._known: set[bytes] = set()
        self._content = hashlib.sha256()

    def add(self, tokens: NDArray[np.floating], half: NDArray[np.float16]) -> None:
        """Look at a region.

        Args:
            tokens: (P, D) as the file has them, finite; without absent patches.
            half: (P, D) as they are kept.
        """
        digest = hashlib.sha256(half.tobytes()).digest()
        self._content.update(digest)
        self.n_regions += 1
        self.n_tokens += len(tokens)
        if fault := self._fault_of(tokens, half, digest):
            self._counts[fault] += 1
        else:
            self.n_zero_tokens += int((~tokens.any(axis=1)).sum())
        self._known.add(digest)

    def _fault_of(self, tokens: NDArray[np.floating], half: NDArray[np.float16], digest: bytes) -> str:
        if not tokens.any():
            return ZERO
        if len(tokens) > 1 and (tokens == tokens[0]).all():
            return CONSTANT
        if len(tokens) > 1 and half is not tokens and lost_share(tokens, half) > MOST_LOST:
            return LOST
        return REPEATED if digest in self._known else ""

    @property
    def faults(self) -> str:
        """How many regions hold no information, for people; empty: all hold some."""
        return ", ".join(f"{n} of {self.n_regions} regions {fault}" for fault, n in self._counts.items() if n)

    @property
    def digest(self) -> str:
        """SHA-256 of the tokens as they are kept, whatever file they come in."""
        return self._content.hexdigest()


def lost_share(tokens: NDArray[np.floating], half: NDArray[np.float16]) -> float:
    """What rounding takes of a region's variation: root mean square of the error over that of the deviations.

    Args:
        tokens: (P, D) not all equal.
        half: (P, D) the same, rounded.
    """
    exact = tokens.astype(np.float64)
    error, deviation = exact - half, exact - exact.mean(axis=0)
    return float(np.sqrt((error**2).mean() / (deviation**2).mean()))
