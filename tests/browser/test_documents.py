"""What the documents click and see, on a whole local cluster: every page of the dashboard.

Each tab fails at its end if the page complained on the console or asked another host
(`chrome.Watched`). Not covered: large meshes and hostile names in labels (test_synthetic.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from linkerd.kube.resources import CLUSTER_ROLE_BINDINGS
from tests.browser.chrome import Watched, barriers, opened, overflow, unnamed, until
from tests.integration.mesh import LINKERD, ROOT, Mesh

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

HTTP_ECHO = ROOT / "demo" / "http_echo" / "http-echo.yml"
DOUGHNUT = "/emojivoto.v1.VotingService/VoteDoughnut"
WEB = "/namespaces/emojivoto/deployments/web"
PAGES = {
    "/namespaces": "Namespaces",
    "/namespaces/emojivoto": "emojivoto",
    "/namespaces/_all/deployments": "Deployments in all namespaces",
    "/namespaces/emojivoto/pods": "Pods in emojivoto",
    "/namespaces/emojivoto/services": "Services in emojivoto",
    "/namespaces/emojivoto/statefulsets": "Stateful sets in emojivoto",
    WEB + "?window=5m&range=5m": "deployment/web",
    "/namespaces/emojivoto/services/web-svc": "service/web-svc",
    "/graph": "Topology of all namespaces",
    "/graph?namespace=emojivoto&mesh=true": "Topology of emojivoto",
    "/tap?namespace=emojivoto&resource=deploy%2Fweb": "Tap",
    "/top?namespace=emojivoto&resource=deploy%2Fweb": "Top",
    "/routes?namespace=emojivoto&resource=deploy%2Fweb": "Routes",
    "/controlplane": "Control plane",
    "/gateways": "Gateways",
    "/extensions": "Extensions",
    "/grafana": "Dashboards",
    "/grafana/d/linkerd-top-line?range=5m": "Linkerd Top Line",
    "/grafana/d/linkerd-deployment?var-namespace=emojivoto&var-deployment=web": "Linkerd Deployment",
}


async def test_the_namespaces_show_what_is_meshed_and_how_it_does(tab: Watched) -> None:
    """The video: 4 of 4 pods are meshed; the blog: those without a proxy have no metrics."""
    await tab.go("/")
    await tab.live()
    assert "Namespaces" == await tab.heading()
    meshed = await tab.cells("HTTP metrics of namespaces", "emojivoto")
    assert "4/4" == meshed["Meshed"]
    assert re.search(r"\d+\.\d\d%", meshed["Success rate"])
    assert float(meshed["RPS"]) > 0
    plain = await tab.cells("HTTP metrics of namespaces", "linkerd-test")
    assert ("0/2", "–", "–") == (plain["Meshed"], plain["Success rate"], plain["RPS"])
    row = await tab.row("HTTP metrics of namespaces", "emojivoto")
    await expect(row.locator(".sparkline")).to_be_visible()
    # Six between the services, and one of each pod's proxy that is scraped; probes come and go.
    connections = await tab.cells("TCP metrics of namespaces", "emojivoto")
    assert 10 <= int(connections["Connections"]) <= 14
    await tab.shot("namespaces")


async def test_numbers_are_those_of_the_command_line(tab: Watched, mesh: Mesh) -> None:
    await tab.go("/namespaces/emojivoto/deployments")
    await tab.live()

    async def missing() -> str:
        text = await asyncio.to_thread(
            mesh.linkerd, "viz", "stat", "deploy", "-n", "emojivoto", "-o", "json"
        )
        rows = {row["name"]: row for row in json.loads(text)}
        shown = {
            name: await tab.cells("HTTP metrics of deployments", name) for name in ("emoji", "web")
        }
        wrong = [name for name, cells in shown.items() if not _alike(rows[name], cells)]
        return f"{wrong}: {rows} {shown}" if wrong else ""

    await until(missing)


def _alike(row: dict[str, Any], cells: dict[str, str]) -> bool:
    """Whether two looks within moments of each other saw the same."""
    share = float(cells["Success rate"].removesuffix("%"))
    p50 = float(cells["P50"].split()[0])
    return bool(
        row["meshed"] == cells["Meshed"]
        and abs(row["success"] * 100 - share) < 2
        and abs(row["rps"] - float(cells["RPS"])) < 0.3
        and abs(row["latency_ms_p50"] - p50) <= max(3, p50 / 2)
    )


async def test_from_the_namespace_to_the_failing_call(tab: Watched) -> None:
    """The video drills down: namespace, map, deployment, live calls, and finds the doughnut."""
    await tab.go("/namespaces")
    await tab.page.get_by_role("link", name="emojivoto", exact=True).first.click()
    assert "emojivoto" == await tab.heading()
    await expect(tab.page.locator(".graph .node")).to_have_count(4)
    await expect(tab.page.locator(".graph .edge")).to_have_count(3)
    for kind, count in (("Deployments", 4), ("Pods", 4), ("Services", 3)):
        await expect(tab.table(kind).locator("tbody tr")).to_have_count(count)
    await expect(tab.page.locator(".plot canvas")).to_have_count(3)
    await tab.shot("namespace")
    await tab.table("Deployments").get_by_role("link", name="web", exact=True).click()
    assert "deployment/web" == await tab.heading()
    assert "vote-bot" in (await tab.cells("Inbound", "vote-bot"))["From"]
    assert "√ mTLS" == (await tab.cells("Outbound", "voting"))["Secured"]
    doughnut = await tab.row("Live calls", DOUGHNUT)
    await expect(doughnut).to_have_class(re.compile("bad"))
    found = await tab.cells("Live calls", DOUGHNUT)
    assert ("web", "voting", "0.00%") == (
        found["From"],
        found["To"],
        found["Success rate"],
    )
    good = await tab.row("Live calls", "/emojivoto.v1.EmojiService/ListAll")
    await expect(good).to_have_class(re.compile("good"))
    await tab.shot("deployment")
    await doughnut.get_by_role("link", name="Tap").click()
    assert "Tap" == await tab.heading()
    columns = ("Method", "HTTP", "gRPC")

    async def unfinished() -> str:  # a call's row fills as the call goes on
        cells = await tab.cells("Requests", DOUGHNUT)
        seen = tuple(cells[column] for column in columns)
        return "" if seen == ("POST", "200", "Unknown") else str(seen)

    await until(unfinished)


@contextlib.contextmanager
def _emojivoto(mesh: Mesh) -> Iterator[str]:
    """The address of emojivoto's page, forwarded by our own kubectl."""
    words = ("local", "kubectl", "-n", "emojivoto", "port-forward", "svc/web-svc", ":80")
    environment = mesh.environment | {"LINKERD_LOCAL_KUBECTL": "own"}
    with subprocess.Popen(
        [str(LINKERD), *words], env=environment, stdout=subprocess.PIPE, text=True
    ) as forwarding:
        try:
            assert forwarding.stdout is not None
            line = forwarding.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", line)
            assert found, line
            yield f"http://{found[0]}"
        finally:
            forwarding.terminate()


