"""The gRPC services between a kubelet and its plugin: names, methods, and both ends of them.

A `Method` is served by the agent, and called by the sandbox's kubelets and the tests. Requests come from whoever can
open the socket: one that cannot be decoded gets an error.

Names are those on the wire. Upstream: k8s.io/kubelet/pkg/apis/{pluginregistration,dra,dra-health}.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from dra_operator.agent.protos import dra_v1_pb2 as dra_v1
from dra_operator.agent.protos import dra_v1beta1_pb2 as dra_v1beta1
from dra_operator.agent.protos import health_v1_pb2 as health_v1
from dra_operator.agent.protos import health_v1alpha1_pb2 as health_v1alpha1
from dra_operator.agent.protos import registration_pb2 as registration

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

PLUGIN_TYPE: Final = "DRAPlugin"

DRA_V1: Final = "v1.DRAPlugin"
DRA_V1BETA1: Final = "v1beta1.DRAPlugin"
HEALTH_V1: Final = "v1.DRAResourceHealth"
HEALTH_V1ALPHA1: Final = "v1alpha1.DRAResourceHealth"
"""The four as a registration lists them among its supported versions."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """One method: its service and name on the wire, what it takes and what it answers."""

    service: str
    name: str
    request: type[Q]
    answer: type[A]

    def serve(self, function: Callable[[Q, Context], Awaitable[A]]) -> grpc.GenericRpcHandler:
        async def respond(raw: bytes, context: Context) -> A:
            return await function(await self._decode(raw, context), context)

        return self._handler(grpc.unary_unary_rpc_method_handler(respond, None, self.answer.SerializeToString))

    def serve_stream(self, function: Callable[[Q, Context], AsyncIterator[A]]) -> grpc.GenericRpcHandler:
        async def respond(raw: bytes, context: Context) -> AsyncIterator[A]:
            async for answer in function(await self._decode(raw, context), context):
                yield answer

        return self._handler(grpc.unary_stream_rpc_method_handler(respond, None, self.answer.SerializeToString))

    def _handler(self, method: grpc.RpcMethodHandler[Any, Any]) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(self.service, {self.name: method})

    async def _decode(self, raw: bytes, context: Context) -> Q:
        """Not left to gRPC, which logs a traceback for every byte that somebody sends."""
        try:
            return self.request.FromString(raw)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"this is no {self.request.DESCRIPTOR.name}: {error}")
            raise AssertionError("abort raises") from error

    async def call(
        self, channel: grpc.aio.Channel, request: Q, *, timeout: float | None = None, wait_for_ready: bool = False
    ) -> A:
        """Raises grpc.aio.AioRpcError."""
        call = channel.unary_unary(
            f"/{self.service}/{self.name}",
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.answer.FromString,
        )
        answer: A = await call(request, timeout=timeout, wait_for_ready=wait_for_ready)
        return answer

    def call_stream(self, channel: grpc.aio.Channel, request: Q) -> AsyncIterator[A]:
        """Raises grpc.aio.AioRpcError while it is read."""
        call = channel.unary_stream(
            f"/{self.service}/{self.name}",
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.answer.FromString,
        )
        answers: AsyncIterator[A] = call(request).__aiter__()
        return answers


_REGISTRATION: Final = "pluginregistration.Registration"
_DRA_V1: Final = "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"
_DRA_V1BETA1: Final = "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin"

GET_INFO: Final = Method(_REGISTRATION, "GetInfo", registration.InfoRequest, registration.PluginInfo)
NOTIFY_STATUS: Final = Method(
    _REGISTRATION,
    "NotifyRegistrationStatus",
    registration.RegistrationStatus,
    registration.RegistrationStatusResponse,
)
PREPARE_V1: Final = Method(
    _DRA_V1, "NodePrepareResources", dra_v1.NodePrepareResourcesRequest, dra_v1.NodePrepareResourcesResponse
)
UNPREPARE_V1: Final = Method(
    _DRA_V1, "NodeUnprepareResources", dra_v1.NodeUnprepareResourcesRequest, dra_v1.NodeUnprepareResourcesResponse
)
PREPARE_V1BETA1: Final = Method(
    _DRA_V1BETA1,
    "NodePrepareResources",
    dra_v1beta1.NodePrepareResourcesRequest,
    dra_v1beta1.NodePrepareResourcesResponse,
)
UNPREPARE_V1BETA1: Final = Method(
    _DRA_V1BETA1,
    "NodeUnprepareResources",
    dra_v1beta1.NodeUnprepareResourcesRequest,
    dra_v1beta1.NodeUnprepareResourcesResponse,
)
WATCH_V1: Final = Method(
    HEALTH_V1, "NodeWatchResources", health_v1.NodeWatchResourcesRequest, health_v1.NodeWatchResourcesResponse
)
WATCH_V1ALPHA1: Final = Method(
    HEALTH_V1ALPHA1,
    "NodeWatchResources",
    health_v1alpha1.NodeWatchResourcesRequest,
    health_v1alpha1.NodeWatchResourcesResponse,
)
