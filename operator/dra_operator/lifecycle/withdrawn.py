"""Admin access that was given stays when the namespace's label goes: whoever has it is told, and so is the admin.

Nothing is taken away from a pod that runs. What is new is not granted (`generate.py`, `decide.py`).

Upstream: KEP-5018, which judges a claim when it is created. That it is reported is ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from dra_operator.access.admin import admin_results, grants_admin_access
from dra_operator.api.core import Namespace
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.view import View


def find_withdrawn(view: View, namespace: Namespace) -> Iterator[Notice]:
    """What to say of the namespace as it is now, before the View knows it so: a notice for each claim concerned."""
    name = namespace.metadata.name
    if grants_admin_access(namespace) or not grants_admin_access(view.namespaces.get(name)):
        return
    for key, claim in sorted(view.claims.items()):
        if key.namespace == name and (results := admin_results(claim)):
            devices = "a device" if len(results) == 1 else f"{len(results)} devices"
            message = (
                f'namespace "{name}" lost the label {ADMIN_ACCESS_LABEL}: "true"; the claim keeps the admin access to '
                f"{devices} that it was given until the pods that use it end: delete them, or set the label again"
            )
            yield Notice("ResourceClaim", key, claim.uid, "Warning", Reason.ADMIN_ACCESS_DENIED.value, message)
