"""What an API server changed of an allocation, by the names of its fields."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.meta import Uid
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import (
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    DeviceToleration,
    OpaqueDeviceConfiguration,
)
from dra_operator.lifecycle.answer import find_changed_fields, same_devices
from tests.builders import result

TOLERATION = DeviceToleration(key="worn", operator="Exists")
SHARE = Uid("11111111-1111-1111-1111-111111111111")
PLAIN = result("node-a/gpu-0")
FULL = msgspec.structs.replace(
    PLAIN, share_id=SHARE, tolerations=(TOLERATION,), consumed_capacity={"memory": Quantity.parse("1Gi")}
)


def given(
    *results: DeviceRequestAllocationResult, parameters: bytes = b"", stamp: str | None = None
) -> AllocationResult:
    opaque = OpaqueDeviceConfiguration(driver="gpu.example.com", parameters=msgspec.Raw(parameters))
    config = (DeviceAllocationConfiguration(source="FromClaim", opaque=opaque),) if parameters else None
    return AllocationResult(
        devices=DeviceAllocationResult(results=results or None, config=config), allocation_timestamp=stamp
    )


@pytest.mark.parametrize(
    ("written", "answered", "changed"),
    [
        (given(FULL), given(FULL), set()),
        (
            given(FULL),
            given(PLAIN),
            {"devices.results.shareID", "devices.results.tolerations", "devices.results.consumedCapacity"},
        ),
        (given(PLAIN, stamp="2026-01-01T00:00:00Z"), given(PLAIN), {"allocationTimestamp"}),
        (given(PLAIN), given(msgspec.structs.replace(PLAIN, admin_access=False, tolerations=())), set()),
        (given(PLAIN, FULL), given(PLAIN), {"devices.results"}),
        (given(PLAIN, parameters=b'{"b": 1, "a": 2}'), given(PLAIN, parameters=b'{"a":2,"b":1}'), set()),
        (given(PLAIN, parameters=b'{"b": 1}'), given(PLAIN), {"devices.config"}),
        (given(PLAIN), None, {"devices.results"}),
    ],
)
def test_changed_fields_are_named_as_in_json(
    written: AllocationResult, answered: AllocationResult | None, changed: set[str]
) -> None:
    assert find_changed_fields(written, answered) == changed


def test_the_same_devices_are_the_same_without_what_was_dropped() -> None:
    assert same_devices(given(FULL), given(PLAIN))
    assert not same_devices(given(FULL), given(result("node-a/gpu-1")))
    assert not same_devices(given(FULL), None)
    assert same_devices(None, None)
