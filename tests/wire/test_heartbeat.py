"""The heartbeat: silent without an address; one request with what the cluster knows otherwise."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from linkerd import VERSION
from linkerd.daemons import heartbeat
from linkerd.kube import server
from tests.wire.api import serving


async def test_reports_only_to_the_address_it_was_given(tmp_path: Path) -> None:
    seen: list[str] = []

    async def receive(request: server.Request) -> server.Answer:
        seen.append(request.target)
        return server.Answer(200, b"{}", "application/json")

    async with serving() as api, server.serve(receive, "127.0.0.1", 0) as port:
        api.apply(
            "configmaps",
            {"metadata": {"name": "linkerd-config", "namespace": "linkerd", "uid": "u-1"}},
        )
        labels = {"linkerd.io/extension": "viz"}
        api.apply("namespaces", {"metadata": {"name": "linkerd-viz", "labels": labels}})
        config = tmp_path / "kubeconfig"
        config.write_text(
            f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{api.port}'}}}}]\n"
            "users: [{name: u, user: {}}]\n"
            "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
            "current-context: x\n"
        )
        settings = heartbeat.Settings(
            kubeconfig=str(config), url=f"http://127.0.0.1:{port}/version.json"
        )
        await heartbeat.send(settings)
    assert 1 == len(seen)
    found = {key: values[0] for key, values in parse_qs(urlsplit(seen[0]).query).items()}
    expected = {"source": "heartbeat", "version": VERSION, "uuid": "u-1", "ext-viz": "1"}
    assert expected.items() <= found.items()


def test_sends_nothing_without_an_address() -> None:
    """There is no kubeconfig here: asking anything would fail."""
    assert 0 == heartbeat.main(["-kubeconfig=/nonexistent"])
