"""The CEL expressions of manifests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def expressions_of(file: Path) -> list[str]:
    """Every expression anywhere in the file, in order."""
    return [each for document in yaml.safe_load_all(file.read_text()) for each in _expressions(document)]


def _expressions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "expression" in node:
            yield node["expression"]
        for child in node.values():
            yield from _expressions(child)
    elif isinstance(node, list):
        for child in node:
            yield from _expressions(child)
