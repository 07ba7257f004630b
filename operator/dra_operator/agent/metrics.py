"""The health of each device for Prometheus, and whether the agent lives: `/metrics`, `/healthz`.

    dra_operator_device_healthy{driver="gpu.dra-operator.io",device="gpu-3",reason="overheated"} 0
    dra_operator_device_health_changed_timestamp_seconds{driver="gpu.dra-operator.io",device="gpu-3"} 1764100000
    dra_operator_device_health_looked_timestamp_seconds{driver="gpu.dra-operator.io"} 1764100123

Written out by hand: the client library would be several megabytes for three gauges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from dra_operator.agent.health import HealthReports, HealthState

_PREFIX: Final = "dra_operator_device_health"
_PATIENCE: Final = 5.0
_REQUEST_MAX: Final = 8192
_PORT_MAX: Final = 65535


def render(driver: str, reports: HealthReports) -> str:
    """The text of `/metrics`."""
    return "".join(f"{line}\n" for line in _lines(driver, reports))


def _lines(driver: str, reports: HealthReports) -> Iterator[str]:
    devices = [health for _, health in sorted(reports.current().items())]
    yield "# HELP dra_operator_device_healthy Whether the device is well; the reason says what is wrong."
    yield "# TYPE dra_operator_device_healthy gauge"
    for health in devices:
        well = int(health.state is HealthState.HEALTHY)
        labels = f'driver="{_escaped(driver)}",device="{_escaped(health.device)}",reason="{_escaped(health.reason)}"'
        yield f"dra_operator_device_healthy{{{labels}}} {well}"
    yield f"# HELP {_PREFIX}_changed_timestamp_seconds When the device came to be as it is."
    yield f"# TYPE {_PREFIX}_changed_timestamp_seconds gauge"
    for health in devices:
        labels = f'driver="{_escaped(driver)}",device="{_escaped(health.device)}"'
        yield f"{_PREFIX}_changed_timestamp_seconds{{{labels}}} {health.since:.3f}"
    yield f"# HELP {_PREFIX}_looked_timestamp_seconds When the devices were last looked at."
    yield f"# TYPE {_PREFIX}_looked_timestamp_seconds gauge"
    yield f'{_PREFIX}_looked_timestamp_seconds{{driver="{_escaped(driver)}"}} {reports.looked:.3f}'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """Serves `render`. `address` is host:port; port 0 takes a free one."""

    def __init__(self, address: str, driver: str, reports: HealthReports) -> None:
        """Raises ValueError for what is no address."""
        self._host, self.port = self.check(address)
        self._driver = driver
        self._reports = reports

    @staticmethod
    def check(address: str) -> tuple[str | None, int]:
        """Host and port. Raises ValueError."""
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdigit() or int(port) > _PORT_MAX:
            raise ValueError(f"{address!r} is not host:port")
        return host.strip("[]") or None, int(port)

    async def listen(self) -> asyncio.Server:
        """Raises OSError if the address is not to be had."""
        server = await asyncio.start_server(self._answer, self._host, self.port, limit=_REQUEST_MAX)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def serve(self, server: asyncio.Server) -> None:
        """Until cancelled."""
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head))
                await writer.drain()
        writer.close()

    def _response(self, head: bytes) -> bytes:
        method, path = (*head.split(b"\r\n", 1)[0].split(b" "), b"", b"")[:2]
        if method not in (b"GET", b"HEAD"):
            return _http("405 Method Not Allowed", "GET only\n")
        match path.partition(b"?")[0]:
            case b"/metrics":
                return _http("200 OK", render(self._driver, self._reports), "text/plain; version=0.0.4; charset=utf-8")
            case b"/healthz":
                return _http("200 OK", "ok\n")
            case _:
                return _http("404 Not Found", "there are /metrics and /healthz\n")


def _http(status: str, text: str, content_type: str = "text/plain; charset=utf-8") -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
