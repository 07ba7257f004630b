"""What the checks read of objects that the rest of the program does not know, and where those are served.

Upstream: k8s.io/api/apps/v1, coordination/v1, admissionregistration/v1, core/v1, apiextensions/v1.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dra_operator.api.kinds import Kind
from dra_operator.api.meta import LabelSelector, Object, Struct


class PodTemplateSpec(Struct, frozen=True):
    service_account_name: str = ""


class PodTemplate(Struct, frozen=True):
    spec: PodTemplateSpec = PodTemplateSpec()


class WorkloadSpec(Struct, frozen=True):
    replicas: int = 1
    template: PodTemplate = PodTemplate()


class WorkloadStatus(Struct, frozen=True):
    replicas: int = 0
    ready_replicas: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0


class Workload(Object, frozen=True):
    """A Deployment or a DaemonSet."""

    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()


class LeaseSpec(Struct, frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    renew_time: str | None = None


class Lease(Object, frozen=True):
    spec: LeaseSpec = LeaseSpec()


class MatchConstraints(Struct, frozen=True):
    namespace_selector: LabelSelector | None = None


class PolicySpec(Struct, frozen=True):
    match_constraints: MatchConstraints | None = None
    mutations: msgspec.Raw = msgspec.Raw(b"[]")
    failure_policy: str = ""


class Policy(Object, frozen=True):
    spec: PolicySpec = PolicySpec()


class BindingSpec(Struct, frozen=True):
    policy_name: str = ""


class Binding(Object, frozen=True):
    spec: BindingSpec = BindingSpec()


class ServiceReference(Struct, frozen=True):
    namespace: str = ""
    name: str = ""


class ClientConfig(Struct, frozen=True):
    service: ServiceReference | None = None
    url: str | None = None
    ca_bundle: str | None = None


class WebhookRule(Struct, frozen=True):
    resources: tuple[str, ...] = ()


class Webhook(Struct, frozen=True):
    name: str = ""
    rules: tuple[WebhookRule, ...] | None = None
    client_config: ClientConfig = ClientConfig()
    failure_policy: str = ""
    namespace_selector: LabelSelector | None = None


class WebhookConfiguration(Object, frozen=True):
    webhooks: tuple[Webhook, ...] | None = None


class EndpointConditions(Struct, frozen=True):
    ready: bool | None = None


class Endpoint(Struct, frozen=True):
    conditions: EndpointConditions = EndpointConditions()


class EndpointSlice(Object, frozen=True):
    endpoints: tuple[Endpoint, ...] | None = None


class QuotaStatus(Struct, frozen=True):
    hard: dict[str, str] | None = None
    used: dict[str, str] | None = None


class ResourceQuota(Object, frozen=True):
    status: QuotaStatus = QuotaStatus()


class ServiceAccount(Object, frozen=True):
    """Whether there is one."""


class ReviewStatus(Struct, frozen=True):
    allowed: bool = False


class Review(Object, frozen=True):
    """The answer to an access review."""

    status: ReviewStatus = ReviewStatus()


class Definition(Object, frozen=True):
    """A CustomResourceDefinition: whether there is one."""


class Anything(Object, frozen=True):
    """An object of which only the metadata matters."""


class Version(Struct, frozen=True):
    major: str = ""
    minor: str = ""
    git_version: str = ""


class Group(Struct, frozen=True):
    name: str


class GroupList(Struct, frozen=True):
    groups: tuple[Group, ...] = ()


class ServedResource(Struct, frozen=True):
    name: str


class ServedResources(Struct, frozen=True):
    resources: tuple[ServedResource, ...] = ()


def _kind(group: str, plural: str, kind: str, namespaced: bool, type_: Any) -> Kind[Any]:
    return Kind(group, "v1", plural, kind, namespaced, type_)


_ADMISSION = "admissionregistration.k8s.io"
DEPLOYMENTS: Kind[Workload] = _kind("apps", "deployments", "Deployment", True, Workload)
DAEMONSETS: Kind[Workload] = _kind("apps", "daemonsets", "DaemonSet", True, Workload)
LEASES: Kind[Lease] = _kind("coordination.k8s.io", "leases", "Lease", True, Lease)
MUTATING_POLICIES: Kind[Policy] = _kind(
    _ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", False, Policy
)
MUTATING_BINDINGS: Kind[Binding] = _kind(
    _ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", False, Binding
)
MUTATING_WEBHOOKS: Kind[WebhookConfiguration] = _kind(
    _ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False, WebhookConfiguration
)
VALIDATING_WEBHOOKS: Kind[WebhookConfiguration] = _kind(
    _ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False, WebhookConfiguration
)
ENDPOINT_SLICES: Kind[EndpointSlice] = _kind("discovery.k8s.io", "endpointslices", "EndpointSlice", True, EndpointSlice)
QUOTAS: Kind[ResourceQuota] = _kind("", "resourcequotas", "ResourceQuota", True, ResourceQuota)
SERVICES: Kind[Anything] = _kind("", "services", "Service", True, Anything)
SERVICE_ACCOUNTS: Kind[ServiceAccount] = _kind("", "serviceaccounts", "ServiceAccount", True, ServiceAccount)
DEFINITIONS: Kind[Definition] = _kind(
    "apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", False, Definition
)
ACCESS_REVIEWS: Kind[Review] = _kind(
    "authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", False, Review
)
SELF_REVIEWS: Kind[Review] = _kind(
    "authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False, Review
)
