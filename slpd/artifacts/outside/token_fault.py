"""What is wrong with a token file made elsewhere, in the words of all messages about one."""

from pathlib import Path

from slpd.errors import SlideError


def fault(slide: str, path: Path, what: str) -> SlideError:
    """What is wrong with a file."""
    return SlideError(f"slide {slide}: token file {path}: {what}; mend the file or leave the slide out")