async def test_a_vote_counts_and_the_doughnut_fails(browser: Browser, mesh: Mesh) -> None:
    """All documents forward a port to emojivoto's page; two vote for the doughnut."""
    with _emojivoto(mesh) as address:
        page = (await opened(browser, address)).page
        await page.goto(address, wait_until="commit")
        await page.get_by_title(":beer:", exact=True).click()
        await expect(page.get_by_text("You picked:")).to_be_visible()
        await page.get_by_role("button", name="View the leaderboard").click()
        await expect(page.get_by_title(re.compile(r"^\d+ votes$")).first).to_be_visible()
        await page.get_by_role("button", name="Vote on your favorite").click()
        await page.get_by_title(":doughnut:", exact=True).click()
        await expect(page.get_by_role("heading", name="404")).to_be_visible()
        await page.context.close()


async def test_the_grafana_column_leads_to_the_top_line(tab: Watched) -> None:
    """The microk8s article: row linkerd, column Grafana; then the number of what is monitored."""
    await tab.go("/namespaces")
    row = await tab.row("HTTP metrics of namespaces", "linkerd-viz")
    await row.get_by_role("link", name="Grafana dashboard of linkerd-viz").click()
    assert "Linkerd Namespace" == await tab.heading()
    chosen = tab.page.locator("main").get_by_role("combobox", name="namespace")
    await expect(chosen).to_have_value("linkerd-viz")
    await tab.page.get_by_role("link", name="Dashboards").click()
    await tab.page.get_by_role("link", name="Top Line").click()
    for title, least in (("NAMESPACES MONITORED", 3), ("DEPLOYMENTS MONITORED", 9)):
        card = tab.page.locator(".card").filter(has_text=title).locator("strong")
        await expect(card).to_have_text(re.compile(r"^\d+$"))
        assert int(await card.inner_text()) >= least
    for title in ("SUCCESS RATE", "REQUEST RATE", "P95 LATENCY"):
        figure = tab.page.get_by_role("figure", name=re.compile(f"^{title}: .*emojivoto")).first
        await expect(figure.locator("canvas")).to_be_visible()
    await tab.shot("grafana-top-line")


