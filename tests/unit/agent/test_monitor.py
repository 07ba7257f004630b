"""The health monitor over simulated devices and their control file: what becomes a taint and a report, and back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dra_operator.agent.health import HealthBoard, HealthState
from dra_operator.agent.monitor import HealthMonitor
from dra_operator.agent.profiles import load_profile
from dra_operator.agent.signs import SETTLED_SECONDS, XID_SECONDS, Severity
from dra_operator.agent.simulated import FileSource, ProfileSource
from dra_operator.agent.sources import NodeDevices, Source, SourceError
from dra_operator.agent.taints import DeviceTaints
from dra_operator.api.names import UNHEALTHY_TAINT
from dra_operator.api.resource import DeviceTaint


class Stage:
    """A monitor of simulated devices on a clock of the test's."""

    def __init__(self, folder: Path, profile: str = "l4", gpus: int = 2) -> None:
        self.control = folder / "control.yaml"
        self.source: Source = ProfileSource(load_profile(profile), "node-1", gpus, control=self.control)
        self.time = 1000.0
        self.taints = DeviceTaints()
        self.board = HealthBoard()
        self.monitor = HealthMonitor(self.source, self.taints, self.board, now=lambda: self.time)

    async def begin(self) -> None:
        await self.monitor.saw(self.source.read())
        await self.monitor.look()

    async def after(self, seconds: float) -> None:
        self.time += seconds
        await self.monitor.look()

    def say(self, text: str) -> None:
        self.control.write_text(text)

    def tainted(self) -> dict[str, tuple[str, str]]:
        """Value and effect of the taint, by device."""
        devices = self.taints.on(self.source.read()).devices
        return {each.name: (taint.value, taint.effect) for each in devices for taint in each.taints or ()}

    def state(self, device: str) -> HealthState:
        return self.board.current()[device].state


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_without_trouble_all_are_healthy_and_none_is_tainted(stage: Stage) -> None:
    await stage.begin()

    assert {name: health.state for name, health in stage.board.current().items()} == {
        "gpu-0": HealthState.HEALTHY,
        "gpu-1": HealthState.HEALTHY,
    }
    assert stage.tainted() == {}


async def test_a_hot_gpu_is_tainted_until_it_has_been_cool_for_a_while(stage: Stage) -> None:
    await stage.begin()
    stage.say("devices: {gpu-1: {temperatureCelsius: 97}}")
    await stage.after(5)
    assert stage.tainted() == {}
    await stage.after(5)
    assert stage.tainted() == {"gpu-1": ("overheated", "NoSchedule")}
    assert stage.board.current()["gpu-1"].message == "97 °C; it slows down at 93 °C"
    assert stage.state("gpu-0") is HealthState.HEALTHY

    stage.say("devices: {gpu-1: {temperatureCelsius: 60}}")
    await stage.after(5)
    assert stage.tainted() == {"gpu-1": ("overheated", "NoSchedule")}
    await stage.after(SETTLED_SECONDS)
    assert stage.tainted() == {}
    assert stage.state("gpu-1") is HealthState.HEALTHY


async def test_a_lost_gpu_is_tainted_so_that_its_pods_go(stage: Stage) -> None:
    await stage.begin()
    stage.say("devices: {gpu-0: {lost: true}}")
    await stage.after(5)

    assert stage.tainted() == {"gpu-0": ("gpu-lost", "NoExecute")}
    assert stage.board.current()["gpu-0"].severity is Severity.LOST


async def test_trouble_of_a_gpu_is_trouble_of_all_its_partitions(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "a100-sxm-80gb-mig")
    await stage.begin()
    stage.say("devices: {gpu-1: {eccUncorrectable: 1}}")
    await stage.after(5)

    assert set(stage.tainted()) == {each.name for each in stage.source.read().devices if each.name.startswith("gpu-1-")}


