"""`inject` and `uninject` on text: YAML documents in, the same documents meshed out.

Documents that do not change are passed on as they were written, comments included.
Source: linkerd2 cli/cmd/inject.go, cli/cmd/inject_util.go (behaviour).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from linkerd.errors import RenderError
from linkerd.inject import jsonpatch, keys, manifest, pod, verdict, workload
from linkerd.inject.config import Config
from linkerd.inject.report import Report
from linkerd.inject.uninject import uninject

Object = dict[str, Any]

_SEPARATOR = re.compile(r"^---(?:[ \t]+#.*|[ \t]*)$", re.MULTILINE)


@dataclass(frozen=True)
class Options:
    """How to inject.

    `annotations` are written to pod templates and namespaces: `linkerd.io/inject` and what
    `install.flags.pod_annotations` gives. `manual` renders the whole sidecar and needs `config`.
    """

    annotations: Mapping[str, str] = field(default_factory=dict)
    manual: bool = False
    config: Config | None = None
    created_by: str = ""


@dataclass
class Transformed:
    """The text for stdout, one report per object, and the texts of hard errors."""

    text: str = ""
    reports: list[Report] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def inject_text(text: str, options: Options, *, output: str = "yaml") -> Transformed:
    """Returns the documents with a proxy, or with the annotations that ask for one.

    Args:
        text: YAML documents.
        options: How.
        output: "yaml" or "json".
    """
    return _transform(text, output, lambda document: _inject(document, options))


def uninject_text(text: str, *, output: str = "yaml") -> Transformed:
    """Returns the documents without proxies."""
    return _transform(text, output, _uninject)


Change = Callable[[Object], tuple[Object, Report]]


def _transform(text: str, output: str, change: Change) -> Transformed:
    result = Transformed()
    parts = []
    for raw in _SEPARATOR.split(text):
        try:
            document = manifest.parse(raw)
            if document is None:
                continue
            if not isinstance(document, dict):
                raise RenderError(
                    "error converting YAML to JSON: a document is no mapping but "
                    f"{type(document).__name__}"
                )
            changed = _one_or_list(document, change, result)
        except RenderError as error:
            result.errors.append(error.message)
            continue
        if output == "json":
            parts.append(json.dumps(changed, indent=2, sort_keys=True) + "\n")
        elif changed is document:
            parts.append(raw.strip("\n") + "\n---\n")
        else:
            parts.append(manifest.render(changed) + "---\n")
    result.text = "".join(parts)
    return result


def _one_or_list(document: Object, change: Change, result: Transformed) -> Object:
    items = document.get("items")
    if document.get("kind") != "List" or not isinstance(items, list):
        changed, report = change(document)
        result.reports.append(report)
        return changed
    changed_items = [_one_or_list(item, change, result) for item in items]
    if all(new is old for new, old in zip(changed_items, items, strict=True)):
        return document
    return {**document, "items": changed_items}


def _inject(document: Object, options: Options) -> tuple[Object, Report]:
    kind, name = _title(document)
    if kind in workload.ANNOTATED_ONLY:
        return _annotate(document, options)
    if workload.parse(document) is None:
        return document, Report(kind.lower(), name, "skipped")
    document, _ = uninject(document)
    target = workload.parse(document)
    assert target is not None
    if keys.CONTROL_PLANE_COMPONENT in target.labels and not options.manual:
        raise RenderError("--manual must be set when injecting control plane components")
    projected = options.config.token_projection if options.config else True
    found = verdict.facts(
        target.spec, target.annotations, {}, token_projection=projected, webhook=False
    )
    if not found.injectable:
        errors = [reason for reason in found.reasons if reason != found.disabled]
        if errors:
            raise RenderError(f"failed to inject {target.title}: {verdict.text(errors)}")
        return document, Report(kind.lower(), name, "skipped", True, found)
    report = Report(kind.lower(), name, "injected", True, found)
    return _injected(target, options), report


def _injected(target: workload.Workload, options: Options) -> Object:
    annotations = dict(options.annotations)
    if not options.manual:
        return _patched(target, pod.metadata_patch(target, annotations, {}))
    if options.config is None:
        raise RenderError("--manual needs the control plane's settings")
    annotations.pop(keys.INJECT, None)
    annotated = workload.parse(_patched(target, pod.metadata_patch(target, annotations, {})))
    assert annotated is not None
    own = {k: v for k, v in annotated.annotations.items() if k != keys.INJECT}
    annotated.template.setdefault("metadata", {})["annotations"] = own
    owner = None if target.kind == "Pod" else pod.Owner(target.kind, target.name)
    injection = pod.inject(
        annotated,
        _ingress(options.config, options.annotations),
        created_by=options.created_by,
        owner=owner,
        inject_annotation=False,
    )
    return pod.injected(annotated, injection)


def _ingress(config: Config, annotations: Mapping[str, str]) -> Config:
    ingress = annotations.get(keys.INJECT) == keys.INGRESS
    return replace(config, ingress=True) if ingress else config


def _patched(target: workload.Workload, patch: list[Object]) -> Object:
    result: Object = jsonpatch.apply(target.object, patch)
    return result


def _annotate(document: Object, options: Options) -> tuple[Object, Report]:
    kind, name = _title(document)
    wanted = dict(options.annotations)
    if kind == "Service":
        wanted = {k: v for k, v in wanted.items() if k == keys.OPAQUE_PORTS}
    elif options.manual:
        wanted.pop(keys.INJECT, None)
    metadata = document.get("metadata") or {}
    present = metadata.get("annotations") or {}
    if not wanted:
        return document, Report(kind.lower(), name, "skipped")
    report = Report(kind.lower(), name, "annotated", True)
    if all(present.get(key) == value for key, value in wanted.items()):
        return document, report
    changed = copy.deepcopy(document)
    changed.setdefault("metadata", {})["annotations"] = {**present, **wanted}
    return changed, report


def _uninject(document: Object) -> tuple[Object, Report]:
    kind, name = _title(document)
    changed, any_change = uninject(document)
    outcome = "uninjected" if any_change else "skipped"
    return changed, Report(kind.lower(), name, outcome, any_change)


def _title(document: Object) -> tuple[str, str]:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return str(document.get("kind") or ""), str(name or "")
