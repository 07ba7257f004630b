"""What a container gets of a real GPU: nodes, capabilities and libraries of a host that is laid out in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.edits import ContainerEdits
from dra_operator.agent.nvml.injection import NvidiaInjector
from dra_operator.agent.nvml.library import Library
from dra_operator.agent.nvml.source import NvmlSource
from dra_operator.api.resource import BasicDevice
from tests.nvml import FakeNode
from tests.unit.agent.nvml.conftest import MakeNode

NODES = ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps/nvidia-cap12")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    for name in NODES:
        path = root / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    (libraries / "libcuda.so.580.95.05").touch()
    (libraries / "libcuda.so.1").symlink_to("libcuda.so.580.95.05")
    (libraries / "libc.so.6").touch()
    return root


@pytest.fixture
def library(nvml_library: Path) -> Iterator[Library]:
    made = Library(driver_root=nvml_library.parent)
    yield made
    made.close()


def edits(library: Library, host: Path, made: FakeNode, name: str) -> ContainerEdits:
    devices = {device.name: device for device in NvmlSource(library, sysfs=made.sysfs).read().devices}
    allocated = AllocatedDevice(requests=("gpu",), pool="node-1", device=name)
    device = devices.get(name, BasicDevice(name=name))
    return NvidiaInjector(library, host).edits("gpu.dra-operator.io", allocated, device)


def nodes(found: ContainerEdits) -> list[str]:
    return [node.path.removeprefix("/dev/") for node in found.device_nodes]


def test_a_gpu_is_its_own_node_beside_those_that_all_share(node: MakeNode, library: Library, host: Path) -> None:
    found = edits(library, host, node(gpus=2), "gpu-1")

    assert nodes(found) == ["nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"]
    assert "NVIDIA_VISIBLE_DEVICES=void" in found.env
    assert "DRA_DEVICE_GPU_1=gpu.dra-operator.io/node-1/gpu-1" in found.env


def test_the_drivers_libraries_lie_where_they_do_on_the_host(node: MakeNode, library: Library, host: Path) -> None:
    found = edits(library, host, node(gpus=1), "gpu-0")

    assert [(mount.host_path, mount.container_path) for mount in found.mounts] == [
        (path, path)
        for path in (
            "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
            "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05",
        )
    ]
    assert all("ro" in mount.options for mount in found.mounts)


@pytest.mark.parametrize("missing", ["nvidia0", "nvidiactl", "nvidia-uvm"])
def test_a_node_that_is_not_there_is_said(node: MakeNode, library: Library, host: Path, missing: str) -> None:
    (host / "dev" / missing).unlink()

    with pytest.raises(OSError, match=f"/dev/{missing} is not there; is the NVIDIA driver loaded"):
        edits(library, host, node(gpus=1), "gpu-0")


def partitioned(node: MakeNode) -> FakeNode:
    made = node("a100-sxm-80gb-mig", gpus=1)
    made.gpus[0].instances = ["1 9 0 MIG-left"]
    made.write()
    return made


def test_an_instance_is_reached_by_its_capabilities_too(node: MakeNode, library: Library, host: Path) -> None:
    folder = host / "proc/driver/nvidia/capabilities/gpu0/mig/gi1"
    (folder / "ci0").mkdir(parents=True)
    (folder / "access").write_text("DeviceFileMinor: 12\nDeviceFileMode: 292\n")
    (folder / "ci0" / "access").write_text("DeviceFileMinor: 12\nDeviceFileMode: 292\n")

    found = edits(library, host, partitioned(node), "gpu-0-mig-3g40gb-9-0")

    assert nodes(found)[0] == "nvidia0"
    assert nodes(found)[-2:] == ["nvidia-caps/nvidia-cap12"] * 2


def with_capabilities(host: Path, *instances: int) -> None:
    for instance in instances:
        folder = host / f"proc/driver/nvidia/capabilities/gpu0/mig/gi{instance}"
        (folder / "ci0").mkdir(parents=True)
        for file in (folder / "access", folder / "ci0" / "access"):
            file.write_text("DeviceFileMinor: 12\nDeviceFileMode: 292\n")


def possible(name: str) -> BasicDevice:
    return BasicDevice(name=name)


def allocated(name: str) -> AllocatedDevice:
    return AllocatedDevice(requests=("gpu",), pool="node-1", device=name)


def test_a_partition_that_is_only_possible_is_made_once_and_undone(
    node: MakeNode, library: Library, host: Path
) -> None:
    made = partitioned(node)
    with_capabilities(host, 2)
    injector, name = NvidiaInjector(library, host), "gpu-0-mig-1g10gb-19-4"
    before = NvmlSource(library, sysfs=made.sysfs).read()
    assert injector.makes(possible(name))

    found = injector.edits("gpu.dra-operator.io", allocated(name), possible(name))

    assert injector.edits("gpu.dra-operator.io", allocated(name), possible(name)) == found
    (uuid,) = [value for value in found.env if value.startswith("DRA_DEVICE_GPU_0_MIG_1G10GB_19_4_UUID=MIG-")]
    listed = {device.name: device for device in NvmlSource(library, sysfs=made.sysfs).read().devices}
    assert (listed[name].attributes or {})["uuid"].string_value == uuid.partition("=")[2]
    assert not injector.makes(listed[name])
    source = NvmlSource(library, sysfs=made.sysfs)
    source.attach(lambda: {name})
    assert source.read() == before, "made for a claim, it is to others as it was"

    injector.undo(name)
    injector.undo(name)
    assert NvmlSource(library, sysfs=made.sysfs).read() == before


def test_a_partition_where_another_one_is_cannot_be_made(node: MakeNode, library: Library, host: Path) -> None:
    partitioned(node)
    name = "gpu-0-mig-1g10gb-19-0"

    with pytest.raises(OSError, match=f"{name} could not be made: Insufficient Resources"):
        NvidiaInjector(library, host).edits("gpu.dra-operator.io", allocated(name), possible(name))


def test_a_partition_that_the_gpu_cannot_have(node: MakeNode, library: Library, host: Path) -> None:
    partitioned(node)
    name = "gpu-0-mig-1g10gb-19-77"

    with pytest.raises(OSError, match="the GPU has no such partition"):
        NvidiaInjector(library, host).edits("gpu.dra-operator.io", allocated(name), possible(name))


def test_a_device_of_another_name_is_no_gpu(node: MakeNode, library: Library, host: Path) -> None:
    with pytest.raises(OSError, match="is no name of a GPU"):
        edits(library, host, node(gpus=1), "nic-0")
