"""Helm charts rendered in this process: what `install` prints and Helm would apply.

Charts are the single source of manifests; the real `helm` renders the same bytes, except for
generated certificates. Knows nothing of what a chart contains.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from linkerd import __version__
from linkerd.errors import RenderError
from linkerd.inject import manifest

_KUBE_VERSION = "v1.34.0"
_SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)
_PACKAGE = Path(__file__).resolve().parent.parent


def chart_dir(name: str) -> Path:
    """Returns the folder of one of our charts, in a checkout or an installed package.

    Raises:
        RenderError: there is no such chart.
    """
    for parent in (_PACKAGE.parent / "charts", _PACKAGE / "_charts"):
        if (parent / name / "Chart.yaml").is_file():
            return parent / name
    raise RenderError(f"chart {name} not found", hint="reinstall the linkerd package")


def chart_values(chart_dir: Path, file: str = "values.yaml") -> dict[str, Any]:
    """Returns the defaults of a chart, or another values file beside them.

    Raises:
        RenderError: the file is missing or is not a YAML mapping.
    """
    try:
        values = manifest.parse((chart_dir / file).read_text())
    except OSError as error:
        raise RenderError(f"cannot read {file} of chart {chart_dir.name}: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RenderError(f"{file} of chart {chart_dir.name} is not a mapping")
    return values


def merge_values(
    base: Mapping[str, Any], over: Mapping[str, Any], *, keep_null: bool = False
) -> dict[str, Any]:
    """Returns `base` with `over` laid on top, maps merged key by key, everything else replaced.

    A null in `over` removes a key of `base`, as in Helm; `keep_null` leaves it for a later merge.
    Source: helm/helm pkg/chart/common/util (coalescing of values).
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if value is None and key in merged and not keep_null:
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge_values(below, value, keep_null=keep_null)
        else:
            merged[key] = value
    return merged


def render_chart(
    chart_dir: Path,
    values: Mapping[str, Any],
    *,
    release: str,
    namespace: str,
    service: str = "CLI",
    order: Sequence[str] = (),
    now: datetime | None = None,
) -> str:
    """Returns the manifests of a chart as YAML documents separated by `---`.

    Templates are printed in `order`, then the others by name; a `namespace.yaml` comes first.
    `genSelfSignedCert` makes ECDSA P-256 certificates; `lookup` finds nothing.

    Args:
        chart_dir: Folder with Chart.yaml, values.yaml, templates/.
        values: Laid over the chart's values.yaml.
        release: `.Release.Name`.
        namespace: `.Release.Namespace`.
        service: `.Release.Service`: "CLI" here, "Helm" when Helm renders; charts print a Namespace
            only for the former.
        order: File names below templates/ to print first.
        now: The clock of `now` and of generated certificates; default: the real one.

    Raises:
        RenderError: a template or values.yaml is wrong, or a template calls `fail` or `required`.
    """
    from gotpl.errors import TemplateError

    moment = now or datetime.now(UTC)
    sources = _sources(chart_dir)
    names = _print_order([name for name in sources if name.endswith((".yaml", ".yml"))], order)
    metadata = _chart_metadata(chart_dir)
    merged = merge_values(chart_values(chart_dir), values)
    try:
        engine = _engine(tuple(sources.items()), moment)
        context = {
            "Values": merged,
            "Chart": metadata,
            "Release": {
                "Name": release,
                "Namespace": namespace,
                "Service": service,
                "IsInstall": True,
                "IsUpgrade": False,
                "Revision": 1,
            },
            "Capabilities": _capabilities(),
            "Files": _Files(chart_dir),
        }
        template = {"BasePath": f"{chart_dir.name}/templates"}
        rendered = engine.render(
            {name: {**context, "Template": {**template, "Name": name}} for name in names}
        )
    except TemplateError as error:
        raise RenderError(f"cannot render chart {chart_dir.name}: {error}") from error
    return _join(rendered[name] for name in names)


class _Files:
    """`.Files` of templates: a chart's other files, by their path below its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def Get(self, name: str) -> str:  # noqa: N802 (the name that templates use)
        path = self._folder / name
        return path.read_text() if path.is_file() else ""


def _join(texts: Iterable[str]) -> str:
    documents = []
    for text in texts:
        for part in _SEPARATOR.split(text):
            document = part.strip("\n")
            lines = (line.strip() for line in document.split("\n"))
            if any(line and not line.startswith("#") for line in lines):
                documents.append(document + "\n")
    return "---\n".join(documents)


def _print_order(names: Sequence[str], order: Sequence[str]) -> list[str]:
    wanted = ["namespace.yaml", *order]
    rank = {name: index for index, name in enumerate(wanted)}
    return sorted(
        names, key=lambda name: (rank.get(name.rpartition("templates/")[2], len(wanted)), name)
    )


@lru_cache(maxsize=8)
def _sources(chart_dir: Path) -> dict[str, str]:
    folder = chart_dir / "templates"
    found = sorted(
        path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml", ".tpl", ".txt")
    )
    return {
        f"{chart_dir.name}/templates/{path.relative_to(folder).as_posix()}": path.read_text()
        for path in found
        if path.name != "NOTES.txt"
    }


def _chart_metadata(chart_dir: Path) -> dict[str, Any]:
    chart = chart_values(chart_dir, "Chart.yaml")
    return {key[:1].upper() + key[1:]: value for key, value in chart.items()}


def _capabilities() -> dict[str, Any]:
    major, minor, _ = _KUBE_VERSION.removeprefix("v").split(".")
    return {
        "KubeVersion": {"Version": _KUBE_VERSION, "Major": major, "Minor": minor},
        "APIVersions": {},
        "HelmVersion": {"Version": f"v{__version__}"},
    }


class _Certificate(NamedTuple):
    """What sprig's certificate functions return: two PEM texts."""

    Cert: str
    Key: str


def _engine(sources: tuple[tuple[str, str], ...], now: datetime) -> Any:
    # Imported here: both cost time and memory that programs that render nothing must not pay.
    from gotpl.exts.helm import HelmTemplateEngine

    from linkerd.pki import issue

    def self_signed(name: str, ips: Any, dns_names: Any, days: int) -> _Certificate:
        made = issue.self_signed(
            str(name),
            dns_names=[str(dns) for dns in dns_names or ()],
            ips=[ipaddress.ip_address(str(ip)) for ip in ips or ()],
            lifetime_s=int(days) * 86400.0,
            now=now,
        )
        return _Certificate(made.cert_pem, made.key_pem)

    functions: dict[str, Callable[..., object]] = {
        "genSelfSignedCert": self_signed,
        "now": lambda: now,
        "toYaml": lambda value: manifest.render(value).removesuffix("\n"),
    }
    return HelmTemplateEngine.from_sources(dict(sources), custom_functions=functions)
