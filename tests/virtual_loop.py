"""An asyncio event loop whose clock jumps: hours pass in milliseconds, and the same seed gives the same run.

Where a real loop would sleep until the next timer, this one sets its clock to it. Nothing outside the process is ever
waited for: work for threads is done at once in the loop, and TCP connections between clients and servers of the same
loop are made in memory (no kernel, no latency of its own), so that aiohttp's client and server talk as they always do.

A run that can't go on (everything waits, and no timer is set) ends with `Stuck` instead of hanging, and so does one
that spins without the clock moving. Seed 0 keeps timers exact; any other moves each by up to a microsecond, so that
timers of one moment fire in an order that the seed picks. `time.time()` and `time.monotonic()` stay what they are, and
sets of strings iterate as PYTHONHASHSEED says.

Upstream: the simulators of FoundationDB and of tokio (`start_paused`) work so.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import socket
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

SPIN_LIMIT = 1_000_000
"""Turns of the loop at one moment of its clock."""


class Stuck(RuntimeError):
    """No task can go on, or they go on for ever without the clock moving."""


def run_virtual(main: Coroutine[Any, Any, T], *, seed: int = 0) -> T:
    """Run `main` to its end on a loop of its own, as `asyncio.run` does, in virtual time that starts at 0."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed)) as runner:
        return runner.run(main)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self, *, seed: int = 0) -> None:
        self.now = 0.0
        self._jitter = random.Random(seed) if seed else None
        self._listeners: dict[int, _Listener] = {}
        self._dialled: dict[int, int] = {}
        super().__init__(_JumpingSelector(self))

    # --- time --------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if self._jitter is not None:
            when += self._jitter.uniform(0.0, 1e-6)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """At once: threads would finish in an order that nothing decides."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            done.set_exception(error)
        return done

    # --- network -----------------------------------------------------------------------------------------------------

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """A listener at `port` (0: the next free one) of this loop; the host does not matter."""
        number = port or next(free for free in range(1, 65536) if free not in self._listeners)
        if number in self._listeners:
            raise OSError(f"port {number} is in use")
        self._listeners[number] = _Listener(self, number, protocol_factory)
        return self._listeners[number]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Only noted: the socket stays what it is, `create_connection` makes the connection."""
        if address[1] not in self._listeners:
            raise ConnectionRefusedError(f"nothing listens at {address}")
        self._dialled[sock.fileno()] = address[1]

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, ssl: Any = None, **_: Any
    ) -> tuple[asyncio.Transport, Any]:
        if ssl:
            raise NotImplementedError("in memory there is no TLS")
        if sock is not None:
            port = self._dialled.pop(sock.fileno())
            sock.close()
        listener = self._listeners.get(port)
        if listener is None:
            raise ConnectionRefusedError(f"nothing listens at {host}:{port}")
        protocol = protocol_factory()
        client, server = _End(self, protocol), _End(self, listener.protocol_factory())
        client.peer, server.peer = server, client
        server.protocol.connection_made(server)
        client.protocol.connection_made(client)
        return client, protocol


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self._loop))
            raise Stuck(f"all wait and no timer is set, at {self._loop.now:.3f} s: {', '.join(waiting)}")
        self._turns = self._turns + 1 if timeout == 0 else 0
        if self._turns > SPIN_LIMIT:
            raise Stuck(f"the loop spins at {self._loop.now:.3f} s")
        self._loop.now += max(timeout, 0.0)
        return []


class _Listener:
    """What `create_server` returns. `sockets` answers as far as aiohttp asks for the address."""

    def __init__(self, loop: VirtualLoop, port: int, protocol_factory: Callable[[], Any]) -> None:
        self._loop = loop
        self._port = port
        self.protocol_factory = protocol_factory
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", self._port)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._port in self._loop._listeners

    def close(self) -> None:
        self._loop._listeners.pop(self._port, None)

    async def wait_closed(self) -> None:
        return


class _End(asyncio.Transport):
    """One end of a connection in memory: what is written here is received there, in order, in a later turn."""

    peer: _End

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._loop = loop
        self.protocol = protocol
        self._closing = False
        self._ended = False
        self._paused = False
        self._held: list[bytes | None] = []

    def write(self, data: Any) -> None:
        if not self._closing:
            self._loop.call_soon(self.peer._receive, bytes(data))

    def write_eof(self) -> None:
        self._loop.call_soon(self.peer._receive, None)

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        """Orderly: what has been written still arrives."""
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.peer._receive, None)
            self._loop.call_soon(self._end, None)

    def abort(self) -> None:
        """A reset: the other end loses the connection at once."""
        self._closing = True
        self._loop.call_soon(self._end, None)
        self._loop.call_soon(self.peer._end, ConnectionResetError("reset by the other end"))

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        held, self._held = self._held, []
        for data in held:
            self._loop.call_soon(self._receive, data)

    def _receive(self, data: bytes | None) -> None:
        if self._ended:
            return
        if self._paused or self._held:
            self._held.append(data)
        elif data is not None:
            self.protocol.data_received(data)
        elif not self.protocol.eof_received():
            self.close()

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._closing = self._ended = True
            self.protocol.connection_lost(error)
