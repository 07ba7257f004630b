"""One HTTP exchange with the API server: connection, credentials, and what may be repeated.

What is repeated, within the time that the caller gives for the whole request:
- reads (GET): after a broken connection, a 429 or a 5xx;
- anything that the server turned away before looking at it (429, and 503 with Retry-After), after the time it names,
  but never for more than `LATER_MAX`, and where it was not the API that spoke, others wait for that, too (`pace.py`);
- once, what it refused with 401, where there are other credentials by then. It has not looked at what was asked.

A write whose answer was lost is the caller's to judge. Where a write barrier is given, it is asked before every single
attempt, so that no repetition slips through after the lease was lost.

Upstream: client-go's rest package. Not here: who we are (`sign.py`), what an answer says went wrong (`errors.py`), what
the bodies mean (`http.py`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp

from dra_operator.cluster.errors import ApiError, GarbledWatch, NoAnswer, NotSent, error_of
from dra_operator.cluster.pace import Endpoint, Pace, endpoint_of
from dra_operator.cluster.sessions import Sessions
from dra_operator.cluster.sign import Authenticator, Sign

_UNAUTHORIZED: Final = 401
_RETRIES: Final = 4
_RETRY_PAUSE: Final = 0.2
_WATCH_GRACE: Final = 30.0
REQUEST_SECONDS: Final = 35.0
"""A request with all its repetitions. The API server ends its work on a write after 34 s (`requestTimeoutUpperBound`),
webhooks of 30 s included: who hears nothing by then never does."""
WATCH_LINE_MAX: Final = 16 * 1024 * 1024
"""Bytes of one watch event. etcd takes 1.5 MiB of protobuf an object; its JSON is a few times that at most."""
WATCH_IDLE_SECONDS: Final = 200.0
"""A watch without any byte for so long is dead. Measured on an idle API server 1.37: the first bookmark after 120 s."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """See the module. Two connection pools; `close` it.

    A watch keeps its connection for minutes. Were it taken from those of the requests, the next request would begin
    with a TLS handshake: 5 of the 10 ms in which a node's agent has to prepare a claim.
    """

    def __init__(
        self,
        server: str,
        authenticator: Authenticator,
        *,
        ssl_context: ssl.SSLContext | bool,
        headers: Sequence[tuple[str, str]],
        timeout: float,
        server_name: str | None = None,
        proxy: str | None = None,
        distrusted: Callable[[], None] | None = None,
    ) -> None:
        """`server_name`: the name that the server's certificate has to have, where it is not the host's.

        `distrusted` is called when its certificate was not trusted.
        """
        self._distrusted = distrusted
        self._proxy = proxy
        self.server = server.rstrip("/")
        self.authenticator = authenticator
        self._ssl = ssl_context
        self._headers = tuple(headers)
        self._timeout = timeout
        self.server_name = server_name
        self._requests = Sessions(self.open)
        self._watches = Sessions(self.open)
        self.called: Callable[[str, int | None], None] = lambda method, status: None
        """Told of every attempt, a watch's too."""
        self.answered: Callable[[Endpoint, str, ApiError | None], None] = lambda endpoint, path, error: None
        """Told of every answer: None for a success."""
        self.pace = Pace()

    async def close(self) -> None:
        await self._requests.close()
        await self._watches.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = None,
        allow: Callable[[], bool] | None = None,
    ) -> Response:
        """One request and its repetitions, in `timeout` seconds. Raises `ApiError`, `NoAnswer` or `NotSent`.

        429 says that none of them took effect. Where one was answered otherwise before, that answer is raised.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout if timeout is None else timeout)
        headers = {"Accept": accept} if body is None else {"Accept": accept, "Content-Type": content_type}
        endpoint = endpoint_of(method, path)

        async def attempt(sign: Sign) -> Response:
            await self._turn(endpoint, deadline)
            if allow is not None and not allow():
                raise NotSent(f"{method} {path}")
            try:
                async with (
                    asyncio.timeout_at(deadline),
                    self._requests.use(sign.certificate) as session,
                    session.request(
                        method,
                        self.server + path,
                        params=params,
                        data=body,
                        headers=_signed(headers, sign),
                        server_hostname=self.server_name,
                        allow_redirects=False,
                    ) as answer,
                ):
                    content = await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.failed(method, error)
                raise NoAnswer(f"{method} {path}: {_said(error)}") from error
            self.called(method, answer.status)
            if answer.status == _UNAUTHORIZED:
                raise error_of(answer.status, answer.headers, content)
            if answer.status >= 300:
                raise self.heard(endpoint, path, error_of(answer.status, answer.headers, content))
            self.answered(endpoint, path, None)
            return Response(answer.status, answer.headers, content)

        unsure: ApiError | NoAnswer | None = None
        for number in range(_RETRIES + 1):
            try:
                return await self._with_credentials(endpoint, path, attempt)
            except (ApiError, NoAnswer) as problem:
                if not (isinstance(problem, ApiError) and problem.status == 429):
                    unsure = problem
                pause = _pause(problem, number, read=method == "GET")
                if pause is None or number == _RETRIES or loop.time() + pause >= deadline:
                    raise (unsure or problem) from problem.__cause__
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _turn(self, endpoint: Endpoint, deadline: float) -> None:
        """Wait until the request may be sent. Raises `ApiError` 429 where that is not in time; it is not sent then."""
        loop = asyncio.get_running_loop()
        if loop.time() + self.pace.opens_in(endpoint) < deadline:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self.pace.wait(endpoint)
            except TimeoutError:
                pass
        if (left := self.pace.opens_in(endpoint)) > 0:
            raise ApiError(429, "TooManyRequests", "the API server has asked for some time without such requests", left)
        raise ApiError(429, "TooManyRequests", "not sent: others were sent first until its time was up")

    def heard(self, endpoint: Endpoint, path: str, error: ApiError) -> ApiError:
        """The error, of which the pace and who observes have heard."""
        self.answered(endpoint, path, error)
        if error.status in (429, 503) and error.retry_after is not None:
            self.pace.observer.refused(endpoint)
            if not error.by_api:
                self.pace.close(endpoint, error.retry_after)
        return error

    def failed(self, method: str, error: BaseException) -> None:
        """An attempt had no answer."""
        self.called(method, None)
        if self._distrusted is not None and isinstance(error, aiohttp.ClientConnectorCertificateError):
            self._distrusted()

    async def _with_credentials(
        self, endpoint: Endpoint, path: str, attempt: Callable[[Sign], Awaitable[Response]]
    ) -> Response:
        """An attempt; a second one, where the server refused our credentials and there are newer ones."""
        sign = await self.authenticator.authorization(refused=False)
        try:
            return await attempt(sign)
        except ApiError as error:
            if error.status != _UNAUTHORIZED or (renewed := await self._renew(sign, endpoint, path, error)) is None:
                raise
        try:
            return await attempt(renewed)
        except ApiError as error:
            if error.status == _UNAUTHORIZED:
                self.heard(endpoint, path, error)
            raise

    async def _renew(self, refused: Sign, endpoint: Endpoint, path: str, refusal: ApiError) -> Sign | None:
        """Other credentials than those. That they had to be renewed is no news; that there are no others is."""
        renewed: Sign | None = None
        try:
            renewed = await self.authenticator.authorization(refused=True)
        finally:
            if renewed is None or renewed == refused:
                self.heard(endpoint, path, refusal)
        return None if renewed == refused else renewed

    async def lines(
        self, path: str, *, params: Mapping[str, str], seconds: float, idle_seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """The lines of one watch, until the server ends it. Raises `ApiError`, `NoAnswer` or `GarbledWatch`."""
        endpoint = endpoint_of("GET", path, watch=True)
        await self._turn(endpoint, asyncio.get_running_loop().time() + self._timeout)
        begun = False
        try:
            sign = await self.authenticator.authorization(refused=False)
            async with (
                self._watches.use(sign.certificate) as session,
                session.get(
                    self.server + path,
                    params=params,
                    headers=_signed({"Accept": "application/json"}, sign),
                    server_hostname=self.server_name,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        total=seconds + _WATCH_GRACE, sock_connect=10, sock_read=idle_seconds
                    ),
                ) as answer,
            ):
                self.called("GET", answer.status)
                begun = True
                if answer.status >= 300:
                    error = error_of(answer.status, answer.headers, await answer.read())
                    if error.status == _UNAUTHORIZED:
                        await self._renew(sign, endpoint, path, error)
                        raise error
                    raise self.heard(endpoint, path, error)
                self.answered(endpoint, path, None)
                buffer = bytearray()
                async for chunk in answer.content.iter_any():
                    buffer += chunk
                    while (end := buffer.find(b"\n")) >= 0:
                        line = bytes(buffer[:end])
                        del buffer[: end + 1]
                        if line:
                            yield line
                    if len(buffer) > WATCH_LINE_MAX:
                        raise GarbledWatch(f"a line of more than {WATCH_LINE_MAX} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if not begun:
                self.failed("GET", error)
            raise NoAnswer(f"watch of {path}: {_said(error)}") from error

    def open(self, *middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        """A session of its own, which the caller closes. Who does not use `request` sees to credentials and pace."""
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0, limit_per_host=0, keepalive_timeout=60)
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None),
            middlewares=middlewares,
            proxy=self._proxy,
        )
        # aiohttp would send a DELETE or a PUT again by itself when the connection breaks, past the write barrier.
        session._retry_connection = False
        return session


def _pause(problem: ApiError | NoAnswer, number: int, *, read: bool) -> float | None:
    """Seconds until the request is sent again; None if it is not."""
    growing = _RETRY_PAUSE * 2.0**number
    if isinstance(problem, NoAnswer):
        distrust = isinstance(problem.__cause__, aiohttp.ClientSSLError)  # a certificate stays what it is
        return growing if read and not distrust else None
    if problem.status in (429, 503) and problem.retry_after is not None:
        return problem.retry_after
    return growing if read and (problem.status == 429 or problem.status >= 500) else None


def _signed(headers: Mapping[str, str], sign: Sign) -> dict[str, str]:
    return {**headers, "Authorization": sign.header} if sign.header else dict(headers)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
