"""What doctor says of files; its questions to the queue are asked in test_slurm.py."""

import hashlib
from pathlib import Path

import pytest

from slpd.doctor.files import readable, weights

KEY = "variants.hipt.pretrained"


def test_weights_that_are_the_right_ones(tmp_path: Path) -> None:
    path = tmp_path / "hipt.pth"
    path.write_bytes(b"weights")
    assert weights(KEY, str(path), hashlib.sha256(b"weights").hexdigest()).good


def test_weights_not_at_hand_are_no_problem() -> None:
    finding = weights(KEY, None, "0" * 64)
    assert finding.good
    assert "tables say so" in str(finding)


@pytest.mark.parametrize(("content", "word"), [(b"others", "expected " + "0" * 64), (None, "No such file")])
def test_weights_that_are_others_or_gone(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "hipt.pth"
    if content is not None:
        path.write_bytes(content)
    finding = weights(KEY, str(path), "0" * 64)
    assert not finding.good
    assert word in str(finding)


def test_slides_that_are_gone_or_empty_are_named(tmp_path: Path) -> None:
    (tmp_path / "good.tiff").write_bytes(b"x")
    (tmp_path / "empty.tiff").touch()
    finding = readable([str(tmp_path / f"{name}.tiff") for name in ("good", "empty", "gone")])
    assert not finding.good
    assert "2 of 3 cannot be read" in str(finding)
    assert "empty.tiff (empty)" in str(finding)
    assert "gone.tiff (No such file or directory)" in str(finding)
