"""Settings of the node agent: `dra-operator agent`. Times are in seconds.

Each field is a flag, a variable and a key of the settings file; see `settings/model.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from dra_operator.agent.gpu import Naming, naming_of
from dra_operator.agent.kubelet import CDI_FOLDER
from dra_operator.agent.registration import KUBELET_FOLDER
from dra_operator.settings.model import Address, Contradiction, LogFormat, LogLevel, Model, Subdomain


class SourceKind(StrEnum):
    """Where the devices come from."""

    AUTO = "auto"
    """Simulated with --profile or --devices, else NVML."""
    NVML = "nvml"
    SIMULATED = "simulated"


class AttributesChoice(StrEnum):
    """Whose attribute names the devices carry."""

    AUTO = "auto"
    """NVIDIA's with its driver name, else our own."""
    OWN = "own"
    NVIDIA = "nvidia"

    def naming(self, driver: str) -> Naming:
        return naming_of(driver) if self is AttributesChoice.AUTO else Naming(self.value)


class PluginChoice(StrEnum):
    """Whether the kubelet is served."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class AgentSettings(Model, frozen=True, kw_only=True):
    """See the module."""

    node_name: Annotated[Subdomain, Meta(description="The node served.", extra={"variables": ("NODE_NAME",)})]
    source: Annotated[
        SourceKind,
        Meta(
            description="Where the devices come from; auto: simulated with a profile or devices, else NVIDIA's driver."
        ),
    ] = SourceKind.AUTO
    driver_root: Annotated[
        Path | None,
        Meta(
            description="Where the host's NVIDIA driver is mounted, if libnvidia-ml.so.1 is not where the system looks."
        ),
    ] = None
    wait_for_driver: Annotated[bool, Meta(description="Wait until the driver is there, instead of giving up.")] = False
    partition_mig: Annotated[
        bool,
        Meta(description="Offer what GPUs in MIG mode can be cut into; otherwise only the instances that there are."),
    ] = True
    profile: Annotated[str | None, Meta(description="Kind of simulated node, for example l4.")] = None
    gpus: Annotated[
        Annotated[int, Meta(ge=0, extra={"what": "a whole number from 0"})] | None,
        Meta(description="How many GPUs; otherwise as many as the profile has."),
    ] = None
    devices: Annotated[Path | None, Meta(description="Instead of a profile: a YAML file that lists the devices.")] = (
        None
    )
    driver_name: Annotated[Subdomain | None, Meta(description="Driver of the slices; otherwise the profile's.")] = None
    control: Annotated[
        Path | None, Meta(description="A YAML file of faults of simulated devices, read while running.")
    ] = None
    attributes: Annotated[
        AttributesChoice,
        Meta(description="Names of the attributes; auto: NVIDIA's if the driver is gpu.nvidia.com, else our own."),
    ] = AttributesChoice.AUTO
    plugin: Annotated[
        PluginChoice,
        Meta(description="Serve the kubelet, too; auto: if its folder is there. off: publish only."),
    ] = PluginChoice.AUTO
    kubelet_dir: Annotated[Path, Meta(description="The kubelet's own folder.")] = KUBELET_FOLDER
    cdi_dir: Annotated[Path, Meta(description="Where the container runtime looks for CDI specs.")] = CDI_FOLDER
    pod_uid: Annotated[
        str,
        Meta(
            description="UID of the agent's pod: the agents of a rolling update may then overlap.",
            extra={"variables": ("POD_UID",)},
        ),
    ] = ""
    refresh: Annotated[
        float,
        Meta(
            ge=0.1,
            le=86_400,
            description="Seconds between two looks at the devices.",
            extra={"what": "a number of seconds from 0.1 to 86400"},
        ),
    ] = 10.0
    metrics_address: Annotated[Address, Meta(description="host:port of /metrics and /healthz; empty: none.")] = ""
    kubeconfig: Annotated[
        str, Meta(description="Kubeconfig file; otherwise $KUBECONFIG, the pod's own account, or ~/.kube/config.")
    ] = ""
    context: Annotated[str, Meta(description="Context of the kubeconfig.")] = ""
    log_format: Annotated[LogFormat, Meta(description="Colours on a terminal, JSON elsewhere.")] = LogFormat.AUTO
    log_level: Annotated[LogLevel, Meta(description="What is logged: this and worse.")] = LogLevel.INFO

    @property
    def simulated(self) -> bool:
        """Whether the devices are made up."""
        if self.source is SourceKind.AUTO:
            return self.profile is not None or self.devices is not None
        return self.source is SourceKind.SIMULATED

    def contradictions(self) -> Iterator[Contradiction]:
        if not self.simulated:
            for key, value in (
                ("profile", self.profile),
                ("devices", self.devices),
                ("gpus", self.gpus),
                ("control", self.control),
            ):
                if value is not None:
                    yield Contradiction(
                        key, "that is for simulated devices; leave it out, or set source to simulated with a profile"
                    )
            return
        if self.driver_root is not None:
            yield Contradiction(
                "driver-root", "it goes with source nvml, and these devices are simulated; leave it out"
            )
        if self.profile is not None and self.devices is not None:
            yield Contradiction("devices", "give either a profile or devices, not both")
        elif self.profile is None and self.devices is None:
            yield Contradiction("source", "simulated devices need a description; give either a profile or devices")
        elif self.devices is not None and self.gpus is not None:
            yield Contradiction("gpus", "it goes with a profile; a file lists its devices itself")
