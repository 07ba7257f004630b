"""`dra-operator agent`: publish the devices of one node, and prepare them for its pods.

The DaemonSet runs it on each GPU node; for tries, a developer runs it for any node that exists, and where there is no
kubelet it only publishes. Every option is also an environment variable.

A part of it that fails ends all of it at once: a plugin that is registered and does not answer would hold up every pod
of the node, one that is gone is started again.
"""

from __future__ import annotations

import asyncio
import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer

from dra_operator.agent.kubelet import CDI_FOLDER, Place
from dra_operator.agent.metrics import MetricsServer
from dra_operator.agent.node import serve_node
from dra_operator.agent.publisher import RivalPublisherError
from dra_operator.agent.registration import KUBELET_FOLDER, SocketError
from dra_operator.agent.sources import Source, SourceError
from dra_operator.agent.watchdog import guard_event_loop
from dra_operator.cli.logs import configure_logging
from dra_operator.cli.source import AttributesChoice, SourceKind, SourceOptions, open_source
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.kubeconfig import KubeconfigError, connect
from dra_operator.controller.settings import LogFormat

log = structlog.get_logger()


class PluginChoice(StrEnum):
    """Whether the kubelet is served."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def agent(
    node_name: Annotated[str, typer.Option(envvar=["DRA_OPERATOR_NODE_NAME", "NODE_NAME"], help="The node served.")],
    source: Annotated[
        SourceKind,
        typer.Option(
            envvar="DRA_OPERATOR_SOURCE",
            help="Where the devices come from; auto: simulated with --profile or --devices, else the NVIDIA driver.",
        ),
    ] = SourceKind.AUTO,
    driver_root: Annotated[
        Path | None,
        typer.Option(
            envvar="DRA_OPERATOR_DRIVER_ROOT",
            help="Where the host's NVIDIA driver is mounted, if libnvidia-ml.so.1 is not where the system looks.",
        ),
    ] = None,
    wait_for_driver: Annotated[
        bool,
        typer.Option(
            envvar="DRA_OPERATOR_WAIT_FOR_DRIVER", help="Wait until the driver is there, instead of giving up."
        ),
    ] = False,
    partition_mig: Annotated[
        bool,
        typer.Option(
            envvar="DRA_OPERATOR_PARTITION_MIG",
            help="Offer what GPUs in MIG mode can be cut into; otherwise only the instances that there are.",
        ),
    ] = True,
    profile: Annotated[
        str | None, typer.Option(envvar="DRA_OPERATOR_PROFILE", help="Kind of simulated node, for example l4.")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=0, envvar="DRA_OPERATOR_GPUS", help="How many GPUs; otherwise as many as the profile has."),
    ] = None,
    devices: Annotated[
        Path | None,
        typer.Option(envvar="DRA_OPERATOR_DEVICES", help="Instead of a profile: a YAML file that lists the devices."),
    ] = None,
    driver_name: Annotated[
        str | None,
        typer.Option(envvar="DRA_OPERATOR_DRIVER_NAME", help="Driver of the slices; otherwise the profile's."),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            envvar="DRA_OPERATOR_CONTROL", help="A YAML file of faults of simulated devices, read while running."
        ),
    ] = None,
    attributes: Annotated[
        AttributesChoice,
        typer.Option(
            envvar="DRA_OPERATOR_ATTRIBUTES",
            help="Names of the attributes; auto: NVIDIA's if the driver is gpu.nvidia.com, else our own.",
        ),
    ] = AttributesChoice.AUTO,
    plugin: Annotated[
        PluginChoice,
        typer.Option(
            envvar="DRA_OPERATOR_PLUGIN",
            help="Serve the kubelet, too; auto: if its folder is there. off: publish only.",
        ),
    ] = PluginChoice.AUTO,
    kubelet_dir: Annotated[
        Path, typer.Option(envvar="DRA_OPERATOR_KUBELET_DIR", help="The kubelet's own folder.")
    ] = KUBELET_FOLDER,
    cdi_dir: Annotated[
        Path, typer.Option(envvar="DRA_OPERATOR_CDI_DIR", help="Where the container runtime looks for CDI specs.")
    ] = CDI_FOLDER,
    pod_uid: Annotated[
        str,
        typer.Option(
            envvar=["DRA_OPERATOR_POD_UID", "POD_UID"],
            help="UID of the agent's pod: the agents of a rolling update may then overlap.",
        ),
    ] = "",
    refresh: Annotated[
        float, typer.Option(min=0.1, envvar="DRA_OPERATOR_REFRESH", help="Seconds between two looks at the devices.")
    ] = 10.0,
    metrics_address: Annotated[
        str,
        typer.Option(envvar="DRA_OPERATOR_METRICS_ADDRESS", help="host:port of /metrics and /healthz; empty: none."),
    ] = "",
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            envvar="DRA_OPERATOR_KUBECONFIG",
            help="Otherwise $KUBECONFIG, the pod's own account, or ~/.kube/config.",
        ),
    ] = None,
    context: Annotated[str | None, typer.Option(envvar="DRA_OPERATOR_CONTEXT", help="Of the kubeconfig.")] = None,
    log_format: Annotated[
        LogFormat, typer.Option(envvar="DRA_OPERATOR_LOG_FORMAT", help="Form of the log.")
    ] = LogFormat.AUTO,
    log_level: Annotated[
        str, typer.Option(envvar="DRA_OPERATOR_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Publish the devices of one node as ResourceSlices, keep them published, and prepare them for pods."""
    configure_logging(log_format.value, log_level)
    found, driver = open_source(
        SourceOptions(
            node_name=node_name,
            kind=source,
            profile=profile,
            gpus=gpus,
            devices=devices,
            control=control,
            driver_name=driver_name,
            attributes=attributes,
            driver_root=driver_root,
            partition=partition_mig,
        )
    )
    if not wait_for_driver:
        _try(found)
    try:
        client = connect(kubeconfig, context)
    except (OSError, KubeconfigError) as error:
        typer.echo(f"dra-operator agent: {error}", err=True)
        raise typer.Exit(2) from error
    if metrics_address:
        try:
            MetricsServer.check(metrics_address)
        except ValueError as error:
            raise typer.BadParameter(f"--metrics-address: {error}") from error
    place = Place(kubelet_dir.absolute(), cdi_dir.absolute(), pod_uid)
    serves = place.has_kubelet() if plugin is PluginChoice.AUTO else plugin is PluginChoice.ON
    try:
        asyncio.run(_serve(client, found, node_name, driver, refresh, place if serves else None, metrics_address))
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


async def _serve(
    client: ApiClient,
    source: Source,
    node_name: str,
    driver: str,
    refresh: float,
    place: Place | None,
    metrics_address: str,
) -> None:
    log.info(
        "agent",
        node=node_name,
        driver=driver,
        kubelet="only publishes" if place is None else str(place.kubelet),
    )
    async with client:
        serving = asyncio.ensure_future(
            serve_node(
                client,
                source,
                node_name=node_name,
                driver=driver,
                place=place,
                metrics_address=metrics_address,
                refresh_seconds=refresh,
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
