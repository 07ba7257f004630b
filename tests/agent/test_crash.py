"""Whoever dies at any step of a call leaves nothing that counts, and the next agent gives the same answers.

The steps are those that `Disk` reports; a first run counts them. Once in this process, where all steps of all calls are
cheap to go through, and once with a real SIGKILL of a plugin on its sockets.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from dra_operator.agent.checkpoint import FILE_NAME, CheckpointFile, PreparedClaim
from dra_operator.agent.disk import Disk
from dra_operator.agent.preparation import Answer, NotPreparedError, Preparation
from dra_operator.agent.protos import dra_v1_pb2 as v1
from dra_operator.agent.services import PREPARE_V1, UNPREPARE_V1
from dra_operator.api.codec import convert
from dra_operator.api.meta import Uid
from dra_operator.api.resource import BasicDevice, ResourceClaim
from tests.agent.bench import BOOT, DRIVER, NODE, Bench, Workshop, claim_ref, gpus, result
from tests.unit.cluster.apiserver import serving


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Trap:
    """Counts the steps of calls once it is armed, and kills at one of them."""

    def __init__(self, kill_at: int | None = None, *, armed: bool = True) -> None:
        self.armed = armed
        self.count = 0
        self._kill_at = kill_at

    def __call__(self, what: str) -> None:
        if self.armed:
            self.count += 1
            if self.count - 1 == self._kill_at:
                raise Killed(what)


def allocated(name: str, *devices: str) -> ResourceClaim:
    plain: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-of-{name}"},
        "status": {"allocation": {"devices": {"results": [result(device) for device in devices]}}},
    }
    return convert(plain, ResourceClaim)


class Node:
    """The folders of a node, and its agents one after another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cdi = root / "cdi"
        self.folder = root / "plugin"
        self.workshop = Workshop()
        """What it has made outlives the agents."""

    def agent(self, step: Callable[[str], None] | None = None, boot: str = BOOT) -> Preparation:
        agent = Preparation(
            driver=DRIVER,
            pool=NODE,
            folder=self.folder,
            cdi_folder=self.cdi,
            boot_id=boot,
            injector=self.workshop,
            disk=Disk(step) if step else Disk(),
        )
        agent.restore()
        return agent

    def check(self) -> None:
        """A valid checkpoint, a spec for each completed claim, and not one file or device more."""
        checkpoint = CheckpointFile(Disk(), self.folder / FILE_NAME).read()
        assert checkpoint is not None
        assert {claim.state for claim in checkpoint.claims} <= {"completed"}
        uids = sorted(claim.uid for claim in checkpoint.claims)
        specs = sorted(path.name for path in self.cdi.iterdir()) if self.cdi.exists() else []
        assert specs == [f"{DRIVER}-claim_{uid}.json" for uid in uids]
        metadata = self.folder / "metadata"
        files = sorted(path.name for path in metadata.iterdir()) if metadata.exists() else []
        assert files == [f"{uid}_gpu.json" for uid in uids]
        assert not list(self.folder.glob(".*"))
        devices = [device for claim in checkpoint.claims for device in claim.devices]
        assert self.workshop.there == {device.allocated.device for device in devices if device.made}


ONE, TWO = allocated("one", "made-0"), allocated("two", "gpu-1", "gpu-2")
BOTH = [ONE.uid, TWO.uid]


def prepare(agent: Preparation) -> dict[Uid, Answer]:
    return agent.prepare([ONE, TWO], gpus() | {"made-0": BasicDevice(name="made-0")})


def unprepare(agent: Preparation) -> dict[Uid, NotPreparedError | None]:
    return agent.unprepare(BOTH)


def in_turn(node: Callable[[str], Node], call: Callable[[Preparation], object]) -> Iterator[Node]:
    """Nodes on which an agent was killed during the call: at its first step, at its second, …, at its last."""
    trap = Trap(armed=False)
    agent = node("undisturbed").agent(trap)
    trap.armed = True
    call(agent)
    assert trap.count > 8
    for number in range(trap.count):
        one = node(str(number))
        trap = Trap(number, armed=False)
        victim = one.agent(trap)
        trap.armed = True
        with pytest.raises(Killed):
            call(victim)
        yield one


