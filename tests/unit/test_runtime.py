"""How a daemon ends: what its last line says; excludes signals."""

from __future__ import annotations

import asyncio

import pytest

from linkerd import log, runtime
from linkerd.errors import PkiError


@pytest.mark.parametrize(
    ("error", "line", "traced"),
    [
        (None, "", False),
        (PkiError("the issuer is not valid anymore"), "the issuer is not valid anymore", False),
        (ValueError("a bug"), "a bug", True),
    ],
)
def test_an_error_of_ours_ends_in_one_line_and_a_bug_shows_where(
    error: Exception | None, line: str, traced: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    async def serve(_: asyncio.Event) -> None:
        if error is not None:
            raise error

    log.configure("info", "plain")
    assert (error is not None) == runtime.run(serve)
    out, err = capfd.readouterr()
    text = out + err
    assert line in text
    assert traced is ("Traceback" in text)
