"""Attributes that a request derives from devices, for constraints."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from dra_operator.allocation import derived
from dra_operator.allocation.derived import derive
from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import AllocationError
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceAttribute, DeviceDerivedAttribute, DeviceRequest
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.inventory.devices import Device
from tests.builders import attribute, claim, device, match_attribute, request, slice_of
from tests.unit.allocation.cluster import Cluster

GROUP = "example.com/group"
OURS = "device.attributes['gpu.example.com']"


def deriving(name: str, **expressions: str) -> DeviceRequest:
    """A request that derives `example.com/<key>`."""
    plain = request(name)
    derived = tuple(
        DeviceDerivedAttribute(name=f"example.com/{key}", expression=text) for key, text in expressions.items()
    )
    exact = msgspec.structs.replace(plain.exactly, derived_attributes=derived) if plain.exactly else None
    return msgspec.structs.replace(plain, exactly=exact)


def gpu(**attributes: bool | int | str | list[int]) -> Device:
    of: Mapping[str, bool | int | str | list[int]] = attributes
    slice_ = slice_of([device(attributes=of)])
    assert slice_.spec.devices
    return Device(slice_, slice_.spec.devices[0])


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'fixed'", attribute("fixed")),
        (f"{OURS}.numa + 1", attribute(2)),
        (f"{OURS}.numa == 1", attribute(True)),
        ("semver('1.2.3')", DeviceAttribute(version_value="1.2.3")),
        ("[1, 2]", attribute([1, 2])),
        ("['a']", attribute(["a"])),
        ("[]", DeviceAttribute(string_values=())),
        ("'a' // a comment", attribute("a")),
    ],
)
def test_an_expression_gives_a_scalar_or_a_list(expression: str, value: DeviceAttribute) -> None:
    assert derive(expression, gpu(numa=1)) == value


@pytest.mark.parametrize(
    "expression", ["dyn(quantity('1Gi'))", "dyn(1.5)", "[dyn(1), dyn('a')]", "dyn({'a': 1})", f"{OURS}.missing"]
)
def test_anything_else_fails(expression: str) -> None:
    with pytest.raises(CELRuntimeError):
        derive(expression, gpu(numa=1))


@pytest.mark.parametrize("expression", ["device.", "1) || (true", "", "[1, 'a']", "quantity('1Gi')", "1.5", "{'a': 1}"])
def test_what_is_no_expression_or_gives_no_attribute_does_not_compile(expression: str) -> None:
    with pytest.raises(CELCompileError):
        derive(expression, gpu())


def test_a_mistake_is_shown_where_the_user_wrote_it() -> None:
    with pytest.raises(CELCompileError, match=r"<input>:1:5: .*\n \| \[1, 'a'\]\n \| \.{4}\^"):
        derive("[1, 'a']", gpu())


def test_a_constraint_sees_what_each_request_derives() -> None:
    devices = slice_of([device("a", attributes={"numa": 0, "socket": 1}), device("b", attributes={"numa": 1})])
    asks = claim(
        deriving("x", group=f"{OURS}.socket"),
        deriving("y", group=f"{OURS}.numa"),
        constraints=[match_attribute(GROUP)],
    )

    assert Cluster(devices).gives(asks) == ["x=a y=b"]


def test_a_derived_attribute_hides_the_devices_own() -> None:
    devices = slice_of([device("a", attributes={GROUP: 0}), device("b", attributes={GROUP: 1})])
    plain = claim(request("x"), request("y"), constraints=[match_attribute(GROUP)])
    same = claim(deriving("x", group="'s'"), deriving("y", group="'s'"), constraints=[match_attribute(GROUP)])

    assert Cluster(devices).gives(plain) is None
    assert Cluster(devices).gives(same) == ["x=a y=b"]


def test_what_no_constraint_asks_for_is_not_evaluated() -> None:
    asks = claim(deriving("x", group=f"{OURS}.missing"))

    assert Cluster(slice_of()).gives(asks) == ["x=gpu-0"]


def test_a_failing_expression_ends_the_decision() -> None:
    asks = claim(deriving("x", group=f"{OURS}.missing"), constraints=[match_attribute(GROUP)])

    assert Cluster(slice_of()).error(asks) is Reason.SELECTOR_FAILED


def test_without_the_gate_a_request_that_derives_is_refused() -> None:
    off = Features(derived_attributes=False)

    assert Cluster(slice_of(), features=off).error(claim(deriving("x", group="'a'"))) is Reason.REQUEST_INVALID


def test_what_does_not_compile_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expression = "1 +  "
    with pytest.raises(CELCompileError) as first:
        derive(expression, gpu())
    monkeypatch.delattr(derived, "program_of")

    with pytest.raises(CELCompileError) as again:
        derive(expression, gpu())

    assert str(again.value) == str(first.value)


def test_what_it_fails_with_is_told_briefly() -> None:
    text = "cel.bind(a, 'aaaaaaaaaa', " + "cel.bind(a, a + a, " * 13 + "{'x': true}[a]" + ")" * 14
    asks = claim(deriving("x", group=text), constraints=[match_attribute(GROUP)])
    outcome = Cluster(slice_of([device("a")])).allocate(asks)

    assert isinstance(outcome, AllocationError)
    assert "no such key: aaaa" in outcome.message
    assert len(outcome.message.encode()) <= 4_000
