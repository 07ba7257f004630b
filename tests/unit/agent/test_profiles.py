"""What simulated nodes have: true to the models, the same after a restart, different from each other."""

from __future__ import annotations

import re

import pytest

from dra_operator.agent.gpu import NVIDIA_DRIVER, Naming, naming_of, power_profile, thermal_profile
from dra_operator.agent.profiles import UnknownProfileError, load_profile, profile_names
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice, DeviceAttribute
from dra_operator.api.semver import Version

WHOLE_GPUS = ["a100-sxm-40gb", "a100-sxm-80gb", "b200", "h100-sxm-80gb", "l4", "mi300x-192gb", "t4"]
MIG = "a100-sxm-80gb-mig"
MIG_PROFILES = [MIG, "a100-sxm-40gb-mig"]
GPU_PROFILES = [*WHOLE_GPUS, *MIG_PROFILES]
ATTRIBUTES_AND_CAPACITIES_MAX = 32
NUMA = "resource.kubernetes.io/numaNode"
PCIE_ROOT = "resource.kubernetes.io/pcieRoot"
BUS = "resource.kubernetes.io/pciBusID"


def devices(profile: str, node: str = "node-1", gpus: int | None = None) -> list[BasicDevice]:
    return list(load_profile(profile).devices_of(node, gpus).devices)


def attribute(device: BasicDevice, name: str) -> DeviceAttribute:
    return (device.attributes or {})[name]


def memory(device: BasicDevice) -> Quantity:
    return (device.capacity or {})["memory"].value


def test_the_profiles() -> None:
    assert profile_names() == sorted([*GPU_PROFILES, "driver-example"])


@pytest.mark.parametrize("naming", list(Naming))
@pytest.mark.parametrize("profile", [*GPU_PROFILES, "driver-example"])
def test_a_device_stays_within_the_limits_of_the_api(profile: str, naming: Naming) -> None:
    for device in load_profile(profile).devices_of("node-1", naming=naming).devices:
        attributes, capacity = device.attributes or {}, device.capacity or {}
        assert len(attributes) + len(capacity) <= ATTRIBUTES_AND_CAPACITIES_MAX
        for name, value in attributes.items():
            identifier = name.rpartition("/")[2]
            assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,31}", identifier)
            assert len(value.string_value or "") <= 64


@pytest.mark.parametrize("profile", [*GPU_PROFILES, "driver-example"])
def test_every_version_is_strict_semver(profile: str) -> None:
    for device in devices(profile):
        for value in (device.attributes or {}).values():
            if value.version_value is not None:
                Version.parse(value.version_value)


@pytest.mark.parametrize("profile", [*GPU_PROFILES, "driver-example"])
def test_a_node_has_the_same_devices_after_a_restart_and_shares_no_identity_with_another(profile: str) -> None:
    here, again, elsewhere = devices(profile), devices(profile), devices(profile, node="node-2")

    assert here == again
    names = ["parentUUID", "resource.kubernetes.io/pciBusID"] if profile in MIG_PROFILES else ["uuid"]
    identities = [(*(attribute(device, name) for name in names), device.name) for device in here + elsewhere]
    assert len(set(identities)) == len(identities)
    assert len({device.name for device in here}) == len(here)


@pytest.mark.parametrize(
    ("profile", "product", "device_id", "gib", "watts", "capability"),
    [
        ("h100-sxm-80gb", "NVIDIA H100 80GB HBM3", "0x2330", 79, 700, "9.0.0"),
        ("a100-sxm-40gb", "NVIDIA A100-SXM4-40GB", "0x20b0", 40, 400, "8.0.0"),
        ("l4", "NVIDIA L4", "0x27b8", 22, 72, "8.9.0"),
        ("t4", "Tesla T4", "0x1eb8", 15, 70, "7.5.0"),
        ("a100-sxm-80gb", "NVIDIA A100-SXM4-80GB", "0x20b2", 80, 400, "8.0.0"),
        ("b200", "NVIDIA B200", "0x2901", 179, 1000, "10.0.0"),
    ],
)
def test_a_gpu_is_what_its_data_sheet_says(
    profile: str, product: str, device_id: str, gib: int, watts: int, capability: str
) -> None:
    assert load_profile(profile).driver == DEFAULT_DRIVER
    gpu = devices(profile)[0]
    assert attribute(gpu, "productName").string_value == product
    assert attribute(gpu, "pciVendorID").string_value == "0x10de"
    assert attribute(gpu, "pciDeviceID").string_value == device_id
    assert attribute(gpu, "powerLimitWatts").int_value == watts
    assert attribute(gpu, "cudaComputeCapability").version_value == capability
    assert memory(gpu).value() >> 30 == gib


@pytest.mark.parametrize(
    ("profile", "numa_nodes", "roots"), [("h100-sxm-80gb", 2, 8), ("a100-sxm-40gb", 4, 4), ("l4", 2, 4)]
)
def test_gpus_are_spread_over_the_machine(profile: str, numa_nodes: int, roots: int) -> None:
    gpus = devices(profile)
    assert len({attribute(gpu, NUMA).int_value for gpu in gpus}) == numa_nodes
    assert len({attribute(gpu, PCIE_ROOT).string_value for gpu in gpus}) == roots


