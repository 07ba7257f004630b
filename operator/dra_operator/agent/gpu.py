"""One GPU: the facts that a source reads about it, and the device that a slice says it is.

`Gpu` holds what NVML tells (or a profile makes up); `as_device` gives those facts their attribute names. Every source
goes through it, so that a simulated GPU is described exactly as a real one. Only static facts: what changes while a
GPU runs (temperature, load) would rewrite its slice all day. A fact that a GPU cannot tell is None, and left out.

Attributes of the standard prefix `resource.kubernetes.io/` mean the same for all drivers, which is what lets a
constraint match a GPU with a NIC of another driver. Upstream: k8s.io/dynamic-resource-allocation/deviceattribute.

Where NVIDIA's own DRA driver has a name for a fact, ours is that name. `Naming.NVIDIA` adds the names that only its
releases have, so that manifests written for it find all that they ask for. Not here: partitions (`mig.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from dra_operator.api.meta import Struct
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice, DeviceAttribute, DeviceCapacity

Attributes: TypeAlias = dict[str, DeviceAttribute | None]
"""By name; None where the fact is not known."""

STANDARD_PREFIX: Final = "resource.kubernetes.io"
NVIDIA_DRIVER: Final = "gpu.nvidia.com"
"""What NVIDIA's own DRA driver calls itself."""

LOW: Final = "low"
MEDIUM: Final = "medium"
HIGH: Final = "high"

_LOW_POWER_BELOW_WATTS: Final = 150
_MEDIUM_POWER_BELOW_WATTS: Final = 350
_LOW_HEAT_BELOW_CELSIUS: Final = 85
_MEDIUM_HEAT_BELOW_CELSIUS: Final = 90


class Naming(StrEnum):
    """Whose attribute names the devices carry."""

    OWN = "own"
    NVIDIA = "nvidia"
    """Also the names that NVIDIA's driver has or had: `pcieBusID`, `index`, `minor`; memory slices as capacity."""


def naming_of(driver: str) -> Naming:
    """The names that users of this driver write in their selectors."""
    return Naming.NVIDIA if driver == NVIDIA_DRIVER else Naming.OWN


class Gpu(Struct, frozen=True, kw_only=True):
    """What is known of one GPU. Versions are strict semver: `580.95.5`, not the driver's own `580.95.05`."""

    uuid: str
    product_name: str
    index: int = 0
    """Its place in the order of the driver; changes when GPUs are added."""
    minor: int = 0
    """The number of its device node, and of its device: `/dev/nvidia0` is `gpu-0`."""
    brand: str | None = None
    architecture: str | None = None
    cuda_compute_capability: str | None = None
    driver_version: str | None = None
    cuda_driver_version: str | None = None
    pci_vendor_id: str | None = None
    pci_device_id: str | None = None
    memory: Quantity | None = None
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


def device_name(gpu: Gpu) -> str:
    return f"gpu-{gpu.minor}"


def as_device(gpu: Gpu, naming: Naming = Naming.OWN) -> BasicDevice:
    """`gpu` as a slice lists it. Names without a domain belong to the driver that publishes the slice."""
    attributes = {
        "type": string("gpu"),
        "uuid": string(gpu.uuid),
        **identity_attributes(gpu),
        **board_attributes(gpu),
        **profile_attributes(gpu),
    }
    if naming is Naming.NVIDIA:
        attributes |= {"pcieBusID": string(gpu.pci_bus_id), "index": integer(gpu.index), "minor": integer(gpu.minor)}
    capacity = {
        "memory": gpu.memory,
        "multiprocessors": count(gpu.multiprocessors),
        "cudaCores": count(gpu.cuda_cores),
    }
    return BasicDevice(name=device_name(gpu), attributes=known(attributes), capacity=capacities(capacity))


def identity_attributes(gpu: Gpu) -> Attributes:
    """What model it is, and where it sits: a partition says the same as its GPU."""
    return {
        "productName": string(gpu.product_name),
        "brand": string(gpu.brand),
        "architecture": string(gpu.architecture),
        "cudaComputeCapability": version(gpu.cuda_compute_capability),
        "driverVersion": version(gpu.driver_version),
        "cudaDriverVersion": version(gpu.cuda_driver_version),
        "pciVendorID": string(gpu.pci_vendor_id),
        "pciDeviceID": string(gpu.pci_device_id),
        f"{STANDARD_PREFIX}/pciBusID": string(gpu.pci_bus_id),
        f"{STANDARD_PREFIX}/pcieRoot": string(gpu.pcie_root),
        f"{STANDARD_PREFIX}/numaNode": integer(gpu.numa_node),
    }


def board_attributes(gpu: Gpu) -> Attributes:
    """The numbers of the board's power and heat."""
    return {
        "powerLimitWatts": integer(gpu.power_limit_watts),
        "powerLimitMinWatts": integer(gpu.power_limit_min_watts),
        "powerLimitMaxWatts": integer(gpu.power_limit_max_watts),
        "thermalSlowdownCelsius": integer(gpu.thermal_slowdown_celsius),
        "thermalShutdownCelsius": integer(gpu.thermal_shutdown_celsius),
    }


def profile_attributes(gpu: Gpu) -> Attributes:
    """Those numbers in one word each."""
    power, slowdown = gpu.power_limit_watts, gpu.thermal_slowdown_celsius
    return {
        "powerProfile": string(None if power is None else power_profile(power)),
        "thermalProfile": string(None if slowdown is None else thermal_profile(slowdown)),
    }


# --- values ----------------------------------------------------------------------------------------------------------


def known(attributes: Attributes) -> dict[str, DeviceAttribute]:
    return {key: value for key, value in attributes.items() if value is not None}


def capacities(values: Mapping[str, Quantity | None]) -> dict[str, DeviceCapacity]:
    return {key: DeviceCapacity(value=value) for key, value in values.items() if value is not None}


def string(value: str | None) -> DeviceAttribute | None:
    return None if value is None else DeviceAttribute(string_value=value)


def version(value: str | None) -> DeviceAttribute | None:
    return None if value is None else DeviceAttribute(version_value=value)


def integer(value: int | None) -> DeviceAttribute | None:
    return None if value is None else DeviceAttribute(int_value=value)


def count(value: int | None) -> Quantity | None:
    return None if value is None else Quantity(value)
