"""One life of Kopf inside the controller's event loop, ended so that nothing but Kopf ends.

`kopf.operator` takes the loop for its own: when it ends it cancels whatever tasks came into being since it began, and
the controller's lease, sweeps and writes are among those; and it waits for ever for a watcher that has swallowed its
cancellation. So Kopf's tasks are started by `kopf.spawn_tasks`, and ended here: by their code they are known, and what
does not end at once is asked again.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any, Final

import structlog

from dra_operator.controller.controller import Controller
from dra_operator.controller.kopf_light import NoMemories, kopf

log = structlog.get_logger()

_END_SECONDS: Final = 5.0
"""Kopf's own handlers and sessions may take so long to end."""
_AGAIN_SECONDS: Final = 0.5
_TRIES: Final = 10
_STOPPERS: Final = "pause-waiter"
"""Tasks of this name, when they end, cancel what waits for an answer: as the current task, and here there is none."""
_KOPF: Final = str(Path(kopf.__file__).parent)


async def live(controller: Controller, stop: asyncio.Event) -> None:
    """Until `stop` is set, or Kopf ends by itself, which is logged: whatever ends it, the operator goes on."""
    tasks = await kopf.spawn_tasks(
        memo=kopf.Memo(controller=controller), memories=NoMemories(), clusterwide=True, standalone=True, stop_flag=stop
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # Kopf's own handlers would end only Kopf
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end()
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("kopf failed", part=task.get_name(), error=str(error))


async def _end() -> None:
    """All of Kopf's tasks are over when this returns."""
    patience = _END_SECONDS
    for _ in range(_TRIES):
        tasks = {task for task in asyncio.all_tasks() if _is_of_kopf(task)}
        if not tasks:
            return
        first = {task for task in tasks if not task.get_name().startswith(_STOPPERS)} or tasks
        for task in first:
            task.cancel()
        await asyncio.wait(first, timeout=patience)
        patience = _AGAIN_SECONDS
    log.error("tasks of kopf do not end", tasks=sorted(task.get_name() for task in tasks))


def _is_of_kopf(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_KOPF)
