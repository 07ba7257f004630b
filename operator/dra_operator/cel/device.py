"""How a device looks to a selector.

`device.attributes` and `device.capacity` are maps of maps: domain, then name. An attribute without a domain belongs to
the driver's. A domain that is missing is an empty map, a name that is missing an error.

`DeviceView` is built once per device and not changed afterwards.

Upstream: `DeviceMatches` in k8s.io/dynamic-resource-allocation/cel.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any, Final

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel.values import DomainMap, NameMap

Scalar = bool | int | str | Version
AttributeValue = Scalar | tuple[bool, ...] | tuple[int, ...] | tuple[str, ...] | tuple[Version, ...]

_NOTHING: Final[Mapping[str, Any]] = {}


class DeviceView:
    """The facts of one device that selectors see. Attributes and capacity are keyed by qualified name."""

    __slots__ = (
        "allow_multiple_allocations",
        "attributes_by_domain",
        "capacity_by_domain",
        "driver",
    )

    def __init__(
        self,
        driver: str,
        attributes: Mapping[str, AttributeValue] = _NOTHING,
        capacity: Mapping[str, Quantity] = _NOTHING,
        *,
        allow_multiple_allocations: bool = False,
    ) -> None:
        self.driver = driver
        self.attributes_by_domain = _by_domain(attributes, driver)
        self.capacity_by_domain = _by_domain(capacity, driver)
        self.allow_multiple_allocations = allow_multiple_allocations

    @property
    def device(self) -> dict[str, Any]:
        """The device as a value, with its fields by name."""
        return {
            "driver": self.driver,
            "allowMultipleAllocations": self.allow_multiple_allocations,
            "attributes": self.attributes_by_domain,
            "capacity": self.capacity_by_domain,
        }

    @property
    def variables(self) -> Mapping[str, Any]:
        """The variables of a selector: `device`."""
        return {"device": self.device}


def _by_domain(values: Mapping[str, Any], driver: str) -> DomainMap:
    """Names are interned: tens of thousands of devices share them, and looking one up compares no characters."""
    domains = DomainMap()
    own: NameMap | None = None
    for name, value in values.items():
        if "/" not in name:
            if own is None:
                own = domains.setdefault(intern(driver), NameMap())
            own[intern(name)] = value
        else:
            domain, _, identifier = name.partition("/")
            domains.setdefault(intern(domain), NameMap())[intern(identifier)] = value
    return domains
