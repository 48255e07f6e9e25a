"""Request bodies → objects, objects → answers in the form that the client accepts.

JSON, YAML and (for the kinds that clients send so) protobuf in; JSON out, as objects, tables or
metadata only.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import msgspec

from linkerd.local.apiserver import tables
from linkerd.local.apiserver.http import Request, Response
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.status import bad_request, unsupported_media_type
from linkerd.local.apiserver.versions import from_storage, same_form
from linkerd.local.store import Entry, Obj

PROTOBUF = "application/vnd.kubernetes.protobuf"
_ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


def media_type(request: Request) -> str:
    """Returns the body's media type without parameters; JSON when none is named."""
    text = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return text or "application/json"


def decode(request: Request) -> Any:
    """Returns the decoded body; {} when there is none.

    Raises:
        ApiError: 400 for a broken body, 415 for an unknown format.
    """
    if not request.body:
        return {}
    kind = media_type(request)
    if kind == PROTOBUF or request.body.startswith(b"k8s\0"):
        from linkerd.local.apiserver import proto_bodies

        return proto_bodies.decode(request.body)
    if kind == "application/json" or kind.endswith("+json"):
        return from_json(request.body)
    if kind in ("application/yaml", "application/x-yaml", "application/apply-patch+yaml"):
        return from_yaml(request.body)
    raise unsupported_media_type(kind, _ACCEPTED)


def from_json(body: bytes) -> Any:
    """Returns decoded JSON.

    Raises:
        ApiError: 400.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type Object): {error}"
        ) from None


def from_yaml(body: bytes) -> Any:
    """Returns decoded YAML; JSON is the common case and taken as such.

    Raises:
        ApiError: 400.
    """
    if body.lstrip()[:1] in (b"{", b"["):
        return from_json(body)
    import yaml

    try:
        return yaml.load(body, Loader=_loader())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise bad_request(f"error decoding YAML: {first}") from None


@functools.cache
def _loader() -> Any:
    """Returns a YAML 1.1 loader whose plain scalars are those of JSON, as Kubernetes reads them."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Leaves times as text."""

    Loader.yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
        for letter, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    return Loader


def as_stored(kind: Kind, entry: Entry) -> bytes:
    """Returns an entry's JSON as this version of its kind; copies nothing when it is stored so."""
    if same_form(kind):
        return entry.raw
    return msgspec.json.encode(from_storage(kind, entry.decode()))


class Form:
    """The form in which a client wants objects: `object`, `table` or `metadata`."""

    __slots__ = ("include", "name")

    def __init__(self, accept: str, include: str) -> None:
        """`accept` is the header; `include` the query parameter `includeObject`."""
        self.name = "object"
        self.include = include or "Metadata"
        for part in accept.split(","):
            kind, _, parameters = part.strip().partition(";")
            if kind not in ("application/json", "*/*"):
                continue
            if "as=Table" in parameters:
                self.name = "table"
            elif "as=PartialObjectMetadata" in parameters:
                self.name = "metadata"
            break

    def one(self, kind: Kind, obj: Obj, *, head: bool = True) -> bytes:
        """Returns one object in this form."""
        if self.name == "table":
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            table = tables.render(kind, [obj], metadata, self.include, time.time(), head=head)
            return msgspec.json.encode(table)
        if self.name == "metadata":
            return msgspec.json.encode(tables.partial(obj))
        return msgspec.json.encode(obj)

    def entry(self, kind: Kind, entry: Entry) -> bytes:
        """Returns one stored object in this form."""
        if self.name == "object":
            return as_stored(kind, entry)
        # Columns are those of the stored form, which events of both groups share.
        return self.one(kind, entry.decode())

    def list(self, kind: Kind, entries: list[Entry], metadata: Obj) -> bytes:
        """Returns a list in this form; `metadata` is the list's."""
        if self.name == "table":
            objects = (entry.decode() for entry in entries)
            return msgspec.json.encode(
                tables.render(kind, objects, metadata, self.include, time.time(), head=True)
            )
        if self.name == "metadata":
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            items = [msgspec.json.encode(tables.partial(entry.decode())) for entry in entries]
        else:
            head = {"kind": kind.list_kind, "apiVersion": kind.api_version}
            items = [as_stored(kind, entry) for entry in entries]
        start = msgspec.json.encode({**head, "metadata": metadata})
        return start[:-1] + b',"items":[' + b",".join(items) + b"]}"


def answer(obj: Any, status: int = 200) -> Response:
    """Returns a JSON answer."""
    return Response(status, msgspec.json.encode(obj))
