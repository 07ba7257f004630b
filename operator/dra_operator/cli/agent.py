"""`dra-operator agent`: publish the devices of one node.

The DaemonSet runs it on each GPU node; for tries, a developer runs it for any node that exists. Every option is also
an environment variable.
"""

from __future__ import annotations

import asyncio
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dra_operator.agent.gpu import Naming, naming_of
from dra_operator.agent.node import serve_node
from dra_operator.agent.profiles import UnknownProfileError, load_profile
from dra_operator.agent.simulated import FileSource, ProfileSource
from dra_operator.agent.sources import Source
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.cli.logs import configure_logging
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.kubeconfig import KubeconfigError, connect
from dra_operator.controller.settings import LogFormat


class SourceKind(StrEnum):
    """Where the devices come from."""

    SIMULATED = "simulated"


class AttributesChoice(StrEnum):
    """Whose attribute names the devices carry."""

    AUTO = "auto"
    """NVIDIA's with its driver name, else our own."""
    OWN = "own"
    NVIDIA = "nvidia"

    def naming(self, driver: str) -> Naming:
        return naming_of(driver) if self is AttributesChoice.AUTO else Naming(self.value)


def agent(
    node_name: Annotated[str, typer.Option(envvar=["DRA_OPERATOR_NODE_NAME", "NODE_NAME"], help="The node served.")],
    source: Annotated[
        SourceKind, typer.Option(envvar="DRA_OPERATOR_SOURCE", help="Where the devices come from.")
    ] = SourceKind.SIMULATED,
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
    refresh: Annotated[
        float, typer.Option(min=0.1, envvar="DRA_OPERATOR_REFRESH", help="Seconds between two looks at the devices.")
    ] = 10.0,
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
    """Publish the devices of one node as ResourceSlices, and keep them published."""
    configure_logging(log_format.value, log_level)
    found, driver = open_source(node_name, profile, gpus, devices, driver_name, attributes, control)
    try:
        client = connect(kubeconfig, context)
    except (OSError, KubeconfigError) as error:
        typer.echo(f"dra-operator agent: {error}", err=True)
        raise typer.Exit(2) from error
    asyncio.run(_serve(client, found, node_name, driver, refresh))


def open_source(
    node_name: str,
    profile: str | None,
    gpus: int | None,
    devices: Path | None,
    driver_name: str | None,
    attributes: AttributesChoice = AttributesChoice.AUTO,
    control: Path | None = None,
) -> tuple[Source, str]:
    """The source that the options name, and the driver to publish for. Raises typer.BadParameter."""
    if (profile is None) == (devices is None):
        raise typer.BadParameter("give either --profile or --devices")
    if devices is not None:
        if gpus is not None:
            raise typer.BadParameter("--gpus goes with --profile; a file lists its devices itself")
        return FileSource(devices, control), driver_name or DEFAULT_DRIVER
    assert profile is not None
    try:
        loaded = load_profile(profile)
    except UnknownProfileError as error:
        raise typer.BadParameter(str(error)) from error
    driver = driver_name or loaded.driver
    return ProfileSource(loaded, node_name, gpus, attributes.naming(driver), control), driver


async def _serve(client: ApiClient, source: Source, node_name: str, driver: str, refresh: float) -> None:
    async with client:
        serving = asyncio.ensure_future(
            serve_node(client, source, node_name=node_name, driver=driver, refresh_seconds=refresh)
        )
        for stop in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(stop, serving.cancel)
        try:
            await serving
        except asyncio.CancelledError:
            return
