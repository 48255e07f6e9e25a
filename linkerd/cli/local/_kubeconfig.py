"""Our cluster's entry in the user's kubeconfig, so that kubectl finds it.

Source: kubernetes/client-go tools/clientcmd (first file of $KUBECONFIG is the one written).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linkerd.errors import LocalError

_SECTIONS = ("clusters", "users", "contexts")


def users_file(environ: Mapping[str, str]) -> Path:
    """Returns the file that kubectl would write: the first of $KUBECONFIG, else ~/.kube/config."""
    first = next(filter(None, environ.get("KUBECONFIG", "").split(os.pathsep)), "")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(first) if first else Path(home, ".kube", "config")


def merged(document: Mapping[str, Any], own: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the user's document with our cluster as context `name`, made the current one."""
    result = without(document, name)
    result.setdefault("apiVersion", "v1")
    result.setdefault("kind", "Config")
    cluster, user = own["clusters"][0]["cluster"], own["users"][0]["user"]
    for section, entry in (
        ("clusters", {"name": name, "cluster": cluster}),
        ("users", {"name": name, "user": user}),
        ("contexts", {"name": name, "context": {"cluster": name, "user": name}}),
    ):
        result[section] = [*(result.get(section) or ()), entry]
    result["current-context"] = name
    return result


def without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the user's document without our cluster."""
    result = dict(document)
    for section in _SECTIONS:
        entries = [e for e in result.get(section) or () if e.get("name") != name]
        if section in result or entries:
            result[section] = entries
    if result.get("current-context") == name:
        others = [entry["name"] for entry in result.get("contexts") or ()]
        result["current-context"] = others[0] if others else ""
    return result


def add(file: Path, own: Path, name: str) -> None:
    """Merges the cluster's kubeconfig `own` into the user's `file` as context `name`.

    Raises:
        LocalError: a file cannot be read or written.
    """
    _write(file, merged(_read(file), _read(own), name))


def remove(file: Path, name: str) -> None:
    """Takes context `name` out of the user's `file`; nothing happens when it is not there.

    Raises:
        LocalError: the file cannot be read or written.
    """
    document = _read(file)
    if any(entry.get("name") == name for entry in document.get("contexts") or ()):
        _write(file, without(document, name))


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        raise LocalError(f"cannot read kubeconfig {file}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise LocalError(f"kubeconfig {file} is no mapping")
    return document


def _write(file: Path, document: Mapping[str, Any]) -> None:
    import yaml

    target = file.resolve()
    fresh = target.with_name(f"{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(yaml.safe_dump(dict(document), sort_keys=False))
        fresh.replace(target)
    except OSError as error:
        raise LocalError(f"cannot write kubeconfig {file}: {error.strerror}") from None
