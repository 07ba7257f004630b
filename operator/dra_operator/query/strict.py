"""What the API server would refuse of the loaded objects, in its words.

Only objects of resource.k8s.io are judged: of the others too little is read. Admin access is left to the operator's own
rule, which has a code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice
from dra_operator.api.validation import Undecodable, decode, refusal, validate
from dra_operator.query.objects import Loaded, Manifests, Refused

_JUDGED = (DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice)


def find_refusals(manifests: Manifests, *, unknown_fields: bool) -> Iterator[Refused]:
    """Objects that are invalid, and with `unknown_fields` also those that say what nobody understands."""
    for loaded in manifests.objects:
        if isinstance(loaded.object, _JUDGED) and loaded.plain:
            refused = _judge(loaded, unknown_fields)
            if refused is not None:
                yield refused


def _judge(loaded: Loaded, unknown_fields: bool) -> Refused | None:
    object_ = loaded.object
    document = {key: value for key, value in loaded.plain.items() if key != "status"}
    decoded = decode(document)
    if isinstance(decoded, Undecodable):
        if not unknown_fields:
            return None
        return Refused(type(object_), object_.key, loaded.place, Reason.REQUEST_INVALID, decoded.message)
    errors = validate(decoded.object)
    if not errors:
        return None
    selector = any(error.field.endswith("cel.expression") for error in errors)
    reason = Reason.SELECTOR_INVALID if selector else Reason.REQUEST_INVALID
    return Refused(type(object_), object_.key, loaded.place, reason, refusal(decoded.object, errors))
