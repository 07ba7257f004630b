"""Child processes of the sandbox: started with a log, watched, ended by their own PID.

Each gets a process group of its own, so that Ctrl-C reaches only the sandbox, which then ends them in order; and the
kernel ends it when the sandbox dies without a word (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_TAIL: Final = 12
_TERM_SECONDS: Final = 15.0
_POLL: Final = 0.05

_BEGIN: Final = f"""
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):  # the parent died before the call
    os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""What a child runs before the program, in a process of its own: code that runs between fork and exec shares its
parent's locks and threads, and gRPC's handlers of forks have been seen to crash there."""


class ProcessDiedError(Exception):
    """A program ended that should run; the message has the end of its log."""


class Process:
    """One running program."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.log = log
        self._popen = popen

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def check(self) -> None:
        """Raises `ProcessDiedError` if it has ended."""
        if not self.alive:
            raise ProcessDiedError(
                f"{self.name} ended with {self._popen.returncode}; log {self.log}:\n{tail_of(self.log)}"
            )

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self._popen.terminate()

    async def stop(self, patience: float = _TERM_SECONDS) -> None:
        """Ask it to end, and end it if it does not."""
        if self.alive:
            self._popen.terminate()
            deadline = asyncio.get_running_loop().time() + patience
            while self.alive and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_POLL)
            if self.alive:
                self._popen.kill()
        self._popen.wait()


def start(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Run a program with its output appended to `log`. `environment` comes on top of ours."""
    with log.open("ab") as output:
        popen = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", _BEGIN, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    return Process(name, popen, log)


async def wait_until(
    what: str, condition: Callable[[], Awaitable[bool]], seconds: float, processes: Sequence[Process] = ()
) -> None:
    """Wait for a condition while all the processes live. Raises `TimeoutError` or `ProcessDiedError`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        for process in processes:
            process.check()
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        await asyncio.sleep(_POLL)


def tail_of(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL:])
    except OSError:
        return "(no log)"
