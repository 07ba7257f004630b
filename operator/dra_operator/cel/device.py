"""How a device looks to a selector.

`device.attributes` and `device.capacity` are maps of maps: domain, then name. An attribute without a domain belongs to
the driver's. A domain that is missing is an empty map, a name that is missing an error.

`DeviceView` is built once per device; the maps are made when the first selector asks and kept.

Upstream: `DeviceMatches` in k8s.io/dynamic-resource-allocation/cel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel.values import DomainMap

Scalar = bool | int | str | Version
AttributeValue = Scalar | tuple[bool, ...] | tuple[int, ...] | tuple[str, ...] | tuple[Version, ...]

_NOTHING: Final[Mapping[str, Any]] = {}


class DeviceView:
    """The facts of one device that selectors see. Attributes and capacity are keyed by qualified name."""

    __slots__ = ("_variables", "allow_multiple_allocations", "attributes", "capacity", "driver")

    def __init__(
        self,
        driver: str,
        attributes: Mapping[str, AttributeValue] = _NOTHING,
        capacity: Mapping[str, Quantity] = _NOTHING,
        *,
        allow_multiple_allocations: bool = False,
    ) -> None:
        self.driver = driver
        self.attributes = attributes
        self.capacity = capacity
        self.allow_multiple_allocations = allow_multiple_allocations
        self._variables: Mapping[str, Any] | None = None

    @property
    def variables(self) -> Mapping[str, Any]:
        """The variables of a selector: `device`."""
        if self._variables is None:
            device = {
                "driver": self.driver,
                "allowMultipleAllocations": self.allow_multiple_allocations,
                "attributes": _by_domain(self.attributes, self.driver),
                "capacity": _by_domain(self.capacity, self.driver),
            }
            self._variables = {"device": device}
        return self._variables


def _by_domain(values: Mapping[str, Any], driver: str) -> DomainMap:
    domains = DomainMap()
    for name, value in values.items():
        domain, slash, identifier = name.partition("/")
        if slash:
            domains.setdefault(domain, {})[identifier] = value
        else:
            domains.setdefault(driver, {})[name] = value
    return domains
