"""Performs Actions on a real API server: one request each, and nothing decided.

| action           | request                                                                                        |
|------------------|------------------------------------------------------------------------------------------------|
| CreateClaim      | POST; AlreadyExists → the one that is there                                                    |
| SetFinalizers    | merge patch of metadata with uid and resourceVersion                                           |
| WriteClaimStatus | merge patch on /status with uid and resourceVersion                                            |
| DeleteClaim, Pod | DELETE with uid and resourceVersion as preconditions                                           |
| PublishStatus    | server-side apply on /status with uid and resourceVersion, no force                            |
| Ungate           | strategic merge patch with uid and resourceVersion                                             |
| ReadPod, Claim   | GET                                                                                            |

A merge patch is exact for a claim's status, since an allocation is only ever set where there was none, stated again
as it is, or cleared (null); fields of newer API versions, which our types do not hold, survive it.

Before each write `allow` is asked (the lease's write barrier): a replica that may have lost the lease sends nothing.

Upstream: none; the forms of the requests are those of KEP-4381's scheduler plugin and resourceclaim controller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dra_operator.api.codec import to_plain
from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.api.names import DEVICES_ALLOCATED, FIELD_MANAGER, GATE
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.lifecycle.actions import (
    Action,
    Conflict,
    CreateClaim,
    DeleteClaim,
    DeletePod,
    Done,
    Missing,
    Outcome,
    PublishStatus,
    ReadClaim,
    ReadPod,
    Refused,
    SetFinalizers,
    Ungate,
    Unknown,
    WriteClaimStatus,
)

_NOT_LEADER: Final = Unknown("the lease is not held; nothing was sent")


class Writer:
    """See the module."""

    def __init__(self, client: ApiClient, allow: Callable[[], bool] = lambda: True) -> None:
        self._client = client
        self._allow = allow

    async def perform(self, action: Action) -> Outcome:
        """Perform one action. Never raises for what the API server or the network may do."""
        if not isinstance(action, ReadPod | ReadClaim) and not self._allow():
            return _NOT_LEADER
        try:
            return await self._send(action)
        except NoAnswer as error:
            return Unknown(str(error))
        except ApiError as error:
            return _outcome(error)

    async def _send(self, action: Action) -> Outcome:
        client = self._client
        match action:
            case CreateClaim(claim):
                try:
                    return Done(await client.create(CLAIMS, claim))
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise
                return Done(await client.get(CLAIMS, claim.key))
            case SetFinalizers():
                body = {
                    "metadata": {
                        "uid": action.uid,
                        "resourceVersion": action.resource_version,
                        "finalizers": list(action.finalizers) or None,
                    }
                }
                return Done(await client.patch(CLAIMS, action.key, body, patch_type="merge"))
            case WriteClaimStatus():
                return await self._write_claim_status(action)
            case DeleteClaim() | DeletePod():
                return await self._delete(action)
            case PublishStatus():
                return Done(
                    await client.patch(
                        PODS,
                        action.key,
                        _status_body(action),
                        patch_type="apply",
                        subresource="status",
                        field_manager=FIELD_MANAGER,
                    )
                )
            case Ungate():
                return Done(await client.patch(PODS, action.key, _ungate_body(action), patch_type="strategic"))
            case ReadPod():
                try:
                    pod = await client.get(PODS, action.key)
                except ApiError as error:
                    if error.status == 404:
                        return Done(None)
                    raise
                return Done(pod if pod.uid == action.uid else None)
            case ReadClaim():
                return Done(await client.get(CLAIMS, action.key))

    async def _write_claim_status(self, action: WriteClaimStatus) -> Outcome:
        body = {
            "metadata": {"uid": action.uid, "resourceVersion": action.resource_version},
            "status": {
                "allocation": None if action.allocation is None else to_plain(action.allocation),
                "reservedFor": to_plain(action.reserved_for) or None,
            },
        }
        return Done(await self._client.patch(CLAIMS, action.key, body, patch_type="merge", subresource="status"))

    async def _delete(self, action: DeleteClaim | DeletePod) -> Outcome:
        kind = CLAIMS if isinstance(action, DeleteClaim) else PODS
        try:
            await self._client.delete(kind, action.key, uid=action.uid, resource_version=action.resource_version)
        except ApiError as error:
            if error.status != 404:
                raise
        return Done(None)


def _status_body(action: PublishStatus) -> dict[str, Any]:
    status: dict[str, Any] = {}
    if action.claim_statuses:
        status["resourceClaimStatuses"] = to_plain(action.claim_statuses)
    if action.condition is not None:
        status["conditions"] = [
            {
                "type": DEVICES_ALLOCATED,
                "status": "True" if action.condition.status else "False",
                "reason": action.condition.reason,
                "message": action.condition.message,
                "lastTransitionTime": action.condition.last_transition_time,
            }
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": action.key.name,
            "namespace": action.key.namespace,
            "uid": action.uid,
            "resourceVersion": action.resource_version,
        },
        "status": status,
    }


def _ungate_body(action: Ungate) -> dict[str, Any]:
    spec: dict[str, Any] = {"schedulingGates": [{"$patch": "delete", "name": GATE}]}
    if action.required is not None:
        required = to_plain(action.required)
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {"metadata": {"uid": action.uid, "resourceVersion": action.resource_version}, "spec": spec}


def _outcome(error: ApiError) -> Outcome:
    match error.status:
        case 404:
            return Missing(error.message)
        case 409:
            return Conflict(error.message)
        case 400 | 401 | 403 | 405 | 413 | 415 | 422:
            return Refused(error.status, error.message)
        case _:
            return Unknown(str(error), error.retry_after)
