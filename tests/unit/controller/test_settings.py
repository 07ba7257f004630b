"""What is special about the controller's settings; where settings come from is in tests/unit/settings."""

from __future__ import annotations

import pytest

from dra_operator.controller.settings import Gate, Settings
from dra_operator.settings.model import SettingError
from dra_operator.settings.resolve import resolve


def settings(**flags: str) -> Settings:
    return resolve(Settings, flags=flags, config=None, environment={}).settings


def test_a_gate_by_webhook_needs_an_address() -> None:
    with pytest.raises(SettingError, match="set webhook-address"):
        settings(gate="webhook")

    assert settings(gate="webhook", webhook_address=":9443").gate is Gate.WEBHOOK


def test_an_authority_lives_long_enough_to_be_replaced() -> None:
    with pytest.raises(SettingError, match=r"webhook-ca-lifetime.*from 20 to ten years"):
        settings(webhook_ca_lifetime="5")
