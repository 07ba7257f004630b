"""The second control plane of a test run: one without admission policies that mutate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dra_operator.sandbox.controlplane import ControlPlane
from tests.controlplane import running_control_plane
from tests.webhook import WITHOUT_POLICIES


@pytest.fixture(scope="session")
def without_policies() -> Iterator[ControlPlane]:
    """Nothing is applied; there are no nodes."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = running_control_plane(WITHOUT_POLICIES, manifests=False)
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))
