"""Live requests → a ServiceProfile with a route per path. Pure.

Source: linkerd2 pkg/profiles/tap.go (names, regular expressions, order).
"""

from __future__ import annotations

import re
from typing import Any

from linkerd.gen import viz_tap_pb2 as tap
from linkerd.viz.tap.render import method


class Routes:
    """Collects routes up to a limit.

    Args:
        limit: Number of routes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._routes: dict[str, dict[str, Any]] = {}

    def take(self, event: tap.TapEvent) -> bool:
        """Takes an event; returns whether there is room for more routes."""
        if (
            event.proxy_direction == tap.TapEvent.INBOUND
            and event.http.WhichOneof("event") == "request_init"
        ):
            init = event.http.request_init
            if init.path and init.path != "/":
                self._routes.setdefault(init.path, route(method(init.method), init.path))
        return len(self._routes) < self._limit

    def profile(self, service: str, namespace: str, cluster_domain: str) -> dict[str, Any]:
        """Returns the ServiceProfile, its routes in order of names."""
        return {
            "apiVersion": "linkerd.io/v1alpha2",
            "kind": "ServiceProfile",
            "metadata": {
                "name": f"{service}.{namespace}.svc.{cluster_domain}",
                "namespace": namespace,
            },
            "spec": {"routes": [self._routes[path] for path in sorted(self._routes)]},
        }


def route(verb: str, path: str) -> dict[str, Any]:
    """Returns the route of one path; segments in braces stand for anything."""
    parts = [re.escape(part) for part in re.split(r"\{[^/}]*\}", path)]
    # Only what RE2 reads alike is escaped.
    plain = "[^/]*".join(parts).replace("\\-", "-").replace("\\ ", " ").replace("\\/", "/")
    return {"name": path, "condition": {"pathRegex": plain, "method": verb}}
