"""What `/metrics` says: names and types that Prometheus takes, and figures that agree with the view."""

from __future__ import annotations

import pytest
from msgspec import structs
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from dra_operator.api.core import Pod
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceTaint, ResourceClaimConsumerReference
from dra_operator.cluster.pace import Endpoint
from dra_operator.controller.metrics import Metrics
from dra_operator.lifecycle.actions import (
    Conflict,
    CreateClaim,
    Done,
    Outcome,
    PodCondition,
    PublishStatus,
    Ungate,
    WriteClaimStatus,
)
from dra_operator.lifecycle.keys import PodRef
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View
from tests.builders import DRIVER, allocated, allocation, claim, pod, request, result, slice_of
from tests.unit.lifecycle.scene import namespace, show, view_of

LABELS = {"reason", "kind", "action", "outcome", "status", "admin_access", "allocated", "driver", "state", "name"}
BOUNDED = LABELS | {"granted", "device_class", "resource", "verb", "method", "code", "le"}


def families(metrics: Metrics) -> dict[str, Metric]:
    text = generate_latest(metrics.registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """By the values of the labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
def busy() -> Metrics:
    """One of everything has happened."""
    waiting, user = pod("waiting"), pod("user")
    metrics = Metrics(view_of(waiting, user, claim(name="mine")), lambda: 7)
    metrics.watch_queue(lambda: 2, lambda: 5)
    metrics.looked(PodRef(waiting.uid), Verdict(reason=Reason.DEVICES_IN_USE, waits=True), 0.001)
    metrics.wrote(CreateClaim(claim(name="new")), Done(None), 0.01)
    metrics.drifted("pods")
    metrics.called("GET", 200)
    metrics.called("PATCH", None)
    metrics.watch_requests(lambda: 3)
    metrics.waited(Endpoint("patch", "pods/status"), 0.3)
    metrics.refused(Endpoint("patch", "pods/status"))
    return metrics


def test_names_and_types_are_what_prometheus_expects(busy: Metrics) -> None:
    """The rules of `promtool check metrics`: help, counters end in _total, base units, no type in a name."""
    found = families(busy)
    for name, family in found.items():
        assert family.documentation, name
        assert family.type in ("counter", "gauge", "histogram"), name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples), name
        else:
            assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_created")), name
        assert not any(word in name.split("_") for word in ("counter", "gauge", "histogram", "milliseconds", "ms")), (
            name
        )
    assert {"resourceclaim_controller_creates", "workqueue_depth", "workqueue_adds"} <= found.keys()
    assert {"rest_client_requests", "dra_operator_devices", "dra_operator_search_steps"} <= found.keys()
    assert {"rest_client_rate_limiter_duration_seconds", "dra_operator_requests_throttled"} <= found.keys()
    assert found["dra_operator_requests_waiting"].samples[0].value == 3


def test_labels_are_bounded_and_name_no_object(busy: Metrics) -> None:
    labels = {label for family in families(busy).values() for sample in family.samples for label in sample.labels}
    assert labels <= BOUNDED


def test_a_pod_that_waits_is_one_line_of_the_log_for_each_reason() -> None:
    user = pod("user")
    metrics = Metrics(view_of(user))

    def told(reason: str, message: str, outcome: Outcome | None = None) -> None:
        said = PodCondition(False, reason, message, "2026-01-01T00:00:00Z")
        write = PublishStatus(user.key, user.uid, "1", (), said)
        metrics.wrote(write, outcome or Done(None), 0.01)

    with capture_logs() as lines:
        told("DevicesInUse", "2 in use", Conflict("changed"))
        told("DevicesInUse", "2 in use")
        told("DevicesInUse", "1 in use")
        told("NoMatchingDevice", "none matches")
        metrics.wrote(Ungate(user.key, user.uid, "1", None), Done(None), 0.01)
        told("NoMatchingDevice", "none matches")
        told("Allocated", "1 device in 1 claim")
        told("UnschedulableAfterPin", "has its devices, but kube-scheduler does not place it")
    waits = [(one["pod"], one["reason"], one["message"]) for one in lines if one["event"] == "pod waits"]
    assert waits == [
        ("default/user", "DevicesInUse", "2 in use"),
        ("default/user", "NoMatchingDevice", "none matches"),
        ("default/user", "NoMatchingDevice", "none matches"),
        ("default/user", "UnschedulableAfterPin", "has its devices, but kube-scheduler does not place it"),
    ]


def test_waiting_pods_are_counted_by_the_reason_they_were_told() -> None:
    one, other = pod("one"), pod("other")
    view = view_of(one, other)
    metrics = Metrics(view)
    for each, reason in ((one, Reason.DEVICES_IN_USE), (other, Reason.CLASS_NOT_FOUND)):
        metrics.looked(PodRef(each.uid), Verdict(reason=reason, waits=True), 0.001)
        view.wakeups.waiting.add(each.uid)
    assert samples(metrics, "dra_operator_pods_waiting") == {("ClassNotFound",): 1, ("DevicesInUse",): 1}
    view.wakeups.waiting.discard(one.uid)
    assert samples(metrics, "dra_operator_pods_waiting") == {("ClassNotFound",): 1}


def test_admin_access_is_counted_by_whether_it_is_still_granted() -> None:
    monitor = claim(request(admin=True), name="monitor")
    looks = structs.replace(
        monitor, status=structs.replace(monitor.status, allocation=allocation(result("node-a/gpu-0", admin=True)))
    )
    labelled = namespace(**{ADMIN_ACCESS_LABEL: "true"})
    view = view_of(looks, claim(request(admin=True), name="waits"), allocated(claim(), "node-a/gpu-1"))
    metrics = Metrics(view)
    assert samples(metrics, "dra_operator_admin_access_claims") == {("false",): 0, ("true",): 0}, "not seen yet"
    show(view, labelled)
    assert samples(metrics, "dra_operator_admin_access_claims") == {("false",): 0, ("true",): 1}
    show(view, namespace(**{ADMIN_ACCESS_LABEL: "True"}))
    assert samples(metrics, "dra_operator_admin_access_claims") == {("false",): 1, ("true",): 0}


def test_devices_are_counted_by_state_and_again_when_that_changes() -> None:
    view = View()
    metrics = Metrics(view)
    view.observe_slice(slice_of(gpus=3))
    free = {(DRIVER, "free"): 3.0, (DRIVER, "in_use"): 0.0, (DRIVER, "shared"): 0.0, (DRIVER, "tainted"): 0.0}
    assert samples(metrics, "dra_operator_devices") == free

    slice_ = slice_of(gpus=3)
    [first, *rest] = slice_.spec.devices or ()
    hot = structs.replace(first, taints=(DeviceTaint(key="hot", effect="NoSchedule"),))
    view.observe_slice(structs.replace(slice_, spec=structs.replace(slice_.spec, devices=(hot, *rest))))
    assert samples(metrics, "dra_operator_devices")[DRIVER, "tainted"] == 1


def reserved(user: Pod, created: str, allocated: str) -> tuple[Metrics, WriteClaimStatus]:
    user = structs.replace(user, metadata=structs.replace(user.metadata, creation_timestamp=created))
    mine = claim(name="mine")
    given = structs.replace(allocation("gpu-0"), allocation_timestamp=allocated)
    consumer = ResourceClaimConsumerReference(resource="pods", name=user.metadata.name, uid=user.uid)
    write = WriteClaimStatus(mine.key, mine.uid, "1", given, (consumer,))
    return Metrics(view_of(user, mine)), write


def test_the_time_from_created_to_allocated_is_taken_once_an_allocation() -> None:
    metrics, write = reserved(pod("user"), "2026-01-01T00:00:00Z", "2026-01-01T00:00:20Z")
    for _ in range(2):
        metrics.wrote(write, Done(None), 0.01)
    sums = samples(metrics, "dra_operator_allocation_duration_seconds_sum")
    assert list(sums.values()) == [20.0]
    assert list(samples(metrics, "dra_operator_allocation_duration_seconds_count").values()) == [1.0]


def test_a_pod_that_joins_an_allocated_claim_later_is_no_allocation() -> None:
    metrics, write = reserved(pod("user"), "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z")
    metrics.wrote(write, Done(None), 0.01)
    assert not samples(metrics, "dra_operator_allocation_duration_seconds_count")


def test_a_write_that_failed_allocated_nothing() -> None:
    metrics, write = reserved(pod("user"), "2026-01-01T00:00:00Z", "2026-01-01T00:00:20Z")
    metrics.wrote(write, Conflict("changed"), 0.01)
    assert not samples(metrics, "dra_operator_allocation_duration_seconds_count")
    assert samples(metrics, "dra_operator_write_duration_seconds_count") == {("WriteClaimStatus", "Conflict"): 1.0}


def test_pods_that_are_gone_are_forgotten() -> None:
    view = View()
    metrics = Metrics(view)
    for number in range(5000):
        metrics.looked(PodRef(pod(f"p{number}").uid), Verdict(reason=Reason.DEVICES_IN_USE, waits=True), 0.0)
    assert len(metrics._told) <= 1001
