"""Random input does no harm: it is refused with the errors that are meant for it, soon, and both evaluators agree.

The same targets run under `make fuzz-cel` for as long as one likes.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.fuzz.dice import Dice
from tests.fuzz.odd_selectors import make_expression
from tests.fuzz.targets import (
    TARGETS,
    document_as_slice,
    evaluators_agree,
    generated_selector,
    text_as_quantity,
    text_as_selector,
    text_as_version,
)
from tests.fuzz.text import NAMES


def test_the_fuzzer_knows_all_targets() -> None:
    assert set(NAMES) == set(TARGETS)


# What selectors are made of, so that random text gets past the first character.
TOKENS = st.sampled_from(
    (
        *(
            'device.attributes["d"].x',
            "device.driver",
            '"a"',
            "1",
            "1u",
            "2.5",
            "true",
            "null",
            "x",
            "==",
            "!=",
            "<",
            ">=",
        ),
        *("&&", "||", "!", "-", "+", " in ", "?", ":", "(", ")", "[", "]", "{", "}", ",", ".", ".?", "[?", "{?", "r'"),
        *('"""', "//", "\n", "`a b`", "0x", "1e", "😀", ".exists(x, ", ".map(x, ", ".all(", "cel.bind(a, ", "has("),
        *(".optMap(x, ", "size(", "quantity(", ".matches("),
    )
)


@settings(max_examples=300)
@given(st.lists(TOKENS, max_size=25).map("".join))
def test_text_that_looks_like_a_selector(text: str) -> None:
    text_as_selector(text.encode())


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_text_that_does_not(data: bytes) -> None:
    text_as_selector(data)


@settings(max_examples=200)
@given(st.binary(min_size=4, max_size=120))
def test_expressions_of_all_that_there_is(data: bytes) -> None:
    generated_selector(data)


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_both_evaluators_agree_on_generated_expressions(first: int) -> None:
    for seed in range(first, first + 100):
        evaluators_agree(make_expression(Dice(seed)))


@pytest.mark.parametrize(
    "expression",
    [
        "dyn(0)[?device.driver] == 1",
        "dyn(optional.none())[?1 / 0] == optional.none()",
        'device.attributes.?nope[?device.attributes["a"].bad] == optional.none()',
        'dyn(optional.of("fish")).matches("^f")',
        'dyn(int).find("^i") == "i"',
        '[optional.of("a")].exists(o, dyn(o).matches("a"))',
    ],
)
def test_both_evaluators_agree_on_what_differed_once(expression: str) -> None:
    evaluators_agree(expression)


@settings(max_examples=300)
@given(st.text(alphabet="0123456789.+-eEinumkKMGTPx \u0660", max_size=30))
@example("9" * 10_000)
@example("0." + "0" * 10_000 + "1")
@example("9" * 5_000 + "x")
@example("1e2147483647")
@example("-1e-2147483648")
def test_quantities(text: str) -> None:
    text_as_quantity(text.encode())


@settings(max_examples=200)
@given(st.text(alphabet="0123456789.+-ab \u0660", max_size=30))
@example("1.2." + "9" * 10_000)
@example("1.2.3-" + "a." * 5_000 + "b")
def test_versions(text: str) -> None:
    text_as_version(text.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("1.2.3"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ATTRIBUTE = st.dictionaries(
    st.sampled_from(["int", "bool", "string", "version", "ints", "bools", "strings", "versions", "other"]),
    JSON,
    max_size=2,
)


@settings(max_examples=150)
@given(
    st.dictionaries(st.text(max_size=12), ATTRIBUTE, max_size=3),
    st.dictionaries(st.text(max_size=12), st.fixed_dictionaries({"value": JSON}), max_size=2),
    st.sampled_from(["attributes", "capacity", "driver", "pool", "devices", "taints"]),
    JSON,
)
def test_slices(attributes: object, capacity: object, garbage_in: str, garbage: object) -> None:
    device = {"name": "d", "attributes": attributes, "capacity": capacity}
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    slice_ = {"metadata": {"name": "s"}, "spec": {"driver": "x", "pool": pool, "devices": [device]}}
    document_as_slice(json.dumps(slice_).encode())
    document_as_slice(json.dumps({**slice_, "spec": {**slice_["spec"], garbage_in: garbage}}).encode())  # type: ignore[dict-item]


# Text of 10 KB that is deep, long, or makes others work for ever.
HOSTILE = {
    "deep parentheses": "(" * 5_000 + "true" + ")" * 5_000,
    "deep lists": "[" * 240 + "1" + "]" * 240 + " == []",
    "deep conditionals": "true ? " * 1_400 + "1 : 1" * 10,
    "many negations": "!" * 10_000 + "true",
    "a long disjunction": "||".join(["false"] * 1_400),
    "a long sum": "+".join(["1"] * 5_000) + " == 1",
    "a long path": "device" + ".a" * 5_000,
    "bindings that double": "".join(
        f"cel.bind(a{i}, a{i - 1} + a{i - 1}, " if i else "cel.bind(a0, 'x', " for i in range(60)
    )
    + "a59 == ''"
    + ")" * 60,
    "optionals that double": "optional.of(1)" + ".optMap(x, x)" * 11 + ".hasValue()",
    "nested folds": "lists.range(40).map(a, " * 5 + "[1]" + ")" * 5 + ".size() == 1",
    "a fold over a million": "lists.range(1000000).all(x, lists.range(1000).exists(y, y == x))",
    "sorting a million": "lists.range(900000).map(x, -x).sort().size() == 1",
    "a regex that explodes elsewhere": '"' + "a" * 5_000 + '".matches("(a|aa)+$(x+x+)+y(a*)*b")',
    "a regex that is large": '"a".matches("((a{100}){100}){100}")',
    "a long number": "9" * 10_000 + " == 1",
    "a long hexadecimal number": "0x" + "f" * 9_000 + " == 1",
    "a long exponent": "1e" + "9" * 9_000 + " == 1.0",
    "a long quantity": 'quantity("' + "9" * 9_000 + '").isInteger()',
    "a huge quantity": 'quantity("1e2147483647").compareTo(quantity("1e-2147483648")) > 0',
    "a long version": 'semver("1.2.3-' + "a." * 4_000 + 'b").major() == 1',
    "text that grows by replacing": '"' + "a" * 3_000 + '".replace("a", "' + "b" * 3_000 + '").size() == 0',
    "text that grows by formatting": '"' + "%s" * 2_000 + '".format([1]) == ""',
    "escapes": '"' + "\\U0010ffff" * 1_000 + '" == ""',
    "wide characters": '"' + "日" * 3_000 + '".size() == 1',
    "a surrogate": '"\\ud800" == ""',
    "zero": '"\\x00" == "\x00"',
}


@pytest.mark.parametrize("expression", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_selectors_end(expression: str) -> None:
    text_as_selector(expression.encode())
