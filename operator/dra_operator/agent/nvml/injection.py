"""What a container needs to use NVIDIA's GPUs: their device nodes, and the driver's libraries of this machine.

A GPU has a node of its own (`/dev/nvidia0`), all share the control nodes. An instance of a GPU in MIG mode is reached
through its GPU's node and two capabilities (`/dev/nvidia-caps/nvidia-cap12`), whose numbers the driver tells under
/proc. The libraries are mounted where they lie on the host, which is where loaders of most distributions look.

`NVIDIA_VISIBLE_DEVICES=void` keeps NVIDIA's own container runtime, where it is installed, from adding all GPUs.

A partition that is only possible is made first (`partitions.py`), and undone when the claim is unprepared.

Upstream: NVIDIA's container toolkit (`nvidia-ctk cdi generate`) and DRA driver.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.edits import ContainerEdits, DeviceNode, Mount
from dra_operator.agent.injection import device_env, env_name
from dra_operator.agent.nvml.library import GpuLost, Library
from dra_operator.agent.nvml.making import PartitionError, instances_of, make_partition, undo_partition
from dra_operator.agent.sources import SourceError
from dra_operator.api.resource import BasicDevice

T = TypeVar("T")

_NAME: Final = re.compile(r"gpu-(\d+)(-mig-.*)?")
_CONTROL_NODES: Final = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_NEEDED_NODES: Final = frozenset({"nvidiactl", "nvidia-uvm"})
_CAPABILITIES: Final = "proc/driver/nvidia/capabilities"
_MINOR: Final = re.compile(r"^DeviceFileMinor:\s*(\d+)\s*$", re.MULTILINE)
_FOLDERS: Final = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib")
_LIBRARIES: Final = (
    "libcuda.so",
    "libcudadebugger.so",
    "libnvidia-cfg.so",
    "libnvidia-gpucomp.so",
    "libnvidia-ml.so",
    "libnvidia-nvvm.so",
    "libnvidia-opencl.so",
    "libnvidia-ptxjitcompiler.so",
)
_PROGRAMS: Final = ("usr/bin/nvidia-smi",)
_OPTIONS: Final = ("ro", "nosuid", "nodev", "bind")


class NvidiaInjector:
    """See the module. `root` is where the agent sees the host's root folder."""

    def __init__(self, library: Library, root: Path | None = None) -> None:
        self._library = library
        self._root = root or Path("/")

    def makes(self, device: BasicDevice) -> bool:
        return _is_partition(device.name) and _uuid(device) is None

    def edits(self, driver: str, allocated: AllocatedDevice, device: BasicDevice) -> ContainerEdits:
        match = _NAME.fullmatch(allocated.device)
        if match is None:
            raise OSError(f"{allocated.device!r} is no name of a GPU")
        minor = int(match[1])
        nodes = [self._node(f"nvidia{minor}", needed=True)]
        nodes += [self._node(name, needed=name in _NEEDED_NODES) for name in _CONTROL_NODES]
        env = ["NVIDIA_VISIBLE_DEVICES=void", *device_env(driver, allocated, device)]
        if _is_partition(allocated.device):
            uuid = _uuid(device)
            if uuid is None:
                uuid = self._ask(lambda: make_partition(self._library, allocated.device))
                env.append(f"{env_name(allocated)}_UUID={uuid}")
            nodes += self._capabilities(minor, uuid)
        return ContainerEdits(
            env=tuple(env),
            device_nodes=tuple(node for node in nodes if node is not None),
            mounts=tuple(self._mounts()),
        )

    def undo(self, device: str) -> None:
        self._ask(lambda: undo_partition(self._library, device))

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return self._library.use(question)
        except (SourceError, GpuLost, PartitionError) as error:
            raise OSError(str(error)) from error

    def _node(self, name: str, *, needed: bool) -> DeviceNode | None:
        if (self._root / "dev" / name).exists():
            return DeviceNode(path=f"/dev/{name}")
        if needed:
            raise OSError(f"/dev/{name} is not there; is the NVIDIA driver loaded (nvidia-modprobe -u -c=0)?")
        return None

    def _capabilities(self, minor: int, uuid: str) -> list[DeviceNode | None]:
        gpu_instance, compute_instance = self._ask(lambda: instances_of(self._library, uuid))
        folder = self._root / _CAPABILITIES / f"gpu{minor}" / "mig" / f"gi{gpu_instance}"
        files = (folder / "access", folder / f"ci{compute_instance}" / "access")
        return [self._node(f"nvidia-caps/nvidia-cap{_capability(file)}", needed=True) for file in files]

    def _mounts(self) -> Iterator[Mount]:
        """The driver's files, each at the path that it has on the host."""
        for folder in _FOLDERS:
            for library in _LIBRARIES:
                for path in sorted((self._root / folder).glob(f"{library}.*")):
                    yield self._mount(path)
        for program in _PROGRAMS:
            if (self._root / program).exists():
                yield self._mount(self._root / program)

    def _mount(self, path: Path) -> Mount:
        on_host = f"/{path.relative_to(self._root)}"
        return Mount(host_path=on_host, container_path=on_host, options=_OPTIONS)


def _is_partition(device: str) -> bool:
    match = _NAME.fullmatch(device)
    return match is not None and match[2] is not None


def _uuid(device: BasicDevice) -> str | None:
    """None for a partition that is only possible."""
    uuid = (device.attributes or {}).get("uuid")
    return None if uuid is None else uuid.string_value


def _capability(file: Path) -> int:
    match = _MINOR.search(file.read_text("ascii"))
    if match is None:
        raise OSError(f"{file} does not tell the number of a device")
    return int(match[1])
