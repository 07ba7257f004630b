"""What the plugin is given that it cannot use: an error each that says why, and nothing prepared by it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from aiohttp import web

from dra_operator.agent.disk import Disk
from dra_operator.agent.registration import SocketError, Sockets
from tests.agent.bench import DRIVER, Bench, bench, opaque, result

GOOD = {"apiVersion": "gpu.dra-operator.io/v1alpha1", "kind": "GpuConfig", "env": {"NCCL_DEBUG": "INFO"}}


async def error_of(node: Bench, claim: dict[str, Any]) -> str:
    """Why the claim is not prepared."""
    (answer,) = (await node.prepare(claim)).values()
    assert not answer.devices
    assert node.specs() == []
    assert not list(node.folder.glob("metadata/*"))
    return answer.error


# --- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ([], "it is not allocated"),
        ([result("gpu-0", driver="other.example.com")], f"it has no device of driver {DRIVER}"),
        ([result("gpu-0", pool="node-b")], "device 'gpu-0' is of pool 'node-b', this node has 'node-a'"),
        ([result("gpu-9")], "device 'gpu-9' is not on this node (any more)"),
        ([result("../../etc/passwd")], "'../../etc/passwd' is no name of a device or request (a DNS label)"),
        ([result("gpu-0", request="../up")], "'..' is no name of a device or request (a DNS label)"),
        ([result("")], "'' is no name of a device or request (a DNS label)"),
    ],
    ids=["not allocated", "another driver's", "another node's", "gone", "path as device", "path as request", "empty"],
)
async def test_a_claim_that_is_not_for_this_node(node: Bench, results: list[Any], why: str) -> None:
    assert await error_of(node, node.claim("one", *results)) == why


async def test_a_uid_that_would_leave_the_folder(node: Bench) -> None:
    (node.root / "etc").mkdir()
    kept = node.root / "etc" / "kept.json"
    kept.write_text("{}")
    uid = f"x/../../etc/{kept.stem}"
    claim = node.claim("one", "gpu-0", uid=uid)

    assert await error_of(node, claim) == f"its UID {uid!r} is not one that a file could be named by"
    assert await node.unprepare(claim) == {"one": ""}
    assert kept.exists()


async def test_a_claim_that_cannot_be_decoded(node: Bench) -> None:
    claim = node.claim("one", "gpu-0")
    claim["status"]["allocation"]["devices"]["results"] = "gpu-0"

    assert "the claim could not be read: the answer is no ResourceClaim" in await error_of(node, claim)


async def test_no_device_is_known_yet(node: Bench) -> None:
    node.devices = None

    assert await error_of(node, node.claim("one", "gpu-0")) == "the node's devices are not known yet"


# --- opaque configuration --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        (GOOD | {"apiVersion": "gpu.dra-operator.io/v2"}, "this driver takes gpu.dra-operator.io/v1alpha1 GpuConfig"),
        (GOOD | {"kind": "MigConfig"}, "this driver takes gpu.dra-operator.io/v1alpha1 GpuConfig"),
        ({}, "this driver takes gpu.dra-operator.io/v1alpha1 GpuConfig"),
        (GOOD | {"sharing": {"strategy": "TimeSlicing"}}, "unknown field `sharing`"),
        (GOOD | {"env": ["A=b"]}, "Expected `object`, got `array` - at `$.env`"),
        (GOOD | {"env": {"A": 1}}, "Expected `str`, got `int` - at `$.env[...]`"),
        (GOOD | {"env": {"A=B": "c"}}, "env 'A=B' is no name of a variable"),
        (GOOD | {"env": {"A": "b\0c"}}, "env A: a value cannot hold a NUL"),
        ("text", "Expected `object`, got `str`"),
        (None, "Expected `object`, got `null`"),
    ],
    ids=["version", "kind", "empty", "unknown field", "list", "number", "name", "NUL", "string", "null"],
)
async def test_configuration_that_is_not_this_drivers(node: Bench, parameters: Any, why: str) -> None:
    error = await error_of(node, node.claim("one", "gpu-0", config=[opaque(parameters)]))

    assert error.startswith("opaque configuration of the claim: ")
    assert why in error


async def test_configuration_of_another_driver_is_not_looked_at(node: Bench) -> None:
    claim = node.claim("one", "gpu-0", config=[opaque({"anything": True}, driver="other.example.com")])

    assert (await node.prepare(claim))["one"].error == ""


async def test_the_claims_configuration_comes_after_the_classes_and_reaches_its_requests_only(node: Bench) -> None:
    claim = node.claim(
        "one",
        result("gpu-0", request="a"),
        result("gpu-1", request="b/large"),
        config=[
            opaque(GOOD | {"env": {"LEVEL": "claim"}}, requests=["b/large"]),
            opaque(GOOD | {"env": {"LEVEL": "class"}}, source="FromClass"),
        ],
    )

    await node.prepare(claim)

    levels = [
        [value for value in device["containerEdits"]["env"] if value.startswith("LEVEL=")]
        for device in node.spec(claim)["devices"]
    ]
    assert levels == [["LEVEL=class"], ["LEVEL=class", "LEVEL=claim"]]


@pytest.mark.parametrize("name", ["/etc", "../../../etc", "a/b", "a\nb", "."])
async def test_a_claims_name_in_its_pod_leads_out_of_no_folder(node: Bench, name: str) -> None:
    """A path in the container is made of it, and whoever may write a claim may write the annotation."""
    claim = node.claim("one", "gpu-0", annotations={"resource.kubernetes.io/pod-claim-name": name})

    assert await error_of(node, claim) == f"annotation resource.kubernetes.io/pod-claim-name: {name!r} is no DNS label"
    assert node.specs() == []


@pytest.mark.parametrize(
    "parameters",
    [b"9" * 8_000, b'{"env":{"A":' + b"9" * 8_000 + b"}}", b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"],
    ids=["a number", "a long number", "deep"],
)
async def test_parameters_of_any_form_are_an_error_of_their_claim(node: Bench, parameters: bytes) -> None:
    configs = [{"source": "FromClaim", "opaque": {"driver": DRIVER, "parameters": "PARAMETERS"}}]
    hostile, other = node.claim("one", "gpu-0", config=configs), node.claim("other", "gpu-1")

    async def answer(request: web.Request) -> web.Response | None:
        """The server of the tests makes its JSON with the standard library, which refuses some of this."""
        if not request.path.endswith("/one"):
            return None
        body = json.dumps(node.api.objects[request.path]).encode().replace(b'"PARAMETERS"', parameters)
        return web.Response(body=body, content_type="application/json")

    node.api.faults.append(answer)
    answers = await node.prepare(hostile, other)

    assert answers["one"].error.startswith("opaque configuration of the claim: ")
    assert answers["other"].error == ""


# --- the disk --------------------------------------------------------------------------------------------------------


class Trouble:
    """Fails the steps whose name contains a word, once it is told to."""

    def __init__(self) -> None:
        self.at = "never"
        self.number = errno.ENOSPC

    def __call__(self, what: str) -> None:
        if self.at in what:
            raise OSError(self.number, os.strerror(self.number), what)


@pytest.mark.parametrize(
    ("at", "number"),
    [
        ("open checkpoint", errno.EROFS),
        ("write checkpoint", errno.ENOSPC),
        ("flush checkpoint", errno.EIO),
        ("_gpu.json.tmp", errno.ENOSPC),
        ("make folder", errno.ENOSPC),
        (f"create .{DRIVER}-claim", errno.EROFS),
        (f"write .{DRIVER}-claim", errno.ENOSPC),
    ],
)
async def test_a_disk_that_is_full_or_read_only(root: Path, at: str, number: int) -> None:
    trouble = Trouble()
    async with bench(root, trouble) as node:
        claim = node.claim("one", "gpu-0")
        trouble.at, trouble.number = at, number

        assert os.strerror(number) in await error_of(node, claim)
        assert node.prepared() == []

        trouble.at = "never"
        other = node.claim("other", "gpu-0")
        assert (await node.prepare(other))["other"].error == "", "the refused claim holds nothing"


async def test_the_disk_fails_between_the_two_writes_of_the_checkpoint(root: Path) -> None:
    trouble = Trouble()
    async with bench(root, trouble) as node:
        claim = node.claim("one", "gpu-0")
        before = Disk.write

        def then_full(disk: Disk, path: Path, content: bytes, **how: Any) -> None:
            before(disk, path, content, **how)
            if path.parent == node.cdi:
                trouble.at = "write checkpoint"

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Disk, "write", then_full)
            assert "No space left" in await error_of(node, claim)
        trouble.at = "never"
        await node.restart()
        assert node.prepared() == []
        assert (await node.prepare(claim))["one"].error == ""


@pytest.mark.parametrize(
    ("at", "number"),
    [("remove gpu.dra", errno.EROFS), ("write checkpoint", errno.EIO), ("flush checkpoint", errno.EIO)],
)
async def test_an_unprepare_that_the_disk_refuses_is_an_error_until_it_is_repeated(
    root: Path, at: str, number: int
) -> None:
    trouble = Trouble()
    async with bench(root, trouble) as node:
        claim, other = node.claim("one", "gpu-0"), node.claim("other", "gpu-0")
        await node.prepare(claim)
        trouble.at, trouble.number = at, number
        assert os.strerror(number) in (await node.unprepare(claim))["one"]
        assert (await node.prepare(other))["other"].error, "the device is still held, or the disk still out of order"
        trouble.at = "never"

        assert await node.unprepare(claim) == {"one": ""}

        assert node.specs() == []
        assert (await node.prepare(other))["other"].error == ""


async def test_a_cdi_folder_that_is_none(node: Bench) -> None:
    node.cdi.write_text("a file")

    (answer,) = (await node.prepare(node.claim("one", "gpu-0"))).values()

    assert str(node.cdi) in answer.error
    assert node.prepared() == []


# --- the socket ------------------------------------------------------------------------------------------------------


async def test_garbage_over_the_socket_is_survived(node: Bench) -> None:
    assert node.plugin is not None
    for garbage in (b"\x00" * 64, b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)):
        reader, writer = await asyncio.open_unix_connection(node.plugin.sockets.plugin)
        writer.write(garbage)
        writer.write_eof()
        await reader.read()
        writer.close()
    for service, code in (("v1", grpc.StatusCode.INVALID_ARGUMENT), ("v9", grpc.StatusCode.UNIMPLEMENTED)):
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = node.channel.unary_unary(
            f"/k8s.io.kubelet.pkg.apis.dra.{service}.DRAPlugin/NodePrepareResources"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"\xff\xff\xff", timeout=10)
        assert refused.value.code() == code

    assert (await node.prepare(node.claim("one", "gpu-0")))["one"].error == ""


def test_a_socket_whose_path_the_kernel_does_not_take(tmp_path: Path) -> None:
    kubelet = tmp_path / ("x" * 100)

    with pytest.raises(
        SocketError, match=r"has a path of \d+ bytes, the kernel takes 107: use a shorter --kubelet-dir"
    ):
        Sockets(kubelet, DRIVER)


def test_a_long_path_takes_a_shorter_name_of_the_registration_socket_with_a_pod_uid() -> None:
    uid = "0f9c1c5a-6d2e-4a53-9f4e-0b7b1f1d2c3d"
    names = {len(folder): Sockets(Path(folder), DRIVER, uid).registration.name for folder in ("/k", "/" + "k" * 20)}

    assert names[2] == f"{DRIVER}-{uid}-reg.sock"
    assert all(len(f"/{'k' * 20}/plugins_registry/{name}") <= 107 for name in names.values())


# --- the API server --------------------------------------------------------------------------------------------------


async def test_an_api_server_that_refuses(node: Bench) -> None:
    async def forbidden(request: web.Request) -> web.Response:
        body = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no right to read claims"}
        return web.json_response(body, status=403)

    claim = node.claim("one", "gpu-0")
    node.api.faults.append(forbidden)

    assert "no right to read claims" in await error_of(node, claim)


async def test_an_api_server_that_is_away(root: Path) -> None:
    """Prepare fails with a reason, and works when it is back; unprepare needs no API server."""
    async with bench(root) as node:
        claim, later = node.claim("one", "gpu-0"), node.claim("later", "gpu-1")
        await node.prepare(claim)

        async def hangs(request: web.Request) -> web.Response:
            await asyncio.sleep(3600)
            raise AssertionError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dra_operator.agent.plugin._READ_SECONDS", 0.2)
            node.api.faults.append(hangs)
            error = (await node.prepare(later))["later"].error
            assert error == "the claim could not be read: no answer of the API server in 0.2 s"
            assert await node.unprepare(claim) == {"one": ""}
        node.api.faults.clear()
        assert (await node.prepare(later))["later"].error == ""


async def test_a_second_agent_of_the_driver_does_not_start(node: Bench) -> None:
    twin = Bench(node.root, node.api)

    with pytest.raises(SocketError, match=r"another agent serves driver \S+ on this node"):
        await twin.start()
    assert (await node.prepare(node.claim("one", "gpu-0")))["one"].error == ""
