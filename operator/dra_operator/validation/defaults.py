"""The defaults that the API server sets before it checks.

Upstream: pkg/apis/resource/v1/defaults.go. Not here: the time of a taint, which no rule looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from msgspec.structs import replace

from dra_operator.validation.shapes import Wire
from dra_operator.validation.types import (
    AllocationResult,
    DeviceRequest,
    DeviceSubRequest,
    DeviceToleration,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceClaimTemplate,
)

W = TypeVar("W", bound=Wire)
R = TypeVar("R", ExactDeviceRequest, DeviceSubRequest)


def with_defaults(value: W) -> W:
    """The object as the API server goes on with it."""
    match value:
        case ResourceClaim():
            allocation = value.status.allocation
            status = value.status if allocation is None else replace(value.status, allocation=_allocation(allocation))
            return cast(W, replace(value, spec=_spec(value.spec), status=status))
        case ResourceClaimTemplate():
            return cast(W, replace(value, spec=replace(value.spec, spec=_spec(value.spec.spec))))
    return value


def _spec(spec: ResourceClaimSpec) -> ResourceClaimSpec:
    if not spec.devices.requests:
        return spec
    requests = tuple(_request(each) for each in spec.devices.requests)
    return replace(spec, devices=replace(spec.devices, requests=requests))


def _request(request: DeviceRequest) -> DeviceRequest:
    exactly, subrequests = request.exactly, request.first_available
    return replace(
        request,
        exactly=None if exactly is None else _wishes(exactly),
        first_available=None if subrequests is None else tuple(map(_wishes, subrequests)),
    )


def _wishes(request: R) -> R:
    mode = request.allocation_mode or "ExactCount"
    count = request.count or (1 if mode == "ExactCount" else 0)
    return replace(request, allocation_mode=mode, count=count, tolerations=_tolerations(request.tolerations))


def _tolerations(tolerations: Sequence[DeviceToleration] | None) -> tuple[DeviceToleration, ...] | None:
    if tolerations is None:
        return None
    return tuple(each if each.operator else replace(each, operator="Equal") for each in tolerations)


def _allocation(allocation: AllocationResult) -> AllocationResult:
    if not allocation.devices.results:
        return allocation
    results = tuple(replace(each, tolerations=_tolerations(each.tolerations)) for each in allocation.devices.results)
    return replace(allocation, devices=replace(allocation.devices, results=results))
