"""One real node for all tests here, and on it, a module after the other, what the tests are about."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import pytest

from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.sandbox.controlplane import Options
from dra_operator.sandbox.processes import wait_until
from tests.controlplane import running_control_plane
from tests.kubelet.installed import installed_operator
from tests.kubelet.node import real_node
from tests.kubelet.scene import Cluster, Scene, example
from tests.kubelet.world import World, running_world

_T = TypeVar("_T")


def _held(manager: AbstractAsyncContextManager[_T]) -> Iterator[_T]:
    """For a fixture that belongs to no event loop."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner.run(manager.__aenter__())
        runner.run(manager.__aexit__(None, None, None))


@asynccontextmanager
async def _cluster() -> AsyncIterator[Cluster]:
    options = Options(service_account_admission=True, api_server_flags=("--kubelet-preferred-address-types=Hostname",))
    async with running_control_plane(options) as plane, real_node(plane) as node:
        plane.kubectl("apply", *(f"--filename={example(number)}" for number in ("02", "11")))
        async with plane.client() as client:
            for namespace in ("gpu-claim", "gpu-examples", "dra-operator"):
                await _takes_pods(client, namespace)
        yield Cluster(plane, node)


async def _takes_pods(client: ApiClient, namespace: str) -> None:
    """Pods need the account `default` to be created, and the authority's certificate to start."""

    async def there() -> bool:
        try:
            for resource in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
                await client.request("GET", f"/api/v1/namespaces/{namespace}/{resource}")
        except ApiError:
            return False
        return True

    await wait_until(f"namespace {namespace} to take pods", there, 30.0)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("a kubelet needs root")
    yield from _held(_cluster())


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    """The operator and the agents as processes, which a test may kill."""
    yield from _held(running_world(cluster))


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[None]:
    """The operator and the agent as pods."""
    yield from _held(installed_operator(cluster))


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[ApiClient]:
    async with cluster.plane.client() as one:
        yield one


@pytest.fixture
def scene(cluster: Cluster, client: ApiClient) -> Scene:
    return Scene(cluster, client)
