"""What holds for every test on a whole cluster."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets asyncio's unfinished TLS farewells pass.

    Servers are killed here; asyncio leaves a socket whose TLS handshake or farewell broke off to
    the collector, which complains in whichever test comes next. Everywhere else it is an error.
    """
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )


@pytest.fixture(scope="session", autouse=True)
def farewells() -> Iterator[None]:
    """Lets the collector complain of the last test's sockets while complaints may pass."""
    yield
    # An object that its finalizer kept needs a second look.
    for _ in range(3):
        gc.collect()
