"""`inject` and `uninject` on text: outputs, reports and hard errors in Linkerd's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from linkerd.inject import documents, manifest, report
from tests.unit.inject.workloads import a_container, a_deployment, cluster_config

ENABLED = {"linkerd.io/inject": "enabled"}
SERVICE = "apiVersion: v1\nkind: Service  # untouched\nmetadata: {name: web}\n"


def _inject(*objects: Any, **options: Any) -> documents.Transformed:
    text = "---\n".join(one if isinstance(one, str) else manifest.render(one) for one in objects)
    chosen = documents.Options(**{"annotations": ENABLED, **options})
    return documents.inject_text(text, chosen)


def _stderr(*objects: Any, verbose: bool = False, **options: Any) -> str:
    return report.injected(_inject(*objects, **options).reports, verbose=verbose)


def test_by_default_only_annotations_are_added() -> None:
    found = manifest.parse(_inject(a_deployment()).text)
    expected = a_deployment(annotations=ENABLED)
    assert expected == found


def test_documents_that_do_not_change_stay_as_they_were_written() -> None:
    assert SERVICE + "---\n" == _inject(SERVICE).text


def test_manual_adds_the_sidecar_and_no_inject_annotation() -> None:
    result = _inject(
        a_deployment(), manual=True, config=cluster_config(), created_by="linkerd/cli test"
    )
    template = manifest.parse(result.text)["spec"]["template"]
    assert "linkerd.io/inject" not in template["metadata"]["annotations"]
    assert "web" == template["metadata"]["labels"]["linkerd.io/proxy-deployment"]
    names = [one["name"] for one in template["spec"]["initContainers"]]
    assert ["linkerd-init", "linkerd-proxy"] == names


def test_injecting_twice_is_injecting_once() -> None:
    once = _inject(a_deployment(), manual=True, config=cluster_config(), created_by="t").text
    twice = _inject(once, manual=True, config=cluster_config(), created_by="t").text
    assert once == twice


def test_a_list_is_injected_item_by_item() -> None:
    both = {"kind": "List", "apiVersion": "v1", "items": [a_deployment(), manifest.parse(SERVICE)]}
    result = _inject(both)
    items = manifest.parse(result.text)["items"]
    assert ENABLED == items[0]["spec"]["template"]["metadata"]["annotations"]
    assert ["injected", "skipped"] == [one.outcome for one in result.reports]


@pytest.mark.parametrize(
    ("objects", "options", "expected"),
    [
        ([a_deployment()], {}, '\ndeployment "web" injected\n\n'),
        (
            [{"kind": "Namespace", "metadata": {"name": "emojivoto"}}],
            {},
            '\nnamespace "emojivoto" annotated\n\n',
        ),
        (
            [SERVICE],
            {"annotations": {"config.linkerd.io/opaque-ports": "25"}},
            '\nservice "web" annotated\n\n',
        ),
        (
            [SERVICE],
            {},
            '\n\N{DOUBLE EXCLAMATION MARK} no supported objects found\n\nservice "web" skipped\n\n',
        ),
        (
            [a_deployment(annotations={"linkerd.io/inject": "disabled"})],
            {},
            '\n\N{DOUBLE EXCLAMATION MARK} "linkerd.io/inject: disabled" annotation set on '
            'deployment/web\n\ndeployment "web" skipped\n\n',
        ),
        (
            [a_deployment({"name": "d", "ports": [{"containerPort": 53, "protocol": "UDP"}]})],
            {},
            '\n\N{DOUBLE EXCLAMATION MARK} deployment/web uses "protocol: UDP"\n\n'
            'deployment "web" injected\n\n',
        ),
        (
            ["metadata: {name: x}\n", a_deployment()],
            {},
            '\ndocument missing "kind" field, skipped\ndeployment "web" injected\n\n',
        ),
    ],
    ids=["injected", "namespace", "service", "nothing", "disabled", "udp", "no kind"],
)
def test_reports(objects: list[Any], options: dict[str, Any], expected: str) -> None:
    assert expected == _stderr(*objects, **options)


def test_verbose_reports_every_rule() -> None:
    lines = _stderr(a_deployment(), verbose=True).splitlines()
    assert 6 == sum(line.startswith("\N{SQUARE ROOT} ") for line in lines)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (a_deployment(hostNetwork=True), "failed to inject deployment/web: hostNetwork is enabled"),
        (
            a_deployment(a_container("istio-proxy")),
            "failed to inject deployment/web: pod has a sidecar injected already",
        ),
        (
            a_deployment(labels={"linkerd.io/control-plane-component": "identity"}),
            "--manual must be set when injecting control plane components",
        ),
        ("a: [\n", "error converting YAML to JSON: yaml: line 2"),
    ],
)
def test_hard_errors(document: Any, expected: str) -> None:
    result = _inject(document)
    assert 1 == len(result.errors) and result.errors[0].startswith(expected)


def test_json_prints_one_document_after_the_other() -> None:
    text = manifest.render(a_deployment()) + "---\n" + SERVICE
    result = documents.inject_text(text, documents.Options(annotations=ENABLED), output="json")
    first, _ = json.JSONDecoder().raw_decode(result.text)
    assert ENABLED == first["spec"]["template"]["metadata"]["annotations"]


def test_uninject_takes_back_what_inject_added() -> None:
    result = documents.uninject_text(_inject(a_deployment()).text)
    assert a_deployment() == manifest.parse(result.text)
    assert '\ndeployment "web" uninjected\n\n' == report.uninjected(result.reports)


def test_uninject_keeps_the_users_settings_and_refusals() -> None:
    kept = {"config.linkerd.io/proxy-cpu-request": "1", "linkerd.io/inject": "disabled"}
    text = manifest.render(a_deployment(annotations=kept))
    result = documents.uninject_text(text)
    assert text + "---\n" == result.text
    assert '\ndeployment "web" skipped\n\n' == report.uninjected(result.reports)
