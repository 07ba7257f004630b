"""Kubeconfigs: whom and what the client talks to, what is said of files that are wrong. TLS is real, on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dra_operator.api.kinds import PODS
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster import kubeconfig, plugins
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import Credentials, KubeconfigError, connect, find_credentials
from dra_operator.cluster.proxy import proxy_of_environment
from tests.unit.cluster.script import Answer, Script, Seen, failure

POD = {"metadata": {"namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "1"}}

PROXIES = [name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for name in (upper, upper.lower())]


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", *PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def write(
    file: Path,
    *,
    cluster: Mapping[str, Any] | None = None,
    user: Mapping[str, Any] | None = None,
    name: str = "it",
    current: str | None = None,
) -> Path:
    """A kubeconfig with one cluster, user and context of that name."""
    content = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example"} | dict(cluster or {})}],
        "users": [{"name": name, "user": dict(user or {})}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"{name}-ns"}}],
        "current-context": name if current is None else current,
    }
    file.write_text(yaml.safe_dump(content))
    return file


def inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


# --- over TLS --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """An authority, a server's certificate (for 127.0.0.1 and api.example), a client's; a key beside each."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / f"{name.replace('_key', '')}.{'key' if name.endswith('_key') else 'pem'}"

    def server_tls(self) -> ssl.SSLContext:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority))
        tls.load_cert_chain(self.server, self.server_key)
        tls.verify_mode = ssl.CERT_OPTIONAL
        return tls


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates of this test")
    folder = tmp_path_factory.mktemp("certificates")

    def made(name: str, *options: str) -> None:
        new = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
        ]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        command = ["openssl", "req", "-x509", *new, *files, *options]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    signed = ("-CA", "authority.pem", "-CAkey", "authority.key", "-addext", "basicConstraints=critical,CA:FALSE")
    made("authority", "-addext", "keyUsage=critical,keyCertSign")
    made("stranger", "-addext", "keyUsage=critical,keyCertSign")
    made("server", *signed, "-addext", "subjectAltName=IP:127.0.0.1,DNS:api.example")
    made("client", *signed)
    return Certificates(folder)


async def greeted(
    certificates: Certificates, file: Path, cluster: Mapping[str, Any], user: Mapping[str, Any] | None = None
) -> Script:
    """Read a pod as the kubeconfig says, from a server that speaks TLS."""
    async with Script(Answer(200, POD)).serve(certificates.server_tls()) as script:
        async with connect(write(file, cluster={"server": script.url} | dict(cluster), user=user)) as client:
            await client.get(PODS, ObjectKey("ns", "a"))
        return script


async def test_inline_certificates_and_token(certificates: Certificates, tmp_path: Path) -> None:
    user = {
        "client-certificate-data": inline(certificates.client),
        "client-key-data": inline(certificates.client_key),
        "token": "t0",
    }
    cluster = {"certificate-authority-data": inline(certificates.authority)}
    script = await greeted(certificates, tmp_path / "config", cluster, user)
    assert script.seen[0].headers["Authorization"] == "Bearer t0"
    assert script.peers == ["client"]


async def test_files_are_found_beside_the_kubeconfig(certificates: Certificates, tmp_path: Path) -> None:
    shutil.copytree(certificates.folder, tmp_path / "pki")
    (tmp_path / "token").write_text("from file\n")
    user = {"client-certificate": "pki/client.pem", "client-key": "pki/client.key", "tokenFile": "token"}
    cluster = {"certificate-authority": "pki/authority.pem"}
    script = await greeted(certificates, tmp_path / "config", cluster, user)
    assert script.seen[0].headers["Authorization"] == "Bearer from file"
    assert script.peers == ["client"]


async def test_a_server_of_another_authority_is_not_talked_to(certificates: Certificates, tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match="certificate"):
        await greeted(certificates, tmp_path / "config", {"certificate-authority": str(certificates.stranger)})


