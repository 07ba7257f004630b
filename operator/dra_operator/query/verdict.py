"""What the API server would say to the creation of one object, as a reason and in its words.

Objects of resource.k8s.io are judged whole, of pods metadata and claims, of workloads the claims of their pods; of
other kinds too little is read. Admin access is judged only if the namespace's labels are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dra_operator.api.reasons import Reason
from dra_operator.validation import Undecodable, decode, refusal, validate
from dra_operator.validation.documents import KINDS
from dra_operator.validation.workloads import WORKLOADS, workload_refusal


@dataclass(frozen=True, slots=True)
class Verdict:
    reason: Reason
    message: str


def find_verdict(plain: Mapping[str, Any], namespace_labels: Mapping[str, str] | None = None) -> Verdict | None:
    """Why the object, as v1 says it, would be refused; None if it would be taken, or nothing can be said."""
    kind = plain["kind"]
    document = {key: value for key, value in plain.items() if key != "status"}
    if kind in WORKLOADS:
        message = workload_refusal(document)
        return None if message is None else Verdict(Reason.REQUEST_INVALID, message)
    if kind not in KINDS:
        return None
    decoded = decode(document)
    if isinstance(decoded, Undecodable):
        return Verdict(Reason.REQUEST_INVALID, decoded.message)
    errors = validate(decoded.object, namespace_labels=namespace_labels)
    if not errors:
        return None
    selector = any(error.field.endswith("cel.expression") for error in errors)
    reason = Reason.SELECTOR_INVALID if selector else Reason.REQUEST_INVALID
    return Verdict(reason, refusal(decoded.object, errors))
