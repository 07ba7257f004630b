"""The ways in which the operator is installed: each is run through the whole suite."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dra_operator.api.rights import CONTROLLER, CONTROLLER_OWN, RESOURCE_GROUP, WEBHOOK, WEBHOOK_OWN, Role
from dra_operator.sandbox.binaries import release
from tests.e2e.suite.audit import Use
from tests.webhook import WITHOUT_POLICIES

_ADMISSION: Final = "admissionregistration.k8s.io"
POLICIES_SINCE: Final = 36
"""Minor version of Kubernetes that serves MutatingAdmissionPolicy v1."""
_VALIDATES: Final = {Use(_ADMISSION, "mutatingwebhookconfigurations", "patch"): "its webhook is a validating one"}


@dataclass(frozen=True, slots=True)
class Flavour:
    """A cluster, what an admin applies to it, and how the controller is started there."""

    name: str
    overlay: str = "native"
    """Folder of `manifests/overlays`."""
    flags: tuple[str, ...] = ()
    """Of `dra-operator run`, beside those of the Deployment."""
    stock_generator: bool = False
    """Leave upstream's resourceclaim-controller in kube-controller-manager."""
    crd: bool = False
    """resource.k8s.io is served by the custom resources of `crds/`."""
    scheduler_allocates: bool = True
    """kube-scheduler has its plugin DynamicResources; without it, nodes of pods are all that it looks at."""
    api_server_flags: tuple[str, ...] = ()
    roles: tuple[Role, ...] = (CONTROLLER, CONTROLLER_OWN)
    """Of the controller."""
    not_used: Mapping[Use, str] = field(default_factory=dict)
    """Rights that nothing asks for in this flavour, and why."""
    everyday: bool = True
    """Part of `make test`; `make e2e` runs all."""


FLAVOURS: Final = (
    Flavour("native-generate", flags=("--claims=generate",)),
    Flavour(
        "native-adopt",
        flags=("--claims=adopt",),
        stock_generator=True,
        not_used={Use(RESOURCE_GROUP, "resourceclaims", "create"): "kube-controller-manager generates"},
    ),
    Flavour(
        "native-webhook",
        overlay="webhook",
        flags=("--claims=generate",),
        api_server_flags=WITHOUT_POLICIES.api_server_flags,
        everyday=release().minor < POLICIES_SINCE,  # tests/integration/test_webhook.py is part of every day
        roles=(CONTROLLER, CONTROLLER_OWN, WEBHOOK, WEBHOOK_OWN),
        not_used={
            Use(_ADMISSION, "validatingwebhookconfigurations", "patch"): "its webhooks are mutating",
            Use(_ADMISSION, "mutatingadmissionpolicies", "get"): "releases before 1.36 have none",
            Use(_ADMISSION, "mutatingadmissionpolicybindings", "get"): "releases before 1.36 have none",
        },
    ),
    Flavour(
        "crd",
        overlay="crd",
        crd=True,
        roles=(CONTROLLER, CONTROLLER_OWN, WEBHOOK, WEBHOOK_OWN),
        not_used=_VALIDATES,
        everyday=False,
    ),
    Flavour(
        "crd-without-plugin",
        overlay="crd",
        crd=True,
        scheduler_allocates=False,
        roles=(CONTROLLER, CONTROLLER_OWN, WEBHOOK, WEBHOOK_OWN),
        not_used=_VALIDATES,
        everyday=False,
    ),
)


def chosen() -> tuple[Flavour, ...]:
    """By $E2E_FLAVOURS: names with commas between them, or `all`; otherwise those of every day.

    Only those that the release of Kubernetes can be: without the policies pods are gated by the webhook, and custom
    resources lack their conditional defaults.
    """
    names = os.environ.get("E2E_FLAVOURS", "")
    policies = release().minor >= POLICIES_SINCE
    possible = tuple(one for one in FLAVOURS if policies or (WEBHOOK in one.roles and not one.crd))
    if not names:
        return tuple(one for one in possible if one.everyday)
    if names == "all":
        return possible
    known = {one.name: one for one in possible}
    if unknown := set(names.split(",")) - known.keys():
        raise ValueError(f"E2E_FLAVOURS: {', '.join(sorted(unknown))} is none of all, {', '.join(known)}")
    return tuple(known[name] for name in names.split(","))