def test_a_prepare_that_is_killed_at_any_step_is_repeated_with_the_same_answer(tmp_path: Path) -> None:
    wanted = {ONE.uid: ["made-0"], TWO.uid: ["gpu-1", "gpu-2"]}
    for node in in_turn(lambda name: Node(tmp_path / name), prepare):
        agent = node.agent()
        node.check()

        answers = prepare(agent)

        node.check()
        prepared = {uid: one.allocated for uid, one in answers.items() if isinstance(one, PreparedClaim)}
        assert {uid: [one.device for one in allocated] for uid, allocated in prepared.items()} == wanted


def test_an_unprepare_that_is_killed_at_any_step_is_repeated_with_success(tmp_path: Path) -> None:
    def prepared(name: str) -> Node:
        node = Node(tmp_path / name)
        prepare(node.agent())
        return node

    for node in in_turn(prepared, unprepare):
        agent = node.agent()
        node.check()

        assert unprepare(agent) == dict.fromkeys(BOTH)

        node.check()
        assert not agent.claims


def test_a_start_that_is_killed_at_any_step_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    def broken(name: str) -> Node:
        node = Node(tmp_path / name)
        prepare(node.agent())
        (node.cdi / f"{DRIVER}-claim_{TWO.uid}.json").unlink()
        (node.cdi / f"{DRIVER}-claim_stale.json").write_text("{}")
        (node.folder / FILE_NAME).write_text("garbage")
        return node

    trap = Trap()
    broken("undisturbed").agent(trap)
    assert trap.count > 5
    for number in range(trap.count):
        node = broken(str(number))
        with pytest.raises(Killed):
            node.agent(Trap(number))

        agent = node.agent()

        node.check()
        assert set(agent.claims) <= set(BOTH)
        prepare(agent)
        node.check()


def test_folders_in_which_agents_of_before_kept_metadata_go_with_their_claims(tmp_path: Path) -> None:
    """Those of claims that are still prepared stay, for their containers have files of them mounted."""
    node = Node(tmp_path)
    prepare(node.agent())
    old = node.folder / "metadata"
    for uid in (ONE.uid, "nobodys"):
        (old / uid).mkdir()
        (old / uid / "gpu.json").write_text("{}")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep").write_text("")
    (old / "link").symlink_to(elsewhere)

    agent = node.agent()

    assert sorted(path.name for path in old.iterdir() if path.is_dir()) == sorted(["link", ONE.uid])
    assert unprepare(agent) == dict.fromkeys(BOTH)
    assert [path.name for path in old.iterdir()] == ["link"]
    assert (elsewhere / "keep").exists()


# --- the same with a process and a signal ----------------------------------------------------------------------------


class Victims:
    """Plugins in processes of their own, one after another; each kills itself at a step that its calls make on disk."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @asynccontextmanager
    async def one(self, die_at: int) -> AsyncIterator[grpc.aio.Channel]:
        """It serves at the start of the block, and is gone at its end."""
        await self._tell(str(die_at))
        socket = await self._hear()
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
            yield channel
        await self._tell("end")
        assert await self._hear() == str(int(signal.SIGKILL))

    async def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def _hear(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def victims(one: Bench) -> AsyncIterator[Victims]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.agent.victim", one.api.url, str(one.root)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Victims(process)
    finally:
        process.kill()
        await process.wait()


async def test_a_plugin_that_is_killed_by_a_signal_at_any_step_comes_back(root: Path) -> None:
    async with serving() as api:
        one = Bench(root, api)
        claim = one.claim("one", "gpu-1")

        async def dies(channel: grpc.aio.Channel) -> bool:
            """Prepare and unprepare; whether the plugin died over it."""
            try:
                await PREPARE_V1.call(channel, v1.NodePrepareResourcesRequest(claims=[claim_ref(claim)]), timeout=30)
                await UNPREPARE_V1.call(
                    channel, v1.NodeUnprepareResourcesRequest(claims=[claim_ref(claim)]), timeout=30
                )
            except grpc.aio.AioRpcError:
                return True
            return False

        async with victims(one) as processes:
            for die_at in itertools.count(1):
                async with processes.one(die_at) as channel:
                    died = await dies(channel)
                await one.start()
                assert (await one.prepare(claim))["one"].error == ""
                assert one.specs() == [one.spec_name(claim)]
                assert await one.unprepare(claim) == {"one": ""}
                assert one.specs() == []
                await one.stop()
                if not died:  # all steps of both calls are behind it
                    assert die_at > 15
                    return
