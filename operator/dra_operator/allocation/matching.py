"""What a request would take of the devices of a node, whoever uses them now: answers as bit sets.

Bit i stands for the device at position i. Everything here follows from the devices and the request alone, so it is
worked out once for each set of devices and each distinct question, and most nodes share one answer.

A selector that fails on a device is kept as a bit too: upstream aborts only when its walk gets to such a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.selectors import in_class, matches_request
from dra_operator.allocation.taints import find_blocking_taint
from dra_operator.api.core import Node
from dra_operator.api.reasons import Reason
from dra_operator.inventory.devices import Device
from dra_operator.inventory.pools import NodeSelectorInvalid, device_serves

OPTIONAL_NODE_OPERATIONS = "DRAOptionalNodeOperations"
"""The feature a node declares when its kubelet can leave out node operations."""

Bits: TypeAlias = int


class Match(NamedTuple):
    """The devices of a node that pass one hurdle after the other."""

    in_class: Bits
    selectable: Bits
    """In the class, matched by all selectors, there for the node, not behind a gate."""
    permitted: Bits
    """Gates, the node's features and the device's taints allow it; says nothing about selectors."""
    failed: Bits
    """A selector, or the device's own node selector, cannot be evaluated."""


def match(alternative: Alternative, devices: Sequence[Device], node: Node, features: Features) -> Match:
    """The answers for all the devices of a node."""
    of_class = selectable = permitted = failed = 0
    bit = 1
    for device in devices:
        if is_permitted(alternative, device, node, features):
            permitted |= bit
        if not device.basic.binding_conditions or features.device_binding_and_status:
            try:
                if in_class(alternative, device):
                    of_class |= bit
                    if matches_request(alternative, device) and serves(device, node):
                        selectable |= bit
            except Abort:
                failed |= bit
        bit <<= 1
    return Match(of_class, selectable, permitted, failed)


def serves(device: Device, node: Node) -> bool:
    """Whether a device that selects nodes itself is there for the node. Raises `Abort`."""
    if not device.slice.spec.per_device_node_selection:
        return True
    try:
        return device_serves(device.basic, node)
    except NodeSelectorInvalid as error:
        raise Abort(Reason.POOL_INVALID, f"device {device.id} has an invalid node selector: {error}") from error


def fail(alternative: Alternative, device: Device, node: Node) -> None:
    """Raise the `Abort` that made the device's bit one of `failed`."""
    if in_class(alternative, device) and matches_request(alternative, device):
        serves(device, node)


def is_permitted(alternative: Alternative, device: Device, node: Node, features: Features) -> bool:
    """Whether gates, the node's features and the device's taints allow the request to have the device, ever."""
    if device.basic.consumes_counters and not features.partitionable_devices:
        return False
    if device.slice.spec.skip_node_operations:
        declared = node.status.declared_features or ()
        if not features.optional_node_operations or OPTIONAL_NODE_OPERATIONS not in declared:
            return False
    taints = device.basic.taints
    return not taints or not features.device_taints or find_blocking_taint(taints, alternative.tolerations) is None


def positions(bits: Bits) -> Iterator[int]:
    """The positions in a bit set, ascending."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
