"""What the engine did, as Prometheus metrics and one log line a decision.

Upstream's names where one exists (`resourceclaim_controller_*`), ours `dra_operator_*` otherwise. Labels are bounded:
kinds of actions, outcomes, reason codes; never names of objects.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dra_operator.access.admin import asks_admin_access
from dra_operator.lifecycle.actions import Action, CreateClaim, Done, Outcome, Ungate, WriteClaimStatus
from dra_operator.lifecycle.keys import PodRef, Ref
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View

log = structlog.get_logger()


class Metrics:
    """A `Watcher` of the engine. `registry` is what `/metrics` serves."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.registry = CollectorRegistry()
        self._creates = Counter(
            "resourceclaim_controller_creates",
            "ResourceClaims created from templates",
            ["status", "admin_access"],
            registry=self.registry,
        )
        self._looks = Histogram(
            "dra_operator_look_duration_seconds",
            "Time of one decision",
            ["kind"],
            buckets=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1),
            registry=self.registry,
        )
        self._writes = Histogram(
            "dra_operator_write_duration_seconds",
            "Time of one request to the API server",
            ["action", "outcome"],
            buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=self.registry,
        )
        self._verdicts = Counter(
            "dra_operator_verdicts", "What pods were told, by reason code", ["reason"], registry=self.registry
        )
        for name, help_, read in (
            ("resourceclaim_controller_resource_claims", "ResourceClaims known", lambda: len(view.claims)),
            ("dra_operator_pods_waiting", "Gated pods that wait for devices", lambda: len(view.waiting)),
        ):
            Gauge(name, help_, registry=self.registry).set_function(read)

    def watch_queue(self, depth: Callable[[], int], adds: Callable[[], int]) -> None:
        """Serve the queue's figures under upstream's names."""
        for name, help_, read in (
            ("workqueue_depth", "Refs that wait to be looked at", depth),
            ("workqueue_adds", "How often a ref was marked", adds),
        ):
            Gauge(name, help_, registry=self.registry).set_function(read)

    def looked(self, ref: Ref, verdict: Verdict, seconds: float) -> None:
        self._looks.labels("pod" if isinstance(ref, PodRef) else "claim").observe(seconds)
        if verdict.reason is not None and verdict.actions:
            self._verdicts.labels(verdict.reason.value).inc()

    def wrote(self, action: Action, outcome: Outcome, seconds: float) -> None:
        done = isinstance(outcome, Done)
        self._writes.labels(type(action).__name__, type(outcome).__name__).observe(seconds)
        match action:
            case CreateClaim(claim):
                admin = "true" if asks_admin_access(claim.spec) else "false"
                self._creates.labels("success" if done else "failure", admin).inc()
            case WriteClaimStatus(allocation=allocation) if done and allocation is not None:
                devices = [f"{one.driver}/{one.pool}/{one.device}" for one in allocation.devices.results or ()]
                log.info("claim given devices", claim=str(action.key), devices=devices, seconds=round(seconds, 4))
            case WriteClaimStatus() if done:
                log.info("claim released", claim=str(action.key), seconds=round(seconds, 4))
            case Ungate() if done:
                node = self._view.placed_on(action.uid)
                log.info("pod ungated", pod=str(action.key), node=node, seconds=round(seconds, 4))
            case _:
                pass
