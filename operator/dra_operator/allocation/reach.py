"""From where a device can be used: from its node only, or from the nodes that its selector, or its slice's, allows.

`perDeviceNodeSelection` says whether it is the device's or the slice's. A device with `bindsToNode` is used from the
node that it was chosen on.

A selector has one term, the API server sees to that. An allocation could not say what several mean: a device with such
a selector fails the decision that chooses it, unless a device of the same claim ties it to the node anyway.

Upstream: `createNodeSelector` of structured/internal/experimental.
"""

from __future__ import annotations

from dra_operator.api.core import NodeSelectorTerm
from dra_operator.api.resource import BasicDevice, ResourceSliceSpec
from dra_operator.inventory.devices import Device


def is_local(device: Device) -> bool:
    """Whether who has the device has to be on its node."""
    return _where(device).node_name is not None or device.basic.binds_to_node is True


def terms_of(device: Device) -> tuple[NodeSelectorTerm, ...]:
    """The terms of the selector that applies to the device."""
    selector = _where(device).node_selector
    return selector.node_selector_terms if selector is not None else ()


def is_ambiguous(device: Device) -> bool:
    """Whether the device's own reach cannot be written into an allocation."""
    return not is_local(device) and len(terms_of(device)) > 1


def _where(device: Device) -> BasicDevice | ResourceSliceSpec:
    spec = device.slice.spec
    return device.basic if spec.per_device_node_selection else spec
