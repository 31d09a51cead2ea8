"""The result of a check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check, printed as a line."""

    check: str
    good: bool
    found: str
    remedy: str = ""  # what to do; a good finding may have one too

    def __str__(self) -> str:
        """The line."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{'ok' if self.good else 'PROBLEM':8}{self.check}: {self.found}{remedy}"