async def test_an_authority_that_is_replaced_on_disk_is_trusted_from_then_on(
    certificates: Certificates, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.crt"
    shutil.copy(certificates.stranger, authority)
    async with Script(Answer(200, POD)).serve(certificates.server_tls()) as script:
        file = write(tmp_path / "config", cluster={"server": script.url, "certificate-authority": "ca.crt"})
        async with connect(file) as client:
            with pytest.raises(NoAnswer, match="certificate"):
                await client.get(PODS, ObjectKey("ns", "a"))
            shutil.copy(certificates.authority, tmp_path / "next")
            (tmp_path / "next").rename(authority)
            with pytest.raises(NoAnswer, match="certificate"):
                await client.get(PODS, ObjectKey("ns", "a"))
            await client.get(PODS, ObjectKey("ns", "a"))


@pytest.mark.parametrize("by", ["files", "a plugin"])
async def test_a_client_certificate_that_is_rotated_is_used_when_the_old_one_is_refused(
    by: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections that began with the old one are given up, or it would be who we are for ever."""

    def rotate(name: str) -> None:
        certificate, key = getattr(certificates, name), getattr(certificates, f"{name}_key")
        shutil.copy(certificate, tmp_path / "my.pem")
        shutil.copy(key, tmp_path / "my.key")
        status = {"clientCertificateData": certificate.read_text(), "clientKeyData": key.read_text()}
        body = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
        (tmp_path / "answer.json").write_text(json.dumps(body))

    monkeypatch.setattr(plugins, "_LOOK_SECONDS", 0.0)
    rotate("client")
    user: Mapping[str, Any] = {"client-certificate": "my.pem", "client-key": "my.key"}
    if by == "a plugin":
        user = exec_user(tmp_path, f"cat {tmp_path}/answer.json")
    accepted = "client"
    async with Script().serve(certificates.server_tls()) as script:

        def judged(seen: Seen) -> Answer:
            return Answer(200, POD) if script.peers[-1] == accepted else failure(401, "Unauthorized")

        script.otherwise = judged
        cluster = {"server": script.url, "certificate-authority": str(certificates.authority)}
        told: list[int | None] = []
        async with connect(write(tmp_path / "config", cluster=cluster, user=user)) as client:
            client.observe(lambda *_: None, lambda at, path, error: told.append(error.status if error else None))
            await client.get(PODS, ObjectKey("ns", "a"))
            script.tell_watches(judged, judged)
            assert [line async for line in client.watch(PODS, resource_version="1", timeout=60)] == []
            async with client.lend() as session:
                async with session.get(f"{script.url}/api/v1/nodes") as answer:
                    assert answer.status == 200
                rotate("server")
                accepted = "server"
                await client.get(PODS, ObjectKey("ns", "a"))
                assert [line async for line in client.watch(PODS, resource_version="1", timeout=60)] == []
                async with session.get(f"{script.url}/api/v1/nodes") as answer:
                    assert answer.status == 200
    assert told == [None] * 6, "a rotation is no news"


async def test_half_of_a_new_certificate_takes_nothing_away(certificates: Certificates, tmp_path: Path) -> None:
    """A certificate and its key are two files, and replaced one after the other."""
    shutil.copy(certificates.client, tmp_path / "my.pem")
    shutil.copy(certificates.client_key, tmp_path / "my.key")
    async with Script(Answer(200, POD)).serve(certificates.server_tls()) as script:
        cluster = {"server": script.url, "certificate-authority": str(certificates.authority)}
        user = {"client-certificate": "my.pem", "client-key": "my.key"}
        async with connect(write(tmp_path / "config", cluster=cluster, user=user)) as client:
            shutil.copy(certificates.server, tmp_path / "my.pem")
            script.tell(failure(401, "Unauthorized"))
            with pytest.raises(ApiError, match="Unauthorized"):
                await client.get(PODS, ObjectKey("ns", "a"))
            async with client.lend() as session, session.get(f"{script.url}/api/v1/nodes") as answer:
                assert answer.status == 200
            shutil.copy(certificates.server_key, tmp_path / "my.key")
            script.tell(failure(401, "Unauthorized"))
            await client.get(PODS, ObjectKey("ns", "a"))
    assert script.peers == ["client", "client", "client", "server"]


async def test_unless_one_says_that_it_does_not_matter(certificates: Certificates, tmp_path: Path) -> None:
    script = await greeted(certificates, tmp_path / "config", {"insecure-skip-tls-verify": True})
    assert script.peers == [None]


class Tunnel:
    """An HTTP proxy that leads every CONNECT to one port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        further, back = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_copy(reader, back), _copy(further, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
    sink.close()


@pytest.mark.parametrize("named", ["by the kubeconfig", "by the environment"])
async def test_a_proxy_leads_to_the_server_and_cannot_look_inside(
    named: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Script(Answer(200, POD)).serve(certificates.server_tls()) as script:
        tunnel = Tunnel(int(script.url.rpartition(":")[2]))
        listener = await asyncio.start_server(tunnel.serve, "127.0.0.1", 0)
        proxy = f"http://user:pass@127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        cluster = {"server": "https://api.example:6443", "certificate-authority": str(certificates.authority)}
        if named == "by the kubeconfig":
            cluster["proxy-url"] = proxy
        else:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
        async with connect(write(tmp_path / "config", cluster=cluster, user={"token": "secret"})) as client:
            await client.get(PODS, ObjectKey("ns", "a"))
            async with client.lend() as session, session.get("https://api.example:6443/api/v1/nodes") as answer:
                assert answer.status == 200, "Kopf goes the same way"
        listener.close()
    assert tunnel.asked[0] == "CONNECT api.example:6443 HTTP/1.1"
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in tunnel.asked
    assert not [line for line in tunnel.asked if "secret" in line]
    assert {seen.headers["Authorization"] for seen in script.seen} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("server", "without", "direct"),
    [
        ("https://10.96.0.1", "", False),
        ("https://10.96.0.1", "10.96.0.0/12", True),
        ("https://10.96.0.1", "10.0.0.0/16,.svc", False),
        ("https://10.96.0.1:443", "10.96.0.1", True),
        ("https://[fd00::1]:6443", "fd00::/8", True),
        ("https://[fd00::1]:6443", "[fd00::1]:443", False),
        ("https://[fd00::1]:6443", "[fd00::1]:6443", True),
        ("https://api.example:6443", "example", True),
        ("https://api.example:6443", "api.example:6443", True),
        ("https://api.example:6443", "api.example:443", False),
        ("https://example", ".example", False),
        ("https://api.example", ".example", True),
        ("https://api.example", "*.example", True),
        ("https://myexample", "example", False),
        ("https://api.example", "else, API.Example ", True),
        ("https://api.example", "*", True),
        ("https://127.0.0.1:6443", "", True),
        ("https://localhost:6443", "", True),
        ("https://[::1]:6443", "", True),
        ("http://api.example", "", True),
    ],
)
def test_what_has_no_proxy(server: str, without: str, direct: bool) -> None:
    """As kubectl has it; the last is for another variable."""
    found = proxy_of_environment(server, {"https_proxy": "proxy.example:3128", "NO_PROXY": without})
    assert found == (None if direct else ("https_proxy", "proxy.example:3128"))


def test_a_proxy_of_the_environment_that_will_not_do_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "https://u:secret@proxy.example")
    with pytest.raises(KubeconfigError, match="HTTPS_PROXY is a proxy of https://, which is not supported") as told:
        find_credentials(write(tmp_path / "config"))
    assert "secret" not in str(told.value)


async def test_the_servers_name_may_be_another_than_the_hosts(certificates: Certificates, tmp_path: Path) -> None:
    trusted = {"certificate-authority": str(certificates.authority)}
    await greeted(certificates, tmp_path / "config", trusted | {"tls-server-name": "api.example"})
    with pytest.raises(NoAnswer, match="certificate"):
        await greeted(certificates, tmp_path / "config", trusted | {"tls-server-name": "other.example"})


# --- which file, which entry -----------------------------------------------------------------------------------------


def test_files_of_kubeconfig_are_merged_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path / "first", name="one", user={"token": "first"}, current="two")
    second = tmp_path / "second"
    second.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "one", "cluster": {"server": "https://overridden.example"}}],
                "users": [{"name": "two", "user": {"token": "second"}}],
                "contexts": [{"name": "two", "context": {"cluster": "one", "user": "two"}}],
                "current-context": "not this",
            }
        )
    )
    (tmp_path / "empty").write_text("")
    parts = [str(first), "", str(tmp_path / "missing"), str(tmp_path / "empty"), str(second)]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(parts))

    found = find_credentials()

    assert (found.server, found.token, found.namespace) == ("https://one.example", "second", "default")
    assert find_credentials(context="one").token == "first"
    assert find_credentials(write(tmp_path / "named", name="named")).server == "https://named.example"