async def test_an_xid_is_noticed_as_an_event_and_the_driver_loaded_anew_ends_it(stage: Stage) -> None:
    await stage.begin()
    assert stage.source.wait(0) is None

    stage.say("devices: {gpu-0: {xids: [31, 48]}, gpu-1: {xids: [31]}}")
    events = stage.source.wait(10)
    assert events is not None
    await stage.monitor.look(events)
    assert stage.tainted() == {"gpu-0": ("xid-48", "NoSchedule")}
    await stage.after(XID_SECONDS - 1)
    assert stage.tainted() == {"gpu-0": ("xid-48", "NoSchedule")}

    stage.say("{reloads: 1, devices: {gpu-0: {xids: [31, 48]}}}")
    await stage.after(0)
    assert stage.tainted() == {}


async def test_a_driver_that_is_away_for_a_moment_is_no_trouble_and_for_longer_is_trouble_of_all(stage: Stage) -> None:
    await stage.begin()
    stage.say("driver: away")
    await stage.after(5)
    assert stage.state("gpu-0") is HealthState.HEALTHY
    await stage.after(5)
    assert {health.reason for health in stage.board.current().values()} == {"driver-unavailable"}

    stage.say("")
    await stage.after(SETTLED_SECONDS + 1)
    assert stage.tainted() == {}


async def test_devices_that_are_gone_are_reported_no_more(stage: Stage) -> None:
    await stage.begin()
    await stage.monitor.saw(NodeDevices(stage.source.read().devices[:1]))
    assert set(stage.board.current()) == {"gpu-0"}


async def test_each_change_is_told_to_those_who_listen(stage: Stage) -> None:
    await stage.begin()
    changes = stage.board.changes()
    assert (await anext(changes))["gpu-0"].state is HealthState.HEALTHY

    for text, state in (("devices: {gpu-0: {lost: true}}", HealthState.UNHEALTHY), ("reloads: 1", HealthState.HEALTHY)):
        next_change = asyncio.ensure_future(anext(changes))
        stage.say(text)
        await stage.after(5)
        assert (await next_change)["gpu-0"].state is state


async def test_taints_of_several_owners_stand_side_by_side(stage: Stage) -> None:
    await stage.begin()
    stage.say("devices: {gpu-0: {lost: true}}")
    await stage.after(5)
    other = DeviceTaint(key="dra-operator.io/unpreparing", effect="NoSchedule")
    stage.taints.replace(other.key, {"gpu-0": other})

    (device, _) = stage.taints.on(stage.source.read()).devices
    assert {taint.key for taint in device.taints or ()} == {UNHEALTHY_TAINT, other.key}


def test_mig_mode_is_settable_while_running(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "a100-sxm-80gb")
    assert [device.name for device in stage.source.read().devices] == ["gpu-0", "gpu-1"]

    stage.say("devices: {gpu-1: {mig: true}}")
    node = stage.source.read()
    assert [each.name for each in node.shared_counters] == ["gpu-1-counter-set"]
    assert len(node.devices) == 1 + 25


async def test_a_device_of_a_file_is_hot_by_its_own_limit(tmp_path: Path) -> None:
    devices, control = tmp_path / "devices.yaml", tmp_path / "control.yaml"
    devices.write_text("devices: [{name: a, attributes: {thermalSlowdownCelsius: {int: 70}}}, {name: b}]")
    control.write_text("devices: {a: {temperatureCelsius: 75}, b: {temperatureCelsius: 75}}")

    assert [sign.target for sign in FileSource(devices, control).signs()] == ["a"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("devices: {gpu-0: {temperature: 1}}", "unknown field `temperature`"),
        ("driver: gone", "Invalid enum value 'gone'"),
        ("devices: [", "while parsing"),
    ],
)
def test_a_control_file_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, complaint: str
) -> None:
    stage = Stage(tmp_path)
    stage.say(text)
    with pytest.raises(SourceError, match=rf"control\.yaml: .*{complaint}"):
        stage.source.signs()
