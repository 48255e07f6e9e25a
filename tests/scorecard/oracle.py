"""Who may do what, decided a second time: plain Python over plain values, none of the proxy's code.

Policies are drawn at random and rendered as the message that a control plane sends; `decide` says what
must come of a request. A request whose path or host has several spellings must be refused when one of
the servers in `_SERVERS` would serve something that is not allowed.

Source: linkerd2-proxy linkerd/http/route (precedence), linkerd/app/inbound (authorization); Gateway API.
"""

import ipaddress
import posixpath
import random
import re
import urllib.parse
from dataclasses import dataclass, field

from linkerd.gen import http_route_pb2, inbound_pb2, net_pb2

SUFFIX = "sa.identity.linkerd.cluster.local"
_NAMES = [f"{name}.{ns}.{SUFFIX}" for name in ("web", "api", "db") for ns in ("a", "b")]
_HOSTS = ["web.ns", "api.ns", "web.ns.svc.cluster.local", "example.com"]
_PATHS = [
    "/",
    "/admin",
    "/admin/users",
    "/public",
    "/public/img",
    "/api",
    "/api/v1",
    "/api/v1/users",
]
_REGEXES = [r"/api/v[0-9]+/.*", r"/item/[0-9]+", r"/(public|static)/.*", r"/admin.*"]
_METHODS = ["GET", "POST", "PUT", "DELETE"]
_HEADERS = ["x-team", "x-canary", "accept"]
_VALUES = ["red", "blue", "1"]
_NETS = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "::/0", "fd00::/8"]


@dataclass(frozen=True)
class Authz:
    """Networks with exceptions, and what must be proven: `any`, `tls`, or names and suffixes."""

    networks: list[tuple[str, list[str]]]
    proof: str
    names: list[str] = field(default_factory=list)
    suffixes: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Match:
    """Conditions; kind and text of the path, exact values or `~expression` of the others."""

    path: tuple[str, str] | None = None
    method: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    query: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Route:
    """Hosts (`*.` for suffixes), rules of matches, and who may beside those of the server."""

    hosts: list[str]
    rules: list[list[Match]]
    authz: list[Authz]


@dataclass(frozen=True)
class Policy:
    """Server authorizations and routes."""

    authz: list[Authz]
    routes: list[Route]


@dataclass(frozen=True)
class Request:
    """As `testkit decide` reads it."""

    ip: str
    identity: str | None
    method: str
    authority: str | None
    path: str
    query: str | None
    headers: list[tuple[str, str]]


def draw_policy(rng: random.Random) -> Policy:
    """A policy with up to four routes."""
    routes = [_draw_route(rng) for _ in range(rng.randrange(5))]
    return Policy([_draw_authz(rng) for _ in range(rng.randrange(3))], routes)


def _some(rng: random.Random, pool: list[str], most: int) -> list[str]:
    return rng.sample(pool, rng.randrange(most + 1))


def _draw_authz(rng: random.Random) -> Authz:
    networks = [
        (
            net,
            _some(rng, ["10.1.2.0/24", "10.1.2.3/32", "fd00::1/128"], 2)
            if rng.random() < 0.3
            else [],
        )
        for net in rng.sample(_NETS, rng.randrange(1, 3))
    ]
    proof = rng.choice(["any", "tls", "names", "names"])
    if proof != "names":
        return Authz(networks, proof)
    pools: list[list[list[str]]] = [[], [], [["a", SUFFIX]], [["b", SUFFIX]], [[]]]
    suffixes = rng.choice(pools)
    return Authz(networks, proof, _some(rng, _NAMES, 3), suffixes)


def _draw_route(rng: random.Random) -> Route:
    hosts = _some(rng, [*_HOSTS, "*.example.com", "*.ns", "*.svc.cluster.local"], 2)
    rules = [
        [_draw_match(rng) for _ in range(rng.randrange(3))] for _ in range(rng.randrange(1, 4))
    ]
    return Route(
        hosts if rng.random() < 0.5 else [],
        rules,
        [_draw_authz(rng) for _ in range(rng.randrange(3))],
    )


