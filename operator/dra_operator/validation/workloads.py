"""What a workload says about its pods' claims: the template in a Deployment, a Job and their like.

Of a workload nothing but the template's spec is looked at. The words are those of the API server for the workload.

Upstream: `ValidatePodTemplateSpec` in pkg/apis/core/validation, and who calls it in pkg/apis/apps and pkg/apis/batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from dra_operator.validation.errors import summary
from dra_operator.validation.gotext import quote
from dra_operator.validation.jsontree import Members, from_plain
from dra_operator.validation.metatypes import ObjectMeta
from dra_operator.validation.pods import PodSpec, check_pod_claims
from dra_operator.validation.shapes import Wire
from dra_operator.validation.strict import Misfit, fit


class PodTemplate(Wire, frozen=True):
    go_struct: ClassVar[str] = "PodTemplateSpec"

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class WorkloadSpec(Wire, frozen=True):
    partial: ClassVar[bool] = True

    template: PodTemplate = PodTemplate()


class Workload(Wire, frozen=True):
    """Deployment, ReplicaSet, StatefulSet, DaemonSet, Job."""

    partial: ClassVar[bool] = True

    metadata: ObjectMeta = ObjectMeta()
    spec: WorkloadSpec = WorkloadSpec()


class CronJobSpec(Wire, frozen=True):
    partial: ClassVar[bool] = True

    job_template: Workload = Workload()


class CronJob(Wire, frozen=True):
    partial: ClassVar[bool] = True

    metadata: ObjectMeta = ObjectMeta()
    spec: CronJobSpec = CronJobSpec()


WORKLOADS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"), "apps"),
    **dict.fromkeys(("Job", "CronJob"), "batch"),
}
"""The kinds, and the group of each."""


def workload_refusal(document: Mapping[str, object]) -> str | None:
    """Why the API server would refuse a workload for its pods' claims, or None."""
    kind = str(document["kind"])
    tree = from_plain(document)
    assert isinstance(tree, Members)
    found = fit(tree, CronJob if kind == "CronJob" else Workload)
    handled = f'{kind} in version "v1" cannot be handled as a {kind}: '
    if isinstance(found, Misfit):
        return handled + found.problem.message
    if found.problems:
        return handled + "strict decoding error: " + ", ".join(each.message for each in found.problems)
    workload = found.object
    match workload:
        case CronJob():
            path, template = "spec.jobTemplate.spec.template.spec", workload.spec.job_template.spec.template
        case Workload():
            path, template = "spec.template.spec", workload.spec.template
        case _:
            raise TypeError(f"{kind} was read as {type(workload).__name__}")
    errors = check_pod_claims(path, template.spec, template.metadata.annotations or {})
    if not errors:
        return None
    return f"{kind}.{WORKLOADS[kind]} {quote(workload.metadata.name)} is invalid: {summary(errors)}"
