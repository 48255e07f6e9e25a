"""A container's spec → the zygote's `start` message. Pure: all that it needs is passed in.

Source: Kubernetes pkg/securitycontext/util.go (who runs), containerd's default capabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.errors import LocalError
from linkerd.local.node import linux
from linkerd.local.node.environment import expand
from linkerd.local.node.images import Image

_DEFAULT_CAPABILITIES = linux.capability_mask(
    [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ]
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class User:
    """Who a container runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def user_of(pod_spec: Mapping[str, Any], container: Mapping[str, Any], image: Image) -> User:
    """Returns the user, by container, then pod, then image, then root.

    Raises:
        LocalError: runAsNonRoot is set and it would be root, or the image's user is no number.
    """
    of_pod = pod_spec.get("securityContext") or {}
    own = container.get("securityContext") or {}

    def pick(name: str) -> Any:
        return own.get(name) if own.get(name) is not None else of_pod.get(name)

    uid_text, _, gid_text = image.user.partition(":")
    if uid_text == "root":
        uid_text = "0"
    if uid_text and not (uid_text.isdigit() and (not gid_text or gid_text.isdigit())):
        raise LocalError(f"image has a user that is no number: {image.user}")
    uid, gid = pick("runAsUser"), pick("runAsGroup")
    if uid is None:
        uid = int(uid_text or 0)
    if gid is None:
        gid = int(gid_text or 0)
    if pick("runAsNonRoot") and uid == 0:
        raise LocalError("container has runAsNonRoot and image will run as root")
    groups = {int(group) for group in of_pod.get("supplementalGroups") or ()} | {int(gid)}
    if of_pod.get("fsGroup") is not None:
        groups.add(int(of_pod["fsGroup"]))
    return User(int(uid), int(gid), tuple(sorted(groups)))


def rights(container: Mapping[str, Any], user: User) -> dict[str, Any]:
    """Returns the message's fields about users and capabilities.

    Raises:
        LocalError: a capability is unknown.
    """
    own = container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    add, drop = capabilities.get("add") or [], capabilities.get("drop") or []
    privileged = bool(own.get("privileged"))
    try:
        added = linux.capability_mask(add)
        mask = _DEFAULT_CAPABILITIES & ~linux.capability_mask(drop) | added
    except KeyError as error:
        raise LocalError(f"capability {error.args[0]} is unknown") from None
    if privileged:
        mask = linux.capability_mask(["ALL"])
    return {
        "uid": user.uid,
        "gid": user.gid,
        "groups": list(user.groups),
        "capabilities": mask,
        "ambient": added if user.uid else 0,
        "privileged": privileged,
        "no_new_privs": own.get("allowPrivilegeEscalation") is False,
        "read_only_root": bool(own.get("readOnlyRootFilesystem")),
    }


def command(container: Mapping[str, Any], image: Image, env: Mapping[str, str]) -> list[str]:
    """Returns the argument vector: the spec's command and args win over the image's.

    Raises:
        LocalError: neither names a program.
    """
    entrypoint, args = container.get("command"), container.get("args")
    if entrypoint:
        argv = [*entrypoint, *(args or ())]
    elif args:
        argv = [*image.entrypoint, *args]
    else:
        argv = [*image.entrypoint, *image.cmd]
    if not argv:
        raise LocalError("no command specified, neither in the pod nor in the image table")
    return [expand(str(word), env) for word in argv]


def environment(env: Mapping[str, str], user: User, hostname: str) -> dict[str, str]:
    """Returns a container's environment with what every container has."""
    return {
        "PATH": _PATH,
        "HOSTNAME": hostname,
        "HOME": "/root" if user.uid == 0 else "/",
        **env,
    }


def hostname(pod: Mapping[str, Any]) -> str:
    """Returns the pod's host name, at most 63 characters."""
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:63].rstrip("-.")


def files(
    pod: Mapping[str, Any], ip: str, *, domain: str, dns_ip: str, host_resolv: str
) -> dict[str, str]:
    """Returns the files in /etc that are the pod's own."""
    return {
        "/etc/hostname": hostname(pod) + "\n",
        "/etc/hosts": _hosts(pod, ip, domain),
        "/etc/resolv.conf": resolv_conf(pod, domain=domain, dns_ip=dns_ip, host=host_resolv),
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    }


def _hosts(pod: Mapping[str, Any], ip: str, domain: str) -> str:
    spec, name = pod["spec"], hostname(pod)
    names = name
    if spec.get("subdomain"):
        names = f"{name}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.{domain}\t{name}"
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        f"{ip}\t{names}",
    ]
    lines += [
        f"{alias['ip']}\t{chr(9).join(alias.get('hostnames') or ())}"
        for alias in spec.get("hostAliases") or ()
    ]
    return "\n".join(lines) + "\n"


def resolv_conf(pod: Mapping[str, Any], *, domain: str, dns_ip: str, host: str) -> str:
    """Returns the pod's /etc/resolv.conf, by its dnsPolicy and dnsConfig."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str] = {}
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        servers = [dns_ip]
        namespace = pod["metadata"]["namespace"]
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "5"}
    elif policy == "Default":
        for line in host.splitlines():
            key, *values = line.split() or [""]
            servers += values if key == "nameserver" else []
            searches += values if key == "search" else []
    own = spec.get("dnsConfig") or {}
    servers += own.get("nameservers") or []
    searches += own.get("searches") or []
    for option in own.get("options") or ():
        options[option["name"]] = str(option.get("value") or "")
    lines = [f"search {' '.join(dict.fromkeys(searches))}"] if searches else []
    lines += [f"nameserver {server}" for server in dict.fromkeys(servers)]
    if options:
        words = (f"{name}:{value}" if value else name for name, value in options.items())
        lines.append(f"options {' '.join(words)}")
    return "\n".join(lines) + "\n"
