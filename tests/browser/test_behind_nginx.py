"""The dashboard behind Debian's nginx: as the document's Ingress sets it up, and below a path.

nginx.ingress.kubernetes.io/upstream-vhost becomes the Host header, the configuration snippet is
used as it stands in the document. Needs the cluster of `mesh`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.async_api import Browser, expect

from tests.browser.chrome import opened

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx"),
]

VHOST = "web.linkerd-viz.svc.cluster.local:8084"
SNIPPET = """
      proxy_set_header Origin "";
      proxy_hide_header l5d-remote-ip;
      proxy_hide_header l5d-server-id;
"""
# What ingress-nginx writes into every location.
COMMON = """
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
"""


@contextlib.asynccontextmanager
async def nginx(folder: Path, upstream: str) -> AsyncIterator[str]:
    """Runs nginx: / as the document's Ingress, /mesh/ as a prefix; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(f"""
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://{upstream};
      proxy_set_header Host {VHOST};
{COMMON}{SNIPPET}
    }}
    location /mesh/ {{
      proxy_pass http://{upstream}/;
      proxy_set_header Host {VHOST};
      proxy_set_header X-Forwarded-Prefix /mesh;
{COMMON}{SNIPPET}
    }}
    location /strange/ {{
      proxy_pass http://{upstream}/;
      proxy_set_header Host evil.example;
    }}
  }}
}}
""")
    process = await asyncio.create_subprocess_exec("nginx", "-c", str(config), "-p", str(folder))
    try:
        address = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(trust_env=False) as http, asyncio.timeout(40):
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    await http.get(address + "/api/version")
                    break
                await asyncio.sleep(0.1)
        yield address
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("prefix", ["", "/mesh"])
async def test_the_dashboard_works_behind_an_ingress(
    browser: Browser, address: str, tmp_path: Path, prefix: str
) -> None:
    async with nginx(tmp_path, urlsplit(address).netloc) as front:
        tab = await opened(browser, front + prefix)
        await tab.go("/namespaces/emojivoto/deployments/web")
        await tab.live()
        assert "deployment/web" == await tab.heading()
        # Streams come through unbuffered, taps though Origin is hidden.
        await tab.row("Live calls", "/api/list")
        await tab.page.get_by_role("link", name="Namespaces", exact=True).last.click()
        await tab.cells("HTTP metrics of namespaces", "emojivoto")
        assert tab.page.url == f"{front}{prefix}/namespaces"
        await tab.page.reload()
        await tab.cells("HTTP metrics of namespaces", "emojivoto")
        await (
            (await tab.row("HTTP metrics of namespaces", "emojivoto"))
            .get_by_role("link", name="Grafana")
            .click()
        )
        await expect(tab.page.locator(".plot canvas").first).to_be_visible()
        await tab.close()


async def test_strict_headers_and_hosts_hold_behind_it(address: str, tmp_path: Path) -> None:
    async with (
        nginx(tmp_path, urlsplit(address).netloc) as front,
        httpx2.AsyncClient(base_url=front, trust_env=False) as http,
    ):
        answer = await http.get("/")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("l5d-")]
        refused = await http.get("/strange/api/version")
    assert (400, True) == (refused.status_code, "dns-rebinding" in refused.text)
