"""What `allow-scrapes` prints, and `list`."""

from __future__ import annotations

import msgspec

from linkerd.viz import scrapes
from linkerd.viz.objects import Annotations
from linkerd.viz.tap import targets
from tests.unit.viz.builders import a_pod


def test_scrapes_and_probes_are_authorised_apart() -> None:
    found = scrapes.allow("emojivoto", "viz", "linkerd/cli v1")
    names = [(body["kind"], body["metadata"]["name"]) for body in found]
    assert [
        ("Server", "proxy-admin"),
        ("HTTPRoute", "proxy-metrics"),
        ("HTTPRoute", "proxy-probes"),
        ("AuthorizationPolicy", "prometheus-scrape"),
        ("AuthorizationPolicy", "proxy-probes"),
    ] == names
    assert {"emojivoto"} == {body["metadata"]["namespace"] for body in found}
    (reference,) = found[3]["spec"]["requiredAuthenticationRefs"]
    assert {"kind": "ServiceAccount", "name": "prometheus", "namespace": "viz"} == reference


def test_pods_are_listed_by_what_tap_can_do() -> None:
    pods = []
    for name, own in (
        ("b", Annotations(tap_enabled="true")),
        ("a", Annotations(tap_enabled="true")),
        ("c", Annotations(disable_tap="true")),
        ("d", None),
    ):
        pod = a_pod(name)
        meta = msgspec.structs.replace(pod.metadata, annotations=own)
        pods.append(msgspec.structs.replace(pod, metadata=meta))
    assert (
        "Pods with tap enabled:\n\t* emojivoto/a\n\t* emojivoto/b\n\n"
        "Pods with tap disabled:\n\t* emojivoto/c\n\n"
        "Pods missing tap configuration (restart these pods to enable tap):\n\t* emojivoto/d\n"
    ) == targets.listing(pods, "linkerd")
    assert "No meshed pods found\n" == targets.listing(pods, "other")
