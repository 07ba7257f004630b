"""Ports that stay free until the programs start that they are meant for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dra_operator.sandbox import ports


def connections_from(monkeypatch: pytest.MonkeyPatch, folder: Path, port: int) -> None:
    file = folder / "ip_local_port_range"
    file.write_text(f"{port}\t60999\n")
    monkeypatch.setattr(ports, "_CONNECTIONS", file)


def test_they_differ_and_no_connection_is_given_one_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connections_from(monkeypatch, tmp_path, 20_000)

    found = ports.free_ports(50)

    assert len(set(found)) == 50
    assert all(15_000 <= port < 20_000 for port in found)


def test_one_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connections_from(monkeypatch, tmp_path, 20_000)
    port, other = ports.free_ports(2)
    chosen = iter([port, port, other])
    monkeypatch.setattr("secrets.randbelow", lambda room: next(chosen) - 15_000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))

        assert ports.free_port() == other


def test_where_connections_get_all_ports_there_is_one_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connections_from(monkeypatch, tmp_path, 1024)

    with socket.socket() as one:
        one.bind(("127.0.0.1", ports.free_port()))