def _draw_match(rng: random.Random) -> Match:
    path: tuple[str, str] | None = None
    if rng.random() < 0.8:
        kind = rng.choice(["exact", "prefix", "prefix", "regex"])
        path = (kind, rng.choice(_REGEXES if kind == "regex" else _PATHS))
        if kind == "prefix" and rng.random() < 0.2 and path[1] != "/":
            path = (kind, path[1] + "/")
    headers = [(name, _condition(rng)) for name in _some(rng, _HEADERS, 1)]
    query = [(name, _condition(rng)) for name in _some(rng, ["q", "page"], 1)]
    method = rng.choice(_METHODS) if rng.random() < 0.3 else None
    return Match(path, method, headers, query if rng.random() < 0.4 else [])


def _condition(rng: random.Random) -> str:
    return rng.choice([*_VALUES, "~" + "|".join(_VALUES[:2])])


def draw_request(rng: random.Random, policy: Policy) -> Request:
    """A request that is likely to come near one of the policy's routes, in any spelling."""
    path = rng.choice(_PATHS) + rng.choice(["", "", "", "/", "/x", "/users", "/7"])
    host: str | None = rng.choice([*_HOSTS, "a.example.com", "other"])
    matches = [match for route in policy.routes for rule in route.rules for match in rule]
    method, headers, query = rng.choice(_METHODS), [], None
    if matches and rng.random() < 0.7:
        near = rng.choice(matches)
        if near.path and near.path[0] != "regex":
            path = near.path[1] + rng.choice(["", "", "/x", "x"])
        elif near.path:
            path = rng.choice(
                ["/api/v1/a", "/api/v22/", "/item/7", "/item/x", "/static/a", "/adminx"]
            )
        method = near.method or method
        headers = [(name, _value(rng, value)) for name, value in near.headers]
        query = "&".join(f"{name}={_value(rng, value)}" for name, value in near.query) or None
    if rng.random() < 0.3:
        headers.append((rng.choice(_HEADERS), rng.choice(_VALUES)))
    if rng.random() < 0.05:
        method = method.lower()
    if rng.random() < 0.35:
        path = respell_path(rng, path.replace("//", "/"))
    if host is not None and rng.random() < 0.2:
        host = respell_host(rng, host)
    if rng.random() < 0.02:
        host = None
    ip = rng.choice(
        ["10.0.0.1", "10.1.0.1", "10.1.2.1", "10.1.2.3", "192.0.2.1", "127.0.0.1", "fd00::1"]
    )
    identity = rng.choice(
        [None, "", *_NAMES, f"evil{_NAMES[0]}", "web.a." + SUFFIX.upper(), SUFFIX]
    )
    return Request(ip, identity, method, host, path, query, headers)


def _value(rng: random.Random, value: str) -> str:
    text = value.removeprefix("~").split("|")[0]
    return rng.choice([text, text, text, text + "x", text.upper()])


def respell_path(rng: random.Random, path: str) -> str:
    """Another spelling of `path`, or one that leads elsewhere."""
    other = rng.choice(_PATHS)
    at = rng.randrange(len(path))
    spelled = (
        f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}",
        f"{path[:at]}%{ord(path[at]):02X}{path[at + 1 :]}",
        f"{path[:at]}%25{ord(path[at]):02x}{path[at + 1 :]}",
        f"/public/..{other}",
        f"/public/%2e%2e{other}",
        f"/public/..%2f{other[1:]}",
        f"/public/..%5c{other[1:]}",
        f"/public\\..\\{other[1:]}",
        f"/public/..;/{other[1:]}",
        f"/public/.{other}",
        f"/{path}",
        path.replace("/", "//"),
        f"{path};x=1",
        f"{path}%00.png",
        f"{path}%3fx",
        f"{path}/.",
        f"{path}/x/..",
        f"{path}%20",
        f"{path}%",
    )
    return rng.choice(spelled)


def respell_host(rng: random.Random, host: str) -> str:
    """Another spelling of `host`."""
    spelled = (host.upper(), f"{host}:8080", f"{host}.", f"{host}.:80", f"x@{host}", f"{host}..")
    return rng.choice([*spelled, f"%{ord(host[0]):02x}{host[1:]}", f"{host}:1:2", f"{host}/x"])


