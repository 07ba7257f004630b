"""Metrics that are read off the view when someone asks: how things stand, not what happened.

Nothing here is counted along the way, so nothing can drift from what is. Devices are counted again only when the
inventory or the ledger changed: a scrape of an idle cluster of 40,000 devices costs nothing.

Upstream's names where one exists: `resourceclaim_controller_resource_claims`, `workqueue_*`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dra_operator.access.admin import admin_results, asks_admin_access, grants_admin_access
from dra_operator.api.meta import Uid
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceTaint
from dra_operator.inventory.devices import DeviceId
from dra_operator.lifecycle.view import View

QUEUE: Final = "dra-operator"
"""The label `name` of the queue's metrics."""
_FREE, _IN_USE, _SHARED, _TAINTED = "free", "in_use", "shared", "tainted"


class StateCollector(Collector):
    """See the module. `told`: by pod, the last reason that it was given."""

    def __init__(self, view: View, told: Mapping[Uid, Reason], steps: Callable[[], int]) -> None:
        self._view = view
        self._told = told
        self._steps = steps
        self._queue: tuple[Callable[[], int], Callable[[], int]] | None = None
        self._requests: Callable[[], int] | None = None
        self._devices: Counter[tuple[str, str]] = Counter()
        self._moment = (-1, -1)

    def watch_queue(self, depth: Callable[[], int], adds: Callable[[], int]) -> None:
        """Serve the queue's figures, too."""
        self._queue = depth, adds

    def watch_requests(self, waiting: Callable[[], int]) -> None:
        """Serve how many requests to the API server wait to be sent, too."""
        self._requests = waiting

    def collect(self) -> Iterator[Metric]:
        yield self._claims()
        yield self._admins()
        yield self._waiting()
        yield self._by_state()
        yield CounterMetricFamily(
            "dra_operator_search_steps", "Steps that searches for devices took", value=self._steps()
        )
        if self._queue is not None:
            depth, adds = self._queue
            gauge = GaugeMetricFamily("workqueue_depth", "Refs that wait for their turn", labels=["name"])
            gauge.add_metric([QUEUE], depth())
            yield gauge
            counter = CounterMetricFamily("workqueue_adds", "How often a ref was marked", labels=["name"])
            counter.add_metric([QUEUE], adds())
            yield counter

        if self._requests is not None:
            yield GaugeMetricFamily(
                "dra_operator_requests_waiting",
                "Requests to the API server that wait until they may be sent",
                value=self._requests(),
            )

    def _claims(self) -> Metric:
        metric = GaugeMetricFamily(
            "resourceclaim_controller_resource_claims",
            "ResourceClaims known, by whether they are allocated and ask for admin access",
            labels=["allocated", "admin_access"],
        )
        counts = Counter(
            (claim.status.allocation is not None, asks_admin_access(claim.spec)) for claim in self._view.claims.values()
        )
        for (allocated, admin), count in sorted(counts.items()):
            metric.add_metric([str(allocated).lower(), str(admin).lower()], count)
        return metric

    def _admins(self) -> Metric:
        """Both always: an alert needs a zero to come from. A namespace may be seen after its claims."""
        metric = GaugeMetricFamily(
            "dra_operator_admin_access_claims",
            "ResourceClaims with admin access to devices now, by whether their namespace grants it",
            labels=["granted"],
        )
        counts = Counter(
            grants_admin_access(namespace)
            for claim in self._view.claims.values()
            if (namespace := self._view.namespaces.get(claim.metadata.namespace)) is not None and admin_results(claim)
        )
        for granted in (False, True):
            metric.add_metric([str(granted).lower()], counts[granted])
        return metric

    def _waiting(self) -> Metric:
        metric = GaugeMetricFamily(
            "dra_operator_pods_waiting", "Gated pods that wait for devices, by reason code", labels=["reason"]
        )
        counts = Counter(self._told[uid].value for uid in self._view.wakeups.waiting if uid in self._told)
        for reason, count in sorted(counts.items()):
            metric.add_metric([reason], count)
        return metric

    def _by_state(self) -> Metric:
        view = self._view
        moment = view.inventory.version, view.ledger.version
        if moment != self._moment:
            self._devices = Counter()
            for device in view.inventory.devices():
                self._devices[device.driver, self._state(device.id, device.taints)] += 1
            self._moment = moment
        metric = GaugeMetricFamily(
            "dra_operator_devices", "Published devices, by driver and state", labels=["driver", "state"]
        )
        for driver in sorted({driver for driver, _ in self._devices}):
            for state in (_FREE, _IN_USE, _SHARED, _TAINTED):
                metric.add_metric([driver, state], self._devices[driver, state])
        return metric

    def _state(self, id_: DeviceId, taints: tuple[DeviceTaint, ...]) -> str:
        ledger = self._view.ledger
        if ledger.is_held(id_):
            return _IN_USE
        if ledger.is_shared(id_):
            return _SHARED
        return _TAINTED if any(one.effect in ("NoSchedule", "NoExecute") for one in taints) else _FREE
