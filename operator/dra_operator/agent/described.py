"""What each attribute and capacity of a device means, its unit, and where it comes from: docs/reference/attributes.md.

Types are not told here: they are read off the devices of the profiles (tools/docs.py). A test holds that every name
that a device can have is described, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_PROFILE: Final = "nvmlDeviceGetGpuInstanceProfileInfoV"


@dataclass(frozen=True, slots=True)
class Description:
    """One attribute or capacity."""

    meaning: str
    source: str
    """The NVML call, or the kernel's file, that tells it."""
    unit: str = ""


ATTRIBUTES: Final = {
    "type": Description("`gpu` for a whole GPU, `mig` for a partition", "nvmlDeviceGetMigMode"),
    "uuid": Description("of the GPU, or of a partition that exists", "nvmlDeviceGetUUID"),
    "parentUUID": Description("of the GPU that the partition is part of", "nvmlDeviceGetUUID"),
    "profile": Description("kind of partition, as `nvidia-smi mig -lgip` prints it", _PROFILE),
    "productName": Description("model, as `nvidia-smi -L` prints it", "nvmlDeviceGetName"),
    "brand": Description("product line", "nvmlDeviceGetBrand"),
    "architecture": Description("generation of the GPU", "nvmlDeviceGetArchitecture"),
    "cudaComputeCapability": Description(
        "features of its cores; the third part is 0", "nvmlDeviceGetCudaComputeCapability"
    ),
    "driverVersion": Description("of the kernel driver; 570.172.08 is written 570.172.8", "nvmlSystemGetDriverVersion"),
    "cudaDriverVersion": Description("newest CUDA that the driver can run", "nvmlSystemGetCudaDriverVersion_v2"),
    "pciVendorID": Description("PCI vendor, `0x10de` is NVIDIA", "nvmlDeviceGetPciInfo_v3"),
    "pciDeviceID": Description("PCI device of that vendor", "nvmlDeviceGetPciInfo_v3"),
    "resource.kubernetes.io/pciBusID": Description("address on the PCI bus", "nvmlDeviceGetPciInfo_v3"),
    "resource.kubernetes.io/pcieRoot": Description(
        "PCIe root complex: equal for devices that are near each other", "/sys/bus/pci/devices"
    ),
    "resource.kubernetes.io/numaNode": Description(
        "NUMA node of the machine; left out if none", "/sys/bus/pci/devices/*/numa_node"
    ),
    "powerLimitWatts": Description("power limit in force", "nvmlDeviceGetPowerManagementLimit", "W"),
    "powerLimitMinWatts": Description(
        "lowest limit that can be set", "nvmlDeviceGetPowerManagementLimitConstraints", "W"
    ),
    "powerLimitMaxWatts": Description(
        "highest limit that can be set", "nvmlDeviceGetPowerManagementLimitConstraints", "W"
    ),
    "powerProfile": Description(
        "the limit in a word: `low` below 150 W, `medium` below 350 W, else `high`",
        "nvmlDeviceGetPowerManagementLimit",
    ),
    "thermalSlowdownCelsius": Description(
        "temperature at which it slows itself down", "nvmlDeviceGetTemperatureThreshold", "°C"
    ),
    "thermalShutdownCelsius": Description(
        "temperature at which it switches itself off", "nvmlDeviceGetTemperatureThreshold", "°C"
    ),
    "thermalProfile": Description(
        "the slowdown temperature in a word: `low` below 85 °C, `medium` below 90 °C, else `high`",
        "nvmlDeviceGetTemperatureThreshold",
    ),
}
"""Under our own names and under NVIDIA's; a partition has no board numbers (watts, °C) under NVIDIA's."""

NVIDIA_ATTRIBUTES: Final = {
    "pcieBusID": Description("what its releases until 25.8 called the address on the bus", "nvmlDeviceGetPciInfo_v3"),
    "index": Description("place in the driver's order; changes when GPUs are added", "nvmlDeviceGetHandleByIndex_v2"),
    "minor": Description("number of the device file, `/dev/nvidia0`", "nvmlDeviceGetMinorNumber"),
}
"""Of whole GPUs, with `--attributes=nvidia` or its driver name."""

CAPACITIES: Final = {
    "memory": Description("memory that programs can use", f"nvmlDeviceGetMemoryInfo; {_PROFILE}", "bytes"),
    "multiprocessors": Description(
        "streaming multiprocessors (compute units on AMD)",
        f"nvmlDeviceGetNumGpuCores by compute capability; {_PROFILE}",
    ),
    "cudaCores": Description("CUDA cores, of a whole GPU", "nvmlDeviceGetNumGpuCores"),
    "copyEngines": Description("copy engines, of a partition", _PROFILE),
    "decoders": Description("video decoders, of a partition", _PROFILE),
    "encoders": Description("video encoders, of a partition", _PROFILE),
    "jpegEngines": Description("JPEG decoders, of a partition", _PROFILE),
    "ofaEngines": Description("optical flow accelerators, of a partition", _PROFILE),
}

NVIDIA_CAPACITIES: Final = {
    "memorySlice<N>": Description(
        "1 for each memory slice that an existing partition occupies",
        "nvmlGpuInstanceGetInfo",
    ),
}
