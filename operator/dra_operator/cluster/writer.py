"""Performs Actions on a real API server: one request each, and nothing decided.

| action           | request                                                                 |
|------------------|-------------------------------------------------------------------------|
| CreateClaim      | POST; AlreadyExists → GET: the one that is there, whosever it is        |
| SetFinalizers    | merge patch of metadata with uid and resourceVersion                    |
| WriteClaimStatus | merge patch of /status with uid and resourceVersion                     |
| DeleteClaim, Pod | DELETE with uid and resourceVersion as preconditions; gone is done      |
| PublishStatus    | server-side apply to /status with uid and resourceVersion, force if so  |
|                  | decided                                                                 |
| Ungate           | strategic merge patch with uid and resourceVersion                      |
| ReadPod, Claim   | GET; for ReadPod another UID or none is "no such pod"                   |

| answer                             | outcome                                   |
|------------------------------------|-------------------------------------------|
| 409                                | Conflict                                  |
| 404 that names what there is not   | Missing                                   |
| any other 404: a path not served   | Unknown                                   |
| any other 4xx but 408 and 429      | Refused                                   |
| 429 after all repetitions          | Later: turned away, nothing took effect   |
| 408, 5xx                           | Unknown                                   |
| none, or one that is not understood| Unknown                                   |

A merge patch merges: what it does not name stays. So every member of an allocation is named, null where it has none,
and no allocation keeps a leftover of the one before it. Members that our types do not know (of a newer API) survive.

Before each write, and each repetition of one, `allow` is asked (the lease's write barrier): a replica that may have
lost the lease sends nothing.

Upstream: none; the forms of the requests are those of kube-scheduler's DynamicResources plugin and the resourceclaim
controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from dra_operator.api.codec import to_plain
from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.api.names import DEVICES_ALLOCATED, FIELD_MANAGER, GATE
from dra_operator.api.resource import AllocationResult
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer, NotSent
from dra_operator.lifecycle.actions import (
    Action,
    Conflict,
    CreateClaim,
    DeleteClaim,
    DeletePod,
    Done,
    Later,
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

OnWrite: TypeAlias = Callable[[Action, Outcome, float], None]

_NOT_LEADER: Final = Unknown("the lease is not held; nothing was sent")


class Writer:
    """See the module."""

    def __init__(
        self,
        client: ApiClient,
        allow: Callable[[], bool] = lambda: True,
        on_write: OnWrite = lambda action, outcome, seconds: None,
    ) -> None:
        """`on_write` is told of every write that was sent, its outcome and the seconds it took."""
        self._reads = client
        self._writes = client.guarded(allow)
        self._on_write = on_write
        self.clears_devices = False
        """The API server does not take `status.devices` away with the allocation (cluster/flavour.py)."""

    async def perform(self, action: Action) -> Outcome:
        """Perform one action. Never raises for what the API server or the network may do."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            outcome = await self._send(action)
        except NotSent:
            return _NOT_LEADER
        except NoAnswer as error:
            outcome = Unknown(str(error))
        except ApiError as error:
            outcome = _outcome(error)
        if not isinstance(action, ReadPod | ReadClaim):
            self._on_write(action, outcome, loop.time() - started)
        return outcome

    async def _send(self, action: Action) -> Outcome:
        client = self._writes
        match action:
            case CreateClaim():
                return await self._create_claim(action)
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
                body = _claim_status_body(action, clear_devices=self.clears_devices)
                return Done(await client.patch(CLAIMS, action.key, body, patch_type="merge", subresource="status"))
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
                        force=action.force,
                    )
                )
            case Ungate():
                return Done(await client.patch(PODS, action.key, _ungate_body(action), patch_type="strategic"))
            case ReadPod():
                try:
                    pod = await self._reads.get(PODS, action.key)
                except ApiError as error:
                    if error.is_gone:
                        return Done(None)
                    raise
                return Done(pod if pod.uid == action.uid else None)
            case ReadClaim():
                return Done(await self._reads.get(CLAIMS, action.key))

    async def _create_claim(self, action: CreateClaim) -> Outcome:
        try:
            return Done(await self._writes.create(CLAIMS, action.claim))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        try:
            return Done(await self._reads.get(CLAIMS, action.claim.key))
        except ApiError as error:
            if not error.is_gone:
                raise
            return Conflict(f"{action.claim.key} existed, and was deleted before it could be read")

    async def _delete(self, action: DeleteClaim | DeletePod) -> Outcome:
        kind = CLAIMS if isinstance(action, DeleteClaim) else PODS
        try:
            left = await self._writes.delete(kind, action.key, uid=action.uid, resource_version=action.resource_version)
        except ApiError as error:
            if not error.is_gone:
                raise
            left = None
        return Done(left)


def _claim_status_body(action: WriteClaimStatus, *, clear_devices: bool) -> dict[str, Any]:
    status = {
        "allocation": None if action.allocation is None else _every_member(action.allocation),
        "reservedFor": action.reserved_for or None,
    }
    if clear_devices and action.allocation is None:
        status["devices"] = None
    return {"metadata": {"uid": action.uid, "resourceVersion": action.resource_version}, "status": status}


def _every_member(allocation: AllocationResult) -> dict[str, Any]:
    """The allocation as a merge patch has to state it. Lists are replaced whole, so only objects need their nulls."""
    return {
        "devices": {"results": allocation.devices.results, "config": allocation.devices.config},
        "nodeSelector": allocation.node_selector,
        "allocationTimestamp": allocation.allocation_timestamp,
    }


def _status_body(action: PublishStatus) -> dict[str, Any]:
    status: dict[str, Any] = {}
    if action.claim_statuses:
        status["resourceClaimStatuses"] = to_plain(action.claim_statuses)
    if action.nominated:
        status["nominatedNodeName"] = action.nominated
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
        case 404 if error.is_gone:
            return Missing(error.message)
        case 409:
            return Conflict(error.message)
        case 429:
            return Later(str(error), error.retry_after)
        case 404 | 408:
            return Unknown(str(error), error.retry_after)
        case status if 400 <= status < 500:
            return Refused(status, error.message)
        case _:
            return Unknown(str(error), error.retry_after)
