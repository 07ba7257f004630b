"""What a webhook says of objects before they are stored: fields, places, cures; and what it does not judge."""

from __future__ import annotations

from typing import Any

from dra_operator.lifecycle.admission import find_refusal

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
