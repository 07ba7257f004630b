"""The patterns of crds/ let through what validation lets through, on whatever text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tools.crds.kinds import DEFINITIONS
from tools.crds.patterns import BY_FORMAT, DRIVER, LABEL_VALUE, QUANTITY, QUANTITY_MAX, VERSION, or_empty
from tools.crds.rules import RULES

from dra_operator.api import content
from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.validation import names as by_hand
from dra_operator.validation.formats import check_format

WORDS: Final = ("a-b", "example.com", "kubernetes.io/", "requests.", "1.2.3", "-rc.1", "+b", "01")
LONG: Final = ("x" * 31, "y" * 32, "z" * 62, "d" * 63)
PARTS: Final = st.sampled_from([*"aZ09-._/é ", *WORDS, *LONG])
TEXTS: Final = st.lists(PARTS, max_size=6).map("".join)
NUMBERS: Final = st.text("0123456789.+-eEinumkKMGTP ", max_size=12)


def allows(schema: Mapping[str, Any], text: str) -> bool:
    """What the API server makes of these keywords."""
    forbidden = schema.get("not", {}).get("pattern")
    return (
        schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
        and re.search(schema["pattern"], text) is not None
        and (forbidden is None or re.search(forbidden, text) is None)
    )


@pytest.mark.parametrize("name", BY_FORMAT)
@given(TEXTS)
@example("a" * 63 + "/" + "b")
@example("a" * 64 + "/" + "b")
@example(".".join(["a" * 63] * 4) + "/b")
@example("example.com/" + "b" * 64)
def test_a_format_is_what_its_declared_rule_says(name: str, text: str) -> None:
    found = check_format(name, "x", text)
    if name == "k8s-long-name-caseless" and len(text) > by_hand.DRIVER_MAX:
        return  # for drivers there is a limit beside the format
    if name == "k8s-resource-fully-qualified-name" and len(text) > by_hand.QUALIFIED_MAX:
        return  # with two slashes and more there is no limit upstream
    assert allows(BY_FORMAT[name], text) == (not found), found


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        (DRIVER, lambda text: not by_hand.driver_name("x", text)),
        (LABEL_VALUE, lambda text: not content.label_value(text)),
        (VERSION, lambda text: content.is_semantic_version(text) and len(text) <= 64),
        (or_empty(LABEL_VALUE), lambda text: not content.label_value(text)),
    ],
)
@given(TEXTS)
def test_a_name_is_what_the_rule_by_hand_says(
    schema: Mapping[str, Any], good: Callable[[str], bool], text: str
) -> None:
    assert allows(schema, text) == good(text)


@given(NUMBERS)
@example("1e3")
@example(" 1 ")
@example(".")
@example("1Ki")
@example("1K")
def test_a_quantity_is_what_can_be_read_as_one(text: str) -> None:
    try:
        Quantity.parse(text.strip())
    except QuantityError:
        assert not allows(QUANTITY, text)
    else:
        assert allows(QUANTITY, text)
    assert len(text) <= QUANTITY_MAX


def test_every_rule_is_about_a_type_that_some_definition_has() -> None:
    assert len(DEFINITIONS) == 5
    assert {type_.__module__.rpartition(".")[2] for type_ in RULES} == {"types", "slicetypes", "metatypes"}
