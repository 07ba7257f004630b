"""A device as selectors and the allocator see it: built once from its slice, never changed.

What selectors say about a device is remembered on it, since nothing else decides that; an updated slice makes new
devices, so nothing has to be invalidated.

A device may be published with an attribute that has no value this version knows, or a version that is none: every
selector then fails on it (`UnsupportedAttribute`), whatever it asks about.

Upstream: `resourceapi.Device`; `getAttributeValue` of k8s.io/dynamic-resource-allocation/cel; `lookupStaticAttribute`
of structured/internal/experimental.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice, DeviceAttribute, DeviceCapacity, DeviceTaint, ResourceSlice
from dra_operator.api.semver import Version, VersionError
from dra_operator.cel.device import AttributeValue, DeviceView

_KINDS: dict[tuple[tuple[str, DeviceCapacity], ...], int] = {}
_NUMBERS = itertools.count()
_MAX_KINDS = 10_000
_MAX_MATCHES = 256
_NANO = -9


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


class UnsupportedAttribute(ValueError):
    """An attribute without a value that selectors could see."""


class Device:
    """A device of one slice. Compared by identity: an updated slice makes new ones."""

    __slots__ = (
        "_counters",
        "_kind",
        "_matches",
        "_value",
        "_view",
        "basic",
        "driver",
        "has_plain_capacity",
        "id",
        "slice",
    )

    def __init__(self, slice_: ResourceSlice, basic: BasicDevice) -> None:
        self.id = DeviceId(slice_.spec.driver, slice_.spec.pool.name, basic.name)
        self.driver = slice_.spec.driver
        self.slice = slice_
        self.basic = basic
        self.has_plain_capacity = all(
            capacity.request_policy is None and capacity.value.sign() >= 0
            for capacity in (basic.capacity or {}).values()
        )
        """Whether one who asks for no capacity always finds all of it enough, when the device is free."""
        self._value: int | None = None
        self._kind: int | None = None
        self._view: DeviceView | None = None
        self._matches: dict[str, bool | str] = {}
        self._counters: tuple[tuple[tuple[str, str], int], ...] | None = None

    def __repr__(self) -> str:
        return f"Device({self.id})"

    @property
    def allow_multiple_allocations(self) -> bool:
        return self.basic.allow_multiple_allocations is True

    @property
    def taints(self) -> tuple[DeviceTaint, ...]:
        return self.basic.taints or ()

    @property
    def value(self) -> int:
        """How much there is of the device, for comparisons only: sixteen more is twice as much of one capacity.

        A sum of logarithms: devices with the same capacities compare alike whatever the units are.
        """
        if self._value is None:
            amounts = (capacity.value.scaled_value(_NANO) for capacity in (self.basic.capacity or {}).values())
            self._value = sum(round(16 * math.log2(1 + amount)) for amount in amounts if amount > 0)
        return self._value

    @property
    def capacity_kind(self) -> int:
        """A number that devices share if their capacities, policies included, are the same."""
        if self._kind is None:
            described = tuple((self.basic.capacity or {}).items())
            self._kind = _KINDS.get(described)
            if self._kind is None:
                if len(_KINDS) >= _MAX_KINDS:
                    _KINDS.clear()  # the numbers go on: only equal devices may be told apart now
                self._kind = _KINDS[described] = next(_NUMBERS)
        return self._kind

    @property
    def view(self) -> DeviceView:
        """What selectors see. Raises UnsupportedAttribute."""
        if self._view is None:
            self._view = DeviceView(
                self.driver,
                {name: attribute_value(name, value) for name, value in (self.basic.attributes or {}).items()},
                {name: capacity.value for name, capacity in (self.basic.capacity or {}).items()},
                allow_multiple_allocations=self.allow_multiple_allocations,
            )
        return self._view

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """By qualified name. Raises UnsupportedAttribute."""
        attributes = self.basic.attributes or {}
        return {self._qualified(name): attribute_value(name, attribute) for name, attribute in attributes.items()}

    @property
    def capacity(self) -> Mapping[str, Quantity]:
        """By qualified name."""
        return {self._qualified(name): capacity.value for name, capacity in (self.basic.capacity or {}).items()}

    @property
    def counters(self) -> tuple[tuple[tuple[str, str], int], ...]:
        """What the device consumes, in billionths, by counter set and counter; one may come more than once."""
        if self._counters is None:
            self._counters = tuple(
                ((consumption.counter_set, name), counter.value.scaled_value(_NANO))
                for consumption in self.basic.consumes_counters or ()
                for name, counter in (consumption.counters or {}).items()
            )
        return self._counters

    def attribute(self, name: str) -> DeviceAttribute | None:
        """The attribute of a fully qualified name: literally listed so, or bare in the driver's own domain."""
        attributes = self.basic.attributes or {}
        literal = attributes.get(name)
        if literal is not None:
            return literal
        domain, slash, bare = name.partition("/")
        return attributes.get(bare) if slash and domain == self.driver else None

    def match(self, expression: str) -> bool | str | None:
        """What the selector said before, if it was asked: yes, no, or the text of the error."""
        return self._matches.get(expression)

    def remember_match(self, expression: str, outcome: bool | str) -> None:
        if len(self._matches) >= _MAX_MATCHES:
            self._matches.clear()
        self._matches[expression] = outcome

    def _qualified(self, name: str) -> str:
        return name if "/" in name else f"{self.driver}/{name}"


def attribute_value(name: str, attribute: DeviceAttribute) -> AttributeValue:
    """The value as selectors see it; lists go before scalars. Raises UnsupportedAttribute."""
    if attribute.int_values is not None:
        return attribute.int_values
    if attribute.bool_values is not None:
        return attribute.bool_values
    if attribute.string_values is not None:
        return attribute.string_values
    if attribute.version_values is not None:
        return tuple(_version(name, text) for text in attribute.version_values)
    if attribute.int_value is not None:
        return attribute.int_value
    if attribute.bool_value is not None:
        return attribute.bool_value
    if attribute.string_value is not None:
        return attribute.string_value
    if attribute.version_value is not None:
        return _version(name, attribute.version_value)
    raise UnsupportedAttribute(f"attribute {name}: unsupported attribute value")


def _version(name: str, text: str) -> Version:
    try:
        return Version.parse(text)
    except VersionError as error:
        raise UnsupportedAttribute(f"attribute {name}: parse semantic version: {error}") from error
