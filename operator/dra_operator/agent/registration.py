"""Makes the plugin known to the kubelet: the two sockets, and the Registration service.

    <kubelet>/plugins/<driver>/dra.sock                  the plugin and its health stream
    <kubelet>/plugins_registry/<driver>-reg.sock         found by the kubelet, tells it of the former

With a pod UID both names carry it, so that the agents of a rolling update stand side by side. The kubelet connects to
what it finds; when it starts anew it finds all again, and nobody has to tell it.

A socket file may vanish under a server that is well: another agent ended and removed it by name (gRPC does that), or
somebody cleaned up. `Endpoint.keep` notices, and listens anew.

Upstream: `endpoint` and `registrationServer` of kubeletplugin; pkg/kubelet/pluginmanager.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import structlog

from dra_operator.agent.protos import registration_pb2 as registration
from dra_operator.agent.services import GET_INFO, NOTIFY_STATUS, PLUGIN_TYPE, Context

log = structlog.get_logger()

KUBELET_FOLDER: Final = Path("/var/lib/kubelet")
_SOCKET_PATH_MAX: Final = 107
"""Bytes that the kernel takes for the path of a socket, without the closing NUL."""
_LOOK_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 2.0
_OPTIONS: Final = (("grpc.so_reuseport", 0),)


class SocketError(Exception):
    """No plugin can be served there; the message says what to change."""


class Sockets:
    """Where the sockets of a driver are. Raises SocketError for a path that the kernel does not take."""

    def __init__(self, kubelet: Path, driver: str, pod_uid: str = "") -> None:
        self.folder: Final = kubelet / "plugins" / driver
        registry = kubelet / "plugins_registry"
        self.plugin: Final = _fitting([self.folder / (f"dra-{pod_uid}.sock" if pod_uid else "dra.sock")])
        self.registration: Final = _fitting([registry / name for name in _registration_names(driver, pod_uid)])


class Endpoint:
    """A gRPC server on a socket of its own."""

    def __init__(self, path: Path, handlers: Callable[[], Sequence[grpc.GenericRpcHandler]]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: grpc.aio.Server | None = None
        self._inode: int | None = None

    async def start(self) -> None:
        """Returns when it listens. Raises SocketError."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{self._path}")
            await server.start()
            self._path.chmod(0o600)
            self._inode = _inode(self._path)
        except (OSError, RuntimeError) as error:
            raise SocketError(f"cannot listen on {self._path}: {error}") from error
        self._server = server

    async def keep(self) -> None:
        """Listen anew whenever the socket is not there any more. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if _inode(self._path) == self._inode:
                continue
            log.warning("the socket is gone, listening anew", socket=str(self._path))
            old, self._server = self._server, None
            try:
                if old is not None:
                    await old.stop(None)
                await self.start()
            except SocketError as error:
                self._inode = None
                log.error("not listening", error=str(error))

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(_GRACE_SECONDS)
            self._server = None


class Registration:
    """Answers the kubelet's question who this is."""

    def __init__(self, driver: str, endpoint: Path, services: Sequence[str]) -> None:
        self._info = registration.PluginInfo(
            type=PLUGIN_TYPE, name=driver, endpoint=str(endpoint), supported_versions=services
        )
        self.registered = False
        """What the kubelet said last."""

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [GET_INFO.serve(self._get_info), NOTIFY_STATUS.serve(self._notify)]

    async def _get_info(self, request: registration.InfoRequest, context: Context) -> registration.PluginInfo:
        return self._info

    async def _notify(
        self, request: registration.RegistrationStatus, context: Context
    ) -> registration.RegistrationStatusResponse:
        self.registered = request.plugin_registered
        if request.plugin_registered:
            log.info("registered with the kubelet", driver=self._info.name)
        else:
            log.error("the kubelet refused the registration", driver=self._info.name, why=request.error)
        return registration.RegistrationStatusResponse()


def _registration_names(driver: str, pod_uid: str) -> list[str]:
    """In order of preference: the shorter ones where the path is too long otherwise."""
    if not pod_uid:
        return [f"{driver}-reg.sock"]
    return [
        f"{driver}-{pod_uid}-reg.sock",
        f"{driver}-{_digest(pod_uid, 8)}-reg.sock",
        f"dra-{_digest(driver + chr(0) + pod_uid, 16)}-reg.sock",
    ]


def _digest(text: str, length: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:length]).decode().rstrip("=")


def _fitting(candidates: Sequence[Path]) -> Path:
    for path in candidates:
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
            return path
    length = len(os.fsencode(candidates[-1]))
    raise SocketError(
        f"the socket {candidates[-1]} has a path of {length} bytes, the kernel takes {_SOCKET_PATH_MAX}: "
        "use a shorter --kubelet-dir or --driver-name"
    )


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
