"""The control plane that a test run shares, a client of it, and a namespace for each test.

`control_plane` starts with the first test that asks for it and ends with the run, also on Ctrl-C and on SIGTERM. It
belongs to no event loop, so that each test may have its own.

Hypothesis runs derandomized and without deadlines.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
import structlog

from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.controlplane import ControlPlane
from tests.controlplane import new_namespace, running_control_plane

# Properties are the same examples in every run, and no example fails for being slow: `make fuzz…` looks for new ones.
hypothesis.settings.register_profile("dra-operator", derandomize=True, deadline=None)
hypothesis.settings.load_profile("dra-operator")


def pytest_configure() -> None:
    # Tracebacks as Python prints them: drawn ones of an error that a test provokes again and again take seconds.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # fixtures end as on Ctrl-C


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """`manifests/base` is in force; there are no nodes."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = running_control_plane()
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture
async def admin(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    """A client that may do everything."""
    async with control_plane.client() as client:
        yield client


@pytest.fixture
async def namespace(admin: ApiClient) -> AsyncIterator[str]:
    """A namespace of the test's own; what is in it goes with it."""
    async with new_namespace(admin, "test") as name:
        yield name
