"""The pods that workloads make, named as upstream's controllers name them.

A Deployment makes a ReplicaSet, a CronJob a Job; the five characters at the end of a pod's name are random upstream and
a hash of its place here, so that a simulation gives the same names each time. Only what a controller creates at once
is made: of a Job its `parallelism`, of a CronJob one run.

Upstream: k8s.io/kubernetes/pkg/controller (deployment, replicaset, statefulset, daemon, job, cronjob),
`names.SimpleNameGenerator`, `rand.SafeEncodeString`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from msgspec import structs

from dra_operator.allocation.nodefit import Fit
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.codec import encode
from dra_operator.api.core import (
    Affinity,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodSpec,
    ResourceRequirements,
    Toleration,
)
from dra_operator.api.meta import Object, ObjectMeta, OwnerReference, Struct, Uid
from dra_operator.api.quantity import Quantity

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_BASE_MAX_LENGTH: Final = 58
"""A generated name has five characters more."""
_NEW_TAINTS: Final = ("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")


class PodTemplate(Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class ReplicaSetSpec(Struct, frozen=True):
    replicas: int = 1
    template: PodTemplate = PodTemplate()


class ReplicaSet(Object, frozen=True):
    spec: ReplicaSetSpec = ReplicaSetSpec()


class Deployment(Object, frozen=True):
    spec: ReplicaSetSpec = ReplicaSetSpec()


class Ordinals(Struct, frozen=True):
    start: int = 0


class StatefulSetSpec(Struct, frozen=True):
    replicas: int = 1
    template: PodTemplate = PodTemplate()
    ordinals: Ordinals = Ordinals()


class StatefulSet(Object, frozen=True):
    spec: StatefulSetSpec = StatefulSetSpec()


class DaemonSetSpec(Struct, frozen=True):
    template: PodTemplate = PodTemplate()


class DaemonSet(Object, frozen=True):
    spec: DaemonSetSpec = DaemonSetSpec()


class JobSpec(Struct, frozen=True):
    parallelism: int = 1
    completions: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    template: PodTemplate = PodTemplate()


class Job(Object, frozen=True):
    spec: JobSpec = JobSpec()


class JobTemplate(Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: JobSpec = JobSpec()


class CronJobSpec(Struct, frozen=True):
    suspend: bool = False
    job_template: JobTemplate = JobTemplate()


class CronJob(Object, frozen=True):
    spec: CronJobSpec = CronJobSpec()


Workload: TypeAlias = Deployment | ReplicaSet | StatefulSet | DaemonSet | Job | CronJob


def pods_of(workload: Workload, nodes: Iterable[Node], now: float) -> Iterator[Pod]:
    """The pods that the workload's controller would create. `now`: seconds since the epoch."""
    match workload:
        case Deployment(metadata=meta, spec=spec):
            name = f"{meta.name}-{_safe(encode(spec.template), 10)}"
            yield from _replicas(structs.replace(meta, name=name), spec)
        case ReplicaSet(metadata=meta, spec=spec):
            yield from _replicas(meta, spec)
        case StatefulSet(metadata=meta, spec=spec):
            for ordinal in range(spec.ordinals.start, spec.ordinals.start + spec.replicas):
                yield _pod(spec.template, meta, "StatefulSet", f"{meta.name}-{ordinal}")
        case DaemonSet(metadata=meta, spec=spec):
            yield from _daemons(meta, spec.template, nodes)
        case Job(metadata=meta, spec=spec):
            yield from _job(meta, spec)
        case CronJob(metadata=meta, spec=cron):
            if not cron.suspend:
                run = structs.replace(meta, name=f"{meta.name}-{int(now // 60)}")
                yield from _job(run, cron.job_template.spec)


def named(pod: Pod, place: int) -> Pod:
    """The pod with a name, where it only has `generateName`."""
    meta = pod.metadata
    if meta.name or not meta.generate_name:
        return pod
    name = _generated(meta.generate_name, f"{meta.namespace}/{place}")
    return structs.replace(pod, metadata=structs.replace(meta, name=name))


