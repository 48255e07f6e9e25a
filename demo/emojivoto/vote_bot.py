"""vote-bot: votes once a second, for the doughnut more often than for any other.

Unlike the newest original, a bot without `TTL` runs for ever, as image v11 does.
Source: BuoyantIO/emojivoto emojivoto-web/cmd/vote-bot/main.go (behaviour).
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sys
import time
from types import FrameType
from urllib.parse import quote

from . import settings

_DOUGHNUT_SHARE = 0.15
_TIMEOUT_S = 10.0


def main() -> int:
    """Votes at `WEB_HOST`, `REQUEST_RATE` times a second, for `TTL` seconds or for ever."""
    signal.signal(signal.SIGTERM, _leave)
    host = settings.required("WEB_HOST")
    headers = {"Host": os.environ["HOST_OVERRIDE"]} if os.environ.get("HOST_OVERRIDE") else {}
    wait_s = 1.0 / max(1.0, settings.number("REQUEST_RATE", 1.0))
    ttl_s = settings.number("TTL", 0.0)
    ends_at = time.monotonic() + ttl_s if ttl_s else float("inf")
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT_S)
    while time.monotonic() < ends_at:
        time.sleep(wait_s)
        try:
            print(vote(connection, headers), flush=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            print(f"✖ {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            connection.close()
    return 0


def vote(connection: http.client.HTTPConnection, headers: dict[str, str]) -> str:
    """Votes once and returns the line to print.

    Raises:
        OSError: the web server is out of reach.
        HTTPException, ValueError: it answered something else than expected.
    """
    emojis = json.loads(_get(connection, "/api/list", headers))
    choice = random.choice(emojis)["shortcode"]
    if random.random() < _DOUGHNUT_SHARE:
        choice = ":doughnut:"
    _get(connection, f"/api/vote?choice={quote(choice)}", headers, failing=True)
    return f"✔ Voting for {choice}"


def _get(
    connection: http.client.HTTPConnection,
    path: str,
    headers: dict[str, str],
    *,
    failing: bool = False,
) -> bytes:
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200 and not failing:
        raise ValueError(f"GET {path}: status {response.status}")
    return body


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