def test_nulls_are_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "clusters: [{name: a, cluster: {server: 'http://a', certificate-authority: null}}]\nusers: null\n"
        "contexts: [{name: a, context: {cluster: a, user: ''}}]\ncurrent-context: a\nextensions: [1]\n"
    )
    assert find_credentials(file) == Credentials("http://a", source=f"{file}: user ''")


def test_the_pods_own_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("token", "t"), ("ca.crt", "pem"), ("namespace", "mine\n")):
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(kubeconfig, "_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    found = find_credentials()
    assert (found.server, found.namespace) == ("https://[fd00::1]:6443", "mine")
    assert (found.token_file, found.authority) == (tmp_path / "token", b"pem")
    assert find_credentials(write(tmp_path / "config")).server == "https://it.example", "what is named goes first"


async def test_impersonation_is_carried_on(tmp_path: Path) -> None:
    user = {"token": "t", "as": "eve", "as-groups": ["devs", "ops"], "as-uid": "7"}
    async with Script(Answer(200, POD)).serve() as script:
        async with connect(write(tmp_path / "config", cluster={"server": script.url}, user=user)) as client:
            await client.get(PODS, ObjectKey("ns", "a"))
        headers = script.seen[0].pairs
    assert ("Impersonate-User", "eve") in headers
    assert [value for name, value in headers if name == "Impersonate-Group"] == ["devs", "ops"]
    assert ("Impersonate-Uid", "7") in headers


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({"server": None}, {}, "cluster 'it': server must begin with https"),
        ({"server": "api:6443"}, {}, "server must begin with https"),
        ({"proxy-url": "socks5://u:secret@proxy"}, {}, "cluster 'it': proxy-url is a proxy of socks5://, which is not"),
        ({"proxy-url": "http://:3128"}, {}, "cluster 'it': proxy-url is no URL of a proxy"),
        ({"certificate-authority": "none.pem"}, {}, "cluster 'it': certificate-authority cannot be read"),
        ({"certificate-authority-data": "%"}, {}, "cluster 'it': certificate-authority-data is no base64"),
        ({"certificate-authority-data": "eA=="}, {}, "certificate-authority is no PEM certificate"),
        (
            {"certificate-authority-data": "eA==", "insecure-skip-tls-verify": True},
            {},
            "certificate-authority and insecure-skip-tls-verify exclude each other",
        ),
        ({}, {"client-key-data": "eA=="}, "user 'it': client-certificate and client-key go together"),
        ({}, {"client-key-data": "eA==", "client-certificate-data": "eA=="}, "no PEM certificate and its unencrypted"),
        ({}, {"username": "me", "password": "s3cret"}, "user 'it': username and password are not supported"),
        ({}, {"as-groups": ["devs"]}, "user 'it': as-groups and as-uid need as"),
        ({}, {"as": "eve", "as-user-extra": {"a": ["b"]}}, "user 'it': as-user-extra is not supported"),
        ({}, {"auth-provider": {"name": "gcp"}}, "user 'it': auth-provider 'gcp' is not supported"),
        ({}, {"token": "s3cret\n more"}, "user 'it': token is not one line of text"),
        ({}, {"as": "eve\n"}, "user 'it': as is not one line of text"),
        ({}, {"token": 7}, r"is no kubeconfig: .*users\[0\].user.token"),
    ],
)
def test_what_is_wrong_is_named(cluster: dict[str, Any], user: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = write(tmp_path / "config", cluster=cluster, user={"token": "s3cret"} | user)
    with pytest.raises(KubeconfigError, match=said) as caught:
        connect(file)
    assert str(file) in str(caught.value)
    assert "s3cret" not in str(caught.value), "no refusal shows a secret"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token: [s3cret", "line 1: is no YAML"),
        ("- 7", "is no kubeconfig"),
        ("\x00", "cannot be read|is no YAML"),
        ("current-context: it", "there is no context 'it'; there are none"),
        ("kind: Config", "no current-context; set one, or name one with --context"),
        ("contexts: [{name: it, context: {cluster: x}}]\ncurrent-context: it", "there is no cluster 'x'"),
    ],
)
def test_files_that_are_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(KubeconfigError, match=said) as caught:
        connect(tmp_path / "config")
    assert str(tmp_path / "config") in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_no_file_at_all_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"home/.kube/config does not exist; name one with --kubeconfig"):
        connect()


