"""Chromium with somebody looking over its shoulder: what no page of ours may do.

Every page is watched: errors on the console, exceptions, requests to any other host and answers
that failed are collected, and `Watched.close` fails with them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page, Request, expect

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 40_000
SCREENSHOTS = Path(__file__).resolve().parent.parent.parent / "docs" / "screenshots"
_AXE = SCREENSHOTS.parent.parent / "web" / "node_modules" / "axe-core" / "axe.min.js"
_WIDTH, _HEIGHT = 1280, 900
_PAUSE_S = 0.2
# Texts of cells without what only screen readers or only eyes get.
_SHOWN = """cells => cells.map(cell => {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll(".unseen:not(:only-child), [aria-hidden]").forEach(one => one.remove());
  return copy.textContent.replace(/\\s+/g, " ").trim();
})"""


expect.set_options(timeout=PATIENCE_MS)


class Watched:
    """One tab of a dashboard; use `opened`.

    Args:
        page: The tab.
        address: Of the dashboard.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        self._host = urlsplit(address).netloc
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self._host:
            self.complaints.append(f"request to {request.url}")

    async def go(self, path: str) -> None:
        """Opens a path of the dashboard, as a bookmark does."""
        await self.page.goto(self.address + path, wait_until="commit")

    def table(self, name: str) -> Locator:
        """A table by what screen readers call it."""
        return self.page.get_by_role("table", name=name, exact=True)

    async def row(self, table: str, name: str) -> Locator:
        """A table's row by what its cells contain, when it is there."""
        found = self.table(table).get_by_role("row").filter(has_text=name).first
        await found.wait_for()
        return found

    async def cells(self, table: str, name: str) -> dict[str, str]:
        """Returns a row's texts by the titles of their columns."""
        row = await self.row(table, name)
        titles = await self.table(table).locator("thead th").evaluate_all(_SHOWN)
        texts = await row.locator("th, td").evaluate_all(_SHOWN)
        return dict(zip(titles, texts, strict=True))

    async def heading(self) -> str:
        """The only heading of the first level."""
        found = self.page.get_by_role("heading", level=1)
        await found.wait_for()
        return (await found.inner_text()).replace("\xa0", " ").strip()

    async def live(self) -> None:
        """Waits until the page shows that its data is live."""
        await self.page.get_by_role("status").get_by_text("Live", exact=True).wait_for()

    async def shot(self, name: str) -> None:
        """Takes a picture for the documents, if they are to be renewed."""
        if os.environ.get("UPDATE_SCREENSHOTS"):
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            await expect(self.page.locator("[aria-busy=true]")).to_have_count(0)
            await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    async def close(self) -> None:
        """Ends the tab; fails with what it complained about."""
        await self.page.context.close()
        assert [] == self.complaints


async def opened(
    browser: Browser, address: str, *, width: int = _WIDTH, scheme: str = "light"
) -> Watched:
    """Returns a new tab without any memory.

    Args:
        browser: Where.
        address: Of the dashboard.
        width: Of the window in pixels.
        scheme: What the system wishes, light or dark.
    """
    context = await browser.new_context(
        viewport={"width": width, "height": _HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    return Watched(await context.new_page(), address)


async def until(holds: Callable[[], Awaitable[str]], timeout_s: float = 60.0) -> None:
    """Asks until nothing is missing; what still is, is the failure's text."""
    deadline = time.monotonic() + timeout_s
    while missing := await holds():
        assert time.monotonic() < deadline, missing
        await asyncio.sleep(_PAUSE_S)


async def unnamed(page: Page) -> list[str]:
    """Returns what somebody who does not see the page could not name or find.

    Chromium's own accessibility tree is asked, as a screen reader would.
    """
    wanted = {
        "button",
        "link",
        "textbox",
        "searchbox",
        "combobox",
        "checkbox",
        "table",
        "navigation",
    }
    session = await page.context.new_cdp_session(page)
    nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    await session.detach()
    roles = {node.get("role", {}).get("value") for node in nodes}
    found = [f"no {role}" for role in ("main", "banner") if role not in roles]
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        name = node.get("name", {}).get("value", "")
        if not node.get("ignored") and role in wanted and not name.strip():
            found.append(role)
    return found


async def overflow(page: Page) -> int:
    """Returns by how many pixels the page is wider than its window."""
    width: int = await page.evaluate(
        "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
    )
    return width


async def barriers(page: Page) -> list[str]:
    """Returns what axe-core finds serious or critical: the rule, its text and where."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE.read_text())
    found: list[dict[str, Any]] = await page.evaluate(
        "axe.run({resultTypes: ['violations']}).then(all => all.violations)"
    )
    return [
        f"{rule['id']}: {rule['help']}: {node['target']} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
