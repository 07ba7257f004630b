"""Versions are strict semantic versions and ordered by precedence."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dra_operator.api.semver import Version, VersionError

# The specification's own example, in ascending order.
ASCENDING = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.1.0",
    "2.0.0",
    "10.0.0",
]

numbers = st.integers(0, 2**64 - 1)
identifiers = st.one_of(st.from_regex(r"[0-9A-Za-z-]*[A-Za-z-][0-9A-Za-z-]*", fullmatch=True), numbers.map(str))
words = st.lists(identifiers, max_size=3).map(".".join)
texts = st.builds(
    lambda a, b, c, pre, build: f"{a}.{b}.{c}" + (f"-{pre}" if pre else "") + (f"+{build}" if build else ""),
    numbers,
    numbers,
    numbers,
    words,
    words,
)


def v(text: str) -> Version:
    return Version.parse(text)


def test_orders_as_the_specification_says() -> None:
    assert sorted(map(v, reversed(ASCENDING))) == [v(text) for text in ASCENDING]
    assert [v(a).compare(v(b)) for a, b in pairwise(ASCENDING)] == [-1] * 11


def test_build_metadata_does_not_count() -> None:
    assert v("1.2.3+b1") == v("1.2.3+b2")
    assert hash(v("1.2.3+b1")) == hash(v("1.2.3"))
    assert str(v("1.2.3+b1")) == "1.2.3+b1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Version string empty"),
        ("1.0", "No Major.Minor.Patch elements found"),
        ("v1.0.0", "Invalid character"),
        ("01.0.0", "must not contain leading zeroes"),
        ("1.00.0", "must not contain leading zeroes"),
        ("1.0.0-01", "must not contain leading zeroes"),
        ("1.0.0-", "Prerelease is empty"),
        ("1.0.0-a..b", "Prerelease is empty"),
        ("1.0.0+", "Build meta data is empty"),
        ("1.0.0+ü", "Invalid character"),
        ("1.0.0-a_b", "Invalid character"),
        ("1.0.x", "Invalid character"),
        ("1..0", "invalid syntax"),
        ("18446744073709551616.0.0", "value out of range"),
        ("٣.0.0", "Invalid character"),
    ],
)
def test_refuses_what_is_no_version(text: str, message: str) -> None:
    with pytest.raises(VersionError, match=message):
        v(text)


@given(texts)
def test_prints_what_it_parsed(text: str) -> None:
    assert str(v(text)) == text


@given(texts, texts, texts)
def test_the_order_is_total(a: str, b: str, c: str) -> None:
    x, y, z = sorted((v(a), v(b), v(c)))

    assert x <= y <= z
    assert x <= z
    assert (v(a) == v(b)) == (v(a).compare(v(b)) == 0)


@given(texts)
def test_a_prerelease_comes_before_its_release(text: str) -> None:
    version = v(text)
    release = Version(version.major, version.minor, version.patch)

    assert version < release if version.prerelease else version == release
