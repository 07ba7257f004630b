"""Authorization checks: declared, since the API server's base environment has them, but never callable.

No selector gets hold of an authorizer. On a value of unknown type such a call compiles, counts as what it would cost,
and fails.

Upstream: `pkg/cel/library/authz.go` in k8s.io/apiserver.
"""

from __future__ import annotations

from typing import Final

from dra_operator.cel.functions import Library

LIBRARY: Final = Library()
LIBRARY.declare(
    "Authorizer.path(string) -> PathCheck",
    "Authorizer.group(string) -> GroupCheck",
    "Authorizer.serviceAccount(string, string) -> Authorizer",
    "GroupCheck.resource(string) -> ResourceCheck",
    "ResourceCheck.subresource(string) -> ResourceCheck",
    "ResourceCheck.namespace(string) -> ResourceCheck",
    "ResourceCheck.name(string) -> ResourceCheck",
    "ResourceCheck.fieldSelector(string) -> ResourceCheck",
    "ResourceCheck.labelSelector(string) -> ResourceCheck",
    "PathCheck.check(string) -> Decision",
    "ResourceCheck.check(string) -> Decision",
    "Decision.errored() -> bool",
    "Decision.error() -> string",
    "Decision.allowed() -> bool",
    "Decision.reason() -> string",
)
