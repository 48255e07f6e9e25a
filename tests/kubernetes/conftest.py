"""What holds for every test on a real Kubernetes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.conftest import farewells  # noqa: F401 - a fixture

_HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips without root, and lets asyncio's unfinished TLS farewells pass.

    API servers and streams are killed here; asyncio leaves a socket whose TLS farewell broke off to
    the collector, which complains in whichever test comes next. Everywhere else it is an error.
    """
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="the bed needs root"))
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )
