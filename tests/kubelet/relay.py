"""Passes TCP connections on: `python -m tests.kubelet.relay 10.223.0.1:443 127.0.0.1:6443`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _main(listener: str, target: str) -> None:
    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        try:
            there = await asyncio.open_connection(host, int(port))
        except ConnectionError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    host, _, port = listener.rpartition(":")
    async with await asyncio.start_server(passed_on, host, int(port)) as server:
        await server.serve_forever()


asyncio.run(_main(*sys.argv[1:]))