def is_canonical(request: Request) -> bool:
    """Whether every server reads the request alike, so that the decision is the policy's, exactly."""
    host = request.authority is None or re.fullmatch(
        r"[A-Za-z0-9.-]+?\.?(:\d+)?", request.authority
    )
    return (
        bool(host)
        and not re.search(r"[%\\;]|//|/\.", request.path)
        and ".." not in str(request.authority)
    )


def decide(policy: Policy, request: Request) -> str:
    """`allow ROUTE RULE`, `deny ROUTE` or `none`; `no` where any refusal will do."""
    decided = _decide(policy, request, request.path)
    if is_canonical(request):
        return decided
    if _paths(policy):
        readings = {server(request.path) for server in _SERVERS}
        if not all(_decide(policy, request, path).startswith("allow") for path in readings):
            return "no"
    host = request.authority or ""
    odd = re.search(r"[^A-Za-z0-9.:_\[\]-]|\.\.|:.*:", host)
    if odd and any(route.hosts for route in policy.routes):
        return "no"
    return decided if decided.startswith("allow") else "no"


def _paths(policy: Policy) -> bool:
    return any(match.path for route in policy.routes for rule in route.rules for match in rule)


def _decide(policy: Policy, request: Request, path: str) -> str:
    routes = policy.routes or [Route([], [[]], [])]
    ranked = []
    for r, route in enumerate(routes):
        host = _rank_host(route.hosts, request.authority)
        for u, rule in enumerate(route.rules):
            rank = _rank_rule(rule, request, path)
            if host is not None and rank is not None:
                ranked.append(((host, rank), -r, -u))
    if not ranked:
        return "none"
    # The greatest wins, and the first of equals.
    _, r, u = max(ranked)
    allowed = any(
        _admits(authz, request) for authz in (*routes[-r].authz, *policy.authz, _LOCALHOST)
    )
    return f"allow {-r} {-u}" if allowed else f"deny {-r}"


_LOCALHOST = Authz([("127.0.0.1/32", []), ("::1/128", [])], "any")


def _rank_host(hosts: list[str], authority: str | None) -> tuple[int, int] | None:
    if not hosts:
        return (0, 0)
    if authority is None:
        return None
    name = re.sub(r":[^:\]]*$", "", authority).removesuffix(".").lower()
    ranks = []
    for host in hosts:
        if host.startswith("*."):
            if name.endswith(host[1:]) and len(name) > len(host) - 1:
                ranks.append((1, len(host) - 1))
        elif name == host:
            ranks.append((2, len(host)))
    return max(ranks, default=None)


def _rank_rule(rule: list[Match], request: Request, path: str) -> tuple[int, int, int, bool] | None:
    if not rule:
        return (1, 0, 0, False)
    ranks = [rank for match in rule if (rank := _rank_match(match, request, path)) is not None]
    return max(ranks, default=None)


def _rank_match(match: Match, request: Request, path: str) -> tuple[int, int, int, bool] | None:
    length = 1
    if match.path:
        kind, text = match.path
        if kind == "exact":
            if path != text:
                return None
            length = len(text)
        elif kind == "regex":
            if not re.fullmatch(text, path):
                return None
            length = len(path.encode())
        else:
            text = text.removesuffix("/")
            if path != text and not path.startswith(text + "/"):
                return None
            length = max(1, len(text))
    if match.method and match.method != request.method:
        return None
    pairs = urllib.parse.parse_qsl(request.query or "", keep_blank_values=True)
    for wanted, present in ((match.headers, request.headers), (match.query, pairs)):
        for name, value in wanted:
            if not any(n == name and _equals(value, v) for n, v in present):
                return None
    return (length, len(match.headers), len(match.query), match.method is not None)


def _equals(wanted: str, value: str) -> bool:
    if wanted.startswith("~"):
        return re.fullmatch(wanted[1:], value) is not None
    return wanted == value


def _admits(authz: Authz, request: Request) -> bool:
    ip = ipaddress.ip_address(request.ip)

    def inside(net: str) -> bool:
        return ip in ipaddress.ip_network(net)

    if not any(inside(net) and not any(map(inside, holes)) for net, holes in authz.networks):
        return False
    name = request.identity
    if authz.proof == "any":
        return True
    if authz.proof == "tls":
        return name is not None
    if not name:
        return False
    name = name.lower()
    ends = [".".join(["", *parts]) for parts in authz.suffixes]
    return name in authz.names or any(name.endswith(end) for end in ends)


