"""Print the JSON schema of config files, by which editors complete and check keys (no rule): config/schema.json."""

import argparse
import json

from slpd.settings.json_schema import config_schema


def add_arguments(_: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(_: argparse.Namespace) -> None:
    """Print it."""
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
