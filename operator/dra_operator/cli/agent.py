"""`dra-operator agent`: publish the devices of one node, and prepare them for its pods.

The DaemonSet runs it on each GPU node; for tries, a developer runs it for any node that exists, and where there is no
kubelet it only publishes.

A part of it that fails ends all of it at once: a plugin that is registered and does not answer would hold up every pod
of the node, one that is gone is started again.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import NoReturn

import structlog
import typer

from dra_operator.agent.kubelet import Place
from dra_operator.agent.node import serve_node
from dra_operator.agent.publisher import RivalPublisherError
from dra_operator.agent.registration import SocketError
from dra_operator.agent.settings import AgentSettings, PluginChoice
from dra_operator.agent.sources import Source, SourceError
from dra_operator.agent.watchdog import guard_event_loop
from dra_operator.cli.logs import configure_logging
from dra_operator.cli.options import takes_settings
from dra_operator.cli.source import open_source
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.kubeconfig import KubeconfigError, connect
from dra_operator.settings.model import variables_of

log = structlog.get_logger()


def _others() -> frozenset[str]:
    from dra_operator.controller.settings import Settings  # late: only where a variable is not ours

    return variables_of(Settings)


@takes_settings(AgentSettings, "dra-operator agent", others=_others)
def agent(settings: AgentSettings) -> None:
    """Publish the devices of one node as ResourceSlices, keep them published, and prepare them for pods.

    Every option is also an environment variable, DRA_OPERATOR_<OPTION>, and a key of the file that --config names.
    """
    configure_logging(settings.log_format.value, settings.log_level.value)
    found, driver = open_source(settings)
    if not settings.wait_for_driver:
        _try(found)
    try:
        client = connect(settings.kubeconfig or None, settings.context or None)
    except (OSError, KubeconfigError) as error:
        typer.echo(f"dra-operator agent: {error}", err=True)
        raise typer.Exit(2) from error
    place = Place(settings.kubelet_dir.absolute(), settings.cdi_dir.absolute(), settings.pod_uid)
    serves = place.has_kubelet() if settings.plugin is PluginChoice.AUTO else settings.plugin is PluginChoice.ON
    try:
        asyncio.run(_serve(client, found, driver, place if serves else None, settings))
    except (SocketError, RivalPublisherError, ApiError, OSError) as error:
        typer.echo(f"dra-operator agent: {error}", err=True)
        raise typer.Exit(2) from error


def _try(source: Source) -> None:
    """A source that says nothing at the start is a mistake of whoever started this; later on it is waited for."""
    try:
        source.read()
    except SourceError as error:
        typer.echo(f"dra-operator agent: {error}", err=True)
        raise typer.Exit(2) from error


async def _serve(client: ApiClient, source: Source, driver: str, place: Place | None, settings: AgentSettings) -> None:
    log.info(
        "agent",
        node=settings.node_name,
        driver=driver,
        kubelet="only publishes" if place is None else str(place.kubelet),
    )
    gc.collect()
    gc.freeze()  # what is there at start stays: a collector that walks it makes a kubelet wait for milliseconds
    async with client:
        serving = asyncio.ensure_future(
            serve_node(
                client,
                source,
                node_name=settings.node_name,
                driver=driver,
                place=place,
                metrics_address=settings.metrics_address,
                refresh_seconds=settings.refresh,
            )
        )
        watching = asyncio.ensure_future(guard_event_loop())
        for stop in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(stop, serving.cancel)
        try:
            await serving
        except asyncio.CancelledError:
            return
        except BaseExceptionGroup as group:
            _end(group)
        finally:
            watching.cancel()


def _end(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """At once: a thread that hangs in a driver would hold up an orderly end for ever."""
    log.critical("a part of the agent has failed, ending", exc_info=group)
    os._exit(1)
