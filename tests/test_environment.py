"""The locked environment: one list of versions, with hashes and without addresses, for every way to install it."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "envs/requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, set[str]]:
    """Package -> locked versions; some have one for Python 3.11 and one for newer ones."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9_.-]+)==(\S+)", LOCK, re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def package(requirement: str) -> str:
    """The name in a requirement."""
    return re.split(r"[><=\[; ]", requirement)[0].lower()


def test_lock_has_hashes_and_no_addresses() -> None:
    requirements = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", LOCK, re.MULTILINE | re.DOTALL)
    assert len(requirements) > 50
    assert [text.split()[0] for text in requirements if "--hash=sha256:" not in text] == []
    assert not re.search(r"://|--index|--extra-index|--find-links", LOCK)


def test_lock_holds_all_that_the_project_asks_for() -> None:
    asked = {package(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]}
    assert asked - locked().keys() == set()


def test_conda_environment_has_the_locked_versions() -> None:
    environment = yaml.safe_load((ROOT / "envs/slpd.yaml").read_text())
    pinned = dict(text.split("==") for text in environment["dependencies"][-1]["pip"])
    assert pinned.keys() == {package(text) for text in PROJECT["dependencies"]}
    assert {name: version for name, version in pinned.items() if version not in locked()[name]} == {}
