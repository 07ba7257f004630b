"""A real node on this machine: containerd and a kubelet, which join a control plane of the sandbox.

Nearly all of it lies in a folder of its own. What cannot: the cgroups `kubepods`, the network bridge, the address of
the Service `kubernetes`, containerd's /run/containerd, and kernel settings that the kubelet makes; all are put back at
the end, and a lock keeps a second such node off the machine.

There is no kube-proxy: the one Service that pods need, the API server's, is an address of this machine, where a relay
listens. Pods find the API server as everywhere, by the environment that the kubelet gives them.

Machines that tests run on lack some of what a node has: they have cgroups v1, and no right to lower OOM scores.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dra_operator.api.kinds import NODES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.ports import free_port
from dra_operator.sandbox.processes import Process, start, wait_until
from tests.kubelet.image import PAUSE, write_images

NAME = "localhost"
"""The API server reaches the kubelet by this name."""
_BRIDGE = "dra-test0"
_CNI_PLUGINS = Path("/usr/lib/cni")
_SERVICES = "10.223.0.0/24"
"""The control plane's range of Service addresses. Its first is the API server's."""
_API_SERVICE = "10.223.0.1"
_SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
_PATIENCE = 90.0


def programs() -> Path:
    """Where `make setup-kubelet` has put containerd."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "dra-operator" / "containerd"


class Node:
    """See the module."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.folder = folder
        self.kubelet_folder = folder / "kubelet"
        self.cdi = folder / "cdi"
        self.pod_logs = folder / "pods"
        self.log = folder / "log"
        self._plane = plane
        self._containerd: Process | None = None
        self._kubelet: Process | None = None
        self._relay: Process | None = None

    async def start(self) -> None:
        for path in (self.kubelet_folder, self.cdi, self.pod_logs, self.log, self.folder / "cni"):
            path.mkdir(parents=True)
        self._write_configuration()
        self._containerd = start(
            "containerd",
            [str(programs() / "containerd"), f"--config={self.folder / 'containerd.toml'}"],
            self.log / "containerd.log",
            {"PATH": f"{programs()}:{os.environ['PATH']}"},
        )
        busybox = shutil.which("busybox")
        assert busybox is not None
        write_images(Path(busybox), self.folder / "images.tar")

        async def answers() -> bool:
            return self._ctr("version", check=False).returncode == 0

        await wait_until("containerd", answers, _PATIENCE, [self._containerd])
        self.import_images(self.folder / "images.tar")
        self._serve_api()
        await self.start_kubelet()

    def import_images(self, archive: Path) -> None:
        """From then on pods run them: nothing is pulled."""
        self._ctr("--namespace=k8s.io", "images", "import", str(archive))

    def _serve_api(self) -> None:
        subprocess.run(["ip", "address", "replace", f"{_API_SERVICE}/32", "dev", "lo"], check=True)
        listener, target = f"{_API_SERVICE}:443", f"127.0.0.1:{self._plane.port}"
        command = [sys.executable, "-m", "tests.kubelet.relay", listener, target]
        self._relay = start("relay", command, self.log / "relay.log")

    async def start_kubelet(self) -> None:
        """Returns when the node is ready."""
        self._kubelet = start(
            "kubelet",
            [
                str(self._plane.binaries / "kubelet"),
                f"--config={self.folder / 'kubelet.json'}",
                f"--kubeconfig={self._plane.kubeconfig()}",
                f"--hostname-override={NAME}",
                f"--root-dir={self.kubelet_folder}",
                f"--cert-dir={self.folder / 'pki'}",
                "--v=4",
            ],
            self.log / "kubelet.log",
        )
        await wait_until("the node to be ready", self._ready, _PATIENCE, [self._kubelet])

    async def restart_kubelet(self) -> None:
        """As after a crash of the kubelet: containers go on."""
        assert self._kubelet is not None
        self._kubelet.kill()
        await self.start_kubelet()

    async def _ready(self) -> bool:
        async with self._plane.client() as client:
            try:
                node = await client.get(NODES, ObjectKey("", NAME))
            except (ApiError, NoAnswer):
                return False
        conditions = {condition.type: condition.status for condition in node.status.conditions or ()}
        return conditions.get("Ready") == "True" and not node.spec.taints

    async def stop(self) -> None:
        if self._kubelet is not None:
            await self._kubelet.stop()
        if self._containerd is not None and self._containerd.alive:
            for task in self._ctr("--namespace=k8s.io", "tasks", "list", "--quiet", check=False).stdout.split():
                self._ctr("--namespace=k8s.io", "tasks", "delete", "--force", task, check=False)
        if self._containerd is not None:
            await self._containerd.stop()
        if self._relay is not None:
            await self._relay.stop()
            subprocess.run(["ip", "address", "delete", f"{_API_SERVICE}/32", "dev", "lo"], check=False)
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        subprocess.run(["ip", "link", "delete", _BRIDGE], check=False, capture_output=True)
        for group in sorted(Path("/sys/fs/cgroup").glob("**/kubepods/**/"), reverse=True):
            try:
                group.rmdir()
            except OSError:
                continue  # somebody is still in there: that is no reason to fail the test

    def _ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(programs() / "ctr"), f"--address={self.folder / 'containerd.sock'}", *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=True)

    # --- configuration ---------------------------------------------------------------------------------------------

    def _write_configuration(self) -> None:
        (self.folder / "containerd.toml").write_text(self._containerd_toml())
        (self.folder / "kubelet.json").write_text(json.dumps(self._kubelet_configuration()))
        network = {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": _BRIDGE,
                    "isGateway": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.folder / "ipam"),
                        "ranges": [[{"subnet": "10.224.0.0/24"}]],
                        "routes": [{"dst": _SERVICES}],
                    },
                }
            ],
        }
        (self.folder / "cni" / "10-pods.conflist").write_text(json.dumps(network))

    def _containerd_toml(self) -> str:
        return f"""
version = 3
root = '{self.folder}/containerd/root'
state = '{self.folder}/containerd/state'
disabled_plugins = ['io.containerd.nri.v1.nri']
[grpc]
address = '{self.folder}/containerd.sock'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime']
cdi_spec_dirs = ['{self.cdi}']
restrict_oom_score_adj = true
enable_unprivileged_ports = false
enable_unprivileged_icmp = false
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
runtime_path = '{programs()}/containerd-shim-runc-v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{shutil.which("runc")}'
Root = '{self.folder}/runc'
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{_CNI_PLUGINS}']
conf_dir = '{self.folder}/cni'
use_internal_loopback = true
"""

    def _kubelet_configuration(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.folder}/containerd.sock",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "oomScoreAdj": 0,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "address": "127.0.0.1",
            "port": free_port(),
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "podLogsDir": str(self.pod_logs),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "resolvConf": "",
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "syncFrequency": "5s",
            "nodeStatusUpdateFrequency": "2s",
        }


@asynccontextmanager
async def real_node(plane: ControlPlane) -> AsyncIterator[Node]:
    """A node that is ready. Its logs stay if it does not become ready."""
    programs().mkdir(parents=True, exist_ok=True)
    before = {name: (Path("/proc/sys") / name).read_text() for name in _SETTINGS}
    with (programs() / "node.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        node = Node(plane, Path(tempfile.mkdtemp(prefix="dra-")))
        try:
            await node.start()
            yield node
        finally:
            await node.stop()
            for name, value in before.items():
                setting = Path("/proc/sys") / name
                if setting.read_text() != value:
                    setting.write_text(value)
        shutil.rmtree(node.folder, ignore_errors=True)
