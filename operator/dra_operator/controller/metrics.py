"""What the engine did, as Prometheus metrics and one log line a decision.

Upstream's names where one exists (`resourceclaim_controller_*`), ours `dra_operator_*` otherwise. Labels are bounded:
kinds of actions, outcomes, reason codes; never names of objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from dra_operator.access.admin import asks_admin_access
from dra_operator.api.meta import Uid
from dra_operator.api.reasons import Reason
from dra_operator.cluster.pace import Endpoint
from dra_operator.controller.state_metrics import StateCollector
from dra_operator.lifecycle.actions import (
    Action,
    CreateClaim,
    Done,
    Outcome,
    PodCondition,
    PublishStatus,
    Ungate,
    WriteClaimStatus,
)
from dra_operator.lifecycle.gate import class_names
from dra_operator.lifecycle.keys import PodRef, Ref
from dra_operator.lifecycle.publish import moment
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View

log = structlog.get_logger()

_SPARE: Final = 1000
"""What is remembered of objects that are gone is dropped once there are this many."""


class Metrics:
    """A `Watcher` of the engine. `registry` is what `/metrics` serves."""

    def __init__(self, view: View, steps: Callable[[], int] = lambda: 0) -> None:
        """`steps`: how many steps searches have taken so far."""
        self._view = view
        disable_created_metrics()  # type: ignore[no-untyped-call] # a gauge beside every series, for OpenMetrics
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
        self._lag = Histogram(
            "dra_operator_loop_lag_seconds",
            "How late the event loop is with what is due; probed ten times a second",
            buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
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
        self._allocations = Histogram(
            "dra_operator_allocation_duration_seconds",
            "Time from the creation of a pod to the allocation of its claim, by DeviceClass",
            ["device_class"],
            buckets=(1, 2, 5, 10, 30, 60, 300, 1800, 7200, 86400),
            registry=self.registry,
        )
        self._conflicts = Counter(
            "dra_operator_conflicts", "Allocations that another claim's came before", registry=self.registry
        )
        self._drift = Counter(
            "dra_operator_drift",
            "Deletions that no event told of and a census found",
            ["resource"],
            registry=self.registry,
        )
        self._calls = Counter(
            "rest_client_requests",
            "Requests to the API server, by method and status; a status of <error> had no answer",
            ["method", "code"],
            registry=self.registry,
        )
        self._limited = Histogram(
            "rest_client_rate_limiter_duration_seconds",
            "Time for which requests to the API server waited before they were sent: for their turn in the limit of "
            "requests a second, or because the API server had asked for it",
            ["verb"],
            buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60),
            registry=self.registry,
        )
        self._refused = Counter(
            "dra_operator_requests_throttled",
            "Requests to which the API server said to come later (429, or 503 with Retry-After)",
            ["verb", "resource"],
            registry=self.registry,
        )
        self._told: dict[Uid, Reason] = {}
        self._logged: dict[Uid, str] = {}
        """By pod, the reason for which it was said last to wait."""
        self._timed: dict[Uid, str] = {}
        """By claim, the timestamp of the allocation that was counted."""
        self._state = StateCollector(view, self._told, steps)
        self.registry.register(self._state)

    def watch_queue(self, depth: Callable[[], int], adds: Callable[[], int]) -> None:
        """Serve the queue's figures under upstream's names."""
        self._state.watch_queue(depth, adds)

    def drifted(self, resource: str) -> None:
        """A census found that an object is gone."""
        self._drift.labels(resource).inc()

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe(seconds)

    def called(self, method: str, status: int | None) -> None:
        """A request to the API server was answered, or not (None)."""
        self._calls.labels(method, "<error>" if status is None else str(status)).inc()

    def refused(self, endpoint: Endpoint) -> None:
        """The API server asked to come later."""
        self._refused.labels(endpoint.verb, endpoint.resource).inc()

    def waited(self, endpoint: Endpoint, seconds: float) -> None:
        """A request to the API server was sent after so long."""
        self._limited.labels(endpoint.verb).observe(seconds)

    def watch_requests(self, waiting: Callable[[], int]) -> None:
        """Serve how many requests wait to be sent."""
        self._state.watch_requests(waiting)

    def looked(self, ref: Ref, verdict: Verdict, seconds: float) -> None:
        self._looks.labels("pod" if isinstance(ref, PodRef) else "claim").observe(seconds)
        if isinstance(ref, PodRef) and verdict.reason is not None:
            self._told[ref.uid] = verdict.reason
            if len(self._told) > len(self._view.pods) + _SPARE:
                for uid in self._told.keys() - self._view.pods.keys():
                    del self._told[uid]
        if verdict.reason is not None and verdict.actions:
            self._verdicts.labels(verdict.reason.value).inc()
            if verdict.reason is Reason.CONFLICT:
                self._conflicts.inc()

    def wrote(self, action: Action, outcome: Outcome, seconds: float) -> None:
        done = isinstance(outcome, Done)
        self._writes.labels(type(action).__name__, type(outcome).__name__).observe(seconds)
        match action:
            case CreateClaim(claim):
                admin = "true" if asks_admin_access(claim.spec) else "false"
                self._creates.labels("success" if done else "failure", admin).inc()
            case WriteClaimStatus(allocation=allocation) if done and allocation is not None:
                self._allocated(action)
                devices = [f"{one.driver}/{one.pool}/{one.device}" for one in allocation.devices.results or ()]
                log.info("claim given devices", claim=str(action.key), devices=devices, seconds=round(seconds, 4))
            case WriteClaimStatus() if done:
                log.info("claim released", claim=str(action.key), seconds=round(seconds, 4))
            case PublishStatus(condition=condition) if (
                done and condition is not None and condition.reason != Reason.ALLOCATED
            ):
                self._said_to_wait(action, condition)
            case Ungate() if done:
                self._logged.pop(action.uid, None)
                node = self._view.placed_on(action.uid)
                log.info("pod ungated", pod=str(action.key), node=node, seconds=round(seconds, 4))
            case _:
                pass

    def _said_to_wait(self, write: PublishStatus, condition: PodCondition) -> None:
        """A new reason is worth a line; the same one in other words is told to the pod often."""
        if self._logged.get(write.uid) != condition.reason:
            self._logged[write.uid] = condition.reason
            log.info("pod waits", pod=str(write.key), reason=condition.reason, message=condition.message)
        if len(self._logged) > len(self._view.pods) + _SPARE:
            for uid in self._logged.keys() - self._view.pods.keys():
                del self._logged[uid]

    def _allocated(self, write: WriteClaimStatus) -> None:
        """Reserving a claim that is allocated already is the same write, and no allocation: its timestamp tells."""
        claim, stamp = self._view.claim(write.key), write.allocation and write.allocation.allocation_timestamp
        pod = self._view.pod(write.reserved_for[-1].uid) if write.reserved_for else None
        if claim is None or pod is None or not stamp or self._timed.get(write.uid) == stamp:
            return
        self._timed[write.uid] = stamp
        if len(self._timed) > len(self._view.claims) + _SPARE:
            known = {one.uid for one in self._view.claims.values()}
            for uid in self._timed.keys() - known:
                del self._timed[uid]
        waited = moment(stamp, 0.0) - moment(pod.metadata.creation_timestamp, 0.0)
        if waited >= 0:
            for name in sorted(set(class_names(claim.spec))):
                self._allocations.labels(name).observe(waited)
