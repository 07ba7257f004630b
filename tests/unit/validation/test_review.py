"""What a webhook says of objects before they are stored: fields, places, cures; and what it does not judge."""

from __future__ import annotations

import re
from typing import Any

from dra_operator.validation.review import review


def find_refusal(new: dict[str, Any], old: dict[str, Any] | None = None, *, everything: bool = False) -> str | None:
    return pieces(new, old, everything=everything)[1]


def pieces(
    new: dict[str, Any], old: dict[str, Any] | None = None, *, everything: bool = False
) -> tuple[int, str | None]:
    """In how many pieces the object is looked at, and what comes of it."""
    looking, count = review(new, old, everything=everything), 1
    while True:
        try:
            next(looking)
        except StopIteration as end:
            return count, end.value
        count += 1


GOOD, BAD = "device.driver == 'a'", "device.drivr == 'a'"


def device_class(*expressions: str, **spec: Any) -> dict[str, Any]:
    selectors = [{"cel": {"expression": one}} for one in expressions]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "gpu"},
        "spec": {"selectors": selectors, **spec},
    }


def claim(**request: Any) -> dict[str, Any]:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "gpu", "namespace": "default"},
        "spec": {"devices": {"requests": [{"name": "gpu", **request}]}},
    }


def test_an_expression_that_compiles_passes() -> None:
    assert find_refusal(device_class(GOOD)) is None


def test_each_bad_expression_is_named_with_its_place() -> None:
    told = find_refusal(device_class(GOOD, BAD, "true &&"))

    assert told is not None
    assert "spec.selectors[1].cel.expression" in told
    assert " | device.drivr == 'a'\n | ......^" in told
    assert "spec.selectors[2].cel.expression" in told


def test_alternatives_are_looked_at() -> None:
    subs = [{"name": "a", "deviceClassName": "gpu", "selectors": [{"cel": {"expression": BAD}}]}]

    told = find_refusal(claim(firstAvailable=subs))

    assert told is not None
    assert "spec.devices.requests[0].firstAvailable[0].selectors[0].cel.expression" in told


def test_an_expression_that_costs_too_much_is_named() -> None:
    costly = "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, " * 4 + "true" + "))" * 4

    told = find_refusal(device_class(costly))

    assert told is not None
    assert "too complex, exceeds cost limit" in told


def test_a_stored_expression_is_not_judged_again() -> None:
    stored = device_class(BAD)
    labelled = {**stored, "metadata": {"name": "gpu", "labels": {"a": "b"}}}

    assert find_refusal(labelled, stored) is None
    assert find_refusal(device_class(BAD, BAD), stored) is not None


def test_other_rules_count_only_when_they_are_asked_for() -> None:
    nameless = claim(exactly={"deviceClassName": ""})

    assert find_refusal(nameless) is None
    assert "deviceClassName" in str(find_refusal(nameless, everything=True))


def test_a_field_of_a_newer_api_server_is_no_reason_to_refuse() -> None:
    newer = device_class(GOOD, tomorrow="yes")

    assert find_refusal(newer) is None
    assert "tomorrow" in str(find_refusal(newer, everything=True))


def long(index: int) -> str:
    return " || ".join(f"device.driver == '{index}-{value}'" for value in range(300))


def test_a_class_of_a_few_words_is_looked_at_in_one_piece() -> None:
    assert pieces(device_class(*[GOOD] * 32)) == (1, None)


def test_long_expressions_are_looked_at_one_by_one() -> None:
    """Whoever waits for another object waits for one of them, not for all."""
    expressions = [long(index) for index in range(6)]
    assert max(map(len, expressions)) < 10_240

    count, told = pieces(device_class(*expressions, BAD))

    assert count > 3
    assert told is not None
    assert "spec.selectors[6].cel.expression" in told


def test_what_was_looked_at_once_is_not_looked_at_again() -> None:
    assert pieces(device_class(*[long(1)] * 20))[0] <= 2


def test_of_many_mistakes_some_are_told_and_all_are_counted() -> None:
    told = find_refusal(device_class(*(f"{BAD} || {index}" for index in range(30))))

    assert told is not None
    assert told.count("Invalid value") == 16
    assert told.endswith("\nand 14 more")


def test_what_is_said_of_long_expressions_is_short() -> None:
    """The API server's words about each are a megabyte."""
    wrong = [" || ".join([f"a{index} == b"] * 700) for index in range(32)]
    told = find_refusal(device_class(*wrong))

    assert told is not None
    assert len(told.encode()) < 11_000
    assert "ERROR: <input>:1:1: undeclared reference to 'a0'" in told
    assert "spec.selectors[1].cel.expression" in told
    assert re.search(r"\nand \d+ more$", told)


def test_nor_is_a_wrong_value_quoted_in_full() -> None:
    told = find_refusal(claim(exactly={"deviceClassName": "ü" * 500_000}), everything=True)

    assert told is not None
    assert len(told.encode()) < 11_000
    assert "spec.devices.requests[0].exactly.deviceClassName" in told


def test_nor_what_does_not_fit_the_types() -> None:
    told = find_refusal(claim(exactly={"deviceClassName": {"x" * 500_000: 1}}), everything=True)

    assert told is not None
    assert len(told.encode()) <= 10_000
