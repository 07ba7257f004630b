"""`explain` and its like with the rights of a user: what these hide is said, and the operator's word stands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from dra_operator.cli.explain import explain
from dra_operator.cli.inspect import audit, claims, devices
from dra_operator.sandbox.state import State
from tests.e2e.stage import Stage
from tests.unit.cli.commands import Answer, call

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_OWN = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims", "resourceclaimtemplates"], "verbs": ["list"]},
]


@asynccontextmanager
async def developer(
    here: Stage, cluster: State, folder: Path, rules: list[dict[str, Any]] = _OWN
) -> AsyncIterator[tuple[str, ...]]:
    """Flags of someone who has these rights in the test's namespace, and no other."""
    name = f"dev-{here.namespace}"
    role = {"metadata": {"name": name}, "rules": rules}
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }
    for kind, body in (("Role", role), ("RoleBinding", binding)):
        path = f"{_RBAC}/namespaces/{here.namespace}/{kind.lower()}s"
        whole = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, **body}
        await here.client.request("POST", path, body=json.dumps(whole).encode())
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    for user in config["users"]:
        user["user"]["as"] = name
    file = folder / "developer"
    file.write_text(yaml.safe_dump(config))
    yield ("--kubeconfig", str(file))


async def ask(command: Any, *arguments: str) -> Answer:
    return await asyncio.to_thread(call, command, *arguments)


async def test_a_developer_gets_the_operators_verdict_and_is_told_what_is_hidden(
    here: Stage, cluster: State, tmp_path: Path
) -> None:
    await here.template()
    for name in ("a", "b", "c", "d"):
        await here.pod(name, templates=("gpu",))
    await here.running("a", "b", "c", "d")
    await here.pod("one", templates=("gpu",))
    message = await here.waits("one", "DevicesInUse")

    async with developer(here, cluster, tmp_path) as flags:
        answer = await ask(explain, "one", "-n", here.namespace, "-o", "json", *flags)
        own = await ask(claims, "-n", here.namespace, "-o", "json", *flags)
        admins = await ask(audit, *flags)

    assert answer.code == 1, answer.err
    assert (answer.json["reason"]["code"], answer.json["reason"]["message"]) == ("DevicesInUse", message)
    unseen = " ".join(answer.json["unseen"])
    for hidden in ("list nodes", "list resourceslices", f'pods in namespace "{here.namespace}" only'):
        assert hidden in unseen
    assert len(own.json["claims"]) == 5
    assert (admins.code, admins.out) == (2, ""), "of the context's namespace nothing may be seen either"


async def test_without_any_rights_that_is_what_is_said(here: Stage, cluster: State, tmp_path: Path) -> None:
    await here.template()
    await here.pod("one", templates=("gpu",))
    await here.running("one")

    async with developer(here, cluster, tmp_path, rules=[]) as flags:
        answer = await ask(explain, "one", "-n", here.namespace, *flags)
        others = {command: await ask(command, *flags) for command in (devices, claims, audit)}

    assert (answer.code, answer.out) == (2, "")
    assert f'you may not list pods in namespace "{here.namespace}"; an admin can give you' in answer.err
    assert "there is no" not in answer.err, "nobody knows"
    for command, hidden in ((devices, "resourceslices"), (claims, "resourceclaims"), (audit, "resourceclaims")):
        told = others[command]
        assert (told.code, told.out) == (2, ""), "nothing seen is not nothing there"
        assert f"you may not list {hidden}" in told.err


async def test_an_unknown_pod_of_a_live_cluster_is_refused_with_a_hint(here: Stage, cluster: State) -> None:
    await here.template()
    await here.pod("train", templates=("gpu",))
    answer = await ask(explain, "trian", "-n", here.namespace, "--kubeconfig", cluster.kubeconfig)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.endswith('did you mean "train"?\n')


async def test_a_token_that_is_not_accepted_is_refused(cluster: State, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    config["users"] = [{"name": user["name"], "user": {"token": "wrong"}} for user in config["users"]]
    (tmp_path / "wrong").write_text(yaml.safe_dump(config))
    answer = await ask(explain, "one", "--kubeconfig", str(tmp_path / "wrong"))
    assert (answer.code, answer.out) == (2, "")
    assert "does not accept who you are" in answer.err
