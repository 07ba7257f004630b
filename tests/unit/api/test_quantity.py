"""Quantities are exact, and read and print as the API server's do."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dra_operator.api.quantity import Quantity, QuantityError

SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
    "Pi": Decimal(1024) ** 5,
}

amounts = st.builds(
    lambda sign, number, suffix: f"{sign}{number}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**6),
    st.sampled_from(sorted(SUFFIXES)),
)


def q(text: str) -> Quantity:
    return Quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("1.500", "1.500"),
        ("5.", "5."),
        ("+7", "+7"),
        ("03Ki", "03Ki"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("2000", "2k"),
    ],
)
def test_a_spelling_that_the_api_server_keeps_is_kept(text: str, printed: str) -> None:
    assert q(text).as_written() == printed


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("80Gi", "80Gi"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1025Ki", "1025Ki"),
        ("1000", "1k"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("1e3", "1e3"),
        ("12e3", "12e3"),
        ("1E", "1E"),
        ("1e21", "1e21"),
        ("1000E", "1000E"),
        ("0.1Ki", "102400m"),
        ("-1.5Gi", "-1536Mi"),
        ("0Gi", "0"),
        ("+", "0"),
        ("9Ei", "9223372036854775807"),
    ],
)
def test_prints_the_canonical_form(text: str, canonical: str) -> None:
    assert str(q(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "quantities must match the regular expression"),
        (" 1", "quantities must match the regular expression"),
        ("1_000", "quantities must match the regular expression"),
        ("1..2", "quantities must match the regular expression"),
        ("x", "quantities must match the regular expression"),
        ("Pi", "unable to parse numeric part of quantity"),
        ("1e", "unable to parse quantity's suffix"),
        ("1Gix", "quantities must match the regular expression"),
        ("1GiG", "unable to parse quantity's suffix"),
        ("1EE5", "unable to parse quantity's suffix"),
    ],
)
def test_refuses_what_is_no_quantity_in_the_api_servers_words(text: str, message: str) -> None:
    with pytest.raises(QuantityError, match=message):
        q(text)


@pytest.mark.parametrize(("text", "nano"), [("0.000000000001", 1), ("1.1n", 2), ("-0.1n", -1), ("1e-2000000000", 1)])
def test_rounds_away_from_zero_at_nano(text: str, nano: int) -> None:
    assert q(text).scaled_value(-9) == nano


@pytest.mark.parametrize(
    ("text", "value", "milli"), [("1500m", 2, 1500), ("1Ki", 1024, 1024000), ("1u", 1, 1), ("-1500m", -2, -1500)]
)
def test_value_and_milli_value_round_away_from_zero(text: str, value: int, milli: int) -> None:
    assert (q(text).value(), q(text).milli_value()) == (value, milli)


@pytest.mark.parametrize(("json", "text"), [("1Gi", "1Gi"), (" 2 ", "2"), (3, "3"), (1.5, "1500m"), (1e21, "1e21")])
def test_reads_json_strings_and_numbers(json: str | float, text: str) -> None:
    assert str(Quantity.from_json(json)) == text


@pytest.mark.parametrize(
    ("text", "integer"),
    [("100m", False), ("1k", True), ("1Gi", True), ("1.0", False), ("1Pi", False), ("1E", True), ("100E", False)],
)
def test_is_integer_where_upstream_converts(text: str, integer: bool) -> None:
    assert q(text).is_integer() is integer


def test_adding_to_zero_takes_the_others_notation() -> None:
    assert str(q("0").add(q("1Gi"))) == "1Gi"
    assert str(q("1000").add(q("1Gi"))) == "1073742824"


def test_absurd_exponents_are_compared_without_being_written_out() -> None:
    assert q("1e2000000000") > q("8Ei")
    assert q("-1e2000000000") < q("1n")
    assert q("1e2000000000") == q("10e1999999999")
    with pytest.raises(QuantityError):
        q("1e2000000000").add(q("1"))


def test_is_immutable_and_survives_pickling() -> None:
    amount = q("40Gi")
    with pytest.raises(AttributeError):
        amount._unscaled = 1

    assert pickle.loads(pickle.dumps(amount)) == amount


@given(amounts)
def test_the_canonical_form_means_the_same(text: str) -> None:
    assert q(str(q(text))) == q(text)
    assert hash(q(str(q(text)))) == hash(q(text))


@given(amounts)
def test_printing_is_stable(text: str) -> None:
    once = str(q(text))

    assert str(q(once)) == once


@given(st.integers(-(10**6), 10**6), st.sampled_from(sorted(SUFFIXES)), st.integers(-(10**6), 10**6))
def test_compares_by_value(number: int, suffix: str, other: int) -> None:
    exact = min(number * SUFFIXES[suffix], Decimal((1 << 63) - 1))
    exact = max(exact, -Decimal((1 << 63) - 1)) if suffix.endswith("i") else number * SUFFIXES[suffix]

    assert q(f"{number}{suffix}").compare(q(str(other))) == (exact > other) - (exact < other)


@given(amounts, amounts)
def test_addition_commutes_and_subtraction_undoes_it(a: str, b: str) -> None:
    assert q(a) + q(b) == q(b) + q(a)
    assert q(a) + q(b) - q(b) == q(a)
