"""The agent's metrics, over a real socket and read by Prometheus' own parser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dra_operator.agent.health import DeviceHealth, HealthBoard, HealthState
from dra_operator.agent.metrics import MetricsServer, render

DRIVER = "gpu.example.com"


@pytest.fixture
async def board() -> HealthBoard:
    board = HealthBoard(now=lambda: 1000.0)
    hot = DeviceHealth("gpu-1", HealthState.UNHEALTHY, 'over"heated', "97 °C", since=900.0)
    await board.post({"gpu-0": DeviceHealth("gpu-0", HealthState.HEALTHY, since=800.0), "gpu-1": hot})
    return board


@pytest.fixture
async def url(board: HealthBoard) -> AsyncIterator[str]:
    server = MetricsServer("127.0.0.1:0", DRIVER, board)
    serving = asyncio.create_task(server.serve(await server.listen()))
    yield f"http://127.0.0.1:{server.port}"
    serving.cancel()


def test_each_device_with_its_health_and_when_it_was_looked_at(board: HealthBoard) -> None:
    samples = {
        (sample.name, sample.labels.get("device", "")): (sample.labels.get("reason"), sample.value)
        for family in text_string_to_metric_families(render(DRIVER, board))
        for sample in family.samples
    }
    assert samples == {
        ("dra_operator_device_healthy", "gpu-0"): ("", 1.0),
        ("dra_operator_device_healthy", "gpu-1"): ('over"heated', 0.0),
        ("dra_operator_device_health_changed_timestamp_seconds", "gpu-0"): (None, 800.0),
        ("dra_operator_device_health_changed_timestamp_seconds", "gpu-1"): (None, 900.0),
        ("dra_operator_device_health_looked_timestamp_seconds", ""): (None, 1000.0),
    }


@pytest.mark.parametrize(
    ("path", "status", "text"), [("/healthz", 200, "ok"), ("/", 404, "/metrics"), ("/metrics", 200, "gpu-1")]
)
async def test_what_is_served(url: str, path: str, status: int, text: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
        assert answer.status == status
        assert text in await answer.text()


async def test_what_is_no_request_is_answered_or_dropped_and_the_next_is_served(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    for garbage in (b"\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n", b"x" * 10_000):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        writer.write_eof()
        assert b"200" not in await reader.read()
        writer.close()
    async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("address", ["9400", "host:", "host:x", ":70000"])
def test_what_is_no_address_is_refused(board: HealthBoard, address: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        MetricsServer(address, DRIVER, board)
