"""`dra-operator run`: the controller, with Kopf inside.

The Controller is started once; Kopf is started in it and, when it ends although nobody asked it to (a watch ERROR
other than 410 ends the whole of Kopf), started again in place. Mirrors, Lease and queue live on meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Annotated

import kopf
import structlog
import typer

from dra_operator import handlers
from dra_operator.allocation.strategy import Strategy
from dra_operator.cli.logs import configure_logging
from dra_operator.controller.controller import Controller
from dra_operator.controller.evictor import TaintEviction
from dra_operator.controller.settings import Gate, LogFormat, SettingError, Settings
from dra_operator.lifecycle.policy import ClaimsMode, OnNoCapacity, Repack

log = structlog.get_logger()

_RESTART_PAUSE = 1.0


def run(
    kubeconfig: Annotated[str | None, typer.Option(help="Kubeconfig file.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    claims: Annotated[ClaimsMode | None, typer.Option(help="Who generates claims from templates.")] = None,
    gate: Annotated[Gate | None, typer.Option(help="How pods come to wait for their devices.")] = None,
    on_no_capacity: Annotated[OnNoCapacity | None, typer.Option(help="A pod that finds no devices.")] = None,
    handover_after: Annotated[float | None, typer.Option(help="Seconds before a handover.")] = None,
    placement: Annotated[Strategy | None, typer.Option(help="How devices and nodes are chosen.")] = None,
    reserve_after: Annotated[float | None, typer.Option(help="Seconds of waiting until a node is kept.")] = None,
    repack: Annotated[Repack | None, typer.Option(help="A pod with devices that is not scheduled.")] = None,
    repack_after: Annotated[float | None, typer.Option(help="Seconds it may stay unscheduled.")] = None,
    release_hold: Annotated[float | None, typer.Option(help="Seconds a released device is not given out.")] = None,
    taint_eviction: Annotated[TaintEviction | None, typer.Option(help="Pods on devices tainted NoExecute.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Namespace of the operator.")] = None,
    leader_elect: Annotated[bool | None, typer.Option(help="Write only while holding the Lease.")] = None,
    lease_name: Annotated[str | None, typer.Option(help="Name of the Lease.")] = None,
    sweep_interval: Annotated[float | None, typer.Option(help="Seconds between looks at everything.")] = None,
    metrics_address: Annotated[str | None, typer.Option(help="host:port of /metrics, /healthz, /readyz.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Form of the log.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the controller: generate claims, give out devices, take them back.

    Every option is also an environment variable, DRA_OPERATOR_<OPTION>.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    try:
        settings = Settings.from_environment(**given)
    except SettingError as error:
        typer.echo(f"dra-operator run: {error}", err=True)
        raise typer.Exit(2) from error
    configure_logging(settings.log_format.value, settings.log_level)
    sys.exit(asyncio.run(_run(settings)))


async def _run(settings: Settings) -> int:
    try:
        controller = Controller(settings, identity=handlers.identity())
    except (OSError, ValueError) as error:
        log.error("cannot connect", error=str(error))
        return 1
    await controller.start()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        while not stop.is_set():
            await _kopf(controller, stop)
            if not stop.is_set():
                log.warning("kopf ended; starting it again", pause=_RESTART_PAUSE)
                await asyncio.sleep(_RESTART_PAUSE)
    finally:
        await controller.stop()
    return 0


async def _kopf(controller: Controller, stop: asyncio.Event) -> None:
    """One life of Kopf. Its own signal handlers would end only Kopf: ours are put back."""
    ready = asyncio.Event()
    task = asyncio.create_task(
        kopf.operator(
            memo=kopf.Memo(controller=controller), clusterwide=True, standalone=True, stop_flag=stop, ready_flag=ready
        )
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await task
    except Exception:
        # Whatever ends Kopf, the operator goes on with a new one.
        log.exception("kopf failed")
