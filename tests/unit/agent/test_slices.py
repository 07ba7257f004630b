"""Which writes turn the slices of a pool into those that it should have: few, and never a mixture that looks whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from dra_operator.agent.slices import (
    CreateSlice,
    DeleteSlice,
    NodePool,
    SliceContent,
    SliceWrite,
    UpdateSlice,
    dropped_features,
    plan_writes,
    split_into_slices,
)
from dra_operator.api.codec import convert
from dra_operator.api.meta import Uid
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import (
    BasicDevice,
    DeviceAttribute,
    DeviceCapacity,
    DeviceTaint,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)

POOL = NodePool("gpu.example.com", "node-1", Uid("node-uid"))


def device(name: str, model: str = "a", **fields: object) -> BasicDevice:
    base = BasicDevice(name=name, attributes={"model": DeviceAttribute(string_value=model)})
    return structs.replace(base, **fields)


def content(*devices: BasicDevice) -> SliceContent:
    return SliceContent(devices)


class ApiServer:
    """The slices of one pool, changed as the API server would: names completed, resourceVersions checked."""

    def __init__(self) -> None:
        self.slices: dict[str, ResourceSlice] = {}
        self._counter = 0

    def stored(self) -> list[ResourceSlice]:
        return list(self.slices.values())

    def perform(self, write: SliceWrite) -> None:
        self._counter += 1
        version = str(self._counter)
        match write:
            case CreateSlice():
                metadata = {
                    **write.body()["metadata"],
                    "name": f"{write.generate_name}{self._counter:05d}",
                    "uid": f"uid-{version}",
                    "resourceVersion": version,
                }
                created = convert({**write.body(), "metadata": metadata}, ResourceSlice)
                self.slices[created.metadata.name] = created
            case UpdateSlice():
                old = self.slices[write.name]
                assert write.resource_version == old.metadata.resource_version
                metadata_now = structs.replace(old.metadata, resource_version=version)
                spec = convert(write.body()["spec"], ResourceSliceSpec)
                self.slices[write.name] = structs.replace(old, metadata=metadata_now, spec=spec)
            case DeleteSlice():
                assert write.resource_version == self.slices.pop(write.name).metadata.resource_version

    def publish(self, desired: Sequence[SliceContent]) -> list[SliceWrite]:
        writes = plan_writes(POOL, self.stored(), desired)
        for write in writes:
            self.perform(write)
        return writes


def pool_of(slices: Iterable[ResourceSlice]) -> list[BasicDevice] | None:
    """What an allocator sees: the devices of the pool, or None while it is not whole."""
    slices = list(slices)
    newest = max((s.spec.pool.generation for s in slices), default=0)
    members = sorted((s for s in slices if s.spec.pool.generation == newest), key=lambda s: s.metadata.name)
    if not members or any(s.spec.pool.resource_slice_count != len(members) for s in members):
        return None
    return [each for s in members for each in s.spec.devices or ()]


def kinds(writes: Sequence[SliceWrite]) -> list[str]:
    return [type(write).__name__ for write in writes]


def three_slices() -> tuple[ApiServer, list[SliceContent]]:
    server = ApiServer()
    desired = [content(device(f"gpu-{i}")) for i in range(3)]
    server.publish(desired)
    return server, desired


# --- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("devices", "slices"), [(0, 1), (1, 1), (64, 1), (65, 2), (128, 2), (129, 3)])
def test_sixty_four_devices_a_slice_and_at_least_one_slice(devices: int, slices: int) -> None:
    listed = [device(f"gpu-{i}") for i in range(devices)]
    parts = split_into_slices(listed)

    assert len(parts) == slices
    assert [each for part in parts for each in part.devices] == listed


# --- decisions -------------------------------------------------------------------------------------------------------


def test_a_new_pool_starts_at_generation_one_and_names_carry_the_place_of_the_slice() -> None:
    writes = plan_writes(POOL, [], [content(device("gpu-0")), content(device("gpu-1"))])

    assert [write.generate_name for write in writes if isinstance(write, CreateSlice)] == [
        "00000-gpu.example.com-node-1-",
        "00001-gpu.example.com-node-1-",
    ]
    assert [write.body()["spec"]["pool"] for write in writes if isinstance(write, CreateSlice)] == [
        {"name": "node-1", "generation": 1, "resourceSliceCount": 2}
    ] * 2


def test_a_slice_is_owned_by_its_node() -> None:
    (write,) = plan_writes(POOL, [], [content(device("gpu-0"))])

    assert isinstance(write, CreateSlice)
    assert write.body()["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-uid", "controller": True}
    ]


def test_the_number_of_slices_is_written_even_if_it_is_one() -> None:
    (write,) = plan_writes(POOL, [], [content(device("gpu-0"))])

    assert isinstance(write, CreateSlice)
    assert write.body()["spec"]["pool"]["resourceSliceCount"] == 1


def test_nothing_changed_means_no_write() -> None:
    server, desired = three_slices()
    assert server.publish(desired) == []


def test_one_changed_slice_is_one_update_at_the_same_generation() -> None:
    server, desired = three_slices()
    (write,) = server.publish([desired[0], content(device("gpu-1", model="b")), desired[2]])

    assert isinstance(write, UpdateSlice)
    assert (write.index, write.spec.pool.generation) == (1, 1)


def test_two_changed_slices_rewrite_all_at_the_next_generation() -> None:
    server, desired = three_slices()
    writes = server.publish([content(device("gpu-0", "b")), content(device("gpu-1", "b")), desired[2]])

    assert kinds(writes) == ["UpdateSlice"] * 3
    assert {s.spec.pool.generation for s in server.stored()} == {2}


def test_one_more_slice_updates_the_others_before_it_is_created() -> None:
    server, desired = three_slices()
    writes = server.publish([*desired, content(device("gpu-3"))])

    assert kinds(writes) == ["UpdateSlice"] * 3 + ["CreateSlice"]
    assert {s.spec.pool for s in server.stored()} == {ResourcePool(name="node-1", generation=2, resource_slice_count=4)}


def test_fewer_slices_delete_before_they_update() -> None:
    server, desired = three_slices()
    writes = server.publish(desired[:2])

    assert kinds(writes) == ["DeleteSlice", "UpdateSlice", "UpdateSlice"]


def test_down_to_one_slice_keeps_the_generation() -> None:
    server = ApiServer()
    desired = [content(device("gpu-0")), content(device("gpu-1"))]
    server.publish(desired)

    assert kinds(server.publish(desired[:1])) == ["DeleteSlice", "UpdateSlice"]
    assert [s.spec.pool for s in server.stored()] == [ResourcePool(name="node-1", generation=1)]


def test_a_slice_that_someone_deleted_comes_back_under_a_new_generation() -> None:
    server, desired = three_slices()
    del server.slices[server.stored()[1].metadata.name]

    assert kinds(server.publish(desired)) == ["UpdateSlice", "UpdateSlice", "CreateSlice"]
    assert pool_of(server.stored()) == [each for part in desired for each in part.devices]


def test_reordered_devices_are_a_change() -> None:
    server = ApiServer()
    server.publish([content(device("gpu-0"), device("gpu-1"))])

    assert kinds(server.publish([content(device("gpu-1"), device("gpu-0"))])) == ["UpdateSlice"]


def test_an_emptied_slice_loses_its_devices() -> None:
    server = ApiServer()
    server.publish([content(device("gpu-0"))])
    (write,) = server.publish([content()])

    assert isinstance(write, UpdateSlice)
    assert write.body()["spec"]["devices"] is None


def test_the_same_amount_written_differently_is_no_change() -> None:
    def of(amount: str) -> SliceContent:
        return content(device("gpu-0", capacity={"memory": DeviceCapacity(value=Quantity.parse(amount))}))

    server = ApiServer()
    server.publish([of("1Gi")])
    assert server.publish([of("1024Mi")]) == []


def test_slices_of_an_older_generation_and_of_other_pools_are_deleted() -> None:
    server = ApiServer()
    desired = [content(device("gpu-0"))]
    server.publish(desired)
    current = server.stored()[0]
    for name, pool in {
        "00000-old": structs.replace(current.spec.pool, generation=0),
        "00000-other": structs.replace(current.spec.pool, name="other", generation=7),
    }.items():
        metadata = structs.replace(current.metadata, name=name)
        server.slices[name] = structs.replace(current, metadata=metadata, spec=structs.replace(current.spec, pool=pool))

    writes = server.publish(desired)

    assert [write.name for write in writes if isinstance(write, DeleteSlice)] == ["00000-old", "00000-other"]
    assert server.stored() == [current]


@pytest.mark.parametrize("name", ["gpu.example.com-node-1-x7k2p", "000000-too-long", "0000g-no-number"])
def test_a_slice_whose_name_tells_no_place_is_replaced(name: str) -> None:
    server = ApiServer()
    desired = [content(device("gpu-0"))]
    server.publish(desired)
    current = server.slices.popitem()[1]
    server.slices[name] = structs.replace(current, metadata=structs.replace(current.metadata, name=name))

    assert kinds(server.publish(desired)) == ["DeleteSlice", "CreateSlice"]


def test_slices_of_a_node_that_was_replaced_under_its_name_are_replaced_too() -> None:
    server = ApiServer()
    desired = [content(device("gpu-0"))]
    server.publish(desired)
    reborn = NodePool(POOL.driver, POOL.node_name, Uid("another-uid"))

    assert kinds(plan_writes(reborn, server.stored(), desired)) == ["DeleteSlice", "CreateSlice"]


def test_of_two_slices_for_one_place_the_one_that_is_right_stays() -> None:
    server = ApiServer()
    server.publish([content(device("gpu-0", "stale"))])
    (lost,) = plan_writes(POOL, [], [content(device("gpu-0", "fresh"))])
    server.perform(lost)

    writes = server.publish([content(device("gpu-0", "fresh"))])

    assert kinds(writes) == ["DeleteSlice"]
    assert pool_of(server.stored()) == [device("gpu-0", "fresh")]


# --- taints ----------------------------------------------------------------------------------------------------------

HOT = DeviceTaint(key="example.com/hot", effect="NoSchedule")


def test_the_time_that_the_api_server_gave_a_taint_is_no_change() -> None:
    server = ApiServer()
    server.publish([content(device("gpu-0", taints=(structs.replace(HOT, time_added="2026-01-01T00:00:00Z"),)))])

    assert server.publish([content(device("gpu-0", taints=(HOT,)))]) == []


def test_a_taint_keeps_its_time_when_something_else_changes() -> None:
    server = ApiServer()
    server.publish([content(device("gpu-0", taints=(structs.replace(HOT, time_added="2026-01-01T00:00:00Z"),)))])
    (write,) = server.publish([content(device("gpu-0", model="b", taints=(HOT,)))])

    assert isinstance(write, UpdateSlice)
    assert write.body()["spec"]["devices"][0]["taints"][0]["timeAdded"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("time", "writes"), [("2026-01-01T00:00:01Z", 0), ("2026-01-01T00:00:00.4Z", 0), ("2026-01-01T00:01:00Z", 1)]
)
def test_taint_times_are_compared_to_the_second(time: str, writes: int) -> None:
    server = ApiServer()
    server.publish([content(device("gpu-0", taints=(structs.replace(HOT, time_added="2026-01-01T00:00:00Z"),)))])

    changed = content(device("gpu-0", taints=(structs.replace(HOT, time_added=time),)))
    assert len(server.publish([changed])) == writes


# --- fields that the API server drops --------------------------------------------------------------------------------


def test_dropped_fields_are_named_by_their_feature_gate() -> None:
    sent = content(device("gpu-0", taints=(HOT,), allow_multiple_allocations=True))
    stored = ResourceSliceSpec(driver="d", pool=ResourcePool(name="p"), devices=(device("gpu-0"),))

    assert dropped_features(sent, stored) == ["DRADeviceTaints", "DRAConsumableCapacity"]


def test_a_difference_of_no_known_feature_is_not_hidden() -> None:
    stored = ResourceSliceSpec(driver="d", pool=ResourcePool(name="p"), devices=(device("gpu-0"),))

    assert dropped_features(content(device("gpu-0")), stored) == []
    assert dropped_features(content(device("gpu-0", model="b")), stored) == ["unknown"]


# --- laws ------------------------------------------------------------------------------------------------------------

contents = st.lists(st.lists(st.sampled_from("ab"), max_size=2), min_size=1, max_size=4).map(
    lambda models: [content(*(device(f"gpu-{i}-{j}", m) for j, m in enumerate(part))) for i, part in enumerate(models)]
)
histories = st.lists(st.tuples(contents, st.integers(min_value=0, max_value=8)), min_size=1, max_size=6)


@given(histories)
def test_whatever_looks_whole_was_meant_so(history: list[tuple[list[SliceContent], int]]) -> None:
    """Each wish is worked on until a crash after some number of writes; then comes the next one."""
    server, meant = ApiServer(), []
    for desired, writes_until_crash in history:
        meant.append([each for part in desired for each in part.devices])
        for write in plan_writes(POOL, server.stored(), desired)[:writes_until_crash]:
            server.perform(write)
            visible = pool_of(server.stored())
            assert visible is None or visible in meant

    server.publish(history[-1][0])
    assert pool_of(server.stored()) == meant[-1]
    assert server.publish(history[-1][0]) == []


@given(contents, contents)
def test_no_more_writes_than_slices_and_one_where_one_is_enough(
    before: list[SliceContent], after: list[SliceContent]
) -> None:
    server = ApiServer()
    server.publish(before)
    writes = server.publish(after)

    assert len(writes) <= max(len(before), len(after))
    if len(before) == len(after):
        differing = sum(old != new for old, new in zip(before, after, strict=True))
        assert len(writes) == (differing if differing <= 1 else len(after))


@given(contents, contents)
def test_the_order_is_delete_update_create(before: list[SliceContent], after: list[SliceContent]) -> None:
    server = ApiServer()
    server.publish(before)
    rank = {DeleteSlice: 0, UpdateSlice: 1, CreateSlice: 2}
    ranks = [rank[type(write)] for write in plan_writes(POOL, server.stored(), after)]

    assert ranks == sorted(ranks)
