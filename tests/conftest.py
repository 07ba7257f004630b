"""A real control plane for the tests that need one: one for the whole run, a namespace for each test.

`control_plane` starts with the first test that asks for it and ends with the run, also on Ctrl-C and on SIGTERM.
Programs that are not in the cache are built first (minutes, shown); KUBEBUILDER_ASSETS names others.
"""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from dra_operator.api.kinds import NAMESPACES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.binaries import find_binaries
from dra_operator.sandbox.controlplane import ControlPlane, wait_for_service_accounts


def pytest_configure() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # fixtures end as on Ctrl-C


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """Bare: no manifests, no nodes. It belongs to no event loop, so that each test may have its own."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    plane = ControlPlane(find_binaries(say))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(plane.start())
            runner.run(_working(plane))
            yield plane
        finally:
            runner.run(plane.stop())


async def _working(plane: ControlPlane) -> None:
    async with plane.client() as client:
        await wait_for_service_accounts(client)


@pytest.fixture
async def admin(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    """A client that may do everything."""
    async with control_plane.client() as client:
        yield client


@pytest.fixture
async def namespace(admin: ApiClient) -> AsyncIterator[str]:
    """A namespace of the test's own; what is in it goes with it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    await admin.create(NAMESPACES, {"metadata": {"name": name}})
    yield name
    await admin.delete(NAMESPACES, ObjectKey("", name))
