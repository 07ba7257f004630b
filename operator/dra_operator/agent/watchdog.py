"""Ends the process when its event loop does not turn any more.

A plugin that is registered and deaf is worse than none: the kubelet waits for it, pod after pod. An agent that ends is
started again, and finds its work in the checkpoint. So a loop that has stood still for `patience` seconds (a driver
call that does not return on the wrong thread, a deadlock) ends the process at once, with all stacks on stderr.

Time in which the watching thread did not run either (a process that is suspended, a machine that has no time for it) is
not the loop's: what counts is how often the thread has looked and found no new beat.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
from typing import Final

EXIT_STATUS: Final = 70
_BEAT_SECONDS: Final = 1.0
_LOOKS: Final = 8
"""In a row that may find no new beat."""
PATIENCE_SECONDS: Final = 30.0


async def guard_event_loop(patience: float = PATIENCE_SECONDS) -> None:
    """Beat for ever; a thread ends the process when no beat has come for `patience` seconds."""
    beat = _Beat()
    stopped = threading.Event()
    thread = threading.Thread(target=_watch, args=(beat, stopped, patience), name="watchdog", daemon=True)
    thread.start()
    try:
        while True:
            beat.count += 1
            await asyncio.sleep(min(_BEAT_SECONDS, patience / _LOOKS / 2))
    finally:
        stopped.set()


class _Beat:
    count = 0


def _watch(beat: _Beat, stopped: threading.Event, patience: float) -> None:
    seen, missed = 0, 0
    while not stopped.wait(patience / _LOOKS):
        missed = missed + 1 if beat.count == seen else 0
        seen = beat.count
        if missed >= _LOOKS:
            sys.stderr.write(f"dra-operator agent: the event loop has stood still for {patience:g} s, ending\n")
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
            sys.stderr.flush()
            os._exit(EXIT_STATUS)