def _clean(path: str) -> str:
    """Without dot segments; a slash at the end stays."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith(("/", "/.", "/..")) and cleaned != "/" else cleaned


def _unquote(path: str) -> str:
    return urllib.parse.unquote(path, encoding="latin-1")


def _as_is(path: str) -> str:
    return path


def _nginx(path: str) -> str:
    return _clean(re.sub("/+", "/", _unquote(path)))


def _tomcat(path: str) -> str:
    return _clean(re.sub("/+", "/", _unquote(re.sub(r";[^/]*", "", path)).replace("\\", "/")))


def _iis(path: str) -> str:
    return _clean(re.sub("/+", "/", _unquote(_unquote(path)).replace("\\", "/")))


def _c_strings(path: str) -> str:
    return _nginx(path.split("%00")[0])


def _decoded_query(path: str) -> str:
    return _nginx(_unquote(path).split("?")[0])


_SERVERS = (_as_is, _nginx, _tomcat, _iis, _c_strings, _decoded_query)


def message(policy: Policy) -> inbound_pb2.Server:
    """The policy as a control plane sends it, as HTTP/1."""
    routes = [
        inbound_pb2.HttpRoute(
            hosts=[_host(host) for host in route.hosts],
            authorizations=[_authz(authz) for authz in route.authz],
            rules=[
                inbound_pb2.HttpRoute.Rule(matches=[_match(match) for match in rule])
                for rule in route.rules
            ],
        )
        for route in policy.routes
    ]
    return inbound_pb2.Server(
        protocol=inbound_pb2.ProxyProtocol(http1=inbound_pb2.ProxyProtocol.Http1(routes=routes)),
        authorizations=[_authz(authz) for authz in policy.authz],
        labels={"group": "policy.linkerd.io", "kind": "server", "name": "drawn"},
    )


def _host(host: str) -> http_route_pb2.HostMatch:
    if host.startswith("*."):
        labels = list(reversed(host[2:].split(".")))
        return http_route_pb2.HostMatch(
            suffix=http_route_pb2.HostMatch.Suffix(reverse_labels=labels)
        )
    return http_route_pb2.HostMatch(exact=host)


def _match(match: Match) -> http_route_pb2.HttpRouteMatch:
    made = http_route_pb2.HttpRouteMatch()
    if match.path:
        setattr(made.path, *match.path)
    if match.method:
        made.method.unregistered = match.method
    for name, value in match.headers:
        header = made.headers.add(name=name)
        if value.startswith("~"):
            header.regex = value[1:]
        else:
            header.exact = value.encode()
    for name, value in match.query:
        parameter = made.query_params.add(name=name)
        setattr(parameter, "regex" if value.startswith("~") else "exact", value.removeprefix("~"))
    return made


def _authz(authz: Authz) -> inbound_pb2.Authz:
    made = inbound_pb2.Authz()
    for net, holes in authz.networks:
        network = made.networks.add(net=_net(net))
        network.__getattribute__("except").extend(_net(hole) for hole in holes)
    permit = made.authentication
    if authz.proof == "any":
        permit.unauthenticated.SetInParent()
    elif authz.proof == "tls":
        permit.meshTLS.unauthenticated.SetInParent()
    else:
        clients = permit.meshTLS.identities
        clients.SetInParent()
        clients.identities.extend(inbound_pb2.Identity(name=name) for name in authz.names)
        clients.suffixes.extend(inbound_pb2.IdentitySuffix(parts=parts) for parts in authz.suffixes)
    return made


def _net(text: str) -> net_pb2.IPNetwork:
    net = ipaddress.ip_network(text)
    number = int(net.network_address)
    if net.version == 4:
        ip = net_pb2.IPAddress(ipv4=number)
    else:
        six = net_pb2.IPv6(first=number >> 64, last=number & (1 << 64) - 1)
        ip = net_pb2.IPAddress(ipv6=six)
    return net_pb2.IPNetwork(ip=ip, prefix_len=net.prefixlen)