def test_a_context_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="there is no context 'other'; there are it"):
        connect(write(tmp_path / "config"), "other")


# --- plugins ---------------------------------------------------------------------------------------------------------


def credential(number: str, expires: str | None = None) -> str:
    status = {"token": number} | ({"expirationTimestamp": expires} if expires else {})
    body = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return json.dumps(body)


def exec_user(folder: Path, script: str) -> dict[str, Any]:
    """A user whose plugin is a shell script beside the kubeconfig; it notes each run in `runs`."""
    (folder / "plugin.sh").write_text(f"#!/bin/sh\necho run >> {folder}/runs\n{script}\n")
    (folder / "plugin.sh").chmod(0o755)
    api_version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": api_version, "command": "./plugin.sh", "args": None, "env": None}}


def runs(folder: Path) -> int:
    return (folder / "runs").read_text().count("run")


async def test_an_exec_plugin_is_run_once_for_many_requests(tmp_path: Path) -> None:
    user = exec_user(tmp_path, f"echo '{credential('t1', '2999-01-01T00:00:00Z')}'")
    async with Script(Answer(200, POD)).serve() as script:
        async with connect(write(tmp_path / "config", cluster={"server": script.url}, user=user)) as client:
            await client.get(PODS, ObjectKey("ns", "a"))
            await client.get(PODS, ObjectKey("ns", "a"))
        assert {one.headers["Authorization"] for one in script.seen} == {"Bearer t1"}
    assert runs(tmp_path) == 1


