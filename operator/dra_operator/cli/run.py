"""`dra-operator run`: the controller, with Kopf inside.

The Controller is started once; Kopf is started in it and, when it ends although nobody asked it to (a watch ERROR
other than 410 ends the whole of Kopf), started again in place. Mirrors, Lease and queue live on meanwhile.

The event loop is uvloop's: TLS and task switches are a good part of what the operator costs (docs/decisions/
what-a-pod-costs.md). `kopf run` takes it by itself where it is installed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

import structlog

from dra_operator import handlers
from dra_operator.cli.kopf_life import live
from dra_operator.cli.logs import configure_logging
from dra_operator.cli.options import takes_settings
from dra_operator.cluster.flavour import ApiMissing
from dra_operator.controller.controller import Controller
from dra_operator.controller.settings import Settings

log = structlog.get_logger()

_RESTART_PAUSE = 1.0


@takes_settings(Settings, "dra-operator run", others=handlers.other_variables)
def run(settings: Settings) -> None:
    """Run the controller: generate claims, give out devices, take them back.

    Every option is also an environment variable, DRA_OPERATOR_<OPTION>, and a key of the file that --config names.
    """
    configure_logging(settings.log_format.value, settings.log_level.value)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        sys.exit(runner.run(_run(settings)))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's; None is asyncio's own, for systems that have no uvloop."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


async def _run(settings: Settings) -> int:
    try:
        controller = Controller(settings, identity=handlers.identity())
    except (OSError, ValueError) as error:
        log.error("cannot connect", error=str(error))
        return 1
    try:
        await controller.start()
    except (ApiMissing, OSError) as error:
        log.error("cannot start", error=str(error))
        await controller.stop()
        return 1
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ending = asyncio.create_task(_end(controller, stop))
    try:
        while not stop.is_set():
            await live(controller, stop)
            if not stop.is_set():
                log.warning("kopf ended; starting it again", pause=_RESTART_PAUSE)
                await asyncio.sleep(_RESTART_PAUSE)
    finally:
        stop.set()
        await ending
    return 0


async def _end(controller: Controller, stop: asyncio.Event) -> None:
    """At once, and not when Kopf has ended, which takes it seconds: another replica waits for the lease."""
    await stop.wait()
    await controller.stop()
