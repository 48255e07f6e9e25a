"""Bodies: protobuf by the table, field checks, YAML as Kubernetes reads it."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.local.apiserver import bodies, proto_bodies, strict
from linkerd.local.apiserver.fields import by_json_name, messages
from linkerd.local.apiserver.http import Request
from linkerd.local.apiserver.kinds import BUILT_IN
from linkerd.local.apiserver.status import ApiError
from linkerd.local.store import Obj
from tests.unit.local.apiserver.builders import a_context, an_object, kind


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def envelope(api_version: str, kind_name: str, raw: bytes) -> bytes:
    type_meta = field(1, api_version.encode()) + field(2, kind_name.encode())
    return b"k8s\0" + field(1, type_meta) + field(2, raw)


def test_protobuf_messages_become_json() -> None:
    data = field(2, field(1, b"key") + field(2, b"value"))
    raw = field(1, field(1, b"name") + field(3, b"ns") + field(8, b"")) + data + field(4, 1)
    assert {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "name", "namespace": "ns"},
        "data": {"key": "value"},
        "immutable": True,
    } == proto_bodies.decode(envelope("v1", "ConfigMap", raw))


def test_zero_is_kept_where_it_means_something() -> None:
    raw = field(2, field(1, 0) + field(5, 0))
    found = proto_bodies.decode(envelope("apps/v1", "Deployment", raw))
    assert {"replicas": 0} == found["spec"]


def test_inlined_messages_and_either_types_are_flat() -> None:
    http = field(2, field(1, 1) + field(3, b"http"))
    probe = field(1, field(2, http)) + field(4, 10)
    container = field(1, b"app") + field(11, probe)
    found = proto_bodies.decode(envelope("v1", "Pod", field(2, field(2, container))))
    assert {"httpGet": {"port": "http"}, "periodSeconds": 10} == found["spec"]["containers"][0][
        "readinessProbe"
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"k8s",
        b"k8s\0\xff",
        envelope("v1", "ConfigMap", b"\x0a\xff"),
        envelope("v1", "Nonsense", b""),
        envelope("v1", "ConfigMap", b"\x0b"),
        envelope("v1", "ConfigMap", field(1, 5)),
    ],
)
def test_malformed_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as refusal:
        proto_bodies.decode(body)
    assert 400 == refusal.value.status


def test_the_table_is_closed() -> None:
    """Every type that a field names is a scalar or a message of the table."""
    scalars = {"", "b", "i", "y", "d", "Time", "MicroTime", "Quantity", "IntOrString"}
    scalars |= {"RawExtension", "FieldsV1", "ExtraValue", "JSONSchema"}
    named = {f.type for message in messages().values() for f in message.values()}
    assert set() == named - scalars - messages().keys()


def test_the_table_has_every_built_in_kind() -> None:
    assert set() == {k.kind for k in BUILT_IN} - messages().keys()


def test_json_names_start_small() -> None:
    # `Port` of a node's daemonEndpoints really is written so.
    odd = {n for message in messages() for n in by_json_name(message) if n[0].isupper()}
    assert {"Port"} == odd


def checked(kind_name: str, mode: str = "Strict", **more: Any) -> tuple[Obj, list[str]]:
    obj = an_object(kind_name, "a", **more)
    context = a_context(validation=mode)
    strict.check(kind(kind_name), obj, context)
    return obj, context.warnings


def test_unknown_fields_are_refused_when_strict() -> None:
    with pytest.raises(ApiError, match=r'strict decoding error: unknown field "spec.rplicas"'):
        checked("Deployment", spec={"rplicas": 1})


def test_unknown_fields_are_dropped_with_a_warning() -> None:
    obj, warnings = checked("Deployment", "Warn", spec={"rplicas": 1})
    assert ({}, ['unknown field "spec.rplicas"']) == (obj["spec"], warnings)


@pytest.mark.parametrize(
    "spec",
    [
        {"replicas": "1"},
        {"replicas": True},
        {"paused": 1},
        {"selector": []},
        {"template": {"spec": {"containers": {}}}},
        {"template": {"metadata": {"labels": {"a": 1}}}},
        {"strategy": {"rollingUpdate": {"maxSurge": 1.5}}},
    ],
)
def test_fields_of_a_wrong_type_are_refused_always(spec: Obj) -> None:
    with pytest.raises(ApiError, match="json: cannot unmarshal"):
        checked("Deployment", "Ignore", spec=spec)


def test_quantities_may_be_numbers() -> None:
    resources = {"limits": {"cpu": 1, "memory": "1Gi"}}
    obj, _ = checked("Pod", spec={"containers": [{"name": "a", "resources": resources}]})
    assert "1" == obj["spec"]["containers"][0]["resources"]["limits"]["cpu"]


def test_yaml_bodies_keep_times_as_text() -> None:
    body = b"metadata: {name: a}\ndata: {t: 2026-01-01T00:00:00Z, n: '1'}"
    request = Request("POST", "/", {"content-type": "application/yaml"}, body)
    assert "2026-01-01T00:00:00Z" == bodies.decode(request)["data"]["t"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/yaml", b"a: b: c", 400),
        ("application/cbor", b"x", 415),
    ],
)
def test_unreadable_bodies_are_refused(content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(ApiError) as refusal:
        bodies.decode(Request("POST", "/", {"content-type": content_type}, body))
    assert status == refusal.value.status


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "object"),
        ("application/json", "object"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "table"),
        ("application/vnd.kubernetes.protobuf,application/json", "object"),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "metadata"),
    ],
)
def test_the_accepted_form_is_chosen(accept: str, form: str) -> None:
    assert form == bodies.Form(accept, "").name
