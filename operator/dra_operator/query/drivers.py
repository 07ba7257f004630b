"""The DeviceClasses that well-known drivers bring along when they are installed.

Manifests made for such a driver name these classes and do not contain them. Where a simulation's devices are that
driver's, the classes are taken as installed; a class in the files goes first.

Upstream: the Helm charts of kubernetes-sigs/dra-driver-nvidia-gpu and kubernetes-sigs/dra-example-driver.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from dra_operator.api.meta import ObjectMeta
from dra_operator.api.resource import CELDeviceSelector, DeviceClass, DeviceClassSpec, DeviceSelector

_OF_TYPE: Final = "device.driver == '{driver}' && device.attributes['{driver}'].type == '{type}'"
_TYPES: Final = {
    "gpu.nvidia.com": {"gpu.nvidia.com": "gpu", "mig.nvidia.com": "mig", "vfio.gpu.nvidia.com": "vfio"},
    "compute-domain.nvidia.com": {
        "compute-domain-daemon.nvidia.com": "daemon",
        "compute-domain-default-channel.nvidia.com": "channel",
    },
}
"""By driver and class, the type of its devices."""
_WHOLE: Final = {"gpu.example.com": "gpu.example.com"}
"""Drivers with one class for all of their devices."""


def installed_classes(drivers: Collection[str]) -> Iterator[DeviceClass]:
    """The classes that come with the drivers."""
    for driver in sorted(drivers):
        for name, type_ in _TYPES.get(driver, {}).items():
            yield _class(name, _OF_TYPE.format(driver=driver, type=type_))
        if driver in _WHOLE:
            yield _class(_WHOLE[driver], f"device.driver == '{driver}'")


def driver_of(class_name: str) -> str | None:
    """The driver that brings the class along."""
    drivers = (driver for driver, classes in _TYPES.items() if class_name in classes)
    return next(drivers, class_name if class_name in _WHOLE.values() else None)


def _class(name: str, expression: str) -> DeviceClass:
    selector = DeviceSelector(cel=CELDeviceSelector(expression=expression))
    return DeviceClass(metadata=ObjectMeta(name=name), spec=DeviceClassSpec(selectors=(selector,)))
