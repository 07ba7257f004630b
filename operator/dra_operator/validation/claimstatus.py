"""The status of a claim: what is allocated, for whom it is reserved, what drivers say about the devices.

An allocation that is there is not looked at again: it may not change.

Upstream: `validateResourceClaimStatusUpdate` in pkg/apis/resource/validation. Not here: whether the writer may bind
claims or report about a driver's devices, which is authorization.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dra_operator.api import content
from dra_operator.validation import names
from dra_operator.validation.claimspec import (
    CONFIG_MAX,
    RequestNames,
    check_opaque,
    check_request_reference,
    check_request_references,
)
from dra_operator.validation.conditions import check_conditions
from dra_operator.validation.device import check_binding_conditions
from dra_operator.validation.equality import same
from dra_operator.validation.errors import (
    FieldError,
    child,
    covered,
    forbidden,
    index,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from dra_operator.validation.gotext import go_json
from dra_operator.validation.lists import check_items, check_set
from dra_operator.validation.nodeselector import check_node_selector
from dra_operator.validation.rawjson import DATA_MAX, check_raw_object
from dra_operator.validation.shapes import Raw
from dra_operator.validation.slicespec import check_skipped_operations
from dra_operator.validation.taints import check_toleration
from dra_operator.validation.types import (
    AllocatedDeviceStatus,
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceRequestAllocationResult,
    NetworkDeviceData,
    ResourceClaimConsumerReference,
    ResourceClaimStatus,
)

RESULTS_MAX: Final = 32
RESERVED_FOR_MAX: Final = 256
CONDITIONS_MAX: Final = 8
_SOURCES: Final = ("FromClaim", "FromClass")
INTERFACE_MAX: Final = 256
HARDWARE_MAX: Final = 128
_IPS_MAX: Final = 16


class _SharedDeviceId(NamedTuple):
    driver: str
    pool: str
    device: str
    share: str


def check_claim_status(
    path: str, status: ResourceClaimStatus, old: ResourceClaimStatus, known: RequestNames, *, deleting: bool
) -> list[FieldError]:
    """`known`: the claim's requests. `deleting`: the claim has a deletion timestamp."""
    reserved = child(path, "reservedFor")
    found = check_set(reserved, status.reserved_for, _consumer, lambda each: each.uid, limit=RESERVED_FOR_MAX)
    results = status.allocation.devices.results or () if status.allocation is not None else ()
    allocated = {_SharedDeviceId(each.driver, each.pool, each.device, each.share_id or "") for each in results}
    found += check_set(
        child(path, "devices"),
        status.devices,
        lambda where, device: _device(where, device, allocated),
        _identity,
    )
    if status.reserved_for and status.allocation is None:
        found.append(forbidden(reserved, "may not be specified when `allocated` is not set"))
    elif status.reserved_for and deleting and set(status.reserved_for) - set(old.reserved_for or ()):
        detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        found.append(forbidden(reserved, detail))
    where = child(path, "allocation")
    if status.allocation is not None and old.allocation is not None:
        if not same(status.allocation, old.allocation):
            found.append(invalid(where, None, "field is immutable", origin="update", covered=True))
    elif status.allocation is not None:
        found += _allocation(where, status.allocation, known)
    return found


def _identity(device: AllocatedDeviceStatus) -> _SharedDeviceId:
    return _SharedDeviceId(device.driver, device.pool, device.device, device.share_id or "")


def _consumer(path: str, consumer: ResourceClaimConsumerReference) -> list[FieldError]:
    fields = (("resource", consumer.resource), ("name", consumer.name), ("uid", consumer.uid))
    return [required(child(path, name)) for name, value in fields if not value]


def _allocation(path: str, allocation: AllocationResult, known: RequestNames) -> list[FieldError]:
    devices = child(path, "devices")
    found = check_items(
        child(devices, "results"),
        allocation.devices.results,
        lambda where, result: _result(where, result, known),
        limit=RESULTS_MAX,
    )
    found += check_items(
        child(devices, "config"),
        allocation.devices.config,
        lambda where, config: _configuration(where, config, known),
        limit=2 * CONFIG_MAX,
    )
    if allocation.node_selector is not None:
        found += check_node_selector(child(path, "nodeSelector"), allocation.node_selector)
    return found


def _result(path: str, result: DeviceRequestAllocationResult, known: RequestNames) -> list[FieldError]:
    found = check_request_reference(child(path, "request"), result.request, known)
    found += names.declared_driver_name(child(path, "driver"), result.driver)
    found += covered(names.pool_name(child(path, "pool"), result.pool))
    found += names.label(child(path, "device"), result.device)
    found += check_binding_conditions(path, result.binding_conditions, result.binding_failure_conditions)
    for i, toleration in enumerate(result.tolerations or ()):
        found += check_toleration(index(child(path, "tolerations"), i), toleration)
    if result.share_id is not None:
        found += names.share_id(child(path, "shareID"), result.share_id)
    return found + check_skipped_operations(child(path, "skipNodeOperations"), result.skip_node_operations)


def _configuration(path: str, config: DeviceAllocationConfiguration, known: RequestNames) -> list[FieldError]:
    found: list[FieldError] = []
    if not config.source:
        found.append(required(child(path, "source"), covered=True))
    elif config.source not in _SOURCES:
        found.append(not_supported(child(path, "source"), config.source, _SOURCES, covered=True))
    found += check_request_references(child(path, "requests"), config.requests, known)
    return found + check_opaque(path, config.opaque)


def _device(path: str, device: AllocatedDeviceStatus, allocated: set[_SharedDeviceId]) -> list[FieldError]:
    found = names.driver_name(child(path, "driver"), device.driver)
    found += names.pool_name(child(path, "pool"), device.pool)
    found += names.label(child(path, "device"), device.device)
    if device.share_id is not None:
        found += names.share_id(child(path, "shareID"), device.share_id)
    identity = _identity(device)
    if identity not in allocated:
        found.append(_not_allocated(path, identity))
    if len(device.conditions or ()) > CONDITIONS_MAX:
        found.append(too_many(child(path, "conditions"), len(device.conditions or ()), CONDITIONS_MAX))
    found += check_conditions(child(path, "conditions"), device.conditions)
    if device.data is not None and device.data.text:
        found += check_raw_object(child(path, "data"), device.data, DATA_MAX)
    if device.network_data is not None:
        found += _network(child(path, "networkData"), device.network_data)
    return found


def _not_allocated(path: str, device: _SharedDeviceId) -> FieldError:
    fields = zip(("Driver", "Pool", "Device", "ShareID"), device, strict=True)
    text = ",".join(f'"{name}":{go_json(value)}' for name, value in fields)
    return invalid(path, Raw(f"{{{text}}}"), "must be an allocated device in the claim")


def _network(path: str, data: NetworkDeviceData) -> list[FieldError]:
    found = []
    for name, value, limit in (
        ("interfaceName", data.interface_name, INTERFACE_MAX),
        ("hardwareAddress", data.hardware_address, HARDWARE_MAX),
    ):
        if content.size(value) > limit:
            found.append(too_long(child(path, name), limit, origin="maxBytes", covered=True))

    def address(where: str, value: str) -> list[FieldError]:
        return [invalid(where, value, message) for message in content.interface_address(value)]

    return found + check_set(child(path, "ips"), data.ips, address, lambda value: value, limit=_IPS_MAX)
