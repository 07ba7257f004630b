"""Calls to NVML, and what their failures mean.

`pynvml` (package nvidia-ml-py) loads `libnvidia-ml.so.1`, which comes with the driver. In a container it lies where
the host's driver is mounted: it is loaded from there first, and pynvml then finds it loaded.

A session does not outlive its driver: when that was loaded anew, calls fail for ever until NVML is shut down and
started again. `Library.use` does that once, and tells by `incarnation` that it did. What one GPU cannot tell is None.

| answer                                                   | meaning                                            |
|----------------------------------------------------------|----------------------------------------------------|
| NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, …      | not known: None                                    |
| GPU_IS_LOST, RESET_REQUIRED                              | `GpuLost`, about this GPU only                     |
| UNINITIALIZED, DRIVER_NOT_LOADED, version mismatch       | the session is over: a new one, once               |
| UNKNOWN                                                  | the same; in the new session: not known            |
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import pynvml

from dra_operator.agent.sources import SourceError

T = TypeVar("T")

_LIBRARY: Final = "libnvidia-ml.so.1"
_FOLDERS: Final = (
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "",
)
_SESSION_OVER: Final = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
_LOST: Final = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})


class GpuLost(Exception):
    """This GPU answers no more."""


class _SessionOver(Exception):
    """The session that the call was made in is over."""


class Library:
    """See the module. Threads may share it."""

    def __init__(self, driver_root: Path | None = None) -> None:
        self.driver_root = driver_root
        self._open = False
        self._forgiving = False
        """The session is fresh: UNKNOWN is not because of it."""
        self._lock = threading.RLock()
        self._stays = threading.Lock()
        self.incarnation = 0
        """Grows with each session."""

    @contextmanager
    def waiting(self, session: int) -> Iterator[bool]:
        """The session stays for as long as the block waits; false if it is over already. One thread may wait."""
        with self._stays:
            yield self._open and session == self.incarnation

    def use(self, ask: Callable[[], T]) -> T:
        """`ask()`, which makes calls through `call`; once more in a new session if the old one is over.

        Raises SourceError.
        """
        with self._lock:
            self._begin()
            try:
                return ask()
            except _SessionOver:
                self._end()
                self._begin()
                self._forgiving = True
            try:
                return ask()
            except _SessionOver as error:
                self._end()
                raise SourceError(f"NVML: {error}") from error

    def call(self, function: Callable[..., T], *args: Any) -> T | None:
        """One call. Raises GpuLost."""
        try:
            return function(*args)
        except pynvml.NVMLError as error:
            if error.value in _LOST:
                raise GpuLost(str(error)) from error
            over = error.value in _SESSION_OVER
            if over or (error.value == pynvml.NVML_ERROR_UNKNOWN and not self._forgiving):
                raise _SessionOver(f"{function.__name__}: {error}") from error
            return None

    def must(self, function: Callable[..., T], *args: Any) -> T:
        """One call without whose answer nothing can be said. Raises GpuLost or SourceError."""
        answer = self.call(function, *args)
        if answer is None:
            raise SourceError(f"NVML: {function.__name__} has no answer")
        return answer

    def close(self) -> None:
        with self._lock:
            self._end()

    def _begin(self) -> None:
        if self._open:
            return
        self._load()
        try:
            pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                raise SourceError(_not_found(self.driver_root)) from error
            raise SourceError(f"NVML does not start: {error}; is the NVIDIA driver loaded (nvidia-smi)?") from error
        self._open, self._forgiving = True, False
        self.incarnation += 1

    def _end(self) -> None:
        if not self._open:
            return
        with self._stays:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                return  # what is over cannot be ended; the next start is what counts

    def _load(self) -> None:
        """Into the process, from where the driver is mounted: pynvml asks for it by name, and so gets this one."""
        if self.driver_root is None:
            return
        for folder in _FOLDERS:
            path = self.driver_root / folder / _LIBRARY
            if path.exists():
                try:
                    ctypes.CDLL(str(path))
                except OSError as error:
                    raise SourceError(f"{path} cannot be loaded: {error}") from error
                return
        raise SourceError(_not_found(self.driver_root))


def _not_found(driver_root: Path | None) -> str:
    where = "in the usual places" if driver_root is None else f"under {driver_root}"
    return (
        f"{_LIBRARY} was not found {where}: it comes with the NVIDIA driver. If that is mounted elsewhere, say where "
        "with --driver-root; if it is still being installed, start with --wait-for-driver"
    )
