"""Real pynvml over the fake library: what a node's GPUs are, what ails them, and what the source outlives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dra_operator.agent.gpu import Naming
from dra_operator.agent.nvml.facts import numa_node, pcie_root, strict_semver
from dra_operator.agent.nvml.library import Library
from dra_operator.agent.nvml.source import NvmlSource
from dra_operator.agent.profiles import load_profile
from dra_operator.agent.signs import Severity
from dra_operator.agent.sources import NodeDevices, SourceError
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice
from tests.nvml import NOT_SUPPORTED, UNKNOWN, XID, FakeNode
from tests.unit.agent.nvml.conftest import MakeNode, MakeSource


def names(node: NodeDevices) -> list[str]:
    return [device.name for device in node.devices]


def attributes(device: BasicDevice) -> set[str]:
    return set(device.attributes or {})


def reasons(source: NvmlSource) -> dict[str, str]:
    return {sign.target: sign.reason for sign in source.signs()}


# --- facts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("naming", list(Naming))
@pytest.mark.parametrize("profile", ["h100-sxm-80gb", "a100-sxm-80gb", "a100-sxm-80gb-mig", "l4", "t4", "b200"])
def test_a_real_node_says_of_itself_what_the_simulated_one_says(
    node: MakeNode, source: MakeSource, profile: str, naming: Naming
) -> None:
    assert source(node(profile), naming).read() == load_profile(profile).devices_of("node-1", naming=naming)


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        ("nvmlDeviceGetPowerManagementLimit", {"powerLimitWatts", "powerProfile"}),
        ("nvmlDeviceGetPowerManagementLimitConstraints", {"powerLimitMinWatts", "powerLimitMaxWatts"}),
        (
            "nvmlDeviceGetTemperatureThreshold",
            {"thermalSlowdownCelsius", "thermalShutdownCelsius", "thermalProfile"},
        ),
        ("nvmlDeviceGetBrand", {"brand"}),
        ("nvmlDeviceGetArchitecture", {"architecture"}),
        ("nvmlDeviceGetCudaComputeCapability", {"cudaComputeCapability"}),
        (
            "nvmlDeviceGetPciInfo_v3",
            {"pciVendorID", "pciDeviceID"}
            | {f"resource.kubernetes.io/{name}" for name in ("pciBusID", "pcieRoot", "numaNode")},
        ),
    ],
)
@pytest.mark.parametrize("code", [NOT_SUPPORTED, UNKNOWN])
def test_what_a_gpu_cannot_tell_is_left_out_and_the_rest_stays(
    node: MakeNode, source: MakeSource, function: str, missing: set[str], code: int
) -> None:
    made = node(gpus=2)
    made.gpus[1].failures[function] = code
    made.write()
    whole, lacking = source(made).read().devices

    assert attributes(whole) - attributes(lacking) == missing


@pytest.mark.parametrize("function", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetNumGpuCores"])
def test_a_capacity_that_is_not_known_is_left_out(node: MakeNode, source: MakeSource, function: str) -> None:
    made = node(gpus=1)
    made.gpus[0].failures[function] = NOT_SUPPORTED
    made.write()
    (gpu,) = source(made).read().devices

    assert set(gpu.capacity or {}) == (
        {"multiprocessors", "cudaCores"} if function == "nvmlDeviceGetMemoryInfo" else {"memory"}
    )


def test_memory_that_is_no_whole_number_of_mebibytes_is_exact(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=1)
    made.gpus[0].lines["memory"] = 85_520_809_985
    made.write()
    (gpu,) = source(made).read().devices

    assert (gpu.capacity or {})["memory"].value == Quantity.parse("85520809985")


@pytest.mark.parametrize(
    ("version", "strict"),
    [
        ("570.172.08", "570.172.8"),
        ("580.95.05", "580.95.5"),
        ("535.54", "535.54.0"),
        ("580.95.05-beta", "580.95.5"),
        ("none", None),
        (None, None),
    ],
)
def test_a_drivers_version_becomes_strict_semver(version: str | None, strict: str | None) -> None:
    assert strict_semver(version) == strict


def test_a_gpu_without_a_numa_node_or_outside_the_tree_says_neither(tmp_path: Path) -> None:
    device = tmp_path / "bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "numa_node").write_text("-1\n")

    assert numa_node("0000:01:00.0", tmp_path) is None
    assert numa_node("0000:02:00.0", tmp_path) is None
    assert pcie_root("0000:01:00.0", tmp_path) is None


# --- MIG -------------------------------------------------------------------------------------------------------------


def mig_node(node: MakeNode, *instances: str) -> FakeNode:
    made = node("a100-sxm-80gb-mig", gpus=2)
    made.gpus[0].instances = list(instances)
    made.gpus[1].lines["mig"] = 0
    made.write()
    return made


def test_a_gpu_in_mig_mode_is_its_partitions_and_one_that_is_not_is_whole(node: MakeNode, source: MakeSource) -> None:
    read = source(mig_node(node)).read()

    assert len(read.devices) == 25 + 1
    assert names(read)[-1] == "gpu-1"
    assert [each.name for each in read.shared_counters] == ["gpu-0-counter-set"]


def test_a_partition_that_is_there_comes_with_its_uuid_and_only_what_fits_beside_it(
    node: MakeNode, source: MakeSource
) -> None:
    read = source(mig_node(node, "1 9 0 MIG-left")).read()
    made, *possible, whole = read.devices

    assert made.name == "gpu-0-mig-3g40gb-9-0"
    assert made.consumes_counters is None
    assert (made.attributes or {})["uuid"].string_value == "MIG-left"
    assert len(possible) == 10
    assert whole.name == "gpu-1"


def test_without_partitioning_only_what_is_there_is_offered(node: MakeNode, source: MakeSource) -> None:
    read = source(mig_node(node, "1 9 0 MIG-left", "2 9 4 MIG-right"), partition=False).read()

    assert names(read) == ["gpu-0-mig-3g40gb-9-0", "gpu-0-mig-3g40gb-9-4", "gpu-1"]
    assert read.shared_counters == ()


def test_an_instance_that_is_divided_further_is_not_offered_and_keeps_its_place(
    node: MakeNode, source: MakeSource
) -> None:
    read = source(mig_node(node, "1 9 0 MIG-one", "1 9 0 MIG-two")).read()

    assert not any(name.startswith("gpu-0-mig-3g40gb-9-0") for name in names(read))
    assert not any(name.endswith("-0") for name in names(read) if name.startswith("gpu-0"))


def test_partitions_that_the_agent_made_itself_change_nothing(node: MakeNode, source: MakeSource) -> None:
    made = mig_node(node)
    gpus = source(made)
    gpus.attach(lambda: {"gpu-0-mig-3g40gb-9-0"})
    before = gpus.read()
    made.gpus[0].instances = ["1 9 0 MIG-ours"]
    made.write()

    assert gpus.read() == before


# --- health ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "value", "reason"),
    [
        ("temperature", 90, "overheated"),
        ("ecc", 3, "ecc-uncorrectable"),
        ("remap_failed", 1, "row-remap-failed"),
        ("remap_pending", 1, "row-remap-pending"),
        ("throttle", 0x40, "hardware-slowdown"),
        ("throttle", 0x80, "hardware-slowdown"),
        ("recovery", 1, "needs-recovery"),
        ("lost", 1, "gpu-lost"),
    ],
)
def test_what_ails_a_gpu_is_said_of_that_gpu(
    node: MakeNode, source: MakeSource, line: str, value: int, reason: str
) -> None:
    made = node(gpus=2)
    gpus = source(made)
    gpus.read()
    assert reasons(gpus) == {}

    made.gpus[1].lines[line] = value
    made.write()
    assert reasons(gpus) == {made.gpus[1].lines["uuid"]: reason}


def test_the_softwares_own_reasons_to_slow_down_are_no_ailment(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=1)
    made.gpus[0].lines["throttle"] = 0x1 | 0x4 | 0x20
    made.write()
    gpus = source(made)
    gpus.read()

    assert reasons(gpus) == {}


def test_an_xid_is_an_event_and_one_of_a_program_is_none(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=2)
    gpus = source(made)
    gpus.read()
    assert gpus.wait(0.01) is None

    made.gpus[1].events += [f"{XID} 31", f"{XID} 79"]
    made.write()
    assert gpus.wait(10) == ()
    (sign,) = gpus.wait(10) or ()
    assert (sign.target, sign.reason, sign.severity) == (made.gpus[1].lines["uuid"], "xid-79", Severity.LOST)


# --- what the source outlives ----------------------------------------------------------------------------------------


def test_a_lost_gpu_keeps_its_devices(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=2)
    gpus = source(made)
    before = gpus.read()

    made.gpus[0].lines["lost"] = 1
    made.write()
    assert gpus.read() == before


def test_a_gpu_that_does_not_answer_is_its_own_trouble_and_keeps_its_devices(
    node: MakeNode, source: MakeSource
) -> None:
    made = node(gpus=2)
    gpus = source(made)
    before = gpus.read()
    made.gpus[1].failures["nvmlDeviceGetUUID"] = UNKNOWN
    made.write()

    assert gpus.read() == before
    assert reasons(gpus) == {made.gpus[1].lines["uuid"]: "unreadable"}


def test_gpus_that_move_up_when_one_is_left_out_are_known_once(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=3)
    gpus = source(made)
    gpus.read()
    del made.gpus[0]
    made.gpus[1].lines["lost"] = 1
    made.write()

    assert names(gpus.read()) == ["gpu-1"]


def test_a_gpu_that_never_told_anything_is_left_out(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=2)
    made.gpus[0].lines["lost"] = 1
    made.write()

    assert names(source(made).read()) == ["gpu-1"]


def test_a_gpu_that_the_driver_lists_no_more_has_no_devices(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=2)
    gpus = source(made)
    gpus.read()
    made.gpus.pop()
    made.write()

    assert names(gpus.read()) == ["gpu-0"]


def test_a_driver_that_was_loaded_anew_is_a_new_incarnation_and_nothing_else(
    node: MakeNode, source: MakeSource
) -> None:
    made = node(gpus=2)
    gpus = source(made)
    before, incarnation = gpus.read(), gpus.incarnation
    gpus.wait(0.01)
    made.load = 2
    made.write()

    assert gpus.read() == before
    assert gpus.incarnation != incarnation
    assert gpus.wait(0.01) is None
    assert reasons(gpus) == {}


def test_a_driver_that_is_away_is_an_error_until_it_is_back(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=1)
    gpus = source(made)
    before = gpus.read()
    made.state = "unloaded"
    made.write()
    for _ in range(2):
        with pytest.raises(SourceError, match=r"NVML does not start: .*is the NVIDIA driver loaded"):
            gpus.read()
        with pytest.raises(SourceError):
            gpus.signs()
        assert gpus.wait(0.01) is None

    made.state = "loaded"
    made.write()
    assert gpus.read() == before


def test_a_call_that_always_fails_does_not_start_session_after_session(node: MakeNode, source: MakeSource) -> None:
    made = node(gpus=1)
    made.gpus[0].failures["nvmlDeviceGetNumGpuCores"] = UNKNOWN
    made.write()
    gpus = source(made)
    gpus.read()
    incarnation = gpus.incarnation
    for _ in range(3):
        gpus.read()

    assert gpus.incarnation == incarnation


def test_a_library_that_is_not_there_is_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"libnvidia-ml\.so\.1 was not found under {tmp_path}.*--wait-for-driver"):
        NvmlSource(Library(driver_root=tmp_path)).read()


def test_a_file_that_is_no_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not ELF")
    with pytest.raises(SourceError, match=r"libnvidia-ml\.so\.1 cannot be loaded"):
        NvmlSource(Library(driver_root=tmp_path)).read()


def test_pynvml_finds_the_library_by_the_dynamic_linkers_own_ways_too(node: MakeNode, nvml_library: Path) -> None:
    made = node(gpus=3)
    code = (
        "from dra_operator.agent.nvml.library import Library; from dra_operator.agent.nvml.source import NvmlSource;"
        "print(len(NvmlSource(Library()).read().devices))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=made.environment(nvml_library), capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"
