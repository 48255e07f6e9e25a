"""Chromium, and a local cluster with a dashboard that a browser looks at.

`UPDATE_SCREENSHOTS=1 make test-browser` renews docs/screenshots. With BROWSER_HOME a cluster is
made there and kept, for work on the pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser import chrome
from tests.browser.chrome import Watched
from tests.integration.mesh import LINKERD, ROOT, Mesh, eventually

_CHROMIUM = shutil.which("chromium")
_EMOJIVOTO = ROOT / "demo" / "emojivoto" / "emojivoto.yml"
_HTTP_ECHO = ROOT / "demo" / "http_echo" / "http-echo.yml"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    if _CHROMIUM is None:
        pytest.skip("needs chromium")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=_CHROMIUM, args=chrome.FLAGS, timeout=chrome.PATIENCE_MS
        )
        yield chromium
        await chromium.close()


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A cluster with emojivoto meshed and measured, and the documents' http-echo unmeshed."""
    if os.geteuid() != 0:
        pytest.skip("the cluster makes namespaces as root")
    kept = os.environ.get("BROWSER_HOME")
    home = Path(kept) if kept else tmp_path_factory.mktemp("browser")
    mesh = Mesh(home)
    try:
        if not (kept and mesh.paths.store.exists()):
            _install(mesh)
        yield mesh
    finally:
        if not kept:
            mesh.delete()


def _install(mesh: Mesh) -> None:
    mesh.start()
    mesh.install()
    mesh.install_viz()
    # Pods that are made before the tap injector cannot be tapped.
    mesh.wait("linkerd-viz")
    mesh.apply(mesh.inject(_EMOJIVOTO.read_text()))
    mesh.apply(_HTTP_ECHO.read_text())
    mesh.wait("emojivoto", "linkerd-test")


@pytest.fixture(scope="session")
def address(mesh: Mesh) -> Iterator[str]:
    """Where `linkerd viz dashboard` serves it; emojivoto's traffic is measured, failures too."""
    command = [str(LINKERD), "viz", "dashboard", "--show", "url", "-p", "0"]
    with subprocess.Popen(
        command, env=mesh.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = None
            while found is None:
                line = process.stdout.readline()
                assert line, "the dashboard's command ended"
                found = re.search(r"http://\S+:\d+", line)
            _measured(mesh)
            yield found[0]
        finally:
            process.terminate()


def _measured(mesh: Mesh) -> None:
    async def waiting(_: object) -> str:
        async def left() -> str:
            table = mesh.linkerd("viz", "stat", "deploy", "-n", "emojivoto", check=False)
            rates = dict(re.findall(r"^(\S+)\s+1/1\s+([\d.]+)%", table, re.MULTILINE))
            failing = float(rates.get("voting", 100)) < 100
            return "" if {"web", "emoji", "voting"} <= rates.keys() and failing else table

        await eventually(left, 120)
        return ""

    mesh.do(waiting)


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser, address: str) -> AsyncIterator[Watched]:
    """A tab on the cluster's dashboard."""
    watched = await chrome.opened(browser, address)
    yield watched
    await watched.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets unfinished farewells pass, as on every whole cluster (tests/integration)."""
    for item in items:
        if Path(__file__).resolve().parent in item.path.parents:
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )
