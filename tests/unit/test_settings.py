"""Flags as charts write them; excludes each daemon's own table of settings."""

from dataclasses import dataclass

import pytest

from linkerd.errors import SettingsError
from linkerd.settings import address, duration_s, parse, setting


@dataclass(frozen=True)
class _Settings:
    addr: tuple[str, int] = setting(("0.0.0.0", 8086), "address", parse=address)
    enable_h2_upgrade: bool = setting(True, "meshed HTTP/1 travels as HTTP/2")
    log_level: str = setting("info", "level", choices=("info", "debug"))
    queue: int = setting(100, "capacity")


def test_go_style_flags_fill_the_settings() -> None:
    """Charts pass `-flag=value`; people also type `--flag value`."""
    got = parse(_Settings, ["-addr=:9", "--queue", "7", "-enable-h2-upgrade=false"])
    assert _Settings(("0.0.0.0", 9), False, "info", 7) == got


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse(_Settings, ["-addr=x", "--log-level=loud", "--nope", "--queue=many"])
    assert [
        "--addr=x: expected an address such as :8086 or 127.0.0.1:8086",
        "--log-level=loud: expected one of info, debug",
        "--nope: no such flag",
        "--queue=many: expected a whole number",
    ] == caught.value.message.splitlines()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h0m0s", 86400.0), ("500ms", 0.5), ("1m30s", 90.0), ("0", 0.0)],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert seconds == duration_s(text)


@pytest.mark.parametrize("text", ["", "5", "1h-2m", "s"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_s(text)
