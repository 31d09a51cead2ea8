"""What a check found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line."""

    check: str
    good: bool
    found: str
    remedy: str = ""  # what to do; also of a good finding that has a limit

    def __str__(self) -> str:
        """For people."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{'ok' if self.good else 'PROBLEM':8}{self.check}: {self.found}{remedy}"
