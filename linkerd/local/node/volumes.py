"""A pod's volumes: which files they hold (pure), and how they get onto the disk.

    configMap secret projected downwardAPI   files, replaced atomically when their sources change:
                                             <volume>/..data → ..<number>/, <volume>/key → ..data/key
    emptyDir                                 a folder; `medium: Memory` is the zygote's tmpfs
    hostPath                                 the host's own file or folder

Source: Kubernetes pkg/volume/util/atomic_writer.go (layout), pkg/volume/projected.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linkerd.errors import LocalError
from linkerd.local.node.environment import Getter, Missing, data_of, field_ref, resource_ref

#: Volumes whose content comes from the API.
RENDERED = ("configMap", "secret", "projected", "downwardAPI")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a rendered volume."""

    data: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A service-account token that a projected volume asks for."""

    path: str
    audience: str
    expiration_s: int
    mode: int


@dataclass(slots=True)
class Content:
    """Everything in one rendered volume, by relative path."""

    files: dict[str, File] = field(default_factory=dict)
    tokens: list[TokenRequest] = field(default_factory=list)


def is_rendered(volume: Mapping[str, Any]) -> bool:
    """Returns whether a volume's content comes from the API."""
    return any(volume.get(kind) is not None for kind in RENDERED)


def references(volume: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Returns the (kind, name) of config maps and secrets that a volume shows."""
    found: set[tuple[str, str]] = set()
    for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        if source.get("configMap"):
            found.add(("ConfigMap", str(source["configMap"].get("name"))))
        secret = source.get("secret")
        if secret:
            found.add(("Secret", str(secret.get("secretName") or secret.get("name"))))
    return found


def render(
    volume: Mapping[str, Any], pod: Mapping[str, Any], get: Getter, capacity: Mapping[str, float]
) -> Content:
    """Returns the content of a volume of one of the kinds in `RENDERED`.

    Raises:
        Missing: a source that is not optional is not there.
        LocalError: a field or path is not allowed.
    """
    content = Content()
    if volume.get("projected") is not None:
        mode = int(volume["projected"].get("defaultMode", 0o644))
        for source in volume["projected"].get("sources") or ():
            _add(content, source, mode, pod, get, capacity)
    else:
        kind = next(kind for kind in RENDERED if volume.get(kind) is not None)
        _add(content, volume, int(volume[kind].get("defaultMode", 0o644)), pod, get, capacity)
    for path in (*content.files, *(token.path for token in content.tokens)):
        if path.startswith("/") or ".." in path.split("/"):
            raise LocalError(f"volume {volume['name']}: path {path} leads outside")
    return content


def _add(
    content: Content,
    source: Mapping[str, Any],
    mode: int,
    pod: Mapping[str, Any],
    get: Getter,
    capacity: Mapping[str, float],
) -> None:
    for kind, key in (("ConfigMap", "configMap"), ("Secret", "secret")):
        wanted = source.get(key)
        if wanted is not None:
            _add_data(content, kind, wanted, mode, get)
    for item in (source.get("downwardAPI") or {}).get("items") or ():
        if item.get("fieldRef"):
            text = field_ref(pod, item["fieldRef"]["fieldPath"])
        else:
            reference = item["resourceFieldRef"]
            text = resource_ref(pod, reference, str(reference.get("containerName")), capacity)
        content.files[item["path"]] = File(text.encode(), int(item.get("mode", mode)))
    token = source.get("serviceAccountToken")
    if token is not None:
        content.tokens.append(
            TokenRequest(
                token["path"],
                token.get("audience") or "",
                int(token.get("expirationSeconds") or 3600),
                mode,
            )
        )


def _add_data(
    content: Content, kind: str, wanted: Mapping[str, Any], mode: int, get: Getter
) -> None:
    name = str(wanted.get("secretName") or wanted.get("name"))
    found = get(kind, name)
    if found is None:
        if wanted.get("optional"):
            return
        raise Missing(f'{kind.lower()} "{name}" not found')
    data = data_of(found)
    items = wanted.get("items")
    if not items:
        content.files |= {key: File(value, mode) for key, value in data.items()}
        return
    for item in items:
        if item["key"] in data:
            content.files[item["path"]] = File(data[item["key"]], int(item.get("mode", mode)))
        elif not wanted.get("optional"):
            raise Missing(f"{kind.lower()} {name}: references non-existent key {item['key']}")


def write(folder: Path, files: Mapping[str, File], group: int | None) -> None:
    """Makes a volume's folder hold exactly `files`; readers see the old or the new, never a mix.

    Args:
        folder: Of the volume; made if need be.
        files: By relative path.
        group: The pod's fsGroup, which then may read the files.

    Raises:
        OSError: the disk refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "..data"
    old = folder / os.readlink(data) if data.is_symlink() else None
    fresh = folder / f"..{time.time_ns()}"
    fresh.mkdir()
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        target.chmod(file.mode | (0o040 if group is not None else 0))
        if group is not None:
            to_group(target, group)
    for made in (fresh, *fresh.rglob("*")):
        if made.is_dir():
            made.chmod(0o755)
    folder.chmod(0o755)
    link = folder / "..data.new"
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(fresh.name)
    link.replace(data)
    wanted = {path.split("/")[0] for path in files}
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def to_group(path: Path, group: int) -> None:
    """Gives a file or folder to a pod's fsGroup; nothing happens where no such group exists.

    Raises:
        OSError: the kernel refused.
    """
    try:
        os.chown(path, -1, group)
    except OSError as error:
        if error.errno != errno.EINVAL:  # how a user namespace says that it has no such group
            raise


def host_path(volume: Mapping[str, Any]) -> str:
    """Returns the path of a hostPath volume, made if its type says so.

    Raises:
        Missing: it does not exist, or is of another type.
    """
    path, kind = str(volume["hostPath"]["path"]), volume["hostPath"].get("type") or ""
    if kind == "DirectoryOrCreate":
        os.makedirs(path, mode=0o755, exist_ok=True)
    elif kind == "FileOrCreate" and not os.path.exists(path):
        Path(path).touch(mode=0o644)
    elif kind == "" and not os.path.exists(path):
        os.makedirs(path, mode=0o755, exist_ok=True)
    checks = {
        "Directory": os.path.isdir,
        "File": os.path.isfile,
        "Socket": os.path.exists,
        "CharDevice": os.path.exists,
        "BlockDevice": os.path.exists,
    }
    if kind in checks and not checks[kind](path):
        raise Missing(f"hostPath type check failed: {path} is not a {kind.lower()}")
    return path


def inside(folder: Path, sub_path: str, *, make: bool) -> Path:
    """Returns the file or folder below a volume that a subPath names.

    Args:
        folder: The volume's.
        sub_path: As in the container's mount; symbolic links are followed but must stay inside.
        make: Whether a missing one becomes a folder.

    Raises:
        LocalError: it leads outside, or is missing.
    """
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise LocalError(f"subPath {sub_path} leads outside of its volume")
    root = Path(os.path.realpath(folder))
    target = Path(os.path.realpath(root / sub_path))
    if target != root and root not in target.parents:
        raise LocalError(f"subPath {sub_path} leads outside of its volume")
    if make and not target.exists():
        target.mkdir(parents=True)
        target.chmod(0o777)
    if not target.exists():
        raise Missing(f"subPath {sub_path} does not exist in its volume")
    return target
