"""What a node with GPUs publishes, on a real API server: strictly valid, and picked by the examples as they say.

The GPUs are NVML's, by the fake library. The examples' selectors are evaluated on the devices as the API server stored
and returned them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from dra_operator.agent.gpu import NVIDIA_DRIVER, naming_of
from dra_operator.agent.nvml.library import Library
from dra_operator.agent.nvml.source import NvmlSource
from dra_operator.agent.publisher import Publisher
from dra_operator.api.codec import to_plain
from dra_operator.api.kinds import NODES, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.api.resource import ResourceSlice
from dra_operator.cel.selector import compile_selector
from dra_operator.inventory.devices import Device
from dra_operator.sandbox.controlplane import ControlPlane
from tests.nvml import build_library, fake_node
from tests.selectors import expressions_of

pytestmark = pytest.mark.cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE = {"h100-sxm-80gb": "eight-h100", "a100-sxm-80gb-mig": "mig-a100"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(params=[DEFAULT_DRIVER, NVIDIA_DRIVER])
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=list(NODE))
async def slices(
    request: pytest.FixtureRequest,
    driver: str,
    control_plane: ControlPlane,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[list[ResourceSlice]]:
    """The slices of a node of that profile, as read back."""
    profile, name = request.param, NODE[request.param]
    fake = fake_node(tmp_path, profile, name)
    monkeypatch.setenv("FAKE_NVML", str(fake.file))
    nvml = Library(library.parent)
    devices = NvmlSource(nvml, naming_of(driver), sysfs=fake.sysfs).read()
    nvml.close()
    async with control_plane.client() as client:
        node = await client.create(NODES, {"metadata": {"name": name}})
        await Publisher(client, node_name=name, node_uid=node.uid, driver=driver).publish(devices)
        found, _ = await client.list_objects(SLICES, field_selector=f"spec.driver={driver},spec.nodeName={name}")
        yield sorted(found, key=lambda slice_: slice_.metadata.name)
        for slice_ in found:
            await client.delete(SLICES, slice_.key)
        await client.delete(NODES, ObjectKey("", name))


def test_the_slices_pass_a_strict_dry_run(
    slices: list[ResourceSlice], control_plane: ControlPlane, tmp_path: Path
) -> None:
    """As manifests: what a user would see in `kubectl get resourceslices -o yaml`, under names that are free."""
    file = tmp_path / "slices.yaml"
    documents = []
    for index, slice_ in enumerate(slices):
        metadata = {"name": f"again-{index}"}
        spec = {**to_plain(slice_.spec), "pool": {**to_plain(slice_.spec.pool), "generation": 1}}
        spec["pool"]["resourceSliceCount"] = len(slices)
        documents.append(
            {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": metadata, "spec": spec}
        )
    file.write_text(yaml.safe_dump_all(documents))

    answer = control_plane.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", str(file))
    assert answer.stdout.count("created (server dry run)") == len(slices)
    assert "Warning" not in answer.stderr


def selected(slices: list[ResourceSlice], file: str, class_file: str) -> list[str]:
    """The devices that the class and then all selectors of the example pick."""
    texts = [each for name in (class_file, file) for each in expressions_of(EXAMPLES / name)]
    selectors = [compile_selector(text) for text in texts]
    devices = [Device(slice_, basic) for slice_ in slices for basic in slice_.spec.devices or ()]
    return [device.id.device for device in devices if all(selector.matches(device.view) for selector in selectors)]


WHOLE_GPUS = {
    "12-product-name.yaml": 0,
    "13-memory-minimum.yaml": 8,
    "14-memory-range.yaml": 0,
    "15-compute-capability.yaml": 8,
    "16-power-and-thermal-profile.yaml": 0,
    "17-vendor-and-device-id.yaml": 0,
    "18-driver-version.yaml": 8,
}
"""By example, how many of the eight H100 it says that it picks."""

OF = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com']"
FOR_NVIDIA = {
    f"{OF}.type == 'gpu'": (8, 0),
    f"{OF}.type == 'mig'": (0, 200),
    f"{OF}.type == 'mig' && device.attributes['gpu.nvidia.com'].profile == '1g.10gb'": (0, 56),
    f"{OF}.productName.lowerAscii().matches('^.*h100.*$') && device.attributes['gpu.nvidia.com'].index in [0, 2]": (
        2,
        0,
    ),
    f"{OF}.type != '' && device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('40Gi')) >= 0": (8, 8),
}
"""Selectors as manifests for NVIDIA's driver have them, and what they pick on the H100 and on the MIG node."""


def test_examples_pick_on_each_node_what_they_say(slices: list[ResourceSlice], driver: str) -> None:
    node = slices[0].spec.node_name if driver == DEFAULT_DRIVER else "of another driver"
    whole = WHOLE_GPUS if node == NODE["h100-sxm-80gb"] else dict.fromkeys(WHOLE_GPUS, 0)

    assert {file: len(selected(slices, file, "10-gpu-device-class.yaml")) for file in WHOLE_GPUS} == whole
    partitions = selected(slices, "20-mig-partition.yaml", "20-mig-partition.yaml")
    assert len(partitions) == (8 * 2 if node == NODE["a100-sxm-80gb-mig"] else 0)


def test_selectors_that_were_written_for_nvidias_driver_pick_under_its_name(
    slices: list[ResourceSlice], driver: str
) -> None:
    devices = [Device(slice_, basic) for slice_ in slices for basic in slice_.spec.devices or ()]
    which = 0 if slices[0].spec.node_name == NODE["h100-sxm-80gb"] else 1
    for expression, counts in FOR_NVIDIA.items():
        selector = compile_selector(expression)
        picked = [device for device in devices if selector.matches(device.view)]
        assert len(picked) == (counts[which] if driver == NVIDIA_DRIVER else 0), expression
