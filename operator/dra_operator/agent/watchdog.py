"""Ends the process when its event loop does not turn any more.

A plugin that is registered and deaf is worse than none: the kubelet waits for it, pod after pod. An agent that ends is
started again, and finds its work in the checkpoint. So a loop that has stood still for `patience` seconds (a driver
call that does not return on the wrong thread, a deadlock) ends the process at once, with all stacks on stderr.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from typing import Final

EXIT_STATUS: Final = 70
_BEAT_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 30.0


async def guard_event_loop(patience: float = PATIENCE_SECONDS) -> None:
    """Beat for ever; a thread ends the process when no beat has come for `patience` seconds."""
    beat = _Beat()
    stopped = threading.Event()
    thread = threading.Thread(target=_watch, args=(beat, stopped, patience), name="watchdog", daemon=True)
    thread.start()
    try:
        while True:
            beat.at = time.monotonic()
            await asyncio.sleep(min(_BEAT_SECONDS, patience / 4))
    finally:
        stopped.set()


class _Beat:
    at = time.monotonic()


def _watch(beat: _Beat, stopped: threading.Event, patience: float) -> None:
    while not stopped.wait(patience / 4):
        if time.monotonic() - beat.at > patience:
            sys.stderr.write(f"dra-operator agent: the event loop has stood still for {patience:g} s, ending\n")
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
            sys.stderr.flush()
            os._exit(EXIT_STATUS)
