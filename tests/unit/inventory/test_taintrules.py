"""Which devices an admin's rule taints. Upstream: the table of resourceslice/tracker's tests, in cases of our own."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.resource import DeviceTaintRule, ResourceSlice
from dra_operator.inventory.taintrules import TaintRules
from tests.builders import DRIVER, device, slice_of, taint, taint_rule

SLICE = slice_of([device("a", taints=[taint("own")]), device("b")], node="node-a")


def taints(slice_: ResourceSlice) -> dict[str, list[str]]:
    return {one.name: [each.key for each in one.taints or ()] for one in slice_.spec.devices or ()}


def tainted_by(*rules: DeviceTaintRule) -> ResourceSlice:
    all_ = TaintRules()
    for rule in rules:
        all_.put(rule)
    return all_.taint(SLICE)


@pytest.mark.parametrize(
    ("rule", "devices"),
    [
        (taint_rule(), "ab"),
        (taint_rule(driver=DRIVER), "ab"),
        (taint_rule(pool="node-a"), "ab"),
        (taint_rule(device="b"), "b"),
        (taint_rule(driver=DRIVER, pool="node-a", device="a"), "a"),
        (taint_rule(driver="other.example.com", device="a"), ""),
        (taint_rule(driver=DRIVER, pool="node-b", device="a"), ""),
        (taint_rule(device="c"), ""),
    ],
)
def test_what_the_selector_leaves_out_is_any(rule: DeviceTaintRule, devices: str) -> None:
    found = taints(tainted_by(rule))
    assert "".join(name for name, keys in found.items() if "unhealthy" in keys) == devices


def test_without_a_selector_no_device_is_named() -> None:
    rule = taint_rule()
    bare = msgspec.structs.replace(rule, spec=msgspec.structs.replace(rule.spec, device_selector=None))
    assert tainted_by(bare) is SLICE


def test_an_empty_slice_stays_as_it_is() -> None:
    rules, empty = TaintRules(), slice_of([])
    rules.put(taint_rule())
    assert rules.taint(empty) is empty


def test_rules_add_up_behind_what_the_driver_says_in_the_order_of_their_names() -> None:
    second, first = taint_rule("2", taint("second")), taint_rule("1", taint("first"), device="a")
    assert taints(tainted_by(second, first)) == {"a": ["own", "first", "second"], "b": ["second"]}


def test_a_rule_that_is_put_again_replaces_itself() -> None:
    assert taints(tainted_by(taint_rule(), taint_rule(added=taint("other"), device="b"))) == {
        "a": ["own"],
        "b": ["other"],
    }
