"""One request to the node's API: its head, and how it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import msgspec

from linkerd.errors import LocalError, WireError


@dataclass(frozen=True)
class Request:
    """One request's head; header names are lower-case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    raw: bytes

    def first(self, *names: str) -> str:
        """Returns the first value of the first parameter that is there, or nothing."""
        return next((self.query[name][0] for name in names if name in self.query), "")

    def flag(self, *names: str) -> bool:
        """Returns whether any of the parameters is true."""
        return any(value in ("1", "true") for name in names for value in self.query.get(name, ()))


class Refused(LocalError):
    """The request cannot be served; `status` is the HTTP code, `reason` Kubernetes' word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    def response(self) -> bytes:
        """Returns the whole response, a Status in JSON."""
        body = msgspec.json.encode(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": self.message,
                "reason": self.reason,
                "code": self.status,
            }
        )
        head = (
            f"HTTP/1.1 {self.status} {self.reason}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


def parse(raw: bytes) -> Request:
    """Returns the request of a head that ends in an empty line.

    Raises:
        WireError: it is no HTTP/1.1.
    """
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise WireError(f"request line {first[:80]!r} is no HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise WireError(f"header {line[:80]!r} has no colon")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    url = urlsplit(words[1])
    query = parse_qs(url.query, keep_blank_values=True)
    return Request(words[0], url.path, query, headers, raw)