async def test_an_exec_plugin_is_run_again_when_its_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dra_operator.cluster.plugins._LOOK_SECONDS", 0.0)
    told = credential("token-of-run-$(wc -l < {folder}/runs | tr -d ' ')").replace('"', '\\"')
    user = exec_user(tmp_path, f'echo "{told.replace("{folder}", str(tmp_path))}"')
    async with Script(Answer(200, POD)).serve() as script:
        script.tell(Answer(200, POD), failure(401, "Unauthorized"))
        async with connect(write(tmp_path / "config", cluster={"server": script.url}, user=user)) as client:
            await client.get(PODS, ObjectKey("ns", "a"))
            await client.get(PODS, ObjectKey("ns", "a"))
        said = [one.headers["Authorization"] for one in script.seen]
    assert said == ["Bearer token-of-run-1", "Bearer token-of-run-1", "Bearer token-of-run-2"]


async def test_a_plugin_that_fails_says_whose_it_is(tmp_path: Path) -> None:
    file = write(tmp_path / "config", user=exec_user(tmp_path, "echo 'please log in' >&2; exit 3"))
    async with connect(file) as client:
        with pytest.raises(ApiError, match=r"user 'it' cannot sign in: .*please log in") as caught:
            await client.get(PODS, ObjectKey("ns", "a"))
    assert caught.value.status == 401
    assert str(file) in caught.value.message
    assert runs(tmp_path) == 1


async def test_a_plugin_whose_token_no_header_takes_says_so(tmp_path: Path) -> None:
    answer = credential("of several\nlines")
    user = exec_user(tmp_path, f"cat <<'END'\n{answer}\nEND")
    async with connect(write(tmp_path / "config", user=user)) as client:
        with pytest.raises(ApiError, match="user 'it' cannot sign in: its token is not one line of text"):
            await client.get(PODS, ObjectKey("ns", "a"))


async def test_a_plugin_may_answer_with_a_certificate(certificates: Certificates, tmp_path: Path) -> None:
    status = {
        "clientCertificateData": certificates.client.read_text(),
        "clientKeyData": certificates.client_key.read_text(),
    }
    body = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (tmp_path / "answer.json").write_text(json.dumps(body))
    user = exec_user(tmp_path, f"cat {tmp_path}/answer.json")
    cluster = {"certificate-authority": str(certificates.authority)}
    assert (await greeted(certificates, tmp_path / "config", cluster, user)).peers == ["client"]


def id_token(expires: int) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, {"exp": expires})]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + ".x"


def oidc(expires: int) -> dict[str, Any]:
    config = {"id-token": id_token(expires), "refresh-token": "r", "client-id": "c", "client-secret": "s"}
    return {"auth-provider": {"name": "oidc", "config": config | {"idp-issuer-url": "http://127.0.0.1:1"}}}


async def test_an_oidc_token_is_used_while_it_is_valid(tmp_path: Path) -> None:
    async with Script(Answer(200, POD)).serve() as script:
        async with connect(write(tmp_path / "a", cluster={"server": script.url}, user=oidc(32503680000))) as client:
            await client.get(PODS, ObjectKey("ns", "a"))
        assert script.seen[0].headers["Authorization"] == f"Bearer {id_token(32503680000)}"


async def test_an_expired_oidc_token_is_for_kubectl_to_renew(tmp_path: Path) -> None:
    async with connect(write(tmp_path / "b", user=oidc(1))) as client:
        with pytest.raises(ApiError, match="kubectl renews"):
            await client.get(PODS, ObjectKey("ns", "a"))


def test_only_plugins_need_the_typed_client(tmp_path: Path) -> None:
    code = (
        "import sys; from dra_operator.cluster.kubeconfig import connect; connect(sys.argv[1]); "
        "sys.exit('kubernetes_asyncio' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(write(tmp_path / "config", user={"token": "t"}))], check=True)