async def test_a_pods_grafana_shows_both_directions(tab: Watched) -> None:
    """The microk8s article opens the dashboards of the caller's and of the server's pod."""
    await tab.go("/namespaces/emojivoto/pods")
    await (
        (await tab.row("HTTP metrics of pods", "vote-bot"))
        .get_by_role("link", name="Grafana")
        .click()
    )
    assert "Linkerd Pod" == await tab.heading()
    rate = re.compile(r"^REQUEST RATE: → \S*web\S* [\d.]+ rps")
    await expect(tab.page.get_by_role("figure", name=rate).first).to_be_visible()
    await tab.page.go_back()
    await (
        (await tab.row("HTTP metrics of pods", "emoji")).get_by_role("link", name="Grafana").click()
    )
    inbound = re.compile(r"^SUCCESS RATE: .*100%")
    await expect(tab.page.get_by_role("figure", name=inbound).first).to_be_visible()
    await tab.shot("grafana-pod")


async def test_the_topology_spans_namespaces(tab: Watched) -> None:
    """The Chinese quick start: the generated topology."""
    await tab.go("/graph")
    await tab.live()
    await expect(tab.page.locator(".graph .node")).to_have_count(4)
    voting = tab.page.get_by_role("link", name=re.compile("deployment voting of emojivoto"))
    await expect(voting).to_be_visible()
    await tab.shot("topology")
    await tab.page.get_by_label("Show the mesh's own traffic").check()
    await expect(tab.page.get_by_role("link", name="linkerd-viz", exact=True)).to_be_visible()
    assert "mesh=true" in tab.page.url
    await voting.focus()
    await tab.page.keyboard.press("Enter")
    assert "deployment/voting" == await tab.heading()


async def test_unmeshed_workloads_say_how_to_mesh_them(tab: Watched) -> None:
    await tab.go("/namespaces/linkerd-test")
    await expect(tab.page.get_by_text("Nothing here is meshed yet")).to_be_visible()
    await expect(tab.page.get_by_text("linkerd inject -")).to_be_visible()
    await tab.shot("unmeshed")
    await tab.table("Deployments").get_by_role("link", name="http-echo", exact=True).click()
    assert "deployment/http-echo" == await tab.heading()
    await expect(tab.page.get_by_text("not meshed", exact=True)).to_be_visible()


async def test_the_articles_pods_show_who_called_whom(tab: Watched, mesh: Mesh) -> None:
    """The microk8s article: ubuntu curls http-echo, and both pods' pages and dashboards show it."""
    manifest = HTTP_ECHO.read_text().replace("linkerd-test", "echo-meshed")
    await asyncio.to_thread(mesh.apply, await asyncio.to_thread(mesh.inject, manifest))
    await asyncio.to_thread(mesh.wait, "echo-meshed")

    async def shown(table: str) -> str:
        """Calls again each time: what was called a minute ago is shown no more."""
        done = await asyncio.to_thread(
            mesh.run_in, "ubuntu", "echo-meshed", "curl", "-s", "http://http-echo", container="ubuntu"
        )  # fmt: skip
        if b"Hello from http-echo" not in done.stdout:
            return str(done)
        cells = tab.table(table).locator("tbody tr").filter(has_text="100.00%")
        return "" if await cells.count() else f"no traffic is shown in {table}"

    await tab.go("/namespaces/echo-meshed/pods/ubuntu")
    await until(lambda: shown("Outbound"), 120)
    assert "pod/ubuntu" == await tab.heading()
    assert "√ mTLS" == (await tab.cells("Outbound", "http-echo"))["Secured"]
    await tab.page.get_by_role("main").get_by_role("link", name="Grafana", exact=True).click()
    assert "Linkerd Pod" == await tab.heading()
    rate = re.compile(r"^REQUEST RATE: → http-echo")
    await expect(tab.page.get_by_role("figure", name=rate).first).to_be_visible()
    await tab.go("/namespaces/echo-meshed/deployments/http-echo")
    await until(lambda: shown("Inbound"), 120)
    assert "ubuntu" in await tab.table("Inbound").locator("tbody tr").first.inner_text()


