"""docs/architecture.md says what is there: every layer, and for each word of the API the module that opens with it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "dra_operator"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CODE = re.compile(r"`([^`]+)`")
ROWS = re.findall(r"^\| (.+?) \| ((?:`[\w/.]+`(?:, )?)+) \|$", PAGE, re.MULTILINE)


def opening(module: str) -> str:
    return ast.get_docstring(ast.parse((PACKAGE / module).read_text())) or ""


def test_the_picture_has_every_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [listed] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    layers = {name.strip().removeprefix("dra_operator.") for layer in listed for name in layer.split("|")}
    picture = set(re.findall(r"(?:^|  )(\w+)(?:/|\.py) ", PAGE, re.MULTILINE))
    assert picture == layers
    assert layers == {path.stem for path in PACKAGE.iterdir() if path.stem.isalpha() and path.name != "py.typed"}


@pytest.mark.parametrize(("words", "modules"), ROWS, ids=[words for words, _ in ROWS])
def test_a_word_is_in_the_opening_of_the_module_that_the_page_names(words: str, modules: str) -> None:
    openings = "\n".join(opening(module) for module in CODE.findall(modules))
    assert [word for word in CODE.findall(words) if word not in openings] == []


def test_the_table_was_read() -> None:
    assert len(ROWS) > 20
