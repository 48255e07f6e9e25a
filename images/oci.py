"""OCI image archives from files, byte for byte the same on every run; no engine, no network.

    entries ──layer──► Layer ──image──► Image ──archive──► one tar that `ctr image import`,
                                                           `docker load` and `skopeo` take

Times are 0, owners root, order sorted, compression level fixed. An archive holds a layer that
several of its images share once.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_GZIP_LEVEL = 6
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CAPABILITY_BITS = {"net_admin": 12, "net_raw": 13}
# Revision 2 of the kernel's vfs_cap_data without the effective flag.
_CAPABILITY_REVISION = 0x02000000


@dataclass(frozen=True)
class Entry:
    """A file (data), a folder (neither) or a symbolic link (target) of an image.

    Attributes:
        path: Absolute path in the image.
        data: The content, or the file that has it.
        target: What the symbolic link says.
        mode: Permission bits.
        capabilities: File capabilities, permitted only: `net_admin`, `net_raw`.
    """

    path: str
    data: bytes | Path | None = None
    target: str = ""
    mode: int = 0o644
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A compressed tar, and the digest of what it unpacks to."""

    blob: bytes
    diff_id: str


@dataclass(frozen=True)
class Run:
    """How a container of an image starts."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    cwd: str = "/"


@dataclass(frozen=True)
class Image:
    """Layers, lowest first, and what they run."""

    layers: tuple[Layer, ...]
    run: Run


def layer(entries: Iterable[Entry]) -> Layer:
    """Returns the layer of `entries`; folders that they need are added with mode 0755.

    Raises:
        ValueError: two entries have the same path.
    """
    by_path: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in by_path:
            raise ValueError(f"two entries for {entry.path}")
        by_path[entry.path] = entry
    for path in list(by_path):
        for parent in PurePosixPath(path).parents:
            by_path.setdefault(str(parent), Entry(str(parent), mode=0o755))
    by_path.pop("/", None)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(by_path):
            _add(tar, by_path[path])
    data = raw.getvalue()
    return Layer(gzip.compress(data, _GZIP_LEVEL, mtime=0), _digest(data))


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.path.lstrip("/"))
    info.mode = entry.mode
    if entry.target:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
    elif entry.data is None:
        info.type = tarfile.DIRTYPE
    if entry.capabilities:
        value = _capability(entry.capabilities).decode()
        info.pax_headers = {"SCHILY.xattr.security.capability": value}
    if entry.data is None:
        tar.addfile(info)
        return
    content = entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes()
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _capability(names: Iterable[str]) -> bytes:
    permitted = sum(1 << _CAPABILITY_BITS[name] for name in names)
    words = (_CAPABILITY_REVISION, permitted, 0, 0, 0)
    return b"".join(word.to_bytes(4, "little") for word in words)


def archive(path: Path, images: Mapping[str, Image]) -> None:
    """Writes an OCI archive with `images` by their full names, `docker.io/library/x:tag`.

    The file is replaced in one step.
    """
    blobs: dict[str, bytes] = {}

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = _digest(data)
        blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    manifests = []
    for name, image in sorted(images.items()):
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": put(_json(_config(image)), _CONFIG),
            "layers": [put(one.blob, _LAYER) for one in image.layers],
        }
        annotations = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
        manifests.append({**put(_json(manifest), _MANIFEST), "annotations": annotations})
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
    contents = {
        "index.json": _json(index),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        **{f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(contents):
            info = tarfile.TarInfo(name)
            info.size = len(contents[name])
            tar.addfile(info, io.BytesIO(contents[name]))
    unfinished.rename(path)


def _config(image: Image) -> dict[str, Any]:
    run = image.run
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **run.env}
    config: dict[str, Any] = {
        "Env": [f"{key}={value}" for key, value in sorted(env.items())],
        "WorkingDir": run.cwd,
    }
    if run.entrypoint:
        config["Entrypoint"] = list(run.entrypoint)
    if run.cmd:
        config["Cmd"] = list(run.cmd)
    if run.user:
        config["User"] = run.user
    return {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in image.layers]},
        "history": [{"created": "1970-01-01T00:00:00Z"} for _ in image.layers],
    }


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
