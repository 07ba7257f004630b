"""Which source the options of `dra-operator agent` mean, and for which driver it publishes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import typer

from dra_operator.agent.gpu import Naming, naming_of
from dra_operator.agent.profiles import UnknownProfileError, load_profile
from dra_operator.agent.simulated import FileSource, ProfileSource
from dra_operator.agent.sources import Source
from dra_operator.api.names import DEFAULT_DRIVER


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """As they were given."""

    node_name: str
    kind: SourceKind = SourceKind.AUTO
    profile: str | None = None
    gpus: int | None = None
    devices: Path | None = None
    control: Path | None = None
    driver_name: str | None = None
    attributes: AttributesChoice = AttributesChoice.AUTO
    driver_root: Path | None = None
    partition: bool = True


def open_source(options: SourceOptions) -> tuple[Source, str]:
    """The source that the options name, and the driver to publish for. Raises typer.BadParameter."""
    simulated = options.profile is not None or options.devices is not None
    if options.kind is SourceKind.NVML or (options.kind is SourceKind.AUTO and not simulated):
        return _open_nvml(options)
    if options.driver_root is not None:
        raise typer.BadParameter("--driver-root goes with --source nvml")
    if (options.profile is None) == (options.devices is None):
        raise typer.BadParameter("give either --profile or --devices")
    if options.devices is not None:
        if options.gpus is not None:
            raise typer.BadParameter("--gpus goes with --profile; a file lists its devices itself")
        return FileSource(options.devices, options.control), options.driver_name or DEFAULT_DRIVER
    assert options.profile is not None
    try:
        profile = load_profile(options.profile)
    except UnknownProfileError as error:
        raise typer.BadParameter(str(error)) from error
    driver = options.driver_name or profile.driver
    naming = options.attributes.naming(driver)
    return ProfileSource(profile, options.node_name, options.gpus, naming, options.control), driver


def _open_nvml(options: SourceOptions) -> tuple[Source, str]:
    given = {
        "--profile": options.profile,
        "--devices": options.devices,
        "--gpus": options.gpus,
        "--control": options.control,
    }
    if wrong := [name for name, value in given.items() if value is not None]:
        raise typer.BadParameter(f"{', '.join(wrong)}: that is for simulated devices; leave --source nvml out")
    # pynvml is loaded only where it is used: a simulated node does without.
    from dra_operator.agent.nvml.library import Library
    from dra_operator.agent.nvml.source import NvmlSource

    driver = options.driver_name or DEFAULT_DRIVER
    naming = options.attributes.naming(driver)
    return NvmlSource(Library(options.driver_root), naming, partition=options.partition), driver
