"""API aggregation: groups that an APIService hands to a service in the cluster.

Requests are passed on as they came, with the caller's name in X-Remote headers and the
front-proxy's client certificate; what comes back is passed through untouched.
Source: Kubernetes kube-aggregator pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from typing import Any

import msgspec

from linkerd.local.apiserver import relay
from linkerd.local.apiserver.authn import User
from linkerd.local.apiserver.http import Answer, Request, Response
from linkerd.local.apiserver.metadata import now
from linkerd.local.apiserver.relay import Upstream
from linkerd.local.apiserver.route import Route
from linkerd.local.apiserver.status import ApiError, no_such_path, unavailable
from linkerd.local.paths import Paths
from linkerd.local.store import Obj, Store

RESOURCE = "apiservices.apiregistration.k8s.io"
_ASK_S = 5.0


class Aggregation:
    """The APIs that other servers answer."""

    def __init__(self, store: Store, paths: Paths) -> None:
        self._store = store
        self._paths = paths

    def _services(self) -> list[Obj]:
        found = [entry.decode() for entry in self._store.list(RESOURCE)]
        return [api for api in found if (api.get("spec") or {}).get("service")]

    def group_versions(self) -> list[tuple[str, str]]:
        """Returns group and version of every aggregated API."""
        return [(api["spec"]["group"], api["spec"]["version"]) for api in self._services()]

    def _find(self, group: str, version: str) -> Obj | None:
        for api in self._services():
            if (api["spec"]["group"], api["spec"]["version"]) == (group, version):
                return api
        return None

    def relay(self, route: Route, request: Request, user: User) -> Answer | None:
        """Returns the relay to the API that serves a route, None when none does.

        Raises:
            ApiError: 503, its service does not exist or its authority is no certificate.
        """
        api = self._find(route.group, route.version)
        if api is None:
            return None
        upstream = self._upstream(api)
        head = relay.rewritten(request, request.target, self._headers(upstream, user))
        return relay.to(upstream, head + request.body)

    def _headers(self, upstream: Upstream, user: User) -> dict[str, str]:
        headers = {
            "Host": upstream.server_name,
            "X-Remote-User": user.name,
            "X-Remote-Group": "\r\nX-Remote-Group: ".join(user.groups),
        }
        return headers

    def _upstream(self, api: Obj) -> Upstream:
        spec = api["spec"]
        service = spec["service"]
        entry = self._store.get("services", service["namespace"], service["name"])
        address = ((entry.decode() if entry else {}).get("spec") or {}).get("clusterIP")
        if not address or address == "None":
            raise unavailable(
                f"service {service['namespace']}/{service['name']} of the API "
                f"{api['metadata']['name']} does not exist"
            )
        try:
            tls = ssl.create_default_context(
                cadata=base64.b64decode(spec["caBundle"]).decode() if spec.get("caBundle") else None
            )
        except (ssl.SSLError, ValueError) as error:
            raise unavailable(
                f"caBundle of the API {api['metadata']['name']} is no certificate: {error}"
            ) from None
        if spec.get("insecureSkipTLSVerify") or not spec.get("caBundle"):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        pki = self._paths.pki
        tls.load_cert_chain(pki / "front-proxy-client.crt", pki / "front-proxy-client.key")
        name = f"{service['name']}.{service['namespace']}.svc"
        return Upstream(address, int(service.get("port", 443)), tls, name)

    async def probe(self) -> None:
        """Asks every aggregated API whether it answers and writes that to its status."""
        apis = self._services()
        answers = await asyncio.gather(*(self._ask(api) for api in apis))
        for api, found in zip(apis, answers, strict=True):
            self._report(api["metadata"]["name"], found is not None)

    def _report(self, name: str, up: bool) -> None:
        entry = self._store.get(RESOURCE, "", name)
        if entry is None:
            return
        api = entry.decode()
        condition = availability(up)
        status = api.setdefault("status", {})
        others = [c for c in status.get("conditions") or () if c["type"] != "Available"]
        old = [c for c in status.get("conditions") or () if c["type"] == "Available"]
        if old and old[0]["status"] == condition["status"]:
            return
        status["conditions"] = [*others, condition]
        self._store.update(RESOURCE, api)

    async def resources(self) -> dict[tuple[str, str], list[Obj] | None]:
        """Returns the resources of every aggregated API, None for those out of reach."""
        apis = self._services()
        answers = await asyncio.gather(*(self._ask(api) for api in apis))
        return {
            (api["spec"]["group"], api["spec"]["version"]): found
            for api, found in zip(apis, answers, strict=True)
        }

    async def resource_list(self, group: str, version: str) -> Response:
        """Returns the answer to `/apis/<group>/<version>` of an aggregated API.

        Raises:
            ApiError: 404 when there is none, 503 when it is out of reach.
        """
        api = self._find(group, version)
        if api is None:
            raise no_such_path()
        found = await self._ask(api)
        if found is None:
            raise unavailable("the server is currently unable to handle the request")
        body: dict[str, Any] = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}",
            "resources": found,
        }
        return Response(200, msgspec.json.encode(body))

    async def _ask(self, api: Obj) -> list[Obj] | None:
        spec = api["spec"]
        request = Request("GET", f"/apis/{spec['group']}/{spec['version']}", {})
        user = User("system:aggregator", ("system:masters", "system:authenticated"))
        try:
            upstream = self._upstream(api)
            head = relay.rewritten(
                request,
                request.target,
                {**self._headers(upstream, user), "Accept": "application/json"},
            )
            async with asyncio.timeout(_ASK_S):
                status, body = await relay.exchange(upstream, head)
            if status != 200:
                return None
            found = msgspec.json.decode(body)["resources"]
            return list(found)
        except (OSError, TimeoutError, ValueError, KeyError, TypeError, ApiError, relay.Broken):
            return None


def availability(up: bool) -> Obj:
    """Returns the condition that tells whether an aggregated API answers."""
    return {
        "type": "Available",
        "status": "True" if up else "False",
        "reason": "Passed" if up else "FailedDiscoveryCheck",
        "message": "all checks passed" if up else "the API does not answer its discovery path",
        "lastTransitionTime": now(),
    }
