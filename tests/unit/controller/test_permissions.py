"""What the API server does not allow is told once, by verb, resource and role, and taken back when it does."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from dra_operator.api.names import OPERATOR_NAMESPACE
from dra_operator.api.rights import CONTROLLER, CONTROLLER_OWN
from dra_operator.cluster.http import ApiError
from dra_operator.cluster.pace import Endpoint, endpoint_of
from dra_operator.controller.permissions import Permissions

NODES = "/api/v1/nodes"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaims"


def denied(endpoint: Endpoint, group: str = "") -> ApiError:
    message = f'x is forbidden: User "u" cannot {endpoint.verb} resource "{endpoint.resource}" in API group "{group}"'
    return ApiError(403, "Forbidden", message)


def refuse(permissions: Permissions, method: str, path: str) -> None:
    endpoint = endpoint_of(method, path)
    permissions.answered(endpoint, path, denied(endpoint))


def test_it_is_said_once_with_the_role_that_grants_it() -> None:
    permissions = Permissions("the file")
    with capture_logs() as lines:
        for _ in range(3):
            refuse(permissions, "GET", NODES)
    assert [(line["event"], line["granted_by"]) for line in lines] == [
        ("not allowed to list nodes", "ClusterRole dra-operator")
    ]
    assert permissions.blocking() == ["not allowed to list nodes (ClusterRole dra-operator grants it)"]


def test_it_is_over_when_it_is_allowed() -> None:
    permissions = Permissions("the file")
    refuse(permissions, "GET", NODES)
    with capture_logs() as lines:
        permissions.answered(endpoint_of("GET", NODES), NODES, None)
    assert [line["event"] for line in lines] == ["allowed to list nodes now"]
    assert permissions.blocking() == []
    with capture_logs() as lines:
        refuse(permissions, "GET", NODES)
    assert len(lines) == 1, "a right that is taken away again is news"


def test_what_is_allowed_elsewhere_is_not_what_was_refused_here() -> None:
    permissions = Permissions("the file")
    refuse(permissions, "POST", CLAIMS.format("a"))
    permissions.answered(endpoint_of("POST", CLAIMS.format("b")), CLAIMS.format("b"), None)
    assert permissions.hindering()
    permissions.answered(endpoint_of("POST", CLAIMS.format("a")), CLAIMS.format("a"), None)
    assert not permissions.hindering()


_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases/dra-operator"


@pytest.mark.parametrize(
    ("method", "path", "blocks"),
    [
        ("GET", "/api/v1/pods", True),
        ("GET", "/apis/resource.k8s.io/v1/resourceslices", True),
        ("GET", "/apis/resource.k8s.io/v1/devicetaintrules", False),  # served by 1.37 only; the role of before lacks it
        ("GET", _LEASE, True),
        ("PATCH", _LEASE, True),
        ("PATCH", "/api/v1/namespaces/a/pods/p/status", False),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", False),
        ("GET", "/api/v1/namespaces/a/pods/p", False),
    ],
)
def test_what_is_seen_and_the_lease_decide_on_readiness(method: str, path: str, blocks: bool) -> None:
    permissions = Permissions("the file")
    refuse(permissions, method, path)
    assert (len(permissions.blocking()), len(permissions.hindering())) == ((1, 0) if blocks else (0, 1))


def test_discovery_is_needed_and_granted_by_kubernetes_itself() -> None:
    permissions = Permissions("the file")
    path = "/apis/resource.k8s.io/v1"
    refusal = ApiError(403, "Forbidden", f'forbidden: User "u" cannot get path "{path}"')
    permissions.answered(endpoint_of("GET", path), path, refusal)
    assert permissions.blocking() == [f"not allowed to get {path} (ClusterRole system:discovery grants it)"]


def test_every_right_of_the_controller_is_found_again_in_its_role() -> None:
    for role in (CONTROLLER, CONTROLLER_OWN):
        for right in role.rights:
            prefix = f"/apis/{right.group}/v1" if right.group else "/api/v1"
            for resource in right.resources:
                for verb in right.verbs:
                    permissions = Permissions("the file")
                    endpoint = Endpoint(verb, resource)
                    permissions.answered(endpoint, f"{prefix}/{resource}", denied(endpoint, right.group))
                    [text] = permissions.blocking() + permissions.hindering()
                    assert f"Role {role.name}" in text, text
                    assert f"{verb} {resource}" in text


@pytest.mark.parametrize(
    "message",
    [
        'pods "p" is forbidden: exceeded quota: q',
        'admission webhook "w" denied the request: no',
        "unable to create new content in namespace a because it is being terminated",
    ],
)
def test_a_refusal_that_is_no_missing_right_is_none(message: str) -> None:
    permissions = Permissions("the file")
    path = CLAIMS.format("a")
    permissions.answered(endpoint_of("POST", path), path, ApiError(403, "Forbidden", message))
    assert permissions.blocking() + permissions.hindering() == []


def test_credentials_that_are_not_accepted_are_said_once_until_they_are() -> None:
    permissions = Permissions("the file")
    endpoint = endpoint_of("GET", NODES)
    with capture_logs() as lines:
        for _ in range(3):
            permissions.answered(endpoint, NODES, ApiError(401, "Unauthorized", "Unauthorized"))
    assert len(lines) == 1
    assert permissions.blocking() == ["the API server does not accept our credentials (the file)"]
    permissions.answered(endpoint, NODES, None)
    assert permissions.blocking() == []


@pytest.mark.parametrize(
    ("message", "unknown"),
    [("Unauthorized", True), ('admission webhook "w.tenant.example" denied the request: log in first', False)],
    ids=["the API server", "a webhook"],
)
def test_a_webhook_that_answers_401_is_not_the_api_server_that_does_not_know_us(message: str, unknown: bool) -> None:
    permissions = Permissions("the file")
    path = CLAIMS.format("tenant")
    permissions.answered(endpoint_of("POST", path), path, ApiError(401, "Unauthorized", message))
    assert bool(permissions.blocking()) is unknown
