"""Which source the settings of `dra-operator agent` mean, and for which driver it publishes."""

from __future__ import annotations

from dra_operator.agent.profiles import UnknownProfileError, load_profile
from dra_operator.agent.settings import AgentSettings
from dra_operator.agent.simulated import FileSource, ProfileSource
from dra_operator.agent.sources import Source
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.settings.model import SettingError


def open_source(settings: AgentSettings) -> tuple[Source, str]:
    """The source, and the driver to publish for. Raises `SettingError`."""
    if not settings.simulated:
        return _open_nvml(settings)
    if settings.devices is not None:
        return FileSource(settings.devices, settings.control), settings.driver_name or DEFAULT_DRIVER
    assert settings.profile is not None
    try:
        profile = load_profile(settings.profile)
    except UnknownProfileError as error:
        raise SettingError(f"profile: {error}") from error
    driver = settings.driver_name or profile.driver
    naming = settings.attributes.naming(driver)
    return ProfileSource(profile, settings.node_name, settings.gpus, naming, settings.control), driver


def _open_nvml(settings: AgentSettings) -> tuple[Source, str]:
    # pynvml is loaded only where it is used: a simulated node does without.
    from dra_operator.agent.nvml.library import Library
    from dra_operator.agent.nvml.source import NvmlSource

    driver = settings.driver_name or DEFAULT_DRIVER
    naming = settings.attributes.naming(driver)
    return NvmlSource(Library(settings.driver_root), naming, partition=settings.partition_mig), driver
