"""What is written into the claim besides the devices: config, node selector, binding conditions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from dra_operator.allocation.features import Features
from dra_operator.api.core import NodeSelector, NodeSelectorRequirement
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    DeviceClaimConfiguration,
    DeviceClass,
    DeviceClassConfiguration,
    OpaqueDeviceConfiguration,
    ResourceClaim,
    ResourceSlice,
)
from tests.builders import (
    DRIVER,
    claim,
    device,
    device_class,
    exactly,
    first_available,
    need,
    node,
    request,
    selector,
    slice_of,
    term,
)
from tests.unit.allocation.cluster import Cluster

EAST = node(labels={"zone": "east", "rack": "1"})
HERE = selector(term(fields=[need("metadata.name", "In", "node-a")]))


def opaque(word: str) -> OpaqueDeviceConfiguration:
    return OpaqueDeviceConfiguration(driver=DRIVER, parameters=msgspec.Raw(f'"{word}"'.encode()))


def configured(of: ResourceClaim, *config: tuple[str, Sequence[str]]) -> ResourceClaim:
    """The claim with its own config: a word, and the requests that it is for."""
    entries = tuple(
        DeviceClaimConfiguration(opaque=opaque(word), requests=tuple(names) or None) for word, names in config
    )
    devices = msgspec.structs.replace(of.spec.devices, config=entries)
    return msgspec.structs.replace(of, spec=msgspec.structs.replace(of.spec, devices=devices))


def class_with(word: str, name: str = "gpu") -> DeviceClass:
    plain = device_class(name)
    spec = msgspec.structs.replace(plain.spec, config=(DeviceClassConfiguration(opaque=opaque(word)),))
    return msgspec.structs.replace(plain, spec=spec)


def config(cluster: Cluster, of: ResourceClaim) -> list[tuple[str, str, tuple[str, ...] | None]]:
    (allocation,) = cluster.allocations(of)
    return [
        (entry.source, msgspec.json.decode(entry.opaque.parameters), entry.requests)
        for entry in allocation.devices.config or ()
        if entry.opaque is not None
    ]


def test_a_class_s_config_comes_once_with_the_requests_that_use_it() -> None:
    cluster = Cluster(slice_of(gpus=3), of=[class_with("fast"), device_class("plain")])
    asks = claim(request("a"), request("b", class_name="plain"), request("c"))

    assert config(cluster, asks) == [("FromClass", "fast", ("a", "c"))]


def test_config_for_all_requests_names_none() -> None:
    asks = configured(claim(request("a"), request("b")), ("shared", ()), ("both", ("a", "b")))

    assert config(Cluster(slice_of(gpus=2), of=[class_with("fast")]), asks) == [
        ("FromClass", "fast", None),
        ("FromClaim", "shared", None),
        ("FromClaim", "both", None),
    ]


def test_config_of_an_alternative_that_was_not_chosen_is_left_out() -> None:
    asks = configured(
        claim(first_available("any", two=exactly(count=2), one=exactly()), request("other")),
        ("for two", ("any/two",)),
        ("for one", ("any/one",)),
        ("for any", ("any",)),
        ("for either", ("any/two", "any/one")),
    )

    assert config(Cluster(slice_of(gpus=2)), asks) == [
        ("FromClaim", "for one", ("any/one",)),
        ("FromClaim", "for any", ("any",)),
        ("FromClaim", "for either", ("any/two", "any/one")),
    ]


def zone(*values: str) -> NodeSelectorRequirement:
    return need("zone", "In", *values)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([slice_of()], HERE),
        ([slice_of(all_nodes=True)], None),
        ([slice_of(node_selector=selector(term(zone("east"))))], selector(term(zone("east")))),
        ([slice_of([device(node_name="node-a")], per_device=True)], HERE),
        ([slice_of([device(all_nodes=True)], per_device=True)], None),
        ([slice_of([device(binds_to_node=True)], all_nodes=True)], HERE),
        (
            [
                slice_of(pool="1", node_selector=selector(term(zone("east", "west"), need("rack", "Exists")))),
                slice_of(pool="2", node_selector=selector(term(zone("west", "east"), need("rack", "In", "1")))),
            ],
            selector(term(zone("east", "west"), need("rack", "Exists"), need("rack", "In", "1"))),
        ),
        ([slice_of(pool="1", node_selector=selector(term(zone("east")))), slice_of(pool="2")], HERE),
    ],
    ids=[
        "local",
        "everywhere",
        "some nodes",
        "a device's node",
        "a device for all",
        "binds to its node",
        "requirements of both",
        "one is local",
    ],
)
def test_the_allocation_says_from_where_its_devices_are_reached(
    slices: list[ResourceSlice], expected: NodeSelector | None
) -> None:
    (allocation,) = Cluster(*slices).allocations(claim(request(count=len(slices))), on=EAST)

    assert allocation.node_selector == expected


def test_a_selector_of_several_terms_is_an_error_for_who_gets_the_device() -> None:
    ambiguous = slice_of(pool="2", node_selector=selector(term(zone("east")), term(need("rack", "Exists"))))

    assert Cluster(ambiguous).error(claim(), on=EAST) is Reason.POOL_INVALID
    assert Cluster(ambiguous, slice_of(pool="1")).allocations(claim(), on=EAST)


def test_binding_conditions_are_copied_if_the_gate_is_on() -> None:
    (allocation,) = Cluster(slice_of([device(binding_conditions=["ready"])])).allocations(claim())

    assert [each.binding_conditions for each in allocation.devices.results or ()] == [("ready",)]


def test_a_bound_device_is_tied_to_its_node_although_the_gate_is_off() -> None:
    off = Features(device_binding_and_status=False)

    (allocation,) = Cluster(slice_of([device(binds_to_node=True)], all_nodes=True), features=off).allocations(claim())

    assert allocation.node_selector == HERE