async def test_tap_shows_single_requests_with_all_that_is_known(tab: Watched) -> None:
    await tab.go("/tap")
    await tab.page.get_by_label("Namespace", exact=True).last.fill("emojivoto")
    await tab.page.get_by_label("Resource", exact=True).fill("deploy/web")
    await tab.page.get_by_label("Path begins with").fill("/api")
    await tab.page.get_by_role("button", name="Start").click()
    await expect(tab.page.get_by_role("status").last).to_contain_text("linkerd viz tap deploy/web")
    row = await tab.row("Requests", "/api/vote")
    assert "√" == (await tab.cells("Requests", "/api/vote"))["Secured"]
    await expect(tab.table("Requests").get_by_text("/emojivoto.v1.")).to_have_count(0)
    await tab.page.get_by_role("button", name="Stop").click()
    await row.get_by_role("button").click()
    request = tab.page.get_by_role("region", name="Request", exact=True)
    await expect(request.get_by_text("l5d-client-id")).to_be_visible()
    await tab.shot("tap")


async def test_top_counts_requests_by_path(tab: Watched) -> None:
    await tab.go("/top?namespace=emojivoto&resource=ns%2Femojivoto&autostart=true")
    await tab.row("Live calls", DOUGHNUT)
    await tab.page.get_by_role("button", name="Success rate").click()
    await tab.page.get_by_role("button", name="Success rate").click()
    first = tab.table("Live calls").locator("tbody tr").first
    await expect(first).to_have_class(re.compile("bad"))
    await tab.shot("top")


async def test_routes_of_a_profile_are_listed(tab: Watched, mesh: Mesh) -> None:
    profile = await asyncio.to_thread(
        mesh.linkerd, "profile", "-n", "emojivoto", "--open-api", "-", "web-svc",
        stdin=json.dumps({"swagger": "2.0", "paths": {"/api/vote": {"get": {}}, "/api/list": {"get": {}}}}),
    )  # fmt: skip
    await asyncio.to_thread(mesh.apply, profile)
    await tab.go("/routes?namespace=emojivoto&resource=svc%2Fweb-svc&autostart=true")
    for route in ("GET /api/list", "GET /api/vote", "[DEFAULT]"):
        await tab.page.get_by_role("rowheader", name=route).wait_for()
    for route in ("GET /api/list", "GET /api/vote"):
        row = tab.page.get_by_role("row").filter(has_text=route)
        await expect(row).to_contain_text(re.compile(r"\d+\.\d\d%"))
    await tab.shot("routes")


async def test_the_control_plane_is_well_and_checks_itself(tab: Watched, mesh: Mesh) -> None:
    await tab.go("/controlplane")
    version = (await asyncio.to_thread(mesh.linkerd, "version", "--client", "--short")).strip()
    for name in ("destination", "identity", "proxy-injector"):
        cells = await tab.cells("Components", name)
        assert ("Running", "ready", version) == (
            cells["Status"], cells["Proxy"], cells["Version"]
        )  # fmt: skip
    assert "4/4" == (await tab.cells("Data plane", "emojivoto"))["Meshed pods"]
    checks = tab.page.get_by_role("region", name="Checks")
    await expect(checks.get_by_role("status")).to_have_text(re.compile(r"^all \d+ are fine$"))
    await tab.shot("control-plane")


async def test_extensions_and_gateways(tab: Watched) -> None:
    await tab.go("/extensions")
    assert "linkerd-viz" == (await tab.cells("Extensions", "viz"))["Namespace"]
    await tab.shot("extensions")
    await tab.go("/gateways")
    await expect(tab.page.get_by_text("No other cluster is linked")).to_be_visible()
    await tab.shot("gateways")


