"""The inventory follows what is published, and notices what did not change."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from dra_operator.api.resource import DeviceTaintRule
from dra_operator.inventory.devices import DeviceId
from dra_operator.inventory.inventory import Inventory
from tests.builders import DRIVER, device, node, slice_of, taint, taint_rule


def gpu(name: str, pool: str = "node-a") -> DeviceId:
    return DeviceId(DRIVER, pool, name)


def test_an_identical_slice_changes_nothing() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of(gpus=2))
    before, known = inventory.version, inventory.device(gpu("gpu-0"))

    again = slice_of(gpus=2)
    inventory.apply_slice(
        msgspec.structs.replace(again, metadata=msgspec.structs.replace(again.metadata, generation=7))
    )

    assert inventory.version == before
    assert inventory.device(gpu("gpu-0")) is known


def test_a_changed_slice_makes_new_devices() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of([device()]))
    before, known = inventory.version, inventory.device(gpu("gpu-0"))

    inventory.apply_slice(slice_of([device(taints=[taint()])]))

    now = inventory.device(gpu("gpu-0"))
    assert inventory.version > before
    assert now is not None
    assert now is not known
    assert now.taints == (taint(),)


def test_a_slice_that_is_removed_takes_its_devices_along() -> None:
    inventory = Inventory()
    published = slice_of()
    inventory.apply_slice(published)
    assert inventory.pools(node()).devices

    inventory.remove_slice(published.metadata.name)

    assert inventory.device(gpu("gpu-0")) is None
    assert inventory.pools(node()).pools == ()
    assert list(inventory.slices()) == []


def test_removing_what_was_never_there_changes_nothing() -> None:
    inventory = Inventory()

    inventory.remove_slice("unknown")

    assert inventory.version == 0


def test_a_slice_that_moves_to_another_node_is_seen_there_only() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of(node="node-a", name="slice"))
    assert inventory.pools(node("node-a")).devices

    inventory.apply_slice(slice_of(node="node-b", name="slice"))

    assert inventory.pools(node("node-a")).pools == ()
    assert [each.id for each in inventory.pools(node("node-b")).devices] == [gpu("gpu-0", "node-b")]


def test_the_newest_generation_says_what_a_device_is() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of([device(taints=[taint()])], name="new", generation=2))
    inventory.apply_slice(slice_of([device()], name="old", generation=1))

    found = inventory.device(gpu("gpu-0"))

    assert found is not None
    assert found.taints == (taint(),)


def test_pools_of_a_node_are_gathered_once_until_one_of_them_changes() -> None:
    inventory, a = Inventory(), node("node-a")
    inventory.apply_slice(slice_of(node="node-a"))
    first = inventory.pools(a)

    inventory.apply_slice(slice_of(node="node-b"))
    assert inventory.pools(a) is first

    inventory.apply_slice(slice_of(gpus=2, node="node-a"))
    assert len(inventory.pools(a).devices) == 2


def test_pools_depend_on_the_node_as_it_is_now() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of([device(node_name="node-a")], per_device=True))

    assert inventory.pools(node("node-a", labels={"a": "b"})).devices
    assert inventory.pools(node("node-a")).devices
    assert not inventory.pools(node("node-b")).devices


def test_tainted_devices_are_those_of_the_slices_that_are_published_now() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of([device("good"), device("bad", taints=[taint()])]))
    inventory.apply_slice(slice_of(gpus=2, node="node-b"))
    assert [one.id for one in inventory.tainted()] == [gpu("bad")]
    inventory.apply_slice(slice_of([device("good", taints=[taint()]), device("bad")]))
    assert [one.id for one in inventory.tainted()] == [gpu("good")]
    inventory.remove_slice(slice_of(gpus=1).metadata.name)
    assert list(inventory.tainted()) == []


def wholly(pieces: Iterator[None]) -> None:
    for _ in pieces:
        pass


def test_a_rule_is_taken_in_slice_by_slice_and_what_changes_meanwhile_is_as_it_is_now() -> None:
    inventory = Inventory()
    for name in ("node-a", "node-b", "node-c"):
        inventory.apply_slice(slice_of(gpus=1, node=name))
    pieces = inventory.apply_rule(taint_rule())
    next(pieces)
    assert [one.id for one in inventory.tainted()] == [gpu("gpu-0", "node-a")]
    inventory.remove_slice(slice_of(gpus=1, node="node-b").metadata.name)
    inventory.apply_slice(slice_of(gpus=2, node="node-c"))
    wholly(pieces)
    assert [one.id for one in inventory.tainted()] == [
        gpu("gpu-0", "node-a"),
        gpu("gpu-0", "node-c"),
        gpu("gpu-1", "node-c"),
    ]


def test_a_rule_taints_slices_that_come_after_it_and_those_that_were_there() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of(gpus=2))
    wholly(inventory.apply_rule(taint_rule(device="gpu-1")))
    inventory.apply_slice(slice_of(gpus=2, node="node-b"))

    assert [one.id for one in inventory.tainted()] == [gpu("gpu-1"), gpu("gpu-1", "node-b")]


def test_what_a_rule_taints_follows_the_rule() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of(gpus=2))
    inventory.apply_slice(slice_of(gpus=2, node="node-b"))
    untouched = inventory.device(gpu("gpu-0", "node-b"))

    wholly(inventory.apply_rule(taint_rule(pool="node-a", device="gpu-0")))
    wholly(inventory.apply_rule(taint_rule(pool="node-a", device="gpu-1")))
    assert [one.id for one in inventory.tainted()] == [gpu("gpu-1")]
    wholly(inventory.remove_rule(taint_rule().metadata.name))
    assert list(inventory.tainted()) == []

    assert inventory.device(gpu("gpu-0", "node-b")) is untouched


def test_a_slice_published_anew_keeps_the_taints_of_rules_and_one_withdrawn_has_none() -> None:
    inventory = Inventory()
    wholly(inventory.apply_rule(taint_rule(device="gpu-0")))
    inventory.apply_slice(slice_of([device("gpu-0", taints=[taint("hot")])]))
    inventory.apply_slice(slice_of([device("gpu-0", taints=[taint("hotter")])]))
    assert [one.taints for one in inventory.tainted()] == [(taint("hotter"), taint())]

    inventory.remove_slice(slice_of().metadata.name)
    wholly(inventory.apply_rule(taint_rule(device="gpu-0", added=taint("other"))))
    assert list(inventory.slices()) == []


@pytest.mark.parametrize("rule", [taint_rule(device="gpu-9"), taint_rule(pool="node-z"), taint_rule(driver="other")])
def test_a_rule_that_names_nothing_that_is_published_changes_nothing(rule: DeviceTaintRule) -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of(gpus=2))
    before = inventory.version

    wholly(inventory.apply_rule(rule))
    wholly(inventory.remove_rule(rule.metadata.name))
    wholly(inventory.remove_rule("unknown"))

    assert inventory.version == before
