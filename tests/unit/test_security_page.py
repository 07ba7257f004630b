"""docs/security.md promises nothing without a test that shows it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    assert [f"{file}::{name}" for file, name in named if not (ROOT / file).exists()] == []
    assert [f"{file}::{name}" for file, name in named if name not in functions_of(file)] == []


def test_every_promise_names_one() -> None:
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    promises = [(promise.strip(), shown) for promise, shown in rows if promise.strip() != "promise"]
    assert len(promises) > 25
    assert [promise for promise, shown in promises if not NAMED.search(shown)] == []
