"""What the API server says the operator's accounts asked for: which of their rights they used, what they were refused.

Upstream: the audit log (audit.k8s.io/v1); one JSON object a line, written before the answer is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dra_operator.api.names import OPERATOR_NAMESPACE
from dra_operator.api.rights import Role

POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{OPERATOR_NAMESPACE}"]},
        {"level": "None"},
    ],
}
_SYNTHETIC: Final = 'requires resource="'
"""How a refusal begins that names a subresource which no request has."""
_VIRTUAL: Final = {"resourceclaims/status": "resourceclaims/binding"}
"""Asked for along with another, and not named in the log unless it is refused."""


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """A verb on a resource (`plural` or `plural/subresource`) of a group."""

    group: str
    resource: str
    verb: str


@dataclass(slots=True)
class Record:
    """What one account did."""

    used: set[Use] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    """In words, for the reader of a test that fails."""


def flags(folder: Path) -> tuple[str, ...]:
    """Of an API server that keeps the log in this folder."""
    policy = folder / "audit-policy.json"
    policy.write_text(json.dumps(POLICY))
    return (f"--audit-policy-file={policy}", f"--audit-log-path={folder / 'audit.log'}")


def read(folder: Path, account: str) -> Record:
    """What an account of the operator's namespace did so far."""
    record = Record()
    user = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{account}"
    for line in (folder / "audit.log").read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] != user:
            continue
        status = event.get("responseStatus", {})
        forbidden = event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
        if forbidden or _SYNTHETIC in status.get("message", ""):
            record.refused.append(f"{event['verb']} {event['requestURI']}: {status.get('message', '')}")
        elif "objectRef" in event:
            record.used.update(_uses(event))
    return record


def unused(role: Role, record: Record) -> set[Use]:
    """What the role grants and nobody asked for."""
    granted = {
        Use(right.group, resource, verb)
        for right in role.rights
        for resource in right.resources
        for verb in right.verbs
    }
    return granted - record.used


def _uses(event: dict[str, Any]) -> Iterator[Use]:
    target = event["objectRef"]
    resource = target["resource"] + (f"/{target['subresource']}" if "subresource" in target else "")
    group = target.get("apiGroup", "")
    yield Use(group, resource, event["verb"])
    if resource in _VIRTUAL:
        yield Use(group, _VIRTUAL[resource], event["verb"])
