"""A device as selectors and the allocator see it: built once from its slice, never changed.

Attributes and capacities are looked up by qualified name; a bare name belongs to the driver's domain. Values are
Python's bool, int, str, `Version`, or tuples of those for list attributes.

Upstream: `resourceapi.Device` and the lookup of `lookupAttribute` in k8s.io/dynamic-resource-allocation/structured.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice, DeviceAttribute, DeviceTaint, ResourceSlice
from dra_operator.api.semver import Version
from dra_operator.cel.device import AttributeValue, DeviceView


class PoolKey(NamedTuple):
    driver: str
    pool: str


class DeviceId(NamedTuple):
    """What identifies a device in a cluster, and what an allocation result names."""

    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}/{self.device}"


class Device:
    """A device of one slice. Compared by identity: an updated slice makes new ones."""

    def __init__(self, slice_: ResourceSlice, basic: BasicDevice) -> None:
        self.id = DeviceId(slice_.spec.driver, slice_.spec.pool.name, basic.name)
        self.driver = slice_.spec.driver
        self.slice = slice_
        self.basic = basic
        self.matches: dict[str, bool | str] = {}
        """Results of selectors by expression, or the text of the error; nothing but the device decides them."""

    def __repr__(self) -> str:
        return f"Device({self.id})"

    @property
    def allow_multiple_allocations(self) -> bool:
        return self.basic.allow_multiple_allocations is True

    @cached_property
    def view(self) -> DeviceView:
        """What selectors see."""
        return DeviceView(
            self.driver,
            self.attributes,
            self.capacity,
            allow_multiple_allocations=self.allow_multiple_allocations,
        )

    @property
    def taints(self) -> tuple[DeviceTaint, ...]:
        return self.basic.taints or ()

    @cached_property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """By qualified name."""
        return {self._qualified(name): _value(attribute) for name, attribute in (self.basic.attributes or {}).items()}

    @cached_property
    def capacity(self) -> Mapping[str, Quantity]:
        """By qualified name."""
        return {self._qualified(name): capacity.value for name, capacity in (self.basic.capacity or {}).items()}

    def attribute(self, name: str) -> AttributeValue | None:
        """The attribute of a fully qualified name: literally listed so, or bare in the driver's own domain."""
        return self.attributes.get(name)

    def _qualified(self, name: str) -> str:
        return name if "/" in name else f"{self.driver}/{name}"


def _value(attribute: DeviceAttribute) -> AttributeValue:
    if attribute.bool_value is not None:
        return attribute.bool_value
    if attribute.int_value is not None:
        return attribute.int_value
    if attribute.string_value is not None:
        return attribute.string_value
    if attribute.version_value is not None:
        return Version.parse(attribute.version_value)
    if attribute.bool_values is not None:
        return attribute.bool_values
    if attribute.int_values is not None:
        return attribute.int_values
    if attribute.string_values is not None:
        return attribute.string_values
    if attribute.version_values is not None:
        return tuple(Version.parse(version) for version in attribute.version_values)
    return ()
