"""Where the cluster is and who we are: kubeconfig files and the pod's service account.

    config = load()                      # --kubeconfig > $KUBECONFIG > in-cluster > ~/.kube/config

Reading is separate from use: `parse` turns documents into one frozen `KubeConfig`;
`linkerd.kube.auth` turns that into headers and TLS.
Source: kubernetes/client-go tools/clientcmd (merge order, field names), rest/config.go (in-cluster).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linkerd.errors import SettingsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, CA and namespace."""

_OUTWARD = frozenset(
    ("certificate-authority", "client-certificate", "client-key", "tokenFile", "exec")
)


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints an ExecCredential (client.authentication.k8s.io/v1 or v1beta1)."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    provide_cluster_info: bool = False


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """One cluster and one identity; a value, safe to share.

    `ca_pem` empty means the system's roots. `token_file` is read again as it rotates and wins over
    `token`. `namespace` is the context's, "default" when it names none.
    """

    server: str
    ca_pem: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    cert_pem: str = ""
    key_pem: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    exec: ExecPlugin | None = None
    impersonate_user: str = ""
    impersonate_groups: tuple[str, ...] = ()
    namespace: str = "default"
    context: str = ""


def load(
    path: str | os.PathLike[str] | None = None,
    context: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> KubeConfig:
    """Returns the configuration a user or a pod means.

    Args:
        path: A kubeconfig file; None or "" looks at $KUBECONFIG (several files, separated by the
            system's path separator), then at the pod's service account, then at ~/.kube/config.
        context: Its context; None means the current one.
        environ: Environment; default the process's.

    Raises:
        SettingsError: no configuration was found or one is wrong.
    """
    environ = os.environ if environ is None else environ
    if path:
        return parse(_documents([Path(path)], must_exist=True), context)
    if environ.get("KUBECONFIG"):
        files = [Path(part) for part in environ["KUBECONFIG"].split(os.pathsep) if part]
        documents = _documents(files, must_exist=False)
        if documents:
            return parse(documents, context)
        raise SettingsError(
            f"no kubeconfig at {environ['KUBECONFIG']}", hint="KUBECONFIG names the file"
        )
    if environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster(environ)
    home = Path(environ.get("HOME") or Path.home()) / ".kube" / "config"
    if not home.exists():
        raise SettingsError(
            f"no kubeconfig at {home}",
            hint="`linkerd local start` makes a cluster and its kubeconfig",
        )
    return parse(_documents([home], must_exist=True), context)


def in_cluster(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> KubeConfig:
    """Returns the configuration of the pod that this process runs in.

    Raises:
        SettingsError: the environment or the service account's folder lacks something.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise SettingsError("KUBERNETES_SERVICE_HOST is not set: this is no pod")
    try:
        ca_pem = (folder / "ca.crt").read_text()
        token = (folder / "token").read_text().strip()
    except OSError as error:
        raise SettingsError(f"service account at {folder} cannot be read: {error}") from None
    namespace = folder / "namespace"
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return KubeConfig(
        server=f"https://{authority}",
        ca_pem=ca_pem,
        token=token,
        token_file=str(folder / "token"),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        context="in-cluster",
    )


def contexts(documents: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[str]:
    """Returns the names of all contexts in file order."""
    names: list[str] = []
    for _, document in documents:
        names += [str(e["name"]) for e in document.get("contexts") or () if e["name"] not in names]
    return names


def parse(
    documents: Sequence[tuple[Path, Mapping[str, Any]]], context: str | None = None
) -> KubeConfig:
    """Returns the configuration of a context in merged kubeconfig documents (earlier files win).

    Args:
        documents: (file, content) pairs; the file is the root of relative paths.
        context: Its name; None means the first `current-context`.

    Raises:
        SettingsError: a name does not resolve or a field is wrong.
    """
    name = context or next(
        (str(d["current-context"]) for _, d in documents if d.get("current-context")), ""
    )
    files = ", ".join(str(path) for path, _ in documents)
    if not name:
        raise SettingsError(f"no current context in {files}", hint="--context names one")
    _, chosen = _named(documents, "contexts", "context", name, files)
    cluster_name, user_name = str(chosen.get("cluster", "")), str(chosen.get("user", ""))
    cluster_file, cluster = _named(documents, "clusters", "cluster", cluster_name, files)
    if user_name:
        user_file, user = _named(documents, "users", "user", user_name, files)
    else:
        user_file, user = cluster_file, {}
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise SettingsError(f"cluster {cluster_name}: server {server!r} is no http(s) URL")
    if cluster.get("proxy-url"):
        raise SettingsError(f"cluster {cluster_name}: proxy-url is not supported")
    if user.get("auth-provider"):
        raise SettingsError(f"user {user_name}: auth-provider was removed from Kubernetes in 1.26")
    token_file = user.get("tokenFile")
    return KubeConfig(
        server=server,
        ca_pem=_pem(cluster, "certificate-authority", cluster_file),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        tls_server_name=str(cluster.get("tls-server-name", "")),
        token=str(user.get("token", "")),
        token_file=str(user_file.parent / token_file) if token_file else "",
        cert_pem=_pem(user, "client-certificate", user_file),
        key_pem=_pem(user, "client-key", user_file),
        username=str(user.get("username", "")),
        password=str(user.get("password", "")),
        exec=_exec_plugin(user_name, user.get("exec")),
        impersonate_user=str(user.get("as", "")),
        impersonate_groups=tuple(user.get("as-groups") or ()),
        namespace=str(chosen.get("namespace") or "default"),
        context=name,
    )


def from_text(text: str, what: str) -> KubeConfig:
    """Returns how to reach the cluster of a kubeconfig that somebody else wrote.

    Nothing of this machine may be read or run for it, so it must hold its credentials itself.

    Args:
        text: The kubeconfig.
        what: Its name, for errors.

    Raises:
        SettingsError: it is none, or refers to files or commands.
    """
    import yaml

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise SettingsError(f"{what} is no YAML: {error}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{what} is no mapping")
    try:
        for section, inner in (("clusters", "cluster"), ("users", "user")):
            for entry in document.get(section) or ():
                wrong = _OUTWARD & set(entry.get(inner) or ())
                if wrong:
                    raise SettingsError(f"{what} refers to files or commands: {min(wrong)}")
        return parse([(Path(what), document)])
    except (AttributeError, TypeError) as error:
        raise SettingsError(f"{what} is no kubeconfig: {error}") from None


def _documents(files: Sequence[Path], *, must_exist: bool) -> list[tuple[Path, Mapping[str, Any]]]:
    import yaml  # late: a pod never needs it

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[tuple[Path, Mapping[str, Any]]] = []
    for path in files:
        try:
            text = path.read_text()
        except FileNotFoundError:
            if must_exist:
                raise SettingsError(f"no kubeconfig at {path}") from None
            continue
        except OSError as error:
            raise SettingsError(f"kubeconfig {path} cannot be read: {error.strerror}") from None
        try:
            document = yaml.load(text, Loader=loader)
        except yaml.YAMLError as error:
            raise SettingsError(f"kubeconfig {path} is no YAML: {error}") from None
        if document is not None and not isinstance(document, dict):
            raise SettingsError(f"kubeconfig {path} is no mapping")
        found.append((path, document or {}))
    return found


def _named(
    documents: Sequence[tuple[Path, Mapping[str, Any]]],
    section: str,
    inner: str,
    name: str,
    files: str,
) -> tuple[Path, Mapping[str, Any]]:
    for path, document in documents:
        for entry in document.get(section) or ():
            if entry.get("name") == name:
                return path, entry.get(inner) or {}
    raise SettingsError(f"no {inner} {name!r} in {files}")


def _pem(entry: Mapping[str, Any], key: str, file: Path) -> str:
    data = entry.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True).decode()
        except ValueError:
            raise SettingsError(f"{file}: {key}-data is no base64 of PEM") from None
    path = entry.get(key)
    if not path:
        return ""
    try:
        return (file.parent / str(path)).read_text()
    except OSError as error:
        raise SettingsError(f"{file}: {key} {path} cannot be read: {error.strerror}") from None


def _exec_plugin(user: str, entry: Mapping[str, Any] | None) -> ExecPlugin | None:
    if not entry:
        return None
    api_version = str(entry.get("apiVersion", ""))
    if api_version not in (
        "client.authentication.k8s.io/v1",
        "client.authentication.k8s.io/v1beta1",
    ):
        raise SettingsError(f"user {user}: exec apiVersion {api_version!r} is not supported")
    return ExecPlugin(
        command=str(entry["command"]),
        args=tuple(str(arg) for arg in entry.get("args") or ()),
        env=tuple((str(e["name"]), str(e["value"])) for e in entry.get("env") or ()),
        api_version=api_version,
        install_hint=str(entry.get("installHint", "")),
        provide_cluster_info=bool(entry.get("provideClusterInfo", False)),
    )
