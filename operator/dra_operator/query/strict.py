"""Which of the loaded objects the API server would refuse, in its words.

Admin access is left to the operator's own rule, which has a code of its own, unless it is asked for. Pods and
workloads that were dumped from a cluster (they have a uid and a resourceVersion) are not judged: a server has taken
them, and there may be very many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dra_operator.api.core import Namespace
from dra_operator.api.resource import DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice
from dra_operator.query.objects import Manifests, Refused
from dra_operator.query.verdict import find_verdict

_DRA: Final = (DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice)


def find_refusals(manifests: Manifests, *, admin_access: bool, live: bool = False) -> Iterator[Refused]:
    """`admin_access`: judge it, too. `live`: a namespace that is not among the objects may have any labels."""
    labels = {one.metadata.name: one.metadata.labels or {} for one in manifests.all(Namespace)}
    for loaded in manifests.objects:
        object_ = loaded.object
        stored = bool(object_.metadata.uid and object_.metadata.resource_version)
        if not loaded.plain or (stored and not isinstance(object_, _DRA)):
            continue
        here = labels.get(object_.metadata.namespace, None if live else {}) if admin_access else None
        verdict = find_verdict(loaded.plain, here)
        if verdict is not None:
            yield Refused(type(object_), object_.key, loaded.place, verdict.reason, verdict.message)
