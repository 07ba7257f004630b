"""What one GPU is: from NVML's answers, and from the kernel's picture of the PCI bus, to a `Gpu`.

Figures are brought into the units that attributes have: watts, °C, bytes, strict semver. What a GPU cannot tell is
None. NUMA node and PCIe root are the kernel's (`/sys/bus/pci/devices`), as upstream's helpers take them
(k8s.io/dynamic-resource-allocation/deviceattribute). NVML does not count multiprocessors of a whole GPU; they follow
from its cores and its compute capability.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pynvml

from dra_operator.agent.gpu import Gpu
from dra_operator.agent.nvml.library import Library
from dra_operator.api.meta import Struct
from dra_operator.api.quantity import Quantity

SYSFS: Final = Path("/sys")

_BRANDS: Final = {
    pynvml.NVML_BRAND_UNKNOWN: "Unknown",
    pynvml.NVML_BRAND_QUADRO: "Quadro",
    pynvml.NVML_BRAND_TESLA: "Tesla",
    pynvml.NVML_BRAND_NVS: "NVS",
    pynvml.NVML_BRAND_GRID: "Grid",
    pynvml.NVML_BRAND_GEFORCE: "GeForce",
    pynvml.NVML_BRAND_TITAN: "Titan",
    pynvml.NVML_BRAND_NVIDIA_VAPPS: "NvidiaVApps",
    pynvml.NVML_BRAND_NVIDIA_VPC: "NvidiaVPC",
    pynvml.NVML_BRAND_NVIDIA_VCS: "NvidiaVCS",
    pynvml.NVML_BRAND_NVIDIA_VWS: "NvidiaVWS",
    pynvml.NVML_BRAND_NVIDIA_CLOUD_GAMING: "NvidiaCloudGaming",
    pynvml.NVML_BRAND_QUADRO_RTX: "QuadroRTX",
    pynvml.NVML_BRAND_NVIDIA_RTX: "NvidiaRTX",
    pynvml.NVML_BRAND_NVIDIA: "Nvidia",
    pynvml.NVML_BRAND_GEFORCE_RTX: "GeForceRTX",
    pynvml.NVML_BRAND_TITAN_RTX: "TitanRTX",
}
_ARCHITECTURES: Final = {
    pynvml.NVML_DEVICE_ARCH_KEPLER: "Kepler",
    pynvml.NVML_DEVICE_ARCH_MAXWELL: "Maxwell",
    pynvml.NVML_DEVICE_ARCH_PASCAL: "Pascal",
    pynvml.NVML_DEVICE_ARCH_VOLTA: "Volta",
    pynvml.NVML_DEVICE_ARCH_TURING: "Turing",
    pynvml.NVML_DEVICE_ARCH_AMPERE: "Ampere",
    pynvml.NVML_DEVICE_ARCH_ADA: "Ada Lovelace",
    pynvml.NVML_DEVICE_ARCH_HOPPER: "Hopper",
    pynvml.NVML_DEVICE_ARCH_BLACKWELL: "Blackwell",
    pynvml.NVML_DEVICE_ARCH_RUBIN: "Rubin",
}
_CORES_PER_MULTIPROCESSOR: Final = {
    (3, 0): 192, (3, 5): 192, (3, 7): 192, (5, 0): 128, (5, 2): 128, (5, 3): 128, (6, 0): 64, (6, 1): 128, (6, 2): 128,
    (7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64, (8, 6): 128, (8, 7): 128, (8, 9): 128, (9, 0): 128, (10, 0): 128,
    (10, 1): 128, (10, 3): 128, (11, 0): 128, (12, 0): 128, (12, 1): 128,
}  # fmt: skip
"""By compute capability (CUDA C++ Programming Guide, arithmetic throughput of 32-bit floating point)."""

_PCIE_ROOT: Final = re.compile(r"pci[0-9a-f]{4,}:[0-9a-f]{2}")


class DriverVersions(Struct, frozen=True):
    driver: str | None
    cuda: str | None


def read_versions(library: Library) -> DriverVersions:
    cuda = library.call(pynvml.nvmlSystemGetCudaDriverVersion_v2)
    return DriverVersions(
        strict_semver(library.call(pynvml.nvmlSystemGetDriverVersion)),
        None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}.0",
    )


def read_gpu(library: Library, handle: Any, index: int, versions: DriverVersions, sysfs: Path = SYSFS) -> Gpu:
    """Raises GpuLost, or SourceError for a GPU that does not even tell its uuid."""
    call = library.call
    capability = call(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    cores = call(pynvml.nvmlDeviceGetNumGpuCores, handle)
    memory = call(pynvml.nvmlDeviceGetMemoryInfo, handle)
    pci = call(pynvml.nvmlDeviceGetPciInfo_v3, handle)
    bus = None if pci is None else f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0"
    lowest, highest = call(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (None, None)
    minor = call(pynvml.nvmlDeviceGetMinorNumber, handle)
    return Gpu(
        uuid=library.must(pynvml.nvmlDeviceGetUUID, handle),
        product_name=call(pynvml.nvmlDeviceGetName, handle) or "unknown",
        index=index,
        minor=index if minor is None else minor,
        brand=_BRANDS.get(call(pynvml.nvmlDeviceGetBrand, handle)),
        architecture=_ARCHITECTURES.get(call(pynvml.nvmlDeviceGetArchitecture, handle)),
        cuda_compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}.0",
        driver_version=versions.driver,
        cuda_driver_version=versions.cuda,
        pci_vendor_id=None if pci is None else f"0x{pci.pciDeviceId & 0xFFFF:04x}",
        pci_device_id=None if pci is None else f"0x{pci.pciDeviceId >> 16:04x}",
        memory=None if memory is None else _bytes(memory.total),
        pci_bus_id=bus,
        pcie_root=None if bus is None else pcie_root(bus, sysfs),
        numa_node=None if bus is None else numa_node(bus, sysfs),
        power_limit_watts=_watts(call(pynvml.nvmlDeviceGetPowerManagementLimit, handle)),
        power_limit_min_watts=_watts(lowest),
        power_limit_max_watts=_watts(highest),
        thermal_slowdown_celsius=slowdown_celsius(library, handle),
        thermal_shutdown_celsius=call(
            pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN
        ),
        multiprocessors=_multiprocessors(cores, capability),
        cuda_cores=cores,
    )


def slowdown_celsius(library: Library, handle: Any) -> int | None:
    limit: int | None = library.call(
        pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
    )
    return limit


def strict_semver(version: str | None) -> str | None:
    """`570.172.08` is no semantic version, `570.172.8` is. None for what has no number at all."""
    numbers = re.findall(r"\d+", (version or "").partition("-")[0])[:3]
    return ".".join(str(int(number)) for number in [*numbers, "0", "0"][:3]) if numbers else None


def pcie_root(bus: str, sysfs: Path = SYSFS) -> str | None:
    """The root complex that the device is under: the first part of its place in the tree of devices."""
    place = (sysfs / "bus/pci/devices" / bus).resolve()
    return next((part for part in place.parts if _PCIE_ROOT.fullmatch(part)), None)


def numa_node(bus: str, sysfs: Path = SYSFS) -> int | None:
    """None also where the kernel says that it belongs to no node (-1)."""
    try:
        node = int((sysfs / "bus/pci/devices" / bus / "numa_node").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _bytes(number: int) -> Quantity:
    """In Mi where it comes out even, as people write it."""
    mebi, rest = divmod(number, 1 << 20)
    return Quantity(number) if rest else Quantity.parse(f"{mebi}Mi")


def _watts(milliwatts: int | None) -> int | None:
    return None if milliwatts is None else round(milliwatts / 1000)


def _multiprocessors(cores: int | None, capability: tuple[int, int] | None) -> int | None:
    each = None if capability is None else _CORES_PER_MULTIPROCESSOR.get(capability)
    return None if cores is None or each is None else cores // each
