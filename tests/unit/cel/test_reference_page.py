"""docs/reference/cel.md: every example is true, and every function and macro is listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.cel.builders import decide

from dra_operator.cel.environment import environment
from dra_operator.cel.library import authz
from dra_operator.cel.macros import MACROS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cel.md"
ROW = re.compile(r"\| (`.+`) \| ([^|]*) \| `(.+)` \|")


def rows() -> list[tuple[str, str]]:
    """The names and the example of each row."""
    text = PAGE.read_text().replace("\\|", "\x00")
    return [(match[1].replace("\x00", "|"), match[3].replace("\x00", "|")) for match in ROW.finditer(text)]


@pytest.mark.parametrize("example", [example for _, example in rows()])
def test_the_example_is_true(example: str) -> None:
    assert decide(example)


def test_every_function_and_macro_is_listed() -> None:
    listed = {name for names, _ in rows() for name in re.findall(r"[\w.]+", names)}
    never_called = {overload.function for overload in authz.LIBRARY.overloads}
    known = {name for name in environment().functions if re.fullmatch(r"(\w+\.)?\w*[a-zA-Z]\w*", name)}

    assert (known | MACROS) - never_called - listed == set()


def test_the_page_names_nothing_that_does_not_exist() -> None:
    known = {*environment().functions, *MACROS}

    named = {name for names, _ in rows() for name in re.findall(r"`([\w.]+)`", names)}
    assert named - known - {"in"} == set()
