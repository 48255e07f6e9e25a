"""What `linkerd viz install` prints: the chart linkerd-viz rendered with the user's values.

Does not talk to a cluster and writes nothing.
Source: linkerd2 viz/cmd/install.go (behaviour).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linkerd import VERSION
from linkerd.install import charts

CHART = "linkerd-viz"
NAMESPACE = "linkerd-viz"
"""Default namespace of the extension."""

ORDER = (
    "metrics-api-rbac.yaml",
    "prometheus-rbac.yaml",
    "tap-rbac.yaml",
    "tap-injector-rbac.yaml",
    "web-rbac.yaml",
    "metrics-api.yaml",
    "metrics-api-policy.yaml",
    "prometheus-config.yaml",
    "prometheus.yaml",
    "prometheus-policy.yaml",
    "grafana.yaml",
    "tap.yaml",
    "tap-injector.yaml",
    "web.yaml",
)
"""Templates in the order in which they are printed."""


def render(
    values: Mapping[str, Any] | None = None,
    *,
    namespace: str = NAMESPACE,
    linkerd_namespace: str = "linkerd",
    ha: bool = False,
    version: str | None = None,
) -> str:
    """Returns the extension's manifests as YAML documents.

    Args:
        values: From `-f` and `--set`; they win over everything else.
        namespace: Of the extension.
        linkerd_namespace: Of the control plane.
        ha: Lay the high-availability values below the user's.
        version: Tag of the images and what `created-by` says; default: ours.

    Raises:
        RenderError: the values do not fit the chart.
    """
    folder = charts.chart_dir(CHART)
    chosen = version or VERSION
    merged: dict[str, Any] = {
        "linkerdNamespace": linkerd_namespace,
        "linkerdVersion": chosen,
        "cliVersion": chosen,
    }
    if ha:
        merged = charts.merge_values(merged, charts.chart_values(folder, "values-ha.yaml"))
    merged = charts.merge_values(merged, values or {}, keep_null=True)
    return charts.render_chart(folder, merged, release=CHART, namespace=namespace, order=ORDER)
