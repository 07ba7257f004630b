"""The DRAPlugin service: `NodePrepareResources` and `NodeUnprepareResources`, each claim with an answer of its own.

The claims are read from the API server first, all at once: the kubelet names them by UID, and one of that name may be
another by now. What is then done on disk (`preparation.py`) goes on in one thread of its own, a call at a time: the
kubelet sends the same claim twice, some milliseconds apart, when two pods share it. A call that the kubelet gives up is
finished all the same, and found done when it is repeated.

Both versions are served by the same code; v1beta1 has no shares. Upstream: kubeletplugin's `nodePluginImplementation`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import grpc
import structlog

from dra_operator.agent.checkpoint import PreparedClaim
from dra_operator.agent.preparation import Answer, NotPreparedError, Preparation
from dra_operator.agent.protos import dra_v1_pb2 as v1
from dra_operator.agent.protos import dra_v1beta1_pb2 as v1beta1
from dra_operator.agent.services import PREPARE_V1, PREPARE_V1BETA1, UNPREPARE_V1, UNPREPARE_V1BETA1, Context
from dra_operator.api.kinds import CLAIMS
from dra_operator.api.meta import ObjectKey, Struct, Uid
from dra_operator.api.resource import BasicDevice, ResourceClaim
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer

log = structlog.get_logger()

_READ_SECONDS: Final = 20.0
"""Less than the 45 seconds that the kubelet waits: it should hear what is wrong, not time out."""
_NOT_FOUND: Final = 404

T = TypeVar("T")
Devices = Mapping[str, BasicDevice]


class ClaimRef(Struct, frozen=True, kw_only=True):
    """How the kubelet names a claim."""

    uid: Uid
    namespace: str
    name: str


class Plugin:
    """See the module. `devices` gives what the node has now, by name; None while that is not known yet."""

    def __init__(self, client: ApiClient, preparation: Preparation, devices: Callable[[], Devices | None]) -> None:
        self._client = client
        self._preparation = preparation
        self._devices = devices
        self.changed: Final = asyncio.Event()
        """Set after each call: other claims may be prepared now."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prepare")

    async def restore(self) -> None:
        """Once, before it serves. Raises OSError."""
        await self._on_disk(self._preparation.restore)

    def close(self) -> None:
        """No more calls. One that is under way is finished before the process ends in an orderly way."""
        self._thread.shutdown(wait=False)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [
            PREPARE_V1.serve(self._prepare_v1),
            UNPREPARE_V1.serve(self._unprepare_v1),
            PREPARE_V1BETA1.serve(self._prepare_v1beta1),
            UNPREPARE_V1BETA1.serve(self._unprepare_v1beta1),
        ]

    # --- what is asked, whichever version ----------------------------------------------------------------------------

    async def prepare(self, refs: Sequence[ClaimRef]) -> dict[Uid, Answer]:
        read = await asyncio.gather(*(self._read_claim(ref) for ref in refs))
        claims = [claim for claim in read if isinstance(claim, ResourceClaim)]
        answers: dict[Uid, Answer] = {
            ref.uid: claim for ref, claim in zip(refs, read, strict=True) if isinstance(claim, NotPreparedError)
        }
        if claims:
            devices = self._devices()
            if devices is None:
                return answers | {c.uid: NotPreparedError("the node's devices are not known yet") for c in claims}
            answers |= await self._on_disk(lambda: self._preparation.prepare(claims, devices))
        for ref in refs:
            _log_answer("claim prepared", "claim not prepared", ref, answers[ref.uid])
        return answers

    async def unprepare(self, refs: Sequence[ClaimRef]) -> dict[Uid, NotPreparedError | None]:
        answers = await self._on_disk(lambda: self._preparation.unprepare([ref.uid for ref in refs]))
        for ref in refs:
            _log_answer("claim unprepared", "claim not unprepared", ref, answers[ref.uid])
        return answers

    async def _read_claim(self, ref: ClaimRef) -> ResourceClaim | NotPreparedError:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                claim = await self._client.get(CLAIMS, ObjectKey(ref.namespace, ref.name))
        except TimeoutError:
            return NotPreparedError(f"the claim could not be read: no answer of the API server in {_READ_SECONDS:g} s")
        except (ApiError, NoAnswer) as error:
            if isinstance(error, ApiError) and error.status == _NOT_FOUND:
                return NotPreparedError("there is no such claim")
            return NotPreparedError(f"the claim could not be read: {error}")
        if claim.uid != ref.uid:
            return NotPreparedError("there is another claim of that name by now")
        return claim

    async def _on_disk(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        finally:
            self.changed.set()

    # --- v1 ----------------------------------------------------------------------------------------------------------

    async def _prepare_v1(
        self, request: v1.NodePrepareResourcesRequest, context: Context
    ) -> v1.NodePrepareResourcesResponse:
        answers = await _guarded(context, self.prepare(_refs(request.claims)))
        return v1.NodePrepareResourcesResponse(claims={uid: self._answer_v1(one) for uid, one in answers.items()})

    async def _unprepare_v1(
        self, request: v1.NodeUnprepareResourcesRequest, context: Context
    ) -> v1.NodeUnprepareResourcesResponse:
        answers = await _guarded(context, self.unprepare(_refs(request.claims)))
        return v1.NodeUnprepareResourcesResponse(
            claims={uid: v1.NodeUnprepareResourceResponse(error=_text(one)) for uid, one in answers.items()}
        )

    def _answer_v1(self, answer: Answer) -> v1.NodePrepareResourceResponse:
        if isinstance(answer, NotPreparedError):
            return v1.NodePrepareResourceResponse(error=_text(answer))
        return v1.NodePrepareResourceResponse(
            devices=[
                v1.Device(
                    request_names=device.allocated.requests,
                    pool_name=device.allocated.pool,
                    device_name=device.allocated.device,
                    cdi_device_ids=[self._preparation.cdi_id(device)],
                    share_id=device.allocated.share_id,
                )
                for device in answer.devices
            ]
        )

    # --- v1beta1 -----------------------------------------------------------------------------------------------------

    async def _prepare_v1beta1(
        self, request: v1beta1.NodePrepareResourcesRequest, context: Context
    ) -> v1beta1.NodePrepareResourcesResponse:
        answers = await _guarded(context, self.prepare(_refs(request.claims)))
        return v1beta1.NodePrepareResourcesResponse(
            claims={uid: self._answer_v1beta1(one) for uid, one in answers.items()}
        )

    async def _unprepare_v1beta1(
        self, request: v1beta1.NodeUnprepareResourcesRequest, context: Context
    ) -> v1beta1.NodeUnprepareResourcesResponse:
        answers = await _guarded(context, self.unprepare(_refs(request.claims)))
        return v1beta1.NodeUnprepareResourcesResponse(
            claims={uid: v1beta1.NodeUnprepareResourceResponse(error=_text(one)) for uid, one in answers.items()}
        )

    def _answer_v1beta1(self, answer: Answer) -> v1beta1.NodePrepareResourceResponse:
        if isinstance(answer, NotPreparedError):
            return v1beta1.NodePrepareResourceResponse(error=_text(answer))
        return v1beta1.NodePrepareResourceResponse(
            devices=[
                v1beta1.Device(
                    request_names=device.allocated.requests,
                    pool_name=device.allocated.pool,
                    device_name=device.allocated.device,
                    cdi_device_ids=[self._preparation.cdi_id(device)],
                )
                for device in answer.devices
            ]
        )


async def _guarded(context: Context, call: Awaitable[T]) -> T:
    """A mistake of ours fails this one call, in words, and the next one is served."""
    try:
        return await call
    except Exception as error:
        log.exception("a call of the kubelet failed")
        await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        raise AssertionError("abort raises") from error


def _refs(claims: Sequence[v1.Claim] | Sequence[v1beta1.Claim]) -> list[ClaimRef]:
    return [ClaimRef(uid=Uid(claim.uid), namespace=claim.namespace, name=claim.name) for claim in claims]


def _text(error: NotPreparedError | None) -> str:
    return "" if error is None else str(error)


def _log_answer(done: str, refused: str, ref: ClaimRef, answer: PreparedClaim | NotPreparedError | None) -> None:
    about = {"claim": f"{ref.namespace}/{ref.name}", "uid": ref.uid}
    if isinstance(answer, NotPreparedError):
        log.warning(refused, **about, why=str(answer))
    elif answer is None:
        log.info(done, **about)
    else:
        log.info(done, **about, devices=[device.allocated.device for device in answer.devices])
