"""The pods of workloads: how many, and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from dra_operator.api.codec import convert
from dra_operator.api.core import Node, NodeSpec, Pod, Taint
from dra_operator.lifecycle.pin import pinned_node
from dra_operator.world.workloads import (
    CronJob,
    DaemonSet,
    Deployment,
    Job,
    ReplicaSet,
    StatefulSet,
    Workload,
    pods_of,
    with_defaults,
)
from tests.builders import node

RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c"}]}}
NOW = 1_800_000_000.0


def pods(type_: type[Workload], spec: dict[str, Any], nodes: Iterable[Node] = ()) -> list[Pod]:
    plain = {"metadata": {"name": "web", "namespace": "team"}, "spec": spec}
    return list(pods_of(convert(plain, type_), nodes, NOW))


@pytest.mark.parametrize(
    ("type_", "spec", "names"),
    [
        (Deployment, {"replicas": 3, "template": TEMPLATE}, [rf"web-{RANDOM}{{10}}-{RANDOM}{{5}}"] * 3),
        (Deployment, {"template": TEMPLATE}, [rf"web-{RANDOM}{{10}}-{RANDOM}{{5}}"]),
        (ReplicaSet, {"replicas": 2, "template": TEMPLATE}, [rf"web-{RANDOM}{{5}}"] * 2),
        (StatefulSet, {"replicas": 2, "template": TEMPLATE}, ["web-0", "web-1"]),
        (StatefulSet, {"replicas": 2, "ordinals": {"start": 5}, "template": TEMPLATE}, ["web-5", "web-6"]),
        (Job, {"template": TEMPLATE}, [rf"web-{RANDOM}{{5}}"]),
        (Job, {"parallelism": 4, "completions": 2, "template": TEMPLATE}, [rf"web-{RANDOM}{{5}}"] * 2),
        (Job, {"parallelism": 2, "suspend": True, "template": TEMPLATE}, []),
        (
            Job,
            {"parallelism": 2, "completions": 2, "completionMode": "Indexed", "template": TEMPLATE},
            [rf"web-0-{RANDOM}{{5}}", rf"web-1-{RANDOM}{{5}}"],
        ),
        (CronJob, {"jobTemplate": {"spec": {"template": TEMPLATE}}}, [rf"web-30000000-{RANDOM}{{5}}"]),
        (CronJob, {"suspend": True, "jobTemplate": {"spec": {"template": TEMPLATE}}}, []),
    ],
)
def test_a_workload_makes_as_many_pods_as_upstream_named_like_upstream(
    type_: type[Workload], spec: dict[str, Any], names: list[str]
) -> None:
    made = pods(type_, spec)
    assert len({pod.metadata.name for pod in made}) == len(names) == len(made)
    for pod, name in zip(made, names, strict=True):
        assert re.fullmatch(name, pod.metadata.name)
        assert pod.metadata.namespace == "team"
        assert pod.metadata.labels == {"app": "x"}


def test_names_are_the_same_each_time() -> None:
    spec = {"replicas": 3, "template": TEMPLATE}
    assert [pod.key for pod in pods(Deployment, spec)] == [pod.key for pod in pods(Deployment, spec)]


def test_a_daemon_set_has_a_pod_tied_to_each_node_that_it_may_run_on() -> None:
    tainted = Node(metadata=node("c").metadata, spec=NodeSpec(taints=(Taint(key="gpu", effect="NoSchedule"),)))
    cordoned = Node(metadata=node("b").metadata, spec=NodeSpec(unschedulable=True))
    made = pods(DaemonSet, {"template": TEMPLATE}, [node("a"), cordoned, tainted])
    assert [pinned_node(pod) for pod in made] == ["a", "b"]


def test_a_request_that_is_missing_is_its_limit() -> None:
    plain = {
        "spec": {"containers": [{"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}}]}
    }
    [container] = with_defaults(convert(plain, Pod)).spec.containers
    assert {name: str(amount) for name, amount in (container.resources.requests or {}).items()} == {
        "cpu": "1",
        "memory": "1Gi",
    }
