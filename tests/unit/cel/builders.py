"""Devices and questions for the tests of selectors."""

from __future__ import annotations

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel import DeviceView, compile_selector

DRIVER = "gpu.example.com"


def gpu(**attributes: bool | int | str | Version | tuple[str, ...]) -> DeviceView:
    """A GPU with 40Gi, its model and version, and whatever else is said about it."""
    known: dict[str, bool | int | str | Version | tuple[str, ...]] = {
        "model": "A100",
        "index": 3,
        "healthy": True,
        "driverVersion": Version.parse("535.1.0"),
        "links": ("a", "b"),
        "other.example.com/zone": "z1",
    }
    return DeviceView(DRIVER, known | attributes, {"memory": Quantity.parse("40Gi")}, allow_multiple_allocations=True)


def decide(expression: str, device: DeviceView | None = None) -> bool:
    return compile_selector(expression).matches(device or gpu())
