"""One GPU: the facts that a source reads about it, and the device that a slice says it is.

`Gpu` holds what NVML tells (or a profile makes up); `as_device` gives those facts their attribute names. Every source
goes through it, so that a simulated GPU is described exactly as a real one. Only static facts: what changes while a
GPU runs (temperature, load) would rewrite its slice all day. A fact that a GPU cannot tell is None, and left out.

Attributes of the standard prefix `resource.kubernetes.io/` mean the same for all drivers, which is what lets a
constraint match a GPU with a NIC of another driver. Upstream: k8s.io/dynamic-resource-allocation/deviceattribute.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api.meta import Struct
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice, DeviceAttribute, DeviceCapacity

STANDARD_PREFIX: Final = "resource.kubernetes.io"

LOW: Final = "low"
MEDIUM: Final = "medium"
HIGH: Final = "high"

_LOW_POWER_BELOW_WATTS: Final = 150
_MEDIUM_POWER_BELOW_WATTS: Final = 350
_LOW_HEAT_BELOW_CELSIUS: Final = 85
_MEDIUM_HEAT_BELOW_CELSIUS: Final = 90


class Gpu(Struct, frozen=True, kw_only=True):
    """What is known of one GPU. Versions are strict semver: `580.95.5`, not the driver's own `580.95.05`."""

    uuid: str
    product_name: str
    brand: str
    architecture: str
    cuda_compute_capability: str
    driver_version: str
    cuda_driver_version: str
    pci_vendor_id: str
    pci_device_id: str
    memory: Quantity
    pci_bus_id: str | None = None
    pcie_root: str | None = None
    numa_node: int | None = None
    power_limit_watts: int | None = None
    power_limit_min_watts: int | None = None
    power_limit_max_watts: int | None = None
    thermal_slowdown_celsius: int | None = None
    thermal_shutdown_celsius: int | None = None
    multiprocessors: int | None = None
    cuda_cores: int | None = None


def power_profile(limit_watts: int) -> str:
    """`low`, `medium` or `high`, by the power limit in force."""
    if limit_watts < _LOW_POWER_BELOW_WATTS:
        return LOW
    return MEDIUM if limit_watts < _MEDIUM_POWER_BELOW_WATTS else HIGH


def thermal_profile(slowdown_celsius: int) -> str:
    """`low`, `medium` or `high`, by how hot the GPU may run before it slows itself down."""
    if slowdown_celsius < _LOW_HEAT_BELOW_CELSIUS:
        return LOW
    return MEDIUM if slowdown_celsius < _MEDIUM_HEAT_BELOW_CELSIUS else HIGH


def as_device(gpu: Gpu, name: str) -> BasicDevice:
    """`gpu` as a slice lists it. Names without a domain belong to the driver that publishes the slice."""
    power, slowdown = gpu.power_limit_watts, gpu.thermal_slowdown_celsius
    attributes = {
        "type": _string("gpu"),
        "uuid": _string(gpu.uuid),
        "productName": _string(gpu.product_name),
        "brand": _string(gpu.brand),
        "architecture": _string(gpu.architecture),
        "cudaComputeCapability": _version(gpu.cuda_compute_capability),
        "driverVersion": _version(gpu.driver_version),
        "cudaDriverVersion": _version(gpu.cuda_driver_version),
        "pciVendorID": _string(gpu.pci_vendor_id),
        "pciDeviceID": _string(gpu.pci_device_id),
        f"{STANDARD_PREFIX}/pciBusID": _string(gpu.pci_bus_id),
        f"{STANDARD_PREFIX}/pcieRoot": _string(gpu.pcie_root),
        f"{STANDARD_PREFIX}/numaNode": _int(gpu.numa_node),
        "powerLimitWatts": _int(power),
        "powerLimitMinWatts": _int(gpu.power_limit_min_watts),
        "powerLimitMaxWatts": _int(gpu.power_limit_max_watts),
        "powerProfile": _string(None if power is None else power_profile(power)),
        "thermalSlowdownCelsius": _int(slowdown),
        "thermalShutdownCelsius": _int(gpu.thermal_shutdown_celsius),
        "thermalProfile": _string(None if slowdown is None else thermal_profile(slowdown)),
    }
    capacity = {
        "memory": gpu.memory,
        "multiprocessors": _count(gpu.multiprocessors),
        "cudaCores": _count(gpu.cuda_cores),
    }
    return BasicDevice(
        name=name,
        attributes={key: value for key, value in attributes.items() if value is not None},
        capacity={key: DeviceCapacity(value=value) for key, value in capacity.items() if value is not None},
    )


def _string(value: str | None) -> DeviceAttribute | None:
    return None if value is None else DeviceAttribute(string_value=value)


def _version(value: str) -> DeviceAttribute:
    return DeviceAttribute(version_value=value)


def _int(value: int | None) -> DeviceAttribute | None:
    return None if value is None else DeviceAttribute(int_value=value)


def _count(value: int | None) -> Quantity | None:
    return None if value is None else Quantity(value)
