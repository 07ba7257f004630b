"""The cluster that a command is asked about: found as kubectl finds it, and reached with the caller's own rights.

Whether there is an API server at all is asked first, with less patience than for the question itself.

Invariant: whatever is wrong with the kubeconfig, the server, or who the caller is, ends in an `InputError` that names
it. What the caller may not see is for the question to say.

Upstream: kubectl's discovery at the start of a command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import Credentials, KubeconfigError, find_credentials
from dra_operator.query.documents import InputError

T = TypeVar("T")

_REACH_SECONDS: Final = 5.0
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


def ask_cluster(
    kubeconfig: str | None, context: str | None, question: Callable[[ApiClient, Credentials], Awaitable[T]]
) -> T:
    """The answer. Raises `InputError`."""
    try:
        credentials = find_credentials(kubeconfig, context)
        client = credentials.client()
    except KubeconfigError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"the kubeconfig cannot be read: {error}") from None

    async def answer() -> T:
        async with client:
            await _reach(client)
            return await question(client, credentials)

    try:
        return asyncio.run(answer())
    except NoAnswer as error:
        raise InputError(f"{credentials.server} does not answer: {error}") from None
    except ApiError as error:
        if error.status == _UNAUTHORIZED:
            raise InputError(f"{credentials.server} does not accept who you are: {credentials.source}") from None
        raise InputError(f"{credentials.server}: {error}") from None


async def _reach(client: ApiClient) -> None:
    try:
        await client.request("GET", "/version", timeout=_REACH_SECONDS)
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
