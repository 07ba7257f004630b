"""One life of one replica of the operator: the whole controller, as `dra-operator run` starts it.

Real: controller, engine, view, writer, client, reflectors, census, queue, lease, event recorder, evictor. Modelled:
Kopf (`kopf.py`), and what lies between the client and the API server (`wire.py`). Not there: the server of metrics and
health, and Python's garbage collector, which the controller would start and freeze.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.sessions import Sessions
from dra_operator.controller.controller import Controller
from dra_operator.controller.lists import Lists
from dra_operator.controller.settings import Settings
from tests.simulation.kopf import KopfModel
from tests.simulation.process import Process, wall_clock
from tests.simulation.wire import MODEL_URL, Network, SimulatedSession


@dataclass(frozen=True, slots=True)
class _Credentials:
    """As much of `cluster.kubeconfig.Credentials` as the controller asks for."""

    network: Network
    process: Process
    headers: tuple[tuple[str, str], ...] = ()
    server_name: str | None = None
    source: str = "simulation"

    def client(self) -> ApiClient:
        client = ApiClient(MODEL_URL)
        session: Any = SimulatedSession(self.network, self.process)
        client._wire._requests = client._wire._watches = Sessions(lambda: session)
        return client


@contextmanager
def simulated_surroundings() -> Iterator[None]:
    """The controller's time is virtual, and its process has no garbage collector of its own."""
    module = "dra_operator.controller.controller"
    with (
        patch(f"{module}.time", SimpleNamespace(time=wall_clock, monotonic=_monotonic, perf_counter=_monotonic)),
        patch(f"{module}.settle", lambda: None),
        patch.object(Controller, "_measure_lag", _no_lag),
    ):
        yield


async def _no_lag(self: Controller) -> None:
    """The event loop is never late here, and measuring that would be ten events a second."""
    await asyncio.Event().wait()


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _slow_lists(rng: random.Random) -> Lists:
    """Between any two objects of a list others have their turn, and now and then much happens."""

    async def turn() -> None:
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.0, 0.002, 0.02, 0.1, 0.4)))

    return Lists(clock=_monotonic, turn_seconds=0.0, turn=turn)


class Replica:
    """See the module. Started at once; ended by `process.kill()`, and then awaited with `ended`."""

    def __init__(self, network: Network, process: Process, settings: Settings, rng: random.Random) -> None:
        self.process = process
        self.controller = process.run(lambda: self._make(network, settings, rng))
        self._kopf = KopfModel(_Credentials(network, process).client(), self.controller, rng)
        self.process.start(self._run())

    def _make(self, network: Network, settings: Settings, rng: random.Random) -> Controller:
        credentials: Any = _Credentials(network, self.process)
        module = "dra_operator.controller.controller"
        with (
            patch(f"{module}.find_credentials", lambda *_: credentials),
            patch(f"{module}.Lists", partial(_slow_lists, random.Random(rng.random()))),
        ):
            return Controller(settings, identity=self.process.name, rng=rng)

    async def _run(self) -> None:
        await self.controller.start()
        await asyncio.gather(*self._kopf.watches())

    async def stop(self) -> None:
        """In order, as on SIGTERM: the lease is given back."""
        await self.process.start(self.controller.stop())
        self.process.kill()

    async def ended(self) -> None:
        """Until nothing of it runs any more."""
        await asyncio.gather(*self.process.tasks(), return_exceptions=True)
