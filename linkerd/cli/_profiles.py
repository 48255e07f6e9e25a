"""ServiceProfiles from what describes a service: OpenAPI 2.0, protobuf, or nothing but its name.

Source: linkerd2 pkg/profiles/{openapi,proto,template}.go (what becomes a route, names, regexes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from linkerd.errors import RenderError
from linkerd.inject import manifest

Object = dict[str, Any]

_VERBS = ("delete", "get", "head", "options", "patch", "post", "put")
_PARAMETER = re.compile(r"\\{[^}]*\\}")
_RETRYABLE = ("IDEMPOTENT", "NO_SIDE_EFFECTS")
_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[\w.]+|[^\s\w]', re.DOTALL
)


def service_profile(name: str, namespace: str, domain: str, routes: list[Object]) -> Object:
    """Returns the ServiceProfile of service `name`.

    Args:
        name: Of the service.
        namespace: Of the service; the profile lies there too.
        domain: The cluster's, such as cluster.local.
        routes: As in the spec.
    """
    return {
        "apiVersion": "linkerd.io/v1alpha2",
        "kind": "ServiceProfile",
        "metadata": {"name": f"{name}.{namespace}.svc.{domain}", "namespace": namespace},
        "spec": {"routes": routes},
    }


def route(name: str, method: str, path: str) -> Object:
    """Returns a route for requests with exactly this method and path; `{…}` matches a segment."""
    pattern = _PARAMETER.sub("[^/]*", _quoted(path))
    return {"name": name, "condition": {"method": method, "pathRegex": pattern}}


def from_open_api(text: str) -> list[Object]:
    """Returns the routes of an OpenAPI 2.0 document, by path and verb.

    Raises:
        RenderError: it is no such document.
    """
    body = manifest.parse(text)
    paths = body.get("paths") if isinstance(body, Mapping) else None
    if not isinstance(paths, Mapping):
        raise RenderError("the OpenAPI document has no paths")
    base = str(body.get("basePath") or "").rstrip("/")
    routes = []
    for path, operations in sorted(paths.items()):
        if not isinstance(operations, Mapping):
            raise RenderError(f"path {path} of the OpenAPI document is not a mapping")
        for verb in _VERBS:
            operation = operations.get(verb)
            if operation is not None:
                routes.append(_operation(f"{base}{path}", verb.upper(), operation))
    return routes


def _operation(path: str, verb: str, operation: Any) -> Object:
    if not isinstance(operation, Mapping):
        raise RenderError(f"{verb} {path} of the OpenAPI document is not a mapping")
    found = route(f"{verb} {path}", verb, path)
    classes = []
    for status in sorted(str(status) for status in operation.get("responses") or ()):
        if status.isdigit():
            code = int(status)
            one: Object = {"condition": {"status": {"min": code, "max": code}}}
            if code >= 500:
                one["isFailure"] = True
            classes.append(one)
    if classes:
        found["responseClasses"] = classes
    if operation.get("x-linkerd-retryable") is True:
        found["isRetryable"] = True
    if operation.get("x-linkerd-timeout"):
        found["timeout"] = str(operation["x-linkerd-timeout"])
    return found


def from_proto(text: str) -> list[Object]:
    """Returns a route for each RPC of a protobuf file.

    Raises:
        RenderError: braces or a name are missing.
    """
    words = iter([one for one in _TOKEN.findall(text) if not one.startswith(("//", "/*"))])
    package = ""
    routes: list[Object] = []
    for word in words:
        if word == "package":
            package = f"{_name(words)}."
        elif word == "service":
            service = _name(words)
            _expect(words, "{")
            routes += _rpcs(words, f"/{package}{service}/")
        elif word == "{":
            _skip_block(words)
    return routes


def _rpcs(words: Iterator[str], prefix: str) -> list[Object]:
    routes: list[Object] = []
    for word in words:
        if word == "}":
            return routes
        if word == "rpc":
            name = _name(words)
            found = route(name, "POST", prefix + name)
            if any(level in _RETRYABLE for level in _rest_of_rpc(words)):
                found["isRetryable"] = True
            routes.append(found)
        elif word == "{":
            _skip_block(words)
    raise RenderError(f"the protobuf file ends within service {prefix.strip('/')}")


def _rest_of_rpc(words: Iterator[str]) -> list[str]:
    """Returns the words of an RPC's options, taking everything up to its end."""
    options: list[str] = []
    for word in words:
        if word == ";":
            return []
        if word == "{":
            depth = 1
            for word in words:
                depth += {"{": 1, "}": -1}.get(word, 0)
                if not depth:
                    return options
                options.append(word)
    raise RenderError("the protobuf file ends within an rpc")


def _name(words: Iterator[str]) -> str:
    word = next(words, "")
    if not re.fullmatch(r"[\w.]+", word):
        raise RenderError(f"the protobuf file has {word or 'its end'!r} where a name is due")
    return word


def _expect(words: Iterator[str], wanted: str) -> None:
    word = next(words, "")
    if word != wanted:
        raise RenderError(f"the protobuf file has {word or 'its end'!r} where {wanted!r} is due")


def _skip_block(words: Iterator[str]) -> None:
    depth = 1
    for word in words:
        depth += {"{": 1, "}": -1}.get(word, 0)
        if not depth:
            return
    raise RenderError("the protobuf file ends within braces")


def _quoted(text: str) -> str:
    """Quotes what is special in regular expressions, nothing else (as RE2's QuoteMeta)."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def template(name: str, namespace: str, domain: str) -> str:
    """Returns a commented profile that its reader completes."""
    return f"""\
### ServiceProfile for {name}.{namespace} ###
---
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata:
  name: {name}.{namespace}.svc.{domain}
  namespace: {namespace}
spec:
  # A service profile sorts requests into routes, each with its own metrics, retries and timeout.
  # The first route whose condition holds is taken; requests that match none are the default route.
  routes:
  - name: '/authors/{{id}}'
    # A condition names a method, a path (a regular expression for the whole of it), or both.
    # `all`, `any` (lists) and `not` combine conditions.
    condition:
      pathRegex: '/authors/\\d+'
      method: POST
    # Responses from 500 on are failures unless the first matching class says otherwise.
    responseClasses:
    - condition:
        status:
          min: 500
          max: 599
      isFailure: true
    # Failed requests of this route may be sent again, within the budget below.
    isRetryable: true
    # Requests that take longer are cancelled and count as failures.
    timeout: 250ms
  # Retries add at most this share of load, in addition to the fixed rate.
  retryBudget:
    retryRatio: 0.2
    minRetriesPerSecond: 10
    ttl: 10s
"""
