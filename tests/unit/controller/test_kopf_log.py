"""What Kopf says of requests that it repeats: once for each kind, again when it is something else or after a while.

Kopf's own client asks, so that another wording of it is seen here. In virtual time, over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from kopf._cogs.clients import api, auth

from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.said import AGAIN_SECONDS
from dra_operator.controller.kopf_light import kopf
from dra_operator.handlers import Backoffs
from tests.unit.cluster.script import Reset, Script, failure, play

WATCHING = logging.getLogger("kopf._cogs.clients.watching")


async def asking(script: Script, *paths: str, seconds: float) -> None:
    """Ask for these in the way of Kopf's watchers."""
    settings = kopf.OperatorSettings()
    settings.networking.error_backoffs = Backoffs()
    async with ApiClient(script.url) as client, client.lend() as session:
        context = auth.APIContext(kopf.AiohttpSession(server=script.url, aiohttp_session=session))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(
                    *(api.request("get", path, settings=settings, logger=WATCHING, context=context) for path in paths)
                )


def test_an_api_server_that_is_away_is_said_once_for_each_kind_and_asked_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(script: Script) -> None:
        script.otherwise = Reset()
        await asking(script, "/nodes?resourceVersion=7", "/pods", seconds=AGAIN_SECONDS - 10)
        assert len(script.seen) > 40
        assert len(caplog.records) == 2
        script.otherwise = failure(500, "InternalError", "etcd is away")
        await asking(script, "/nodes?resourceVersion=8", seconds=60)
        assert len(caplog.records) == 3, "something else is news"
        assert "etcd is away" in caplog.records[-1].getMessage()
        await asking(script, "/nodes?resourceVersion=8", seconds=AGAIN_SECONDS)
        assert len(caplog.records) == 4, "it is still so"

    play(scenario)