def test_more_gpus_than_slots_go_to_further_pci_domains() -> None:
    gpus = devices("t4", gpus=10)
    addresses = [attribute(gpu, BUS).string_value or "" for gpu in gpus]

    assert len(set(addresses)) == 10
    assert addresses[4] == "0001:00:1b.0"
    assert attribute(gpus[4], PCIE_ROOT).string_value == "pci0001:00"


@pytest.mark.parametrize(
    ("profile", "partitions"),
    [
        (
            "a100-sxm-40gb-mig",
            {
                "1g.5gb": (7, 14, 4864),
                "1g.5gb+me": (7, 14, 4864),
                "1g.10gb": (4, 14, 9856),
                "2g.10gb": (3, 28, 9856),
                "3g.20gb": (2, 42, 19968),
                "4g.20gb": (1, 56, 19968),
                "7g.40gb": (1, 98, 40192),
            },
        ),
        (
            "a100-sxm-80gb-mig",
            {
                "1g.10gb": (7, 14, 9728),
                "1g.10gb+me": (7, 14, 9728),
                "1g.20gb": (4, 14, 19968),
                "2g.20gb": (3, 28, 19968),
                "3g.40gb": (2, 42, 40192),
                "4g.40gb": (1, 56, 40192),
                "7g.80gb": (1, 98, 80640),
            },
        ),
    ],
)
def test_a_gpu_in_mig_mode_is_offered_as_what_its_driver_can_cut_it_into(
    profile: str, partitions: dict[str, tuple[int, int, int]]
) -> None:
    """By profile: the places that it may have, its multiprocessors, its memory in Mi."""
    found: dict[str, tuple[int, int, int]] = {}
    for device in devices(profile, gpus=1):
        name = attribute(device, "profile").string_value or ""
        multiprocessors = (device.capacity or {})["multiprocessors"].value.value()
        found[name] = (found.get(name, (0, 0, 0))[0] + 1, multiprocessors, memory(device).value() >> 20)
    assert found == partitions


def test_the_example_driver_deals_out_its_two_partitions_in_turn() -> None:
    profile = load_profile("driver-example")
    small, large, third = profile.devices_of("node-1", 3).devices

    assert profile.driver == "driver.example.com"
    assert set(small.attributes or {}) == {"driverVersion", "index", "model", "uuid", "profile"}
    assert (attribute(small, "profile").string_value, memory(small)) == ("2g.10gb", Quantity.parse("10Gi"))
    assert (attribute(large, "profile").string_value, memory(large)) == ("3g.20gb", Quantity.parse("20Gi"))
    assert attribute(third, "profile").string_value == "2g.10gb"
    assert [attribute(device, "index").int_value for device in (small, large, third)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("watts", "profile"), [(70, "low"), (149, "low"), (150, "medium"), (349, "medium"), (350, "high"), (700, "high")]
)
def test_power_profile(watts: int, profile: str) -> None:
    assert power_profile(watts) == profile


@pytest.mark.parametrize(("celsius", "profile"), [(84, "low"), (85, "medium"), (89, "medium"), (90, "high")])
def test_thermal_profile(celsius: int, profile: str) -> None:
    assert thermal_profile(celsius) == profile


def test_what_is_cudas_an_amd_gpu_leaves_out() -> None:
    (gpu,) = devices("mi300x-192gb", gpus=1)

    assert attribute(gpu, "pciVendorID").string_value == "0x1002"
    assert attribute(gpu, "pciDeviceID").string_value == "0x74a1"
    assert attribute(gpu, "powerProfile").string_value == "high"
    assert not {"cudaComputeCapability", "cudaDriverVersion"} & set(gpu.attributes or {})
    assert set(gpu.capacity or {}) == {"memory", "multiprocessors"}


# --- NVIDIA's names --------------------------------------------------------------------------------------------------


def test_nvidias_driver_name_brings_its_attribute_names() -> None:
    assert naming_of(NVIDIA_DRIVER) is Naming.NVIDIA
    assert naming_of(DEFAULT_DRIVER) is Naming.OWN


def test_a_gpu_under_nvidias_names_says_all_that_its_driver_says_and_ours_besides() -> None:
    own = devices("h100-sxm-80gb", gpus=2)[1]
    theirs = load_profile("h100-sxm-80gb").devices_of("node-1", 2, Naming.NVIDIA).devices[1]

    more = {name: value for name, value in (theirs.attributes or {}).items() if name not in (own.attributes or {})}
    assert more == {
        "pcieBusID": DeviceAttribute(string_value="0000:3b:00.0"),
        "index": DeviceAttribute(int_value=1),
        "minor": DeviceAttribute(int_value=1),
    }
    assert set(own.attributes or {}) <= set(theirs.attributes or {})


def test_a_partition_under_nvidias_names_says_all_that_its_driver_says() -> None:
    device = load_profile(MIG).devices_of("node-1", 1, Naming.NVIDIA).devices[0]

    assert device.name == "gpu-0-mig-1g10gb-19-0"
    assert attribute(device, "profile").string_value == "1g.10gb"
    assert set(device.attributes or {}) >= {"type", "parentUUID", "profile", "productName", "brand", "architecture"}
    engines = {"copyEngines", "decoders", "encoders", "jpegEngines", "ofaEngines"}
    assert set(device.capacity or {}) == {"memory", "multiprocessors", *engines}


def test_an_unknown_profile_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UnknownProfileError, match="no profile 'h200'; there are: a100-sxm-40gb, a100-sxm-40gb-mig, "):
        load_profile("h200")