def with_defaults(pod: Pod) -> Pod:
    """What the API server fills in and placement reads: a request that is missing is its limit."""
    spec = pod.spec
    containers = tuple(structs.replace(one, resources=_requests_from_limits(one.resources)) for one in spec.containers)
    init = spec.init_containers and tuple(
        structs.replace(one, resources=_requests_from_limits(one.resources)) for one in spec.init_containers
    )
    return structs.replace(pod, spec=structs.replace(spec, containers=containers, init_containers=init))


def _requests_from_limits(resources: ResourceRequirements) -> ResourceRequirements:
    if not resources.limits:
        return resources
    requests: dict[str, Quantity] = {**resources.limits, **(resources.requests or {})}
    return structs.replace(resources, requests=requests)


def _replicas(meta: ObjectMeta, spec: ReplicaSetSpec) -> Iterator[Pod]:
    for index in range(spec.replicas):
        yield _pod(spec.template, meta, "ReplicaSet", _generated(f"{meta.name}-", f"{meta.namespace}/{index}"))


def _job(meta: ObjectMeta, spec: JobSpec) -> Iterator[Pod]:
    if spec.suspend:
        return
    wanted = spec.parallelism if spec.completions is None else min(spec.parallelism, spec.completions)
    for index in range(wanted):
        base = f"{meta.name}-{index}-" if spec.completion_mode == "Indexed" else f"{meta.name}-"
        yield _pod(spec.template, meta, "Job", _generated(base, f"{meta.namespace}/{index}"))


def _daemons(meta: ObjectMeta, template: PodTemplate, nodes: Iterable[Node]) -> Iterator[Pod]:
    """One for each node that it may run on, tied to it."""
    tolerations = tuple(
        Toleration(key=f"node.kubernetes.io/{taint}", operator="Exists", effect=effect)
        for taint in _NEW_TAINTS
        for effect in (("NoExecute",) if taint in ("not-ready", "unreachable") else ("NoSchedule",))
    )
    spec = structs.replace(template.spec, tolerations=(*(template.spec.tolerations or ()), *tolerations))
    asking = _pod(structs.replace(template, spec=_without_requests(spec)), meta, "DaemonSet", meta.name)
    fit, room = Fit(asking, {}), NodeUsage()
    for node in sorted(nodes, key=lambda one: one.metadata.name):
        if fit.misfits(node, room):
            continue
        here = NodeSelectorRequirement(key="metadata.name", operator="In", values=(node.metadata.name,))
        required = NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(here,)),))
        affinity = structs.replace(spec.affinity or Affinity(), node_affinity=NodeAffinity(required=required))
        tied = structs.replace(template, spec=structs.replace(spec, affinity=affinity))
        yield _pod(tied, meta, "DaemonSet", _generated(f"{meta.name}-", f"{meta.namespace}/{node.metadata.name}"))


def _without_requests(spec: PodSpec) -> PodSpec:
    """A DaemonSet's pods are created whether there is room or not."""
    return structs.replace(spec, containers=(), init_containers=None, resources=None, overhead=None)


def _pod(template: PodTemplate, owner: ObjectMeta, kind: str, name: str) -> Pod:
    meta = ObjectMeta(
        name=name,
        namespace=owner.namespace,
        labels=template.metadata.labels,
        annotations=template.metadata.annotations,
        owner_references=(
            OwnerReference(
                api_version="batch/v1" if kind == "Job" else "apps/v1",
                kind=kind,
                name=owner.name,
                uid=owner.uid or Uid(f"{kind}/{owner.namespace}/{owner.name}"),
                controller=True,
            ),
        ),
    )
    return Pod(api_version="v1", kind="Pod", metadata=meta, spec=template.spec)


def _generated(base: str, place: str) -> str:
    base = base[:_BASE_MAX_LENGTH]
    return base + _safe(f"{base}{place}".encode(), 5)


def _safe(data: bytes, length: int) -> str:
    digest = hashlib.sha256(data).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])
