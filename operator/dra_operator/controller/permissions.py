"""What the API server does not let us do: told once, shown by `/readyz`, and taken back when it lets us.

Read off the answers to what is asked anyway, so it is what holds, whoever decides it: RBAC, a webhook, a new token. A
403 that no authorizer gave (a quota, an admission webhook, a namespace that ends) is none of this, and is told by its
words: all authorizers' are worded by the API server itself. A tenant's webhook could copy them for a write; of reads,
which are what readiness depends on beside the Lease, no webhook is asked. Nor is a 401 that a webhook gave, which the
API server puts its own words before.

Upstream: `forbiddenMessage` of k8s.io/apiserver/pkg/endpoints/handlers/responsewriters. Not here: which rights there
have to be (`api/rights.py`); asking for all of them beforehand (`doctor`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from dra_operator.api.kinds import CLAIMS, SLICES
from dra_operator.api.rights import CONTROLLER, CONTROLLER_OWN, EVICT, WEBHOOK, WEBHOOK_OWN
from dra_operator.cluster.http import ApiError
from dra_operator.cluster.pace import Endpoint
from dra_operator.controller.mirrors import KOPF_KINDS

log = structlog.get_logger()

_ROLES: Final = (CONTROLLER, CONTROLLER_OWN, EVICT, WEBHOOK, WEBHOOK_OWN)
_BY_AN_AUTHORIZER: Final = (" cannot {verb} resource ", " cannot {verb} path ")
_BY_A_WEBHOOK: Final = "admission webhook "
_MIRRORED: Final = frozenset(kind.plural for kind in (*KOPF_KINDS, CLAIMS, SLICES))
_LEASES: Final = "leases"


@dataclass(frozen=True, slots=True)
class _Missing:
    endpoint: Endpoint
    namespace: str
    """Of the request that was refused; another's may be allowed."""
    text: str


class Permissions:
    """See the module. `answered` is told of every answer."""

    def __init__(self, account: str) -> None:
        """`account`: where our credentials are from, for messages."""
        self._account = account
        self._unknown = False
        self._missing: dict[Endpoint, _Missing] = {}

    def answered(self, endpoint: Endpoint, path: str, error: ApiError | None) -> None:
        """What the API server said to a request of that path."""
        if error is None:
            if self._unknown:
                self._unknown = False
                log.info("the API server knows us again", credentials=self._account)
            if self._missing:
                self._allowed(endpoint, path)
        elif error.status == 401 and error.by_api and not error.message.startswith(_BY_A_WEBHOOK) and not self._unknown:
            self._unknown = True
            log.error("the API server does not accept our credentials", credentials=self._account)
        elif error.status == 403 and any(
            words.format(verb=endpoint.verb) in error.message for words in _BY_AN_AUTHORIZER
        ):
            self._refused(endpoint, path, error)

    def blocking(self) -> list[str]:
        """What keeps us from doing anything at all, or from knowing what there is."""
        unknown = [f"the API server does not accept our credentials ({self._account})"] if self._unknown else []
        return unknown + _texts(one for one in self._missing.values() if _blocks(one.endpoint))

    def hindering(self) -> list[str]:
        """What else is not allowed."""
        return _texts(one for one in self._missing.values() if not _blocks(one.endpoint))

    def _refused(self, endpoint: Endpoint, path: str, error: ApiError) -> None:
        if endpoint in self._missing:
            return
        group, namespace = _scope(path)
        text = f"not allowed to {endpoint.verb} {endpoint.resource}"
        if group and not _is_discovery(endpoint):
            text += f".{group}"
        grants = _granting(endpoint, group)
        self._missing[endpoint] = _Missing(endpoint, namespace, f"{text} ({grants} grants it)" if grants else text)
        log.error(text, granted_by=grants, answer=error.message)

    def _allowed(self, endpoint: Endpoint, path: str) -> None:
        was = self._missing.get(endpoint)
        if was is not None and was.namespace == _scope(path)[1]:
            del self._missing[endpoint]
            log.info(f"allowed to {endpoint.verb} {endpoint.resource} now")


def _texts(missing: Iterable[_Missing]) -> list[str]:
    return sorted(one.text for one in missing)


def _blocks(endpoint: Endpoint) -> bool:
    mirrors = endpoint.verb in ("list", "watch") and endpoint.resource in _MIRRORED
    return mirrors or endpoint.resource == _LEASES or _is_discovery(endpoint)


def _is_discovery(endpoint: Endpoint) -> bool:
    """Kopf asks what there is before it lists anything."""
    return endpoint.resource.startswith("/api")


def _scope(path: str) -> tuple[str, str]:
    """The API group and the namespace that a path is about."""
    parts = path.strip("/").split("/")
    group, rest = (parts[1], parts[3:]) if parts[0] == "apis" and len(parts) > 1 else ("", parts[2:])
    return group, rest[1] if len(rest) > 2 and rest[0] == "namespaces" else ""


def _granting(endpoint: Endpoint, group: str) -> str:
    """The role that has this right: one of `manifests/`, or what Kubernetes gives to whom it knows."""
    if _is_discovery(endpoint):
        return "ClusterRole system:discovery"
    for role in _ROLES:
        for right in role.rights:
            if right.group == group and endpoint.resource in right.resources and endpoint.verb in right.verbs:
                return f"Role {role.name} in {role.namespace}" if role.namespace else f"ClusterRole {role.name}"
    return ""
