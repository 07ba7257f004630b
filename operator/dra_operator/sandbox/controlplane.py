"""A real Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler.

Everything is this cluster's own: free ports, random tokens, a certificate authority, a data folder. (Two clusters
that share a port and a token mix silently.) RBAC is on; each program and the operator have an identity of their own,
and a kubeconfig for it.

By default the controller manager runs without `resourceclaim-controller`: that is the operator's job.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dra_operator.api.names import OPERATOR_NAMESPACE
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import KubeconfigError, connect
from dra_operator.sandbox.ports import free_ports
from dra_operator.sandbox.processes import Process, ProcessDiedError, start, wait_until

CRDS: Final = Path(__file__).resolve().parents[3] / "crds"
_READY_SECONDS: Final = 90.0
_PORT_TRIES: Final = 3
_WITHOUT_THE_GROUP: Final = (
    "--runtime-config=" + ",".join(f"resource.k8s.io/{v}=false" for v in ("v1", "v1beta1", "v1beta2", "v1alpha3")),
    # It takes every ResourceSlice for one of the built-in types, and refuses custom resources.
    "--disable-admission-plugins=NodeDeclaredFeatureValidator",
)
_API_SERVER_PATIENCE: Final = 2.0
"""Seconds that it may take to end. It would wait a minute for watches to end, and has nothing to lose."""


def _service_account(name: str) -> tuple[str, tuple[str, ...]]:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{OPERATOR_NAMESPACE}", "system:authenticated")
    return f"system:serviceaccount:{OPERATOR_NAMESPACE}:{name}", groups


IDENTITIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "admin": ("admin", ("system:masters",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "operator": _service_account("dra-operator"),
}
"""User and groups of every kubeconfig that a control plane writes."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a cluster is made of."""

    crd: bool = False
    """Do not serve the group resource.k8s.io: custom resources take its place."""
    resourceclaim_controller: bool = False
    """Leave upstream's generator of claims in the controller manager."""
    scheduler: bool = True
    client_qps: int = 200
    """Client limits of controller manager and scheduler; 0 leaves upstream's own, with which the controller manager
    needs 5 s only to get the credentials of its controllers."""
    service_account_admission: bool = False
    api_server_flags: tuple[str, ...] = ()
    controller_manager_flags: tuple[str, ...] = ()
    scheduler_flags: tuple[str, ...] = ()


