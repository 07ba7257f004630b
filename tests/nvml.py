"""A node with NVIDIA GPUs for tests: the fake `libnvidia-ml.so.1` of tools/fake-nvml, its file, a tree of PCI devices.

The library is built once for a test run, with the C compiler that the machine has. What the GPUs are comes from the
agent's profiles, so that a source over NVML must say of them what a simulated source says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from dra_operator.agent.gpu import Gpu
from dra_operator.agent.mig import PartitionProfile
from dra_operator.agent.profiles import Identity, load_profile

SOURCE: Final = Path(__file__).parents[1] / "tools" / "fake-nvml" / "nvml.c"
NOT_SUPPORTED: Final = 3
UNKNOWN: Final = 999
XID: Final = 8
_BRANDS: Final = {"Nvidia": 14}
_ARCHITECTURES: Final = {"Turing": 6, "Ampere": 7, "Ada Lovelace": 8, "Hopper": 9, "Blackwell": 10}


def build_library(folder: Path) -> Path:
    """The library in `folder`. Skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("tools/fake-nvml needs a C compiler (cc), and there is none")
    library = folder / "libnvidia-ml.so.1"
    flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", f"-Wl,-soname,{library.name}"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE), "-lpthread"], check=True)
    return library


@dataclass(slots=True)
class FakeGpu:
    """Lines of one GPU's section; those of the same key follow each other."""

    lines: dict[str, Any]
    profiles: tuple[PartitionProfile, ...] = ()
    instances: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        rows = [f"{key} = {value}" for key, value in self.lines.items()]
        rows += [f"mig_profile = {_profile_line(index, each)}" for index, each in enumerate(self.profiles)]
        rows += [f"instance = {each}" for each in self.instances]
        rows += [f"event = {each}" for each in self.events]
        rows += [f"fail.{function} = {code}" for function, code in self.failures.items()]
        return "\n".join(["[gpu]", *rows])


@dataclass(slots=True)
class FakeNode:
    """What the driver says; `write` makes it so, at once and whole."""

    file: Path
    sysfs: Path
    gpus: list[FakeGpu] = field(default_factory=list)
    driver: str = "580.95.05"
    cuda: int = 13000
    state: str = "loaded"
    load: int = 1

    def write(self) -> None:
        head = f"driver = {self.driver}\ncuda = {self.cuda}\nstate = {self.state}\nload = {self.load}\n"
        following = self.file.with_suffix(".next")
        following.write_text(head + "\n".join(gpu.text() for gpu in self.gpus) + "\n")
        following.rename(self.file)

    def environment(self, library: Path) -> dict[str, str]:
        """For a process of its own."""
        return {**os.environ, "FAKE_NVML": str(self.file), "LD_LIBRARY_PATH": str(library.parent)}


def fake_node(folder: Path, profile: str, node_name: str = "node-1", gpus: int | None = None) -> FakeNode:
    """A node of that profile, as NVML and the kernel show it."""
    loaded = load_profile(profile)
    assert loaded.gpu is not None
    assert loaded.gpu.driver_version is not None
    assert loaded.gpu.cuda_driver_version is not None
    major, minor, _ = loaded.gpu.cuda_driver_version.split(".")
    node = FakeNode(folder / "node.nvml", folder / "sys", cuda=int(major) * 1000 + int(minor) * 10)
    node.driver = loaded.gpu.driver_version
    for index in range(loaded.gpus if gpus is None else gpus):
        gpu = loaded.gpu_of(Identity(node_name, index))
        mode = {"mig": int(loaded.mig)} if loaded.partitions else {}
        node.gpus.append(FakeGpu({**_lines(gpu), **mode}, loaded.partitions))
        _grow_sysfs(node.sysfs, gpu)
    node.write()
    return node


def _lines(gpu: Gpu) -> dict[str, Any]:
    assert gpu.memory is not None
    assert gpu.pci_device_id is not None
    return {
        "uuid": gpu.uuid,
        "name": gpu.product_name,
        "brand": _BRANDS[gpu.brand or ""],
        "architecture": _ARCHITECTURES[gpu.architecture or ""],
        "capability": (gpu.cuda_compute_capability or "").removesuffix(".0"),
        "minor": gpu.minor,
        "memory": gpu.memory.value(),
        "pci": gpu.pci_bus_id,
        "pci_device": f"{gpu.pci_device_id}10de",
        "power": (gpu.power_limit_watts or 0) * 1000,
        "power_min": (gpu.power_limit_min_watts or 0) * 1000,
        "power_max": (gpu.power_limit_max_watts or 0) * 1000,
        "slowdown": gpu.thermal_slowdown_celsius,
        "shutdown": gpu.thermal_shutdown_celsius,
        "cores": gpu.cuda_cores,
        "temperature": 40,
    }


def _profile_line(index: int, profile: PartitionProfile) -> str:
    compute_slices = profile.name.partition("g")[0]
    numbers: Iterable[object] = (
        index,
        profile.id,
        profile.name,
        compute_slices,
        profile.memory.value() >> 20,
        *profile.counts().values(),
        profile.memory_slices,
    )
    return " ".join(map(str, numbers)) + " " + ",".join(map(str, profile.starts))


def _grow_sysfs(sysfs: Path, gpu: Gpu) -> None:
    assert gpu.pci_bus_id is not None
    assert gpu.pcie_root is not None
    device = sysfs / "devices" / gpu.pcie_root / f"{gpu.pcie_root.removeprefix('pci')}:01.0" / gpu.pci_bus_id
    device.mkdir(parents=True)
    (device / "numa_node").write_text(f"{gpu.numa_node}\n")
    link = sysfs / "bus" / "pci" / "devices" / gpu.pci_bus_id
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(device)