async def test_everything_is_reached_with_the_keyboard(tab: Watched) -> None:
    await tab.go("/namespaces")
    await tab.live()
    keys = tab.page.keyboard
    await keys.press("Tab")
    await expect(tab.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await keys.press("Enter")
    await expect(tab.page.locator("main")).to_be_focused()
    await keys.press("/")
    await keys.type("emoji")
    await expect(tab.table("HTTP metrics of namespaces").locator("tbody tr")).to_have_count(1)
    await keys.press("Escape")
    await keys.press("s")
    await keys.type("voting")
    await tab.page.get_by_role("option", name="deploy/voting").wait_for()
    await keys.press("ArrowDown")
    await keys.press("ArrowUp")
    await keys.press("Enter")
    assert await tab.heading() in ("deployment/voting", "service/voting-svc")
    await expect(tab.page.locator("main")).to_be_focused()
    await tab.go("/namespaces/emojivoto/deployments")
    first = await tab.row("HTTP metrics of deployments", "emoji")
    await first.get_by_role("link", name="emoji", exact=True).focus()
    await keys.press("ArrowDown")
    second = await tab.row("HTTP metrics of deployments", "vote-bot")
    await expect(second.get_by_role("link", name="vote-bot", exact=True)).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_are_named_deep_linked_and_fit(
    browser: Browser, address: str, scheme: str
) -> None:
    """Every page by its bookmark: heading, names for screen readers, no sideways scrolling, axe."""
    wide = await opened(browser, address, scheme=scheme)
    small = await opened(browser, address, scheme=scheme, width=390)
    for path, heading in PAGES.items():
        for tab in (wide, small):
            await tab.go(path)
            assert heading == await tab.heading()
            await expect(tab.page).to_have_title(re.compile(r" · Linkerd viz$"))
            assert [] == await unnamed(tab.page), path
            assert await overflow(tab.page) <= 0, path
            if tab is wide or scheme == "light":  # colours do not change with the width
                assert [] == await barriers(tab.page), path
    if scheme == "dark":
        await wide.go("/namespaces/emojivoto")
        await expect(wide.page.locator(".plot canvas")).to_have_count(3)
        await wide.shot("namespace-dark")
        await wide.go(WEB)
        await wide.row("Live calls", DOUGHNUT)
        await wide.shot("deployment-dark")
    else:
        await small.go(WEB)
        await small.row("Live calls", DOUGHNUT)
        await small.shot("deployment-small")
    await wide.close()
    await small.close()


async def test_the_theme_is_the_systems_until_the_user_chooses(tab: Watched) -> None:
    await tab.go("/extensions")
    await tab.heading()
    shade = "getComputedStyle(document.body).backgroundColor"
    light = await tab.page.evaluate(shade)
    await tab.page.emulate_media(color_scheme="dark")
    dark = await tab.page.evaluate(shade)
    assert light != dark
    await tab.page.get_by_role("button", name="Theme: as the system").click()
    assert light == await tab.page.evaluate(shade)
    await tab.page.reload()
    await tab.heading()
    await tab.page.get_by_role("button", name="Theme: light").click()
    assert dark == await tab.page.evaluate(shade)


async def test_markup_in_paths_and_addresses_stays_text(tab: Watched, mesh: Mesh) -> None:
    evil = "/&lt;img'onerror=alert(1)"
    await tab.go("/top?namespace=emojivoto&resource=deploy%2Fweb&autostart=true")
    await tab.row("Live calls", "/api/list")
    await asyncio.to_thread(_call, mesh, evil)
    await tab.row("Live calls", evil)
    await expect(tab.page.locator("main img")).to_have_count(0)
    for path in (
        "/grafana/d/%3Cimg%20src=x%3E",
        "/namespaces/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ):
        await tab.go(path)
        await tab.page.get_by_text(
            re.compile('^(There is no dashboard <img|Nothing runs in "><script)')
        ).wait_for()
        assert 0 == await tab.page.locator("main script, main img").count()


def _call(mesh: Mesh, path: str) -> None:
    """Sends requests with a raw path from a meshed pod, for some seconds: taps begin late."""
    code = (
        "import socket,time\n"
        "for _ in range(10):\n"
        " s=socket.create_connection(('web-svc',80),5)\n"
        f' s.sendall(b"GET {path} HTTP/1.1\\r\\nHost: web-svc\\r\\nConnection: close\\r\\n\\r\\n")\n'
        " s.recv(100); s.close(); time.sleep(.2)\n"
    )
    pod = mesh.pod("emojivoto", "vote-bot")
    done = mesh.run_in(pod, "emojivoto", "python3", "-c", code, container="vote-bot")
    assert 0 == done.exit_code, done


async def test_without_the_right_to_tap_pages_offer_none(tab: Watched, mesh: Mesh) -> None:
    """dashboard.restrictPrivileges leaves this binding out."""
    name = "linkerd-linkerd-viz-web-admin"
    stored = await asyncio.to_thread(mesh.do, lambda kube: kube.get(CLUSTER_ROLE_BINDINGS, name))
    await asyncio.to_thread(mesh.do, lambda kube: kube.delete(CLUSTER_ROLE_BINDINGS, name))
    try:

        async def missing() -> str:
            await tab.go(WEB)
            await tab.page.get_by_role("heading", name="Inbound").wait_for()
            return (
                "Tap is offered" if await tab.page.get_by_role("link", name="Tap").count() else ""
            )

        await until(missing)
        await expect(tab.page.get_by_role("heading", name="Live calls")).to_have_count(0)
        await tab.go("/top?namespace=emojivoto&resource=deploy%2Fweb")
        await expect(tab.page.get_by_text("may not tap")).to_be_visible()
    finally:
        meta = {"name": name, "labels": stored["metadata"]["labels"]}
        await asyncio.to_thread(mesh.apply_objects, {**stored, "metadata": meta})