@dataclass(slots=True)
class ControlPlane:
    """See the module. `folder` is created, and removed by `stop` unless it was given."""

    binaries: Path
    options: Options = field(default_factory=Options)
    folder: Path | None = None
    processes: dict[str, Process] = field(default_factory=dict)
    port: int = 0
    _etcd_port: int = 0
    _etcd_peer_port: int = 0
    _own_folder: bool = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(keep=error is not None)

    # --- what others need ----------------------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        if self.folder is None:
            raise RuntimeError("the control plane has not been started")
        return self.folder

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def etcd_server(self) -> str:
        return f"http://127.0.0.1:{self._etcd_port}"

    @property
    def _certificate(self) -> Path:
        """The API server makes it when it first starts, signed by an authority that is in the same file."""
        return self.data / "apiserver" / "apiserver.crt"

    @property
    def _key(self) -> Path:
        """Made along with the certificate. It signs service account tokens, too: nothing here outlives the cluster."""
        return self.data / "apiserver" / "apiserver.key"

    @property
    def logs(self) -> Path:
        return self.data / "log"

    def kubeconfig(self, identity: str = "admin") -> Path:
        return self.data / f"{identity}.kubeconfig"

    def agent_kubeconfig(self, node: str) -> Path:
        """The account of the node agent, by a token bound to that Node: no other token of it may write slices."""
        return self.bound_kubeconfig("dra-operator-agent", "Node", node)

    def bound_kubeconfig(self, account: str, kind: str, name: str) -> Path:
        """An account of the operator's namespace, by a token that holds as long as that object exists."""
        bound = (f"--bound-object-kind={kind}", f"--bound-object-name={name}", "--duration=24h")
        answer = self.kubectl("create", "token", account, f"--namespace={OPERATOR_NAMESPACE}", *bound)
        return self._write_kubeconfig(f"{account}-{name}", answer.stdout.strip())

    def client(self, identity: str = "admin") -> ApiClient:
        return connect(self.kubeconfig(identity))

    def kubectl_command(self, *arguments: str, identity: str = "admin") -> list[str]:
        return [str(self.binaries / "kubectl"), f"--kubeconfig={self.kubeconfig(identity)}", *arguments]

    def kubectl(self, *arguments: str, check: bool = True, identity: str = "admin") -> subprocess.CompletedProcess[str]:
        """Run the real kubectl. Raises `CalledProcessError` when it fails, unless `check` is off."""
        command = self.kubectl_command(*arguments, identity=identity)
        return subprocess.run(command, check=check, capture_output=True, text=True)  # noqa: S603

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything and wait until it serves. On failure all is stopped, and the logs stay."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="dra-"))
            self._own_folder = True
        self.logs.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _PORT_TRIES + 1):
            self.port, self._etcd_port, self._etcd_peer_port = free_ports(3)
            self._write_credentials()
            try:
                self._start_etcd()
                self._start_api_server()
                await self._wait_until_served()
                break
            except ProcessDiedError:
                await self._stop_processes()
                if attempt == _PORT_TRIES:
                    raise
                shutil.rmtree(self.data / "etcd", ignore_errors=True)
            except BaseException:
                await self._stop_processes()
                raise
        self._start_controller_manager()
        if self.options.scheduler:
            self._start_scheduler()

    async def stop(self, *, keep: bool = False) -> None:
        """Stop everything; the data folder goes too, unless it was given or `keep` is set."""
        await self._stop_processes()
        if self._own_folder and not keep and self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self, name: str) -> None:
        """End one program at once, as a crash would; `start_again` brings it back."""
        self.processes[name].kill()

    async def restart(self, name: str) -> None:
        """Stop one program and start it again on the same port."""
        await self._stop_process(name)
        await self.start_again(name)

    async def start_again(self, name: str) -> None:
        """Start a program that has been killed; for etcd and the API server, wait until the API serves."""
        self.processes.pop(name, None)
        if name in ("etcd", "kube-apiserver"):
            self._start_etcd() if name == "etcd" else self._start_api_server()
            await self._wait_until_served()
        elif name == "kube-controller-manager":
            self._start_controller_manager()
        elif name == "kube-scheduler":
            self._start_scheduler()
        else:
            raise ValueError(f"there is no program {name!r} in a control plane")

    async def _stop_processes(self) -> None:
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            if name in self.processes:
                await self._stop_process(name)

    async def _stop_process(self, name: str) -> None:
        process = self.processes.pop(name)
        if name == "kube-apiserver":
            await process.stop(_API_SERVER_PATIENCE)
        else:
            await process.stop()

    async def _wait_until_served(self) -> None:
        programs = list(self.processes.values())
        if self.options.crd:
            # The Node authorizer lists ResourceSlices: the API server is not ready before it finds some kind of them.
            await wait_until("the API server", self._is_nearly_ready, _READY_SECONDS, programs)
            await asyncio.to_thread(self.kubectl, "apply", "--server-side", f"--kustomize={CRDS}")
        await wait_until("the API server", self._is_ready, _READY_SECONDS, programs)

    async def _is_ready(self) -> bool:
        return await self._answers("/readyz")

    async def _is_nearly_ready(self) -> bool:
        return await self._answers("/readyz?exclude=informer-sync")

    async def _answers(self, path: str) -> bool:
        try:
            async with self.client() as client:
                return (await client.request("GET", path, timeout=5.0)).status == 200
        except (ApiError, NoAnswer, KubeconfigError, OSError):  # the last two: the certificate is not written yet
            return False

    # --- programs ----------------------------------------------------------------------------------------------------

    def _run(self, name: str, *flags: str) -> None:
        command = [str(self.binaries / name), *flags]
        self.processes[name] = start(name, command, self.logs / f"{name}.log")

    def _start_etcd(self) -> None:
        client, peer = self.etcd_server, f"http://127.0.0.1:{self._etcd_peer_port}"
        self._run(
            "etcd",
            f"--data-dir={self.data / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def _start_api_server(self) -> None:
        disabled = () if self.options.service_account_admission else ("--disable-admission-plugins=ServiceAccount",)
        without = _WITHOUT_THE_GROUP if self.options.crd else ()
        self._run(
            "kube-apiserver",
            f"--etcd-servers={self.etcd_server}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self._certificate.parent}",
            f"--token-auth-file={self.data / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.223.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
            "--endpoint-reconciler-type=none",
            "--allow-privileged",  # as every real cluster: node agents need it
            *disabled,
            *without,
            *self.options.api_server_flags,
        )

    def _start_controller_manager(self) -> None:
        controllers = "*" if self.options.resourceclaim_controller else "*,-resourceclaim-controller"
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig('kube-controller-manager')}",
            f"--controllers={controllers}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._key}",
            f"--root-ca-file={self._certificate}",  # pods learn from it whom to trust
            *self._limits(),
            *self.options.controller_manager_flags,
        )

    def _start_scheduler(self) -> None:
        self._run(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig('kube-scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            *self._limits(),
            *self.options.scheduler_flags,
        )

    def _limits(self) -> tuple[str, ...]:
        qps = self.options.client_qps
        return (f"--kube-api-qps={qps}", f"--kube-api-burst={qps * 2}") if qps else ()

    # --- credentials -------------------------------------------------------------------------------------------------

    def _write_credentials(self) -> None:
        """A token and a kubeconfig for each identity."""
        lines = []
        for name, (user, groups) in IDENTITIES.items():
            token = secrets.token_hex(24)
            lines.append(",".join((token, user, user, f'"{",".join(groups)}"')))
            self._write_kubeconfig(name, token)
        _write_secret(self.data / "tokens.csv", "\n".join(lines) + "\n")

    def _write_kubeconfig(self, name: str, token: str) -> Path:
        cluster = {"server": self.server, "certificate-authority": str(self._certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": name}}],
            "current-context": "sandbox",
        }
        _write_secret(self.kubeconfig(name), json.dumps(config, indent=1))
        return self.kubeconfig(name)


def _write_secret(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


async def wait_for_service_accounts(client: ApiClient) -> None:
    """Wait until the controller manager works: it makes the default namespace's account."""

    async def made() -> bool:
        try:
            await client.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")
        except (ApiError, NoAnswer):
            return False
        return True

    await wait_until("kube-controller-manager", made, _READY_SECONDS)
